"""What Airflow learns of this distribution: its connection types, for the Connections form.

The form is declared here, and not in the hooks, so that the API server shows it without importing
them. Airflow finds this function by the entry point ``apache_airflow_provider``.

Source: https://airflow.apache.org/docs/apache-airflow-providers/howto/create-custom-providers.html
"""

from __future__ import annotations

from typing import Any

ODOO_FORM: dict[str, Any] = {
    # The port stays in view: the form's test button sends it, and a hidden one it sends as 0.
    "hidden-fields": [],
    "relabeling": {
        "host": "Address (https://…)",
        "login": "Login",
        "password": "API key",
        "schema": "Database",
    },
    "placeholders": {"host": "https://odoo.clinic.example", "schema": "odoo"},
}

SHARED_DB_FORM: dict[str, Any] = {
    "hidden-fields": ["extra"],
    "relabeling": {"schema": "Database"},
    "placeholders": {"login": "clinica_sync", "schema": "clinica_shared", "port": "5432"},
}

ODOO_DATABASE_FORM: dict[str, Any] = {
    "hidden-fields": [],
    "relabeling": {"schema": "Database"},
    "placeholders": {"login": "odoo", "schema": "odoo", "port": "5432"},
}

ODOO_DATABASE_FIELDS: dict[str, Any] = {
    "filestore": {
        "label": "Filestore",
        "description": "The folder that holds a folder of files a database, as Airflow sees it.",
        "schema": {"type": ["string", "null"]},
    },
    "odoo_command": {
        "label": "Command that starts Odoo",
        "description": "For drills: a list of words, without those that name a database or port.",
        "schema": {"type": ["array", "null"], "items": {"type": "string"}},
    },
}

# The port stays in view: the test button sends a hidden one as 0.
DRIVE_FORM: dict[str, Any] = {
    "hidden-fields": ["host", "schema", "login", "password"],
    "relabeling": {},
    "placeholders": {},
}

DRIVE_FIELDS: dict[str, Any] = {
    "keyfile_dict": {
        "label": "Key of the service account (JSON)",
        "description": "The text of the key file that Google's console hands out.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "credential_config_file": {
        "label": "Credentials file",
        "description": "Instead of the key: path of a key file on Airflow's machines.",
        "schema": {"type": ["string", "null"]},
    },
    "delegate": {
        "label": "On behalf of",
        "description": "Address of the person in whose Drive files are kept, by domain-wide "
        "delegation. Empty: the service account's own rights.",
        "schema": {"type": ["string", "null"]},
    },
    "drive_id": {
        "label": "Shared drive",
        "description": "Id of the shared drive, the last part of its address in the browser. A "
        "service account has no space of its own.",
        "schema": {"type": ["string", "null"]},
    },
    "api_endpoint": {
        "label": "Address of the API",
        "description": "Another one than Google's only for tests.",
        "schema": {"type": ["string", "null"], "default": "https://www.googleapis.com"},
    },
    "scope": {
        "label": "Scope",
        "description": "What the access is for.",
        "schema": {
            "type": ["string", "null"],
            "default": "https://www.googleapis.com/auth/drive",
        },
    },
}

WEBDAV_FORM: dict[str, Any] = {
    # The form's test button sends a hidden port as 0, which is none.
    "hidden-fields": ["schema", "port"],
    "relabeling": {"host": "Address of the folder (https://…)", "password": "App password"},
    "placeholders": {
        "host": "https://cloud.clinic.example/remote.php/dav/files/clinica",
        "login": "clinica",
    },
}

WEBDAV_FIELDS: dict[str, Any] = {
    "bearer": {
        "label": "The password is a bearer token",
        "description": "Send it as a token, without the login.",
        "schema": {"type": "boolean", "default": False},
    },
    "is_nextcloud": {
        "label": "Nextcloud",
        "description": "Whether large files go up by Nextcloud's chunks: found out, yes, or no.",
        "schema": {"type": "string", "enum": ["auto", "yes", "no"], "default": "auto"},
    },
    "timeout_s": {
        "label": "Timeout (seconds)",
        "description": "How long to wait for one answer.",
        "schema": {"type": ["number", "null"], "default": 30, "minimum": 1},
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": "clinic",
        "name": "Clinic",
        "description": "Odoo, the shared database and the document stores of the clinic.",
        "connection-types": [
            {
                "connection-type": "odoo",
                "hook-class-name": "clinic_airflow.hooks.odoo.OdooHook",
                "hook-name": "Odoo",
                "ui-field-behaviour": ODOO_FORM,
                "conn-fields": {
                    "evented_url": {
                        "label": "Evented address",
                        "description": "Odoo's gevent port, where the change feed is streamed.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "timeout_s": {
                        "label": "Timeout (seconds)",
                        "description": "How long to wait for one answer.",
                        "schema": {"type": ["number", "null"], "default": 30, "minimum": 1},
                    },
                },
            },
            {
                "connection-type": "clinic_shared_db",
                "hook-class-name": "clinic_airflow.hooks.shared_db.SharedDbHook",
                "hook-name": "Shared database of the clinic",
                "ui-field-behaviour": SHARED_DB_FORM,
            },
            {
                "connection-type": "clinic_odoo_database",
                "hook-class-name": "clinic_airflow.hooks.odoo_database.OdooDatabaseHook",
                "hook-name": "Odoo's database and files",
                "ui-field-behaviour": ODOO_DATABASE_FORM,
                "conn-fields": ODOO_DATABASE_FIELDS,
            },
            {
                "connection-type": "clinic_drive",
                "hook-class-name": "clinic_airflow.hooks.drive.DriveHook",
                "hook-name": "Google Drive of the clinic",
                "ui-field-behaviour": DRIVE_FORM,
                "conn-fields": DRIVE_FIELDS,
            },
            {
                "connection-type": "clinic_webdav",
                "hook-class-name": "clinic_airflow.hooks.webdav.WebDavHook",
                "hook-name": "Nextcloud, or another WebDAV server",
                "ui-field-behaviour": WEBDAV_FORM,
                "conn-fields": WEBDAV_FIELDS,
            },
        ],
    }


def python_style(form: dict[str, Any]) -> dict[str, Any]:
    """Return a form as ``get_ui_field_behaviour`` of a hook names its parts."""
    return {name.replace("-", "_"): value for name, value in form.items()}
