"""Tells people of outages: what is due is written down, claimed, sent, and settled.

Each channel is by itself: one that is down waits and is tried again, and holds up no other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from clinic.alerts.model import Alert, Severity
from clinic.alerts.outage import Kind, Outage, is_over, messages
from clinic.alerts.words import shortened
from clinic.errors import ClinicError, PermanentError, TransientError

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = timedelta(minutes=1)
LONGEST_PAUSE: Final = timedelta(hours=1)
GIVE_UP_AFTER: Final = timedelta(hours=24)
RAISE_AFTER: Final = 3
"""So many attempts in vain, and that a channel is down is an alert itself, on the others."""

TRIES_A_RUN: Final = 2
"""So many messages are tried on a channel that does not answer; one address may be at fault."""

CHANNEL_SOURCE: Final = "channels"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way over one channel to one address."""

    message_id: str
    outage_id: str
    kind: Kind
    channel: str
    target: str
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a delivery: sent, due again, or given up."""

    state: str
    error: str | None = None
    next_at: datetime | None = None
    sent_at: datetime | None = None


class Channel(Protocol):
    """One way to reach people."""

    @property
    def cause(self) -> str:
        """The outage that it means when this channel is down."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """Whom it reaches; one empty name where the other side knows that."""
        ...

    def send(self, delivery: Delivery, outage: Outage) -> None:
        """Send a message. Sent twice, the other side can tell that it is the same.

        Raises:
            TransientError: Later it may succeed.
            PermanentError: It was refused, and would be again.
        """
        ...


class Ledger(Protocol):
    """Remembers outages and what people were told."""

    def become_sender(self) -> None:
        """Become the one that sends."""
        ...

    def raise_alert(self, alert: Alert, source: str, at: datetime) -> bool:
        """Raise an alert, or count it once more."""
        ...

    def resolve(self, key: str, at: datetime) -> bool:
        """Say that something is right again."""
        ...

    def open_outages(self) -> list[Outage]:
        """Return every outage that is not closed."""
        ...

    def outage(self, outage_id: str) -> Outage | None:
        """Return one outage."""
        ...

    def tell(
        self, outage: Outage, kind: Kind, at: datetime, targets: Iterable[tuple[str, str]]
    ) -> str:
        """Write down a message and where it goes; the closing one closes the outage."""
        ...

    def close_untold(self, outage: Outage, at: datetime) -> None:
        """Close an outage of which nobody was told."""
        ...

    def due(self, at: datetime) -> list[Delivery]:
        """Return what has to be sent now."""
        ...

    def claim(self, delivery: Delivery) -> None:
        """Say that a message is about to be sent."""
        ...

    def settle(self, delivery: Delivery, settled: Settled) -> None:
        """Keep what became of a message."""
        ...


@dataclass(slots=True)
class Summary:
    """What one sending did."""

    told: int = 0
    closed: int = 0
    sent: int = 0
    failed: int = 0
    dropped: int = 0
    troubles: dict[str, str] = field(default_factory=dict)
    """Channel -> what is wrong with it."""
    worked: set[str] = field(default_factory=set)

    def as_dict(self) -> dict[str, object]:
        """Return it for a log."""
        return {
            name: getattr(self, name) for name in ("told", "closed", "sent", "failed", "dropped")
        }


class Sender:
    """Sends what is due, once, over the channels there are.

    Args:
        ledger: Where outages and deliveries are kept.
        channels: By name.
        give_up_after: So old a message is not sent any more; the next reminder says it anew.
    """

    def __init__(
        self,
        ledger: Ledger,
        channels: Mapping[str, Channel],
        give_up_after: timedelta = GIVE_UP_AFTER,
    ) -> None:
        self._ledger = ledger
        self._channels = channels
        self._give_up_after = give_up_after

    def run(self, now: datetime) -> Summary:
        """Write down what people have to be told, then send what is due.

        Raises:
            TransientError: The ledger is out of reach, or another sender is at work.
        """
        self._ledger.become_sender()
        summary = Summary()
        self._write_down(now, summary)
        in_vain: Counter[str] = Counter()
        for delivery in self._ledger.due(now):
            # A channel that does not answer is left alone: the rest stays due, as it is.
            if in_vain[delivery.channel] < TRIES_A_RUN:
                self._deliver(delivery, now, summary, in_vain)
        self._watch_channels(now, summary)
        log.info("alerts: %s", summary.as_dict())
        return summary

    def _write_down(self, now: datetime, summary: Summary) -> None:
        outages = self._ledger.open_outages()
        targets = [
            (name, target) for name, channel in self._channels.items() for target in channel.targets
        ]
        for outage, kind in messages(outages, now):
            self._ledger.tell(outage, kind, now, targets)
            summary.told += kind is not Kind.CLOSED
            summary.closed += kind is Kind.CLOSED
            log.warning("outage %s, %s: %s", outage.cause, kind.value, ", ".join(outage.dags))
        for outage in outages:
            if outage.told_at is None and is_over(outage, now):
                self._ledger.close_untold(outage, now)

    def _deliver(
        self, delivery: Delivery, now: datetime, summary: Summary, in_vain: Counter[str]
    ) -> None:
        channel = self._channels.get(delivery.channel)
        outage = self._ledger.outage(delivery.outage_id)
        if now - delivery.created_at > self._give_up_after:
            self._drop(delivery, "too old", summary)
            return
        if channel is None:  # settings that nobody can read name no channel either: it may be back
            return
        if outage is None or delivery.target not in channel.targets:
            self._drop(delivery, "the settings do not name this receiver any more", summary)
            return
        self._ledger.claim(delivery)
        try:
            channel.send(delivery, outage)
        except ClinicError as error:
            self._failed(delivery, error, now, summary, in_vain)
            return
        except Exception as error:
            # One channel's own fault must not silence those after it, nor what is told of channels.
            log.exception("channel %s failed", delivery.channel)
            fault = PermanentError(
                f"Alert by {delivery.channel}: {type(error).__name__}. Look at its connection; the "
                "log of send_alerts says more."
            )
            self._failed(delivery, fault, now, summary, in_vain)
            return
        self._ledger.settle(delivery, Settled("sent", sent_at=now))
        summary.sent += 1
        summary.worked.add(delivery.channel)

    def _failed(
        self,
        delivery: Delivery,
        error: ClinicError,
        now: datetime,
        summary: Summary,
        in_vain: Counter[str],
    ) -> None:
        summary.failed += 1
        said = shortened(str(error))
        log.warning("alert by %s, attempt %d: %s", delivery.channel, delivery.attempts + 1, said)
        if isinstance(error, TransientError):
            pause = min(FIRST_PAUSE * 2 ** min(delivery.attempts, 10), LONGEST_PAUSE)
            if error.retry_after_s is not None:
                pause = max(pause, min(timedelta(seconds=error.retry_after_s), LONGEST_PAUSE))
        else:  # somebody has to put it right, and then it goes on by itself
            pause = LONGEST_PAUSE
        in_vain[delivery.channel] += 1
        self._ledger.settle(delivery, Settled("due", said, next_at=now + pause))
        if delivery.attempts + 1 >= RAISE_AFTER or not isinstance(error, TransientError):
            summary.troubles[delivery.channel] = said

    def _drop(self, delivery: Delivery, why: str, summary: Summary) -> None:
        log.warning("alert by %s is not sent: %s", delivery.channel, why)
        self._ledger.settle(delivery, Settled("dropped", why))
        summary.dropped += 1

    def _watch_channels(self, now: datetime, summary: Summary) -> None:
        """Make an alert of a channel that is down, for the other channels, and resolve it."""
        for name, said in summary.troubles.items():
            alert = Alert(
                key=f"alerts/{name}",
                cause=self._channels[name].cause,
                severity=Severity.WARNING,
                title=f"alerts/{name}",
                detail=said,
                runbook="send_alerts.md",
            )
            self._ledger.raise_alert(alert, CHANNEL_SOURCE, now)
        for name in summary.worked - summary.troubles.keys():
            self._ledger.resolve(f"alerts/{name}", now)
