"""The way to RabbitMQ: confirmed, mandatory, and one attempt to connect."""

import contextlib
import os
from typing import Self

import pika
import pika.exceptions

ADDRESS = "CLINIC_AMQP_URL"
TIMEOUT_S = 10


class BrokerError(Exception):
    """The broker did not take a message; it is tried again later.

    `problem` is a code (whose model publishes has the sentences, in people's languages), `detail`
    is what the sentence names.
    """

    def __init__(self, problem: str, detail: str = "") -> None:
        """Keep both."""
        super().__init__(f"{problem}: {detail}")
        self.problem, self.detail = problem, detail


class Broker:
    """One connection, opened at the first message.

    Args:
        env: Whose database the messages are of: out of a neutralised copy none leaves.
        exchange: Where it publishes.
        name: What the broker's console calls the connection.
    """

    def __init__(self, env, exchange: str, name: str) -> None:
        """Connect to nothing yet."""
        self._env, self._exchange, self._name = env, exchange, name
        self._connection = self._channel = None

    def __enter__(self) -> Self:
        """Begin a run."""
        return self

    def __exit__(self, *_error) -> None:
        """End the connection, if there is one."""
        if self._connection is not None and self._connection.is_open:
            # Everything that matters was confirmed before.
            with contextlib.suppress(pika.exceptions.AMQPError):
                self._connection.close()

    def publish(self, routing_key: str, body: bytes, properties: dict) -> None:
        """Publish, and return when the broker has the message on its disks.

        Raises:
            BrokerError: it has not, as far as we know.
        """
        try:
            if self._channel is None:
                self._connect()
            self._channel.basic_publish(
                self._exchange,
                routing_key,
                body,
                pika.BasicProperties(**properties),
                mandatory=True,
            )
        except pika.exceptions.UnroutableError as error:
            raise BrokerError("no_queue", routing_key) from error
        except pika.exceptions.NackError as error:
            raise BrokerError("full") from error
        except (pika.exceptions.AMQPError, OSError) as error:
            text = str(error) or type(error).__name__
            raise BrokerError("unreachable", text[:300]) from error

    def _connect(self) -> None:
        if self._env["ir.config_parameter"].sudo().get_param("database.is_neutralized"):
            raise BrokerError("copy", self._env.cr.dbname)
        address = os.environ.get(ADDRESS)
        if not address:
            raise BrokerError("no_address", ADDRESS)
        try:
            parameters = pika.URLParameters(address)
        except ValueError as error:
            # Not its text: it may hold the password.
            raise BrokerError("bad_address", ADDRESS) from error
        parameters.connection_attempts = 1
        parameters.socket_timeout = TIMEOUT_S
        parameters.stack_timeout = TIMEOUT_S
        parameters.blocked_connection_timeout = TIMEOUT_S
        parameters.client_properties = {"connection_name": self._name}
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
