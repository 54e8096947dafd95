"""What can go wrong with a broker, said so that a person knows what to do.

::

    RabbitMQError
    ├── BrokerUnavailableError  transient: not there, or gone meanwhile
    ├── NotConfirmedError       transient: the broker did not take the message
    ├── LoginRefusedError
    ├── VirtualHostError
    ├── TLSError
    ├── AccessRefusedError
    ├── NotFoundError           no such exchange
    │   └── QueueNotFoundError
    ├── UnroutableError         no queue is bound there
    └── SettingsError           the connection's own fields

None of them derives from ``AirflowException``: a sensor with ``soft_fail`` turns those into a
skipped task, and a queue that does not exist must be seen. No message holds a password or the
content of a queue's message.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import aiormq.exceptions
import pika.exceptions

if TYPE_CHECKING:
    from rabbitmq_provider.settings import ConnectionSettings


class RabbitMQError(Exception):
    """Base class of this provider's errors; ``transient`` says whether trying again can help."""

    transient: ClassVar[bool] = False


class BrokerUnavailableError(RabbitMQError):
    """The broker is not there, or the connection to it was lost."""

    transient = True


class NotConfirmedError(RabbitMQError):
    """The broker refused responsibility for a message; the queue is full, for example."""

    transient = True


class LoginRefusedError(RabbitMQError):
    """The login or the password is wrong."""


class VirtualHostError(RabbitMQError):
    """The virtual host is not there, or the user may not enter it."""


class TLSError(RabbitMQError):
    """One side speaks TLS and the other does not, or the certificate is not trusted."""


class AccessRefusedError(RabbitMQError):
    """The user lacks a permission in the virtual host."""


class NotFoundError(RabbitMQError):
    """The exchange does not exist."""


class QueueNotFoundError(NotFoundError):
    """The queue does not exist."""


class UnroutableError(RabbitMQError):
    """The exchange has no queue for this routing key; the broker returned the message."""


class SettingsError(RabbitMQError):
    """A field of the Airflow connection is missing or wrong."""


# What pika, aiormq and the operating system raise when a broker does not do as asked.
BROKER_FAILURES: tuple[type[Exception], ...] = (
    pika.exceptions.AMQPError,
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,  # a call on a channel that is closed already
    aiormq.exceptions.ConnectionChannelError,
    aiormq.exceptions.InvalidFrameError,
    OSError,  # with socket.gaierror, ssl.SSLError and TimeoutError
)


def explain(error: Exception, settings: ConnectionSettings, doing: str) -> RabbitMQError:
    """Turn what a client library raised into one of this provider's errors.

    Args:
        error: What pika, aiormq or the operating system raised.
        settings: Whom it was raised by.
        doing: What was being done, for example ``"Asking for queue 'invoices'"``.
    """
    if isinstance(error, RabbitMQError):
        return error
    causes = list(_causes(error))
    where = f"{doing} at {settings.address}"
    return (
        _tls(causes, settings, where)
        or _refusal(causes, settings, where)
        or BrokerUnavailableError(
            f"{where} failed: {_said(causes)}. Is RabbitMQ running, and are host, port and TLS as "
            "in the connection?"
        )
    )


def _tls(causes: list[Exception], settings: ConnectionSettings, where: str) -> TLSError | None:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TLSError(
                f"{where} failed: the certificate is not trusted ({cause.verify_message}). Name "
                "the file of the authority that signed it as ca_file in the connection's extra "
                "fields, and use the host name that stands in the certificate."
            )
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return TLSError(
                f"{where} failed: what answers there does not speak TLS. Take the broker's TLS "
                "port (mostly 5671), or switch off TLS in the connection."
            )
    return None


def _refusal(
    causes: list[Exception], settings: ConnectionSettings, where: str
) -> RabbitMQError | None:
    said = _said(causes)
    for cause in causes:
        match cause:
            case (
                pika.exceptions.ProbableAuthenticationError()
                | aiormq.exceptions.ProbableAuthenticationError()
            ):
                return LoginRefusedError(
                    f"{where} failed: RabbitMQ refused login {settings.login!r}. Correct login or "
                    "password in the connection."
                )
            # aiormq stumbles over the refusal: it had waited for Connection.OpenOk.
            case pika.exceptions.ProbableAccessDeniedError():
                return _closed_virtual_host(settings, where)
            case aiormq.exceptions.InvalidFrameError() if "OpenOk" in said:
                return _closed_virtual_host(settings, where)
            case (
                pika.exceptions.ChannelClosedByBroker(reply_code=404)
                | aiormq.exceptions.ChannelNotFoundEntity()
            ) if "no queue" in said:
                return QueueNotFoundError(
                    f"{where} failed: the queue does not exist in virtual host "
                    f"{settings.virtual_host!r}. Declare it, or correct its name."
                )
            case (
                pika.exceptions.ChannelClosedByBroker(reply_code=404)
                | aiormq.exceptions.ChannelNotFoundEntity()
            ) if "no exchange" in said:
                return NotFoundError(
                    f"{where} failed: the exchange does not exist in virtual host "
                    f"{settings.virtual_host!r}. Declare it, or correct its name."
                )
            case (
                pika.exceptions.ChannelClosedByBroker(reply_code=403)
                | aiormq.exceptions.ChannelAccessRefused()
            ):
                return AccessRefusedError(
                    f"{where} failed: RabbitMQ does not permit it to {settings.login!r} ({said})."
                )
    return None


def _closed_virtual_host(settings: ConnectionSettings, where: str) -> VirtualHostError:
    return VirtualHostError(
        f"{where} failed: virtual host {settings.virtual_host!r} does not exist, is not up yet, "
        f"or is closed to {settings.login!r}. Correct the virtual host in the connection, or give "
        "the user permissions in it."
    )


def _causes(error: BaseException | None) -> Iterator[Exception]:
    """Walk from an error to what it was raised from, and to what pika put into its arguments."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or any(cause is known for known in seen):
            continue
        seen.append(cause)
        if isinstance(cause, Exception):
            yield cause
        waiting += [part for part in cause.args if isinstance(part, BaseException)]
        waiting += [getattr(cause, "exception", None), cause.__cause__]


def _said(causes: list[Exception]) -> str:
    """Return the broker's or the system's own words: of the innermost cause that has any."""
    texts = [str(cause).strip() for cause in causes]
    return next((text for text in texts if text), type(causes[0]).__name__)
