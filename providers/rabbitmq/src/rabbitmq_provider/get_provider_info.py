"""What Airflow learns of this distribution: its connection type and form, and its message queue.

The form is declared here, and not in the hook, so that the API server shows it without importing
pika. Airflow finds this function by the entry point ``apache_airflow_provider``.

Source: https://airflow.apache.org/docs/apache-airflow-providers/howto/create-custom-providers.html
"""

from __future__ import annotations

from typing import Any

DISTRIBUTION = "airflow-provider-rabbitmq-clinic"

FORM: dict[str, Any] = {
    # The port stays in view: the form's test button sends a hidden one as 0.
    "hidden-fields": [],
    "relabeling": {"schema": "Virtual host"},
    "placeholders": {
        "host": "rabbitmq.example",
        "port": "5672, with TLS 5671",
        "login": "airflow",
        "schema": "/",
    },
}

FIELDS: dict[str, Any] = {
    "ssl": {
        "label": "TLS",
        "description": "Speak TLS to the broker, and check its certificate.",
        "schema": {"type": "boolean", "default": False},
    },
    "ca_file": {
        "label": "File of certificate authorities",
        "description": "PEM file on Airflow's machines. Empty: those the machine trusts.",
        "schema": {"type": ["string", "null"]},
    },
    "heartbeat_s": {
        "label": "Heartbeat (seconds)",
        "description": "A peer that is silent for twice as long counts as gone.",
        "schema": {"type": ["integer", "null"], "default": 60, "minimum": 1},
    },
    "timeout_s": {
        "label": "Timeout (seconds)",
        "description": "How long to wait for a connection or one answer.",
        "schema": {"type": ["number", "null"], "default": 10, "minimum": 1},
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's provider_info.schema.json."""
    return {
        "package-name": DISTRIBUTION,
        "name": "RabbitMQ",
        "description": "RabbitMQ: publish with confirms, wait without consuming, asset events.",
        "connection-types": [
            {
                "connection-type": "rabbitmq",
                "hook-class-name": "rabbitmq_provider.hooks.rabbitmq.RabbitMQHook",
                "hook-name": "RabbitMQ",
                "ui-field-behaviour": FORM,
                "conn-fields": FIELDS,
            }
        ],
        "queues": ["rabbitmq_provider.queues.rabbitmq.RabbitMQMessageQueueProvider"],
    }
