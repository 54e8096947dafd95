"""Writes docs/reference/inventory-api.openapi.json from the app itself.

``python -m inventory_api.openapi`` writes it; with ``--check`` it only says whether it is current.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from inventory_api.app import create_app
from inventory_api.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "reference" / "inventory-api.openapi.json"


def render() -> str:
    """Return the document; nothing is connected for it."""
    nowhere = Settings(database_url="", issuer="", jwks_url="", public_url="")
    return json.dumps(create_app(nowhere).openapi(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write or check the file; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    options = parser.parse_args()
    text = render()
    if options.check:
        if FILE.exists() and FILE.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write(f"{FILE} is older than the API: run `python -m inventory_api.openapi`\n")
        return 1
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
