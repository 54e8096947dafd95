"""A notifier between a real broker, database and mail server, and an Odoo that is not there.

``python -m support.notifying AMQP_URL DATABASE_URL SMTP_PORT`` runs it in a process of its own.
"""

import smtplib
import sys
from typing import Any

import pika
from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.mail import SmtpMailer
from clinic.clients.notifications_db import NotificationsDb
from clinic.documents.notify import Notifier, Summary


class GenerousOdoo:
    """Applies everything, and asks for a mail to one person a notification, each time."""

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        assert (model, method) == ("clinic.document", "notify")
        return [
            {
                "notification_id": one["notification_id"],
                "status": "applied",
                "emails": [
                    {
                        "to": f"{one['notification_id']}@clinica.example",
                        "name": "Ana",
                        "lang": "es_ES",
                        "subject": "Documento apartado",
                        "body_text": "No se pudo guardar.",
                    }
                ],
            }
            for one in arguments["notifications"]
        ]


def run(amqp_url: str, database_url: str, smtp_port: int) -> Summary:
    """Work until the queue is empty."""
    queue = BrokerQueue(
        lambda: pika.BlockingConnection(pika.URLParameters(amqp_url)), "notification_queue"
    )
    killed = BrokerQueue(
        lambda: pika.BlockingConnection(pika.URLParameters(amqp_url)), "notification_queue.killed"
    )
    mailer = SmtpMailer(
        lambda: smtplib.SMTP("127.0.0.1", smtp_port, timeout=20), "clinica@clinica.example"
    )
    ledger = NotificationsDb(database_url)
    try:
        return Notifier(GenerousOdoo(), mailer, ledger, queue, killed, lambda _: "").run(60, 1)
    finally:
        queue.close()
        killed.close()
        mailer.close()
        ledger.close()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
