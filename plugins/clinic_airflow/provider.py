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


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": "clinic",
        "name": "Clinic",
        "description": "Odoo and the shared database of the clinic.",
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
        ],
    }


def python_style(form: dict[str, Any]) -> dict[str, Any]:
    """Return a form as ``get_ui_field_behaviour`` of a hook names its parts."""
    return {name.replace("-", "_"): value for name, value in form.items()}
