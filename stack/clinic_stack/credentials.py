"""The secrets of one installation: generated once, kept in a file that only its owner reads."""

import base64
import json
import secrets
from pathlib import Path

from clinic_stack.files import write_if_changed

DATABASE_ROLES = (
    "odoo",
    "airflow",
    "keycloak",
    "clinica_owner",
    "clinica_sync",
    "clinica_api",
    "clinica_readonly",
)
AMQP_USERS = ("administrator", "odoo", "airflow", "monitor")
KEYCLOAK_CLIENTS = ("airflow", "airflow_ci", "inventory_programs", "odoo", "gateway", "sync")
DEMO_LOGINS = (
    "demo-farmacia",
    "demo-medicina",
    "demo-administracion",
    "demo-sistemas",
    "demo-sin-grupo",
)

Credentials = dict[str, str]


def load(path: Path) -> Credentials:
    """Read the secrets at `path`; generate and keep those that are not there yet."""
    values: Credentials = json.loads(path.read_text()) if path.exists() else {}
    for name in (
        "postgres_admin",
        *(f"database_{role}" for role in DATABASE_ROLES),
        *(f"amqp_{user}" for user in AMQP_USERS),
        *(f"keycloak_client_{client}" for client in KEYCLOAK_CLIENTS),
        *(f"demo_{login}" for login in DEMO_LOGINS),
        "erlang_cookie",
        "odoo_admin",
        "odoo_master",
        "keycloak_admin",
        "airflow_api",
        "gateway_hmac",
        "webdav",
    ):
        values.setdefault(name, secrets.token_urlsafe(24))
    # HMAC with SHA-512 wants a key of 64 bytes (RFC 7518, section 3.2).
    values.setdefault("airflow_jwt", secrets.token_urlsafe(64))
    values.setdefault("airflow_fernet", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    save(path, values)
    return values


def save(path: Path, values: Credentials) -> None:
    """Keep the secrets, readable by their owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_if_changed(path, json.dumps(values, indent=1) + "\n", 0o600)
