"""Server-sent events: one LISTEN connection tells any number of listeners.

The hub reads each event once from ``change_events`` and puts it into every listener's queue. A
listener whose queue is full is cut off, so that nobody waits for the slowest; it comes back with
Last-Event-ID and is told what it missed. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

import psycopg
import structlog
from psycopg.rows import dict_row

from inventory_api.db import Connection, Database, Row, row, rows
from inventory_api.observe import Metrics
from inventory_api.problems import Problem
from inventory_api.settings import Settings

log = structlog.get_logger(__name__)

CHANNEL: Final = "clinica_events"
QUEUE_SIZE: Final = 256
REPLAY_PAGE: Final = 200
MOST_REPLAYED: Final = 5_000
"""Who missed more than this reads everything again sooner than by replay."""
LISTEN_WAIT_S: Final = 20.0
RETRY_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Event:
    """One numbered event as it goes over the wire."""

    number: int
    text: bytes


@dataclass(eq=False, slots=True)
class Listener:
    """One open stream: what it has to be told."""

    queue: asyncio.Queue[Event | None] = field(
        default_factory=lambda: asyncio.Queue(QUEUE_SIZE + 1)  # one more place for the end
    )
    is_dropped: bool = False


def wire(found: Row) -> Event:
    """Write an event of ``change_events`` as the wire has it."""
    at = found["at"].isoformat().replace("+00:00", "Z")
    data = json.dumps({"at": at, **found["payload"]}, ensure_ascii=False)
    text = f"id: {found['number']}\nevent: {found['kind']}\ndata: {data}\n\n"
    return Event(found["number"], text.encode())


class Hub:
    """Listens once and tells everybody."""

    def __init__(self, settings: Settings, database: Database, metrics: Metrics) -> None:
        self._settings = settings
        self._database = database
        self._metrics = metrics
        self._listeners = set[Listener]()
        self._newest = 0
        self._is_listening = asyncio.Event()
        self._is_closing = False

    @property
    def listeners(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    async def run(self) -> None:
        """Listen until cancelled; a connection that is lost is opened again."""
        pause_s = 0.2
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                log.warning("listening", error=type(error).__name__)
            except Exception:  # or everybody would stay without news until a restart
                log.exception("listening: something unforeseen")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0) if not self._is_listening.is_set() else 0.2
            self._is_listening.clear()

    async def _listen(self) -> None:
        connection: Connection = await psycopg.AsyncConnection.connect(
            self._settings.database_url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=5,
            options="-c timezone=UTC -c statement_timeout=10s",
            application_name="inventory-api events",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            kept = await row(connection, "api_kept_events")
            newest = kept["newest"] if kept else 0
            if self._newest == 0 or newest < self._newest:
                # At the start; or the database was restored, and its numbers begin lower. Who is
                # dropped comes back, and is told to read everything again.
                self._newest = newest
                for listener in list(self._listeners):
                    self._drop(listener)
            while True:
                await self._read(connection)
                self._is_listening.set()
                async with aclosing(
                    connection.notifies(timeout=LISTEN_WAIT_S, stop_after=1)
                ) as notes:
                    async for _ in notes:
                        pass

    async def _read(self, connection: Connection) -> None:
        """Tell everybody what is new."""
        while found := await rows(connection, "api_events", after=self._newest, count=REPLAY_PAGE):
            for each in found:
                self._tell(wire(each))
            if len(found) < REPLAY_PAGE:
                return

    def _tell(self, event: Event) -> None:
        self._newest = event.number
        self._metrics.events.inc()
        for listener in list(self._listeners):
            if listener.queue.qsize() < QUEUE_SIZE:
                listener.queue.put_nowait(event)
            else:
                self._drop(listener)

    def _drop(self, listener: Listener) -> None:
        """Cut a listener off that does not read; what it has not read is not worth keeping."""
        self._leave(listener)
        listener.is_dropped = True
        self._metrics.dropped.inc()
        while not listener.queue.empty():
            listener.queue.get_nowait()
        listener.queue.put_nowait(None)

    def _leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._metrics.listeners.set(len(self._listeners))

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._is_closing = True
        for listener in list(self._listeners):
            self._drop(listener)

    def join(self) -> Listener:
        """Add a listener; it is told what comes from now on.

        Raises:
            Problem: There are too many, or the server is stopping.
        """
        if self._is_closing or len(self._listeners) >= self._settings.most_listeners:
            raise Problem(503, "Too many streams are open. Try again later.", retry_after_s=10)
        listener = Listener()
        self._listeners.add(listener)
        self._metrics.listeners.set(len(self._listeners))
        return listener

    async def stream(
        self, listener: Listener, last_seen: int | None, lasts_s: float
    ) -> AsyncIterator[bytes]:
        """Yield what a listener is told: what it missed, then what comes, with heartbeats between.

        Args:
            listener: Who joined before this began, so that nothing falls between.
            last_seen: The number of the last event that it had; None for a new one.
            lasts_s: When it is ended: with its token, so that who was shut out hears no more.
        """
        ends_at = time.monotonic() + lasts_s
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            told = -1
            if last_seen is not None:
                told = last_seen
                async for event in self._missed(last_seen):
                    told = event.number
                    yield event.text
            while (left_s := ends_at - time.monotonic()) > 0:
                try:
                    event_or_end = await asyncio.wait_for(
                        listener.queue.get(), min(self._settings.heartbeat_s, left_s)
                    )
                except TimeoutError:
                    yield b": \n\n"
                    continue
                if event_or_end is None:
                    return
                if event_or_end.number > told:
                    yield event_or_end.text
        finally:
            self._leave(listener)

    async def _missed(self, last_seen: int) -> AsyncIterator[Event]:
        """Yield what came after ``last_seen``, or one ``reset`` when that is not kept any more."""
        async with self._database.pool.connection() as connection:
            kept = await row(connection, "api_kept_events")
        assert kept is not None
        newest, oldest = kept["newest"], kept["oldest"]
        # Numbers may skip, so the one before the oldest may never have been: then it is told all,
        # which is right too. One beyond the newest is of another database.
        if last_seen > newest or last_seen < oldest - 1 or newest - last_seen > MOST_REPLAYED:
            data = json.dumps({"reason": "too_old" if last_seen < newest else "unknown"})
            yield Event(newest, f"id: {newest}\nevent: reset\ndata: {data}\n\n".encode())
            return
        after = last_seen
        while True:
            async with self._database.pool.connection() as connection:
                found = await rows(connection, "api_events", after=after, count=REPLAY_PAGE)
            for each in found:
                yield wire(each)
            if len(found) < REPLAY_PAGE:
                return
            after = found[-1]["number"]
