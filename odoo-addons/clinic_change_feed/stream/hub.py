"""One LISTEN connection a database, shared by the process's streams, and the pages they share."""

import json
import logging
import select
import threading
import time
from typing import ClassVar, NamedTuple

import psycopg2
from odoo.service.server import CommonServer
from odoo.sql_db import connection_info_for, db_connect

from ..feed.access import valid_keys
from ..feed.cursor import Cursor
from ..feed.page import read_page
from ..feed.snapshot import Snapshot

_logger = logging.getLogger(__name__)

CHANNEL = "clinic_change"
PING_S = 20  # how long a dead LISTEN connection may stay unnoticed
IDLE_S = 60  # without listeners for so long, the LISTEN connection is closed
READERS = 4  # database cursors that the streams of one database use at once
SHARED_S = 5  # how old a page may be to serve another listener
SHARED_PAGES = 8  # a page of 10,000 changes has 3 MB
BACKOFF_S = (0.2, 5.0)


class SharedPage(NamedTuple):
    """A page as it goes out, and when it was read."""

    line: bytes
    cursor: str
    empty: bool
    more: bool
    reset: bool
    generation: int
    read_at: float


class _Slot:
    """The page after one cursor: read by one listener while the others wait for it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.page = None


class Hub:
    """Listens for commits on one database and hands their pages to the streams.

    A generation is counted up at each wake. A page read after a wake has everything that the wake
    announced, so listeners that stand at the same cursor share one reading a generation; those that
    do not are brought to the same cursor by reading up to the same snapshot. Fifty listeners cost
    one reading a commit.

    Attributes:
        listeners: the open streams.
        ready: set while the LISTEN connection stands.
    """

    stopping = False
    _hubs: ClassVar[dict[str, "Hub"]] = {}
    _lock = threading.Lock()

    @classmethod
    def join(cls, dbname, listener):
        """Add a listener to its database's hub, starting it if need be.

        Args:
            dbname: name of the database.
            listener: a `Listener`.
        """
        with cls._lock:
            hub = cls._hubs.get(dbname)
            if hub is None:
                hub = cls._hubs[dbname] = cls(dbname)
                threading.Thread(
                    target=hub._run, name=f"clinic_change.{dbname}", daemon=True
                ).start()
            hub.listeners.add(listener)
            return hub

    @classmethod
    def stop_all(cls):
        """End every stream, at the server's stop."""
        cls.stopping = True
        for hub in list(cls._hubs.values()):
            hub.wake()

    def __init__(self, dbname):
        self.dbname = dbname
        self.listeners = set()
        self.ready = threading.Event()
        self.generation = 0
        self._last_seen = time.monotonic()
        self._readers = threading.BoundedSemaphore(READERS)
        self._slots = {}
        self._latest = None  # (generation, snapshot) of the newest finished reading
        self._checked = {}  # API key id -> generation at which it was found valid

    def leave(self, listener):
        """Forget a listener. May be called twice."""
        self.listeners.discard(listener)
        self._last_seen = time.monotonic()
        listener.close()

    def wake(self):
        """Let every stream look for changes."""
        self.generation += 1
        for listener in list(self.listeners):
            listener.ring()

    def next_page(self, listener, cursor, limit, entities, group_id):
        """Return the page after a cursor, read now or by another listener since the last wake.

        Args:
            listener: who asks.
            cursor: the cursor as text.
            limit: rows a page.
            entities: the feed's entities.
            group_id: id of the readers' group.

        Returns:
            A `SharedPage`, or None: the listener's key no longer opens the feed.

        Raises:
            psycopg2.Error: the database does not answer.
        """
        wanted = self.generation
        slot = self._slots.setdefault((cursor, limit), _Slot())
        with slot.lock:
            page = slot.page
            if (
                page is None
                or page.generation < wanted
                or time.monotonic() - page.read_at > SHARED_S
            ):
                page = slot.page = self._read(cursor, limit, entities, group_id, wanted)
        while len(self._slots) > SHARED_PAGES:
            self._slots.pop(next(iter(self._slots)), None)
        if self._checked.get(listener.key_id, -1) < page.generation:
            # It joined after the page was read for the others.
            with self._readers, db_connect(self.dbname).cursor() as cr:
                self._check_keys(cr, group_id, page.generation)
        return page if self._checked.get(listener.key_id, -1) >= page.generation else None

    def _read(self, cursor, limit, entities, group_id, wanted):
        with self._readers:
            generation = (
                self.generation
            )  # before the transaction: it sees all that was announced so far
            position = Cursor.decode(cursor) if cursor else None
            until = None
            if (
                position
                and self._latest
                and self._latest[0] >= wanted
                and self._latest[1].covers(position.since)
            ):
                until = self._latest[1]
                generation = self._latest[0]
            with db_connect(self.dbname).cursor() as cr:
                page = read_page(cr, entities, position, limit, until)
                self._check_keys(cr, group_id, generation)
        following = Cursor.decode(page["cursor"])
        # The last page of a longer reading ends at the snapshot that its first page was read at,
        # which knows nothing of what was announced since.
        if following.until is None and not (position and position.until):
            self._remember(generation, following.since)
        line = json.dumps(page, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        return SharedPage(
            line=line,
            cursor=page["cursor"],
            empty=not page["changes"],
            more=page["more"],
            reset=page["reset"],
            generation=generation,
            read_at=time.monotonic(),
        )

    def _remember(self, generation, snapshot: Snapshot):
        if self._latest is None or generation > self._latest[0]:
            self._latest = (generation, snapshot)

    def _check_keys(self, cr, group_id, generation):
        found = valid_keys(cr, {listener.key_id for listener in self.listeners}, group_id)
        self._checked = dict.fromkeys(found, generation)

    def _run(self):
        backoff_s = BACKOFF_S[0]
        while not Hub.stopping:
            connection = None
            try:
                connection = self._connect()
                self.ready.set()
                backoff_s = BACKOFF_S[0]
                self.wake()  # whatever was announced while nobody listened
                if self._listen(connection):
                    return
            except (psycopg2.Error, OSError) as error:
                self.ready.clear()
                if self._retire():
                    return
                _logger.warning(
                    "clinic_change: LISTEN on %s lost (%s), again in %.1f s",
                    self.dbname,
                    str(error).strip().partition("\n")[0],
                    backoff_s,
                )
                time.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_S[1])
            finally:
                if connection is not None:
                    connection.close()

    def _connect(self):
        _name, info = connection_info_for(self.dbname)
        connection = psycopg2.connect(
            **{
                **info,
                "application_name": "clinic_change listen",
                "connect_timeout": 10,
                "keepalives_idle": 30,
            }
        )
        connection.autocommit = True  # inside a transaction LISTEN would hear nothing
        with connection.cursor() as cr:
            cr.execute(f"LISTEN {CHANNEL}")
        return connection

    def _listen(self, connection):
        """Pass notifications on until nobody has listened for a while.

        Returns:
            True: nobody does any more, and the hub is closed.

        Raises:
            psycopg2.Error: the connection is lost.
        """
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        while not Hub.stopping:
            if poll.poll(PING_S * 1000):
                connection.poll()
            else:
                with connection.cursor() as cr:
                    cr.execute("SELECT 1")
            if connection.notifies:
                connection.notifies.clear()
                self.wake()
            if self._retire():
                return True
        return True

    def _retire(self):
        with Hub._lock:
            if self.listeners or time.monotonic() - self._last_seen < IDLE_S:
                return False
            Hub._hubs.pop(self.dbname, None)
            return True


CommonServer.on_stop(Hub.stop_all)
