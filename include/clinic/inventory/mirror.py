"""Mirror Odoo's stock into the shared database, by following Odoo's change feed.

Each page is one transaction: its rows, the totals they touch, what was set aside, a numbered event,
and the cursor. Whatever kills the process, the committed cursor is where the next one goes on, so
nothing is lost and nothing is doubled. See docs/adr/0005-mirror-in-one-transaction-a-page.md.

``low_stock_alerts`` follows in a transaction of its own, at once, or within a second under load.
A page that leaves it out of date says so in its own transaction: a kill in between is healed.

When the cursor cannot be continued (the first time, a restored or pruned Odoo), everything is
loaded again entity by entity. Rows are marked with the load's generation, and what was not found is
deleted at the end, in one transaction: the inventory is never empty, and a killed load goes on
where it was.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Protocol

from clinic.errors import ClinicError, PermanentError, RefusedError, TransientError
from clinic.inventory.changes import (
    ENTITIES,
    Decoded,
    Key,
    Reject,
    decode,
    parse_key,
    touched_medications,
)

log = logging.getLogger(__name__)


class Page(Protocol):
    """A page of the feed; see :class:`clinic.clients.odoo_feed.Page`."""

    @property
    def cursor(self) -> str: ...  # noqa: D102
    @property
    def changes(self) -> list[Any]: ...  # noqa: D102
    @property
    def more(self) -> bool: ...  # noqa: D102
    @property
    def reset(self) -> bool: ...  # noqa: D102
    @property
    def reason(self) -> str | None: ...  # noqa: D102


class State(Protocol):
    """A page of full state; ``after`` is None on the last one."""

    @property
    def changes(self) -> list[Any]: ...  # noqa: D102
    @property
    def after(self) -> str | None: ...  # noqa: D102


class Feed(Protocol):
    """The part of :class:`clinic.clients.odoo_feed.OdooFeed` used here."""

    def entities(self) -> list[str]: ...  # noqa: D102
    def page(self, cursor: str | None, limit: int) -> Page: ...  # noqa: D102
    def state(self, entity: str, after: str | None, limit: int) -> State: ...  # noqa: D102
    def stream(self, cursor: str, limit: int, until: float) -> Iterator[Page]: ...  # noqa: D102


class Progress(Protocol):
    """How far the mirror is; see :class:`clinic.clients.shared_db.Progress`."""

    @property
    def cursor(self) -> str | None: ...  # noqa: D102
    @property
    def generation(self) -> int: ...  # noqa: D102
    @property
    def load_generation(self) -> int: ...  # noqa: D102
    @property
    def load_cursor(self) -> str | None: ...  # noqa: D102
    @property
    def load_entity(self) -> str | None: ...  # noqa: D102
    @property
    def load_after(self) -> str | None: ...  # noqa: D102
    @property
    def alerts_dirty(self) -> bool: ...  # noqa: D102
    @property
    def has_rejects(self) -> bool: ...  # noqa: D102
    @property
    def entities(self) -> list[str]: ...  # noqa: D102


class Refresh(Protocol):
    """What a refresh of the alerts did."""

    @property
    def opened(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def closed(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def took_ms(self) -> float: ...  # noqa: D102


class Rows(Protocol):
    """Where rows are written, within a transaction that others may not interleave."""

    def savepoint(self, doing: str) -> AbstractContextManager[None]: ...  # noqa: D102
    def upsert(  # noqa: D102
        self, entity: str, rows: Iterable[Mapping[str, Any]], generation: int
    ) -> int: ...
    def delete(self, entity: str, keys: Iterable[Key]) -> int: ...  # noqa: D102
    def keep(  # noqa: D102
        self, entity: str, keys: Iterable[Key], generation: int
    ) -> int: ...
    def medications_of_rules(self, rule_ids: Iterable[int]) -> set[int]: ...  # noqa: D102
    def update_totals(self, medication_ids: Iterable[int]) -> int: ...  # noqa: D102
    def set_aside(  # noqa: D102
        self, entity: str, record_id: str, reason: str, payload: str
    ) -> None: ...
    def forget_rejects(self, entity: str, record_ids: Iterable[str]) -> None: ...  # noqa: D102


class Store(Rows, Protocol):
    """The part of :class:`clinic.clients.shared_db.SharedDb` used here."""

    def open(self) -> Progress: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def transaction(self, doing: str) -> AbstractContextManager[None]: ...  # noqa: D102
    def lock(self) -> Progress: ...  # noqa: D102
    def advance(  # noqa: D102
        self,
        *,
        cursor: str,
        lag_ms: float | None,
        changes: int,
        rows_written: int,
        alerts_touched: bool,
        is_fresh: bool,
    ) -> None: ...
    def all_medication_ids(self) -> set[int]: ...  # noqa: D102
    def announce(self, kind: str, payload: Mapping[str, Any]) -> int: ...  # noqa: D102
    def begin_load(  # noqa: D102
        self, *, load_cursor: str, entities: list[str], reason: str
    ) -> None: ...
    def advance_load(  # noqa: D102
        self, *, entity: str, after: str | None, changes: int, rows_written: int
    ) -> None: ...
    def finish_load(self, generation: int) -> int: ...  # noqa: D102
    def alerts_differ(self, medication_ids: Iterable[int]) -> bool: ...  # noqa: D102


class Alerts(Protocol):
    """What refreshes the alerts: a second connection, used by a thread of its own."""

    def refresh_alerts(self) -> Refresh | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Settings:
    """How the mirror behaves; the defaults are what the DAG uses.

    Attributes:
        page_changes: At most so many changes a page, so a transaction stays short.
        load_page_changes: The same for a full load.
        poll_s: How often to ask for a page while the stream is broken.
        stream_again_s: How long to poll before trying the stream again.
        idle_store_s: How often to store that nothing happened.
        patience_s: How long Odoo or the database may be away before the run fails.
        refresh_gap_s: The shortest and the longest pause between two refreshes of the alerts.
    """

    page_changes: int = 2000
    load_page_changes: int = 2000
    poll_s: float = 0.25
    stream_again_s: float = 5
    idle_store_s: float = 5
    patience_s: float = 60
    refresh_gap_s: tuple[float, float] = (0.1, 0.6)


@dataclass(slots=True)
class Summary:
    """What one run did. Times are milliseconds."""

    pages: int = 0
    changes: int = 0
    rows_written: int = 0
    set_aside: int = 0
    loads: int = 0
    swept: int = 0
    stream_breaks: int = 0
    polled_pages: int = 0
    refreshes: int = 0
    lag_p50_ms: float | None = None
    lag_max_ms: float | None = None
    refresh_max_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as a dictionary, without what did not happen."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Written:
    """What one page wrote, and which records (entity, id) it set aside."""

    rows: int = 0
    refused: set[tuple[str, str]] = field(default_factory=set)
    medications: set[int] = field(default_factory=set)
    locations: int = 0


def write_batches(
    rows: Rows, decoded: Decoded, *, generation: int, has_rejects: bool, careful: bool
) -> Written:
    """Write what a page says, and the totals it touches; must run inside a transaction.

    Args:
        rows: Where to write.
        decoded: What to write.
        generation: The number of the full load the rows belong to.
        has_rejects: True when something was set aside before, which a good version now replaces.
        careful: Write row by row and set the refused ones aside, at some cost.

    Raises:
        RefusedError: Not ``careful``, and the database refused a value. Nothing is to be kept.
    """
    written = Written()
    rejects = list(decoded.rejects)
    touched = touched_medications(decoded.batches)
    for entity, batch in decoded.batches.items():
        if not batch.upserts and not batch.deletes:
            continue
        if entity == "reorder_rule":  # the products that the rules are about until now
            rule_ids = [key for key in (*batch.upserts, *batch.deletes) if isinstance(key, int)]
            touched |= rows.medications_of_rules(rule_ids)
        kept = list(batch.upserts)
        count = 0
        if not careful:
            if kept:
                count += rows.upsert(entity, batch.upserts.values(), generation)
        else:
            for key, row in batch.upserts.items():
                try:
                    with rows.savepoint(f"writing {entity} {key}"):
                        count += rows.upsert(entity, [row], generation)
                except RefusedError as error:
                    rejects.append(Reject.of(batch.raw[key], str(error)))
                    kept.remove(key)
        if batch.deletes:
            count += rows.delete(entity, batch.deletes)
        if has_rejects:
            rows.forget_rejects(entity, [_record_id(key) for key in (*kept, *batch.deletes)])
        written.rows += count
        if entity == "location":
            written.locations += count
    for reject in rejects:
        rows.set_aside(reject.entity, reject.record_id, reject.reason, reject.payload)
        log.warning(
            "set aside: entity=%s id=%s reason=%s", reject.entity, reject.record_id, reject.reason
        )
    written.refused = {(reject.entity, reject.record_id) for reject in rejects}
    for entity in ENTITIES:
        if keys := _mirrored_keys(entity, rejects):
            # An older value is better than none: a full load must not sweep it away.
            rows.keep(entity, keys, generation)
    if touched and written.rows:
        written.medications = touched
        rows.update_totals(touched)
    return written


def _mirrored_keys(entity: str, rejects: Iterable[Reject]) -> list[Key]:
    """Return the keys under which the mirror may hold older values of what was set aside."""
    keys: list[Key] = []
    for reject in rejects:
        if reject.entity == entity:
            try:
                keys.append(parse_key(entity, reject.record_id))
            except ValueError:
                continue  # not even its id can be read: nothing was ever stored under it
    return keys


def _record_id(key: Key) -> str:
    return ":".join(map(str, key)) if isinstance(key, tuple) else str(key)


class InventoryMirror:
    """Follows the feed for a while.

    Args:
        feed: Odoo's change feed.
        store: The shared database.
        alerts: A second way into the shared database, to refresh the alerts meanwhile.
        settings: How it behaves.
        clock: Seconds that never go back, as :func:`time.monotonic`.
        sleep: As :func:`time.sleep`.
    """

    def __init__(
        self,
        feed: Feed,
        store: Store,
        alerts: Alerts,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._feed = feed
        self._store = store
        self._settings = settings or Settings()
        self._clock = clock
        self._sleep = sleep
        self._refresher = AlertRefresher(alerts, self._settings.refresh_gap_s)
        self.summary = Summary()
        self._lags_ms: list[float] = []
        self._logged_at = float("-inf")
        self._unlogged = {"pages": 0, "changes": 0, "rows": 0}
        self._unlogged_lag_ms: float | None = None  # the longest of them
        self._good_at = clock()  # when a page was last read and committed
        self._stream_at = float("-inf")  # when to try the stream next
        self._stored_cursor: str | None = None
        self._stored_at = float("-inf")
        self._entities: list[str] | None = None  # what this Odoo has of what is mirrored

    def follow(self, until: float) -> Summary:
        """Mirror until ``clock()`` is ``until``, and return what was done.

        Raises:
            TransientError: Odoo or the shared database was away for longer than ``patience_s``.
            PermanentError: One of them refused: key, access, or schema.
        """
        try:
            with self._refresher.running():
                self._follow(until)
        finally:
            self._store.close()
            self._finish_summary()
        return self.summary

    def _follow(self, until: float) -> None:
        self._good_at = self._clock()
        pause = 0.2
        failing_since = float("-inf")  # the first failure after the last good page
        while self._clock() < until:
            try:
                self._refresher.check()
                # The committed cursor is the only truth, above all after something went wrong.
                progress = self._store.open()
                if progress.alerts_dirty:
                    self._refresher.wake()
                if progress.load_cursor is not None:
                    self._load(progress, until)
                elif progress.cursor is None:
                    self._begin_load(self._feed.page(None, 1), "first")
                else:
                    self._stored_cursor = progress.cursor
                    if progress.entities == self._offered():
                        self._read(progress.cursor, until)
                    else:
                        # An addon came or went, or we learnt to mirror more: what happened to those
                        # records until now is in no page that follows.
                        self._begin_load(self._feed.page(None, 1), "entities")
            except TransientError as error:
                if self._good_at > failing_since:
                    failing_since, pause = self._clock(), 0.1
                away_s = self._clock() - failing_since
                if away_s > self._settings.patience_s:
                    raise
                log.warning("trying again: away_s=%.1f error=%s", away_s, error)
                pause = min(pause * 2, 5)
                self._sleep(min(pause, max(0.0, until - self._clock())))

    def _offered(self) -> list[str]:
        if self._entities is None:
            known = set(self._feed.entities())
            self._entities = [entity for entity in ENTITIES if entity in known]
        return self._entities

    def _read(self, cursor: str, until: float) -> None:
        """Read the stream; when it breaks, poll for a while, then let the caller choose."""
        if self._clock() >= self._stream_at:
            started = self._clock()
            try:
                self._read_stream(cursor, until)
            except _StreamBrokenError as broken:
                self._stream_at = self._clock() + self._settings.stream_again_s
                self.summary.stream_breaks += 1
                log.warning("stream broke, polling meanwhile: %s", broken.__cause__)
            else:
                if self._clock() < until and self._clock() - started < 1:
                    # Odoo ends a stream after 10 minutes. One that ends at once is being shut down.
                    self._stream_at = self._clock() + self._settings.stream_again_s
                return
        cursor = self._stored_cursor or cursor
        while self._clock() < min(until, self._stream_at):
            page = self._feed.page(cursor, self._settings.page_changes)
            self.summary.polled_pages += 1
            if self._take(page):
                return
            cursor = page.cursor
            if not page.more:
                self._sleep(self._settings.poll_s)

    def _read_stream(self, cursor: str, until: float) -> None:
        stream = self._feed.stream(cursor, self._settings.page_changes, until)
        with closing(stream):  # type: ignore[type-var]  # an iterator with close(): a generator
            while True:
                try:
                    page = next(stream, None)
                except ClinicError as error:
                    raise _StreamBrokenError from error
                if page is None or self._take(page):
                    return

    def _take(self, page: Page) -> bool:
        """Write one page; True when it began a full load, so that its reader has to stop."""
        self._refresher.check()
        if page.reset:
            self._begin_load(page, page.reason or "unknown")
            return True
        self._apply(page)
        self._good_at = self._clock()
        return False

    # One page

    def _apply(self, page: Page) -> None:
        decoded = decode(page.changes)
        now = self._clock()
        if not decoded.changes and now - self._stored_at < self._settings.idle_store_s:
            return  # the cursor in memory moves on; the stored one is no less right
        try:
            written = self._write_page(page, decoded, careful=False)
        except RefusedError as error:
            log.warning("writing row by row, because of one: %s", error)
            written = self._write_page(page, decoded, careful=True)
        self._stored_cursor, self._stored_at = page.cursor, now
        self.summary.pages += 1
        self.summary.changes += decoded.changes
        self.summary.rows_written += written.rows
        self.summary.set_aside += len(written.refused)
        self._log_page(decoded, written)

    def _write_page(self, page: Page, decoded: Decoded, *, careful: bool) -> Written:
        with self._store.transaction("writing a page"):
            progress = self._store.lock()
            if progress.cursor != self._stored_cursor:
                raise TransientError(
                    "Shared database: another writer moved the cursor. Reading it again."
                )
            written = Written()
            alerts_touched = False
            if not decoded.is_empty:
                written = write_batches(
                    self._store,
                    decoded,
                    generation=progress.generation,
                    has_rejects=progress.has_rejects,
                    careful=careful,
                )
                alerts_touched = self._touches_alerts(progress, written)
                for kind, payload in _events(decoded, written):
                    self._store.announce(kind, payload)
            self._store.advance(
                cursor=page.cursor,
                lag_ms=_lag_ms(decoded),
                changes=decoded.changes,
                rows_written=written.rows,
                alerts_touched=alerts_touched,
                is_fresh=not page.more,
            )
        if alerts_touched:
            self._refresher.wake()
        return written

    def _touches_alerts(self, progress: Progress, written: Written) -> bool:
        if not written.rows:
            return False
        if written.locations:
            return True  # a subtree may hold other things now
        if not written.medications:
            return False
        # A refresh may be under way that saw the rows of an earlier page: then it must run again.
        return progress.alerts_dirty or self._store.alerts_differ(written.medications)

    # A full load

    def _begin_load(self, page: Page, reason: str) -> None:
        with self._store.transaction("beginning a full load"):
            progress = self._store.lock()
            if progress.load_cursor is not None or (
                progress.cursor is not None and progress.cursor != self._stored_cursor
            ):
                raise TransientError(
                    "Shared database: another writer moved the cursor. Reading it again."
                )
            self._store.begin_load(load_cursor=page.cursor, entities=self._offered(), reason=reason)
        self._good_at = self._clock()
        number = progress.load_generation + 1
        log.info("full load begins: reason=%s generation=%d", reason, number)

    def _load(self, progress: Progress, until: float) -> None:
        """Load the rest of every entity, a page a transaction, then sweep what was not found.

        Stops at ``until`` too: the next run goes on with the page that follows.
        """
        started = self._clock()
        entities, after = progress.entities, progress.load_after
        generation = progress.load_generation
        first = entities.index(progress.load_entity) if progress.load_entity else 0
        for each, following in pairwise([*entities[first:], None]):
            assert each is not None
            while True:
                if self._clock() >= until:
                    return
                page = self._feed.state(each, after, self._settings.load_page_changes)
                self._load_page(each, following, page, generation, progress.load_cursor)
                self._good_at = self._clock()
                after = page.after
                if after is None:
                    break
        with self._store.transaction("finishing a full load"):
            if self._store.lock().load_cursor != progress.load_cursor:
                raise TransientError("Shared database: another writer finished the full load.")
            swept = self._store.finish_load(generation)
            self._store.update_totals(self._store.all_medication_ids())
            self._store.announce("inventory.reloaded", {"generation": generation})
        self._good_at = self._clock()
        self.summary.loads += 1
        self.summary.swept += swept
        self._refresher.wake()
        log.info(
            "full load done: generation=%d swept=%d took_s=%.1f",
            generation,
            swept,
            self._clock() - started,
        )

    def _load_page(
        self,
        entity: str,
        following: str | None,
        page: State,
        generation: int,
        load_cursor: str | None,
    ) -> None:
        decoded = decode(page.changes)
        # Where the load goes on; after the very last page it stays where it is, to be finished.
        entity = following if page.after is None and following else entity
        try:
            written = self._write_load_page(
                entity, page, decoded, generation, load_cursor, careful=False
            )
        except RefusedError as error:
            log.warning("writing row by row, because of one: %s", error)
            written = self._write_load_page(
                entity, page, decoded, generation, load_cursor, careful=True
            )
        self.summary.pages += 1
        self.summary.changes += decoded.changes
        self.summary.rows_written += written.rows
        self.summary.set_aside += len(written.refused)
        self._log_page(decoded, written)

    def _write_load_page(
        self,
        next_entity: str,
        page: State,
        decoded: Decoded,
        generation: int,
        load_cursor: str | None,
        *,
        careful: bool,
    ) -> Written:
        with self._store.transaction("writing a page of a full load"):
            if self._store.lock().load_cursor != load_cursor:
                raise TransientError("Shared database: another writer took over the full load.")
            written = write_batches(
                self._store, decoded, generation=generation, has_rejects=False, careful=careful
            )
            self._store.advance_load(
                entity=next_entity,
                after=page.after,
                changes=decoded.changes,
                rows_written=written.rows,
            )
        return written

    # What is told

    def _log_page(self, decoded: Decoded, written: Written) -> None:
        """Log a page at once when it is quiet, and at most one line a second under load."""
        lag_ms = _lag_ms(decoded)
        if lag_ms is not None:
            self._lags_ms.append(lag_ms)
            self._unlogged_lag_ms = max(lag_ms, self._unlogged_lag_ms or 0.0)
            if len(self._lags_ms) > 100_000:
                del self._lags_ms[::2]
        self._unlogged["pages"] += 1
        self._unlogged["changes"] += decoded.changes
        self._unlogged["rows"] += written.rows
        now = self._clock()
        if now - self._logged_at < 1 or not self._unlogged["changes"]:
            return
        log.info(
            "mirrored: pages=%(pages)d changes=%(changes)d rows=%(rows)d lag_ms=%(lag)s "
            "refresh_ms=%(refresh)s",
            self._unlogged
            | {
                "lag": "none" if self._unlogged_lag_ms is None else f"{self._unlogged_lag_ms:.0f}",
                "refresh": f"{self._refresher.last_ms:.0f}" if self._refresher.count else "none",
            },
        )
        self._logged_at = now
        self._unlogged = dict.fromkeys(self._unlogged, 0)
        self._unlogged_lag_ms = None

    def _finish_summary(self) -> None:
        summary, lags = self.summary, sorted(self._lags_ms)
        if lags:
            summary.lag_p50_ms = round(lags[len(lags) // 2], 1)
            summary.lag_max_ms = round(lags[-1], 1)
        summary.refreshes = self._refresher.count
        if self._refresher.count:
            summary.refresh_max_ms = round(self._refresher.max_ms, 1)
        log.info(
            "mirror run: %s",
            " ".join(f"{name}={value}" for name, value in summary.as_dict().items()),
        )


class _StreamBrokenError(Exception):
    """The stream itself failed; its cause says how. What was taken from it is good."""


def _events(decoded: Decoded, written: Written) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what subscribers are told of a page: which records to read again, not their values."""
    if not written.rows:
        return
    changes = {
        entity: len(batch.upserts) + len(batch.deletes)
        for entity, batch in decoded.batches.items()
        if batch.upserts or batch.deletes
    }
    if patients := changes.pop("patient", 0):
        # Not which: who may listen to events need not be one who may know who is a patient.
        yield "patients.changed", {"changes": patients}
    if changes:
        medications = sorted(written.medications)
        yield (
            "inventory.changed",
            {
                "rows": written.rows,
                # Null when they are too many to name: read what you show again.
                "medication_ids": medications if len(medications) <= 1000 else None,
                "changes": changes,
            },
        )


def _lag_ms(decoded: Decoded) -> float | None:
    """Return how long ago the oldest change of a page was made in Odoo.

    In a long transaction, a change is made long before it is committed: then this is more than what
    the mirror took.
    """
    if decoded.oldest_change_at is None:
        return None
    return (datetime.now(UTC) - decoded.oldest_change_at).total_seconds() * 1000


def _shortened(ids: tuple[int, ...], most: int = 20) -> str:
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return f"{list(ids[:most])}{more}"


class AlertRefresher:
    """A thread that refreshes the alerts soon after it is woken, with a pause between refreshes.

    The pause grows with the time a refresh takes, so that refreshing never takes more than a fifth
    of the time, and is short enough for an alert to be less than a second late.

    Args:
        alerts: What refreshes, on a connection of its own.
        gap_s: The shortest and the longest pause.
    """

    def __init__(self, alerts: Alerts, gap_s: tuple[float, float]) -> None:
        self._alerts = alerts
        self._gap_s = gap_s
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._error: ClinicError | None = None
        self._thread: threading.Thread | None = None
        self.count = 0
        self.last_ms = 0.0
        self.max_ms = 0.0

    def wake(self) -> None:
        """Ask for a refresh; returns at once."""
        self._wanted.set()

    def check(self) -> None:
        """Raise what keeps the alerts from being refreshed, unless trying again may help."""
        if isinstance(self._error, PermanentError):
            raise self._error
        if self._thread is not None and not self._thread.is_alive():
            raise RuntimeError("The thread that refreshes low_stock_alerts died; its log says why.")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread; at the end, refresh what is still out of date."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="low_stock_alerts", daemon=True)
        self._thread.start()
        try:
            yield
            self.check()
        finally:
            self._stopping.set()
            self._wanted.set()
            self._thread.join(timeout=60)
            self._thread = None
        self.check()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._wanted.wait()
                # Cleared before it is refreshed: what wakes us meanwhile is refreshed again.
                self._wanted.clear()
                took_s = self._refresh()
                shortest, longest = self._gap_s
                self._stopping.wait(min(max(4 * took_s, shortest), longest))
            self._refresh()
        finally:
            self._alerts.close()

    def _refresh(self) -> float:
        started = time.monotonic()
        try:
            refresh = self._alerts.refresh_alerts()
        except ClinicError as error:
            self._error = error
            if not self._stopping.is_set():
                log.warning("low_stock_alerts not refreshed, trying again: %s", error)
                self._wanted.set()
            return 1.0
        self._error = None
        if refresh is not None:
            self.count += 1
            self.last_ms = refresh.took_ms
            self.max_ms = max(self.max_ms, refresh.took_ms)
            if refresh.opened or refresh.closed:
                log.info(
                    "low stock: opened=%s closed=%s",
                    _shortened(refresh.opened),
                    _shortened(refresh.closed),
                )
        return time.monotonic() - started
