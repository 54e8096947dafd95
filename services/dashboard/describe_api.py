"""Print the API's OpenAPI document, from which the dashboard's types are made."""

import json
from collections import defaultdict

from inventory_api.app import create_app
from inventory_api.settings import Settings

# Nothing is connected, so any values do.
settings = Settings.from_environment(defaultdict(lambda: "https://nowhere.invalid"))
print(json.dumps(create_app(settings).openapi()))
