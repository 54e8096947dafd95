"""The way to RabbitMQ, for documents."""

from odoo.addons.clinic_broker.broker import Broker as AnyBroker
from odoo.addons.clinic_broker.broker import BrokerError

from .message import EXCHANGE

__all__ = ["Broker", "BrokerError"]


class Broker(AnyBroker):
    """Publishes to the documents' exchange."""

    def __init__(self, env) -> None:
        """Connect to nothing yet."""
        super().__init__(env, EXCHANGE, "Odoo: clinical documents")
