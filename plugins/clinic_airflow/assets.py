"""The data sets that DAGs hand to one another, each named once.

A scheme of our own: one that Airflow knows would make the parser import every provider.
"""

from airflow.sdk import Asset, AssetWatcher
from rabbitmq_provider.triggers.rabbitmq import RabbitMQMessageTrigger

SHARED_INVENTORY = Asset(name="shared_inventory", uri="x-clinica://clinica_shared/inventory")

# The trigger itself, and not common-messaging's: that one imports every provider to find it.
BACKUP_REQUESTS = Asset(
    name="backup_requests",
    uri="x-clinica://rabbitmq/backup_requests_queue",
    watchers=[
        AssetWatcher(
            name="backup_requests_queue",
            trigger=RabbitMQMessageTrigger(
                queue_name="backup_requests_queue", rabbitmq_conn_id="rabbitmq_default"
            ),
        )
    ],
)
"""What the button in Odoo sends: each message is an event, and starts a backup."""
