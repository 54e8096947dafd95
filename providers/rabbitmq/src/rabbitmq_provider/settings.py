"""What an Airflow connection of type ``rabbitmq`` says, and how to connect by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ssl import SSLContext, create_default_context
from typing import TYPE_CHECKING, Any

import aio_pika
import pika

from rabbitmq_provider.errors import BROKER_FAILURES, SettingsError, TLSError, explain

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection
    from airflow.sdk import Connection

PORT = 5672
TLS_PORT = 5671
HEARTBEAT_S = 60
TIMEOUT_S = 10.0
CLIENT_PROPERTIES = {"connection_name": "airflow"}


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The address of a broker, and how to log in there. The password is in no representation."""

    conn_id: str
    host: str
    port: int
    login: str
    password: str = field(repr=False)
    virtual_host: str = "/"
    ssl: bool = False
    ca_file: str | None = None
    heartbeat_s: int = HEARTBEAT_S
    timeout_s: float = TIMEOUT_S

    @classmethod
    def from_connection(cls, connection: Connection) -> ConnectionSettings:
        """Read the fields of an Airflow connection.

        Raises:
            SettingsError: One is missing, or is not what it must be.
        """
        conn_id = connection.conn_id
        missing = [name for name in ("host", "login", "password") if not getattr(connection, name)]
        if missing:
            raise SettingsError(
                f"Connection {conn_id!r} has no {' and no '.join(missing)}: fill it in under "
                "Admin, Connections."
            )
        extra = connection.extra_dejson
        try:
            use_ssl = _flag(extra.get("ssl"))
            heartbeat_s = int(extra.get("heartbeat_s") or HEARTBEAT_S)
            timeout_s = float(extra.get("timeout_s") or TIMEOUT_S)
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"Connection {conn_id!r} has a wrong extra field: {error}. ssl is true or false, "
                "heartbeat_s and timeout_s are numbers of seconds."
            ) from None
        return cls(
            conn_id=conn_id,
            host=connection.host or "",
            port=connection.port or (TLS_PORT if use_ssl else PORT),
            login=connection.login or "",
            password=connection.password or "",
            virtual_host=connection.schema or "/",
            ssl=use_ssl,
            ca_file=extra.get("ca_file") or None,
            heartbeat_s=heartbeat_s,
            timeout_s=timeout_s,
        )

    @property
    def address(self) -> str:
        """Where the broker is, for messages."""
        return f"{'amqps' if self.ssl else 'amqp'}://{self.host}:{self.port}"

    def connect(self) -> pika.BlockingConnection:
        """Open a connection of pika. The caller closes it.

        Raises:
            RabbitMQError: It cannot be opened; the message says why.
        """
        context = self._ssl_context()
        parameters = pika.ConnectionParameters(
            host=self.host,
            port=self.port,
            virtual_host=self.virtual_host,
            credentials=pika.PlainCredentials(self.login, self.password),
            ssl_options=pika.SSLOptions(context, self.host) if context else None,
            heartbeat=self.heartbeat_s,
            socket_timeout=self.timeout_s,
            stack_timeout=self.timeout_s,
            # A broker short of disk or memory blocks publishers without a word.
            blocked_connection_timeout=self.timeout_s,
            client_properties=CLIENT_PROPERTIES,
        )
        try:
            return pika.BlockingConnection(parameters)
        except BROKER_FAILURES as error:
            raise explain(error, self, "Connecting") from None

    async def connect_async(self) -> AbstractConnection:
        """Open a connection of aio-pika that does not come back by itself. The caller closes it.

        A robust connection of aio-pika answers passive declarations from its memory, and would
        hide from us that unacknowledged messages have gone back to the queue.

        Raises:
            RabbitMQError: It cannot be opened; the message says why.
        """
        try:
            return await aio_pika.connect(
                host=self.host,
                port=self.port,
                login=self.login,
                password=self.password,
                virtualhost=self.virtual_host,
                ssl=self.ssl,
                ssl_context=self._ssl_context(),
                timeout=self.timeout_s,
                heartbeat=self.heartbeat_s,
                client_properties=dict[str, Any](CLIENT_PROPERTIES),
            )
        except BROKER_FAILURES as error:
            raise explain(error, self, "Connecting") from None

    def _ssl_context(self) -> SSLContext | None:
        if not self.ssl:
            return None
        try:
            return create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise TLSError(
                f"Connection {self.conn_id!r} names {self.ca_file!r} as ca_file, which cannot be "
                f"read as certificates: {error}."
            ) from None


def _flag(value: object) -> bool:
    """Read a boolean as JSON, a form or a URI spells it."""
    spelled = {"": False, "none": False, "true": True, "false": False, "1": True, "0": False}
    try:
        return spelled[str("" if value is None else value).strip().lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither true nor false") from None
