"""The inventory API: what it starts from."""

from clinic_stack import dashboard, environment
from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import shell_variables, tree_fingerprint, write_if_changed

NAMES = (
    "SHARED_DB_API_URL",
    "KEYCLOAK_URL",
    "KEYCLOAK_PUBLIC_URL",
    "KEYCLOAK_REALM",
    "DASHBOARD_PUBLIC_URL",
)
"""Of stack.env, and no more: a program that is broken into gives away only what it was given."""


def prepare(config: Config, words: Credentials) -> None:
    """Write the settings; with them a mark of the code, so that a change of it starts it anew."""
    known = environment.values(config, words)
    code = [config.checkout / "services" / "inventory_api", config.checkout / "sql" / "queries"]
    folders = (config.checkout / "include", config.checkout / "services")
    values = {name: known[name] for name in NAMES} | {
        "INVENTORY_API_CODE": tree_fingerprint(code),
        "INVENTORY_API_PORT": config.port("inventory_api"),
        "DASHBOARD_FILES": files if (files := dashboard.files(config)).exists() else "",
        "PYTHONPATH": ":".join(map(str, folders)),
    }
    path = config.state / "inventory-api" / "environment"
    write_if_changed(path, shell_variables(values, export=True), 0o600)
