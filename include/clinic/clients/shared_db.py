"""The shared database ``clinica_shared`` (PostgreSQL), as the role ``clinica_sync``.

SQL lives in ``sql/queries``; here each query gets a typed name. Every statement is under a
statement_timeout, and every failure becomes a :class:`~clinic.errors.TransientError`, a
:class:`~clinic.errors.PermanentError`, or, for one bad row, a :class:`~clinic.errors.RefusedError`.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiosql
import psycopg
from aiosql import SQLLoadException, SQLParseException
from psycopg.rows import dict_row

from clinic.clients.locks import MIRROR_LOCK
from clinic.errors import ClinicError, NotYetError, PermanentError, RefusedError, TransientError

SQL_DIR = Path(os.environ.get("CLINIC_SQL_DIR", Path(__file__).parents[3] / "sql"))


# SQLSTATE classes: what each means for whoever tries again.
# https://www.postgresql.org/docs/17/errcodes-appendix.html
_REFUSED_CLASSES: Final = frozenset({"22", "23"})  # data exception, integrity constraint violation
_PERMANENT_CLASSES: Final = frozenset({"28", "3D", "42"})  # login, no such database, access or name

_TABLES: Final[Mapping[str, str]] = {
    "location": "locations",
    "product": "medications",
    "lot": "lots",
    "reorder_rule": "reorder_rules",
    "stock_level": "stock_levels",
    "movement": "movements",
    "patient": "patients",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a mirror has come: the committed row of ``sync_cursors``."""

    cursor: str | None
    generation: int
    load_generation: int
    load_cursor: str | None
    load_entity: str | None
    load_after: str | None
    alerts_dirty: bool
    has_rejects: bool
    entities: list[str]


@dataclass(frozen=True, slots=True)
class Refresh:
    """What a refresh of ``low_stock_alerts`` did: ids of reorder rules, and its time."""

    opened: tuple[int, ...]
    closed: tuple[int, ...]
    took_ms: float


class _Queries:
    """The named queries of a folder; a file that cannot be read is missed by its users alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Any] = []
        self._broken: list[str] = []
        for path in sorted(folder.glob("*.sql")):
            try:
                self._files.append(aiosql.from_path(path, "psycopg"))
            except (SQLLoadException, SQLParseException, UnicodeDecodeError) as error:
                self._broken.append(f"{path.name} ({error})")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        for file in self._files:
            if (query := getattr(file, name, None)) is not None:
                return query
        broken = f", and cannot be read: {'; '.join(self._broken)}" if self._broken else ""
        raise PermanentError(
            f"Looking up the query {name}: {self._folder} has none of this name{broken}. Restore "
            "the folder as this version of the code has it."
        )


class SharedDb:
    """One connection to the shared database, opened when first needed and again when it was lost.

    Args:
        conninfo: A libpq address or string (``postgresql://...``).
        name: The row of ``sync_cursors`` that this mirror keeps.
        statement_timeout_s: The longest that any one statement may take.
        lock_wait_s: How long to wait for another writer.
        is_durable: False lets a commit return before it is on disk. A crash of PostgreSQL then
            loses the newest pages together with their cursor, so that they are simply read again:
            right for a mirror. True for what cannot be had again.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        name: str = "odoo.inventory",
        statement_timeout_s: float = 60,
        lock_wait_s: float = 10,
        is_durable: bool = False,
    ) -> None:
        self.name = name
        self._conninfo = conninfo
        self._options = (
            f"-c statement_timeout={int(statement_timeout_s * 1000)}"
            f" -c lock_timeout={int(lock_wait_s * 1000)}"
            f" -c synchronous_commit={'on' if is_durable else 'off'}"
            " -c timezone=UTC"
        )
        self._lock_wait_s = lock_wait_s
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self._is_the_mirror = False
        self._queries = _Queries(SQL_DIR / "queries")

    # The connection

    def close(self) -> None:
        """Close the connection, letting go of every lock."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._is_the_mirror = None, False

    @contextmanager
    def _doing(self, doing: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """Yield the connection; translate what goes wrong, and drop a connection that is lost."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._conninfo,
                    autocommit=True,
                    row_factory=dict_row,
                    prepare_threshold=1,  # the same few statements, page after page
                    options=self._options,
                    connect_timeout=10,
                    application_name=f"clinic {self.name}",
                    keepalives_idle=10,
                    keepalives_interval=5,
                    keepalives_count=3,
                    tcp_user_timeout=30_000,
                )
            yield self._connection
        except psycopg.Error as error:
            meaning = translated(f"Shared database, {doing}", error)
            if isinstance(meaning, TransientError):
                # Broken, or with plans of a schema that has changed: the next call connects anew.
                self.close()
            raise meaning from error

    @contextmanager
    def transaction(self, doing: str) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        with self._doing(doing) as connection, connection.transaction():
            yield

    savepoint = transaction  # nested, psycopg makes it one

    def ping(self) -> str:
        """Return who is logged in and where, to show that the address works."""
        with self._doing("logging in") as connection:
            row = connection.execute(
                "SELECT current_user AS login, current_database() AS name,"
                " current_setting('server_version') AS version"
            ).fetchone()
        assert row is not None
        return f"{row['login']} on {row['name']} (PostgreSQL {row['version']})"

    # The cursor, and the locks that keep writers apart

    def open(self) -> Progress:
        """Become the only mirror of this database, and return how far the last one came.

        Raises:
            TransientError: Out of reach, or another process mirrors and does not stop in time.
        """
        with self._doing("taking over the mirror") as connection:
            give_up_at = time.monotonic() + self._lock_wait_s
            while not self._is_the_mirror:
                self._is_the_mirror = self._queries.try_mirror_lock(connection, lock_id=MIRROR_LOCK)
                if self._is_the_mirror:
                    break
                if time.monotonic() > give_up_at:
                    raise TransientError(
                        "Shared database: another process mirrors into it (it holds advisory lock "
                        f"{MIRROR_LOCK}). Wait until it ends, or end it."
                    )
                time.sleep(0.1)
            self._queries.ensure_cursor(connection, name=self.name)
            return Progress(**self._queries.read_cursor(connection, name=self.name))

    def progress(self) -> Progress:
        """Return how far the mirror is, without becoming it.

        Raises:
            NotYetError: Nothing was mirrored yet.
        """
        with self._doing("reading the cursor") as connection:
            return self._known(self._queries.read_cursor(connection, name=self.name))

    def _known(self, row: dict[str, Any] | None) -> Progress:
        if row is None:
            raise NotYetError(
                "Shared database: nothing was mirrored yet (sync_cursors has no row "
                f"{self.name!r}). Let sync_inventory run first."
            )
        return Progress(**row)

    def lock(self) -> Progress:
        """Return how far the mirror is, and keep every other writer out until the transaction ends.

        Raises:
            TransientError: Nothing was mirrored yet.
        """
        with self._doing("locking the cursor") as connection:
            return self._known(self._queries.lock_cursor(connection, name=self.name))

    def forget_cursor(self) -> None:
        """Make the next mirror load everything anew; what is mirrored stays until then."""
        with self._doing("forgetting the cursor") as connection:
            self._queries.forget_cursor(connection, name=self.name)

    def advance(
        self,
        *,
        cursor: str,
        lag_ms: float | None,
        changes: int,
        rows_written: int,
        alerts_touched: bool,
        is_fresh: bool,
    ) -> None:
        """Store where the next page begins."""
        with self._doing("storing the cursor") as connection:
            self._queries.advance_cursor(
                connection,
                name=self.name,
                cursor=cursor,
                lag_ms=lag_ms,
                changes=changes,
                rows_written=rows_written,
                alerts_touched=alerts_touched,
                is_fresh=is_fresh,
            )

    # A page's rows

    def upsert(self, entity: str, rows: Iterable[Mapping[str, Any]], generation: int) -> int:
        """Insert or update rows by their key and return how many changed.

        Raises:
            RefusedError: At least one value does not fit; nothing of it was written.
        """
        text = json.dumps(list(rows), default=str, ensure_ascii=False)
        with self._doing(f"writing {_TABLES[entity]}") as connection:
            query = getattr(self._queries, f"upsert_{entity}")
            return int(query(connection, rows=_encodable(text), generation=generation))

    def delete(self, entity: str, keys: Iterable[int | tuple[int, int, int]]) -> int:
        """Delete rows by their key and return how many there were."""
        with self._doing(f"deleting {_TABLES[entity]}") as connection:
            query = getattr(self._queries, f"delete_{entity}")
            return int(query(connection, **_named(entity, keys)))

    def keep(self, entity: str, keys: Iterable[int | tuple[int, int, int]], generation: int) -> int:
        """Mark rows as seen by a full load, as they are; return how many there were."""
        with self._doing(f"keeping {_TABLES[entity]}") as connection:
            query = getattr(self._queries, f"keep_{entity}")
            return int(query(connection, **_named(entity, keys), generation=generation))

    def medications_of_rules(self, rule_ids: Iterable[int]) -> set[int]:
        """Return the products that these reorder rules are about as the database stands."""
        with self._doing("reading reorder rules") as connection:
            return set(self._queries.medications_of_rules(connection, ids=list(rule_ids)))

    def update_totals(self, medication_ids: Iterable[int]) -> int:
        """Set the totals of these products anew and return how many changed."""
        with self._doing("updating totals") as connection:
            return int(self._queries.update_totals(connection, ids=sorted(medication_ids)))

    def all_medication_ids(self) -> set[int]:
        """Return every product's id."""
        with self._doing("reading medications") as connection:
            return set(self._queries.all_medication_ids(connection))

    def announce(self, kind: str, payload: Mapping[str, Any]) -> int:
        """Number an event, send the number to listeners at commit, and return it.

        The cursor's row must be locked (:meth:`lock`), so that numbers commit in their order.
        """
        with self._doing("announcing an event") as connection:
            number = self._queries.announce(
                connection, kind=kind, payload=json.dumps(payload, default=str)
            )
        return int(number)

    def set_aside(self, entity: str, record_id: str, reason: str, payload: str) -> None:
        """Keep a change that cannot be mirrored, with its reason."""
        with self._doing("setting a bad row aside") as connection:
            self._queries.set_aside(
                connection, entity=entity, record_id=record_id, reason=reason, payload=payload
            )

    def forget_rejects(self, entity: str, record_ids: Iterable[str]) -> None:
        """Forget what was set aside of these records: a good version has arrived."""
        with self._doing("forgetting bad rows") as connection:
            self._queries.forget_rejects(connection, entity=entity, record_ids=list(record_ids))

    # The full load

    def begin_load(self, *, load_cursor: str, entities: list[str], reason: str) -> None:
        """Give a full load the next number, and remember where the feed continues after it."""
        with self._doing("beginning a full load") as connection:
            self._queries.begin_load(
                connection,
                name=self.name,
                load_cursor=load_cursor,
                load_entity=entities[0],
                entities=entities,
                reason=reason,
            )
            self._queries.forget_all_rejects(connection)

    def advance_load(
        self, *, entity: str, after: str | None, changes: int, rows_written: int
    ) -> None:
        """Remember how far a full load has come."""
        with self._doing("storing how far the full load is") as connection:
            self._queries.advance_load(
                connection,
                name=self.name,
                load_entity=entity,
                load_after=after,
                changes=changes,
                rows_written=rows_written,
            )

    def finish_load(self, generation: int) -> int:
        """Delete what the load of this number did not find; return how many rows went.

        The feed is then followed from the cursor that the load began with.
        """
        with self._doing("finishing a full load") as connection:
            swept = sum(
                getattr(self._queries, f"sweep_{entity}")(connection, generation=generation)
                for entity in _TABLES
            )
            self._queries.finish_load(connection, name=self.name)
        return int(swept)

    # Alerts and events

    def alerts_differ(self, medication_ids: Iterable[int]) -> bool:
        """Say whether ``low_stock_alerts`` shows these products otherwise than they are."""
        with self._doing("comparing low_stock_alerts") as connection:
            return bool(self._queries.alerts_differ(connection, ids=sorted(medication_ids)))

    def touch_alerts(self) -> None:
        """Mark ``low_stock_alerts`` as out of date."""
        with self._doing("marking low_stock_alerts") as connection:
            self._queries.touch_alerts(connection, name=self.name)

    def refresh_alerts(self) -> Refresh | None:
        """Bring ``low_stock_alerts`` up to date in a transaction of its own; None when it was.

        A page that commits meanwhile leaves it marked as out of date.
        """
        with self._doing("refreshing low_stock_alerts") as connection, connection.transaction():
            shown = self._queries.shown_alerts(connection, name=self.name)
            if shown is None or not shown["alerts_dirty"]:
                return None
            started = time.perf_counter()
            self._queries.refresh_alerts(connection)
            took_ms = (time.perf_counter() - started) * 1000
            before = set(shown["rule_ids"])
            after = set(self._queries.alert_rule_ids(connection))
            # Takes the cursor's lock: from here on, events are numbered in the order they commit.
            self._queries.alerts_refreshed(
                connection, name=self.name, version=shown["alerts_version"], refresh_ms=took_ms
            )
            refresh = Refresh(
                opened=tuple(sorted(after - before)),
                closed=tuple(sorted(before - after)),
                took_ms=took_ms,
            )
            self._queries.announce(
                connection,
                kind="low_stock.changed",
                payload=json.dumps({"opened": refresh.opened, "closed": refresh.closed}),
            )
            return refresh

    # Reconciling

    def rows(self, entity: str) -> list[dict[str, Any]]:
        """Return every mirrored row of ``entity``, of movements without their texts."""
        with self._doing(f"reading {_TABLES[entity]}") as connection:
            return list(getattr(self._queries, f"rows_{entity}")(connection))

    def wrong_totals(self) -> list[dict[str, Any]]:
        """Return the products whose totals are not their sums, with the right ones."""
        with self._doing("comparing totals") as connection:
            return list(self._queries.wrong_totals(connection))

    def set_aside_reasons(self) -> dict[tuple[str, str], str]:
        """Return why each record was set aside, by entity and id."""
        with self._doing("reading what was set aside") as connection:
            rows = self._queries.set_aside_reasons(connection)
            return {(row["entity"], row["record_id"]): row["reason"] for row in rows}

    def report_drift(
        self,
        *,
        run_id: uuid.UUID,
        entity: str,
        record_id: str,
        odoo_value: Mapping[str, Any] | None,
        mirror_value: Mapping[str, Any] | None,
        probable_cause: str,
        healed: bool,
    ) -> None:
        """Keep one difference between Odoo and the mirror."""
        with self._doing("reporting drift") as connection:
            self._queries.report_drift(
                connection,
                run_id=run_id,
                entity=entity,
                record_id=record_id,
                odoo_value=None if odoo_value is None else json.dumps(odoo_value, default=str),
                mirror_value=None
                if mirror_value is None
                else json.dumps(mirror_value, default=str),
                probable_cause=probable_cause,
                healed=healed,
            )

    def reconciled(self, *, rows_compared: int, drifted: int) -> None:
        """Store that a reconcile was done, and what it found."""
        with self._doing("storing the reconcile") as connection:
            self._queries.reconciled(
                connection, name=self.name, rows_compared=rows_compared, drifted=drifted
            )

    def prune(self, *, events_days: int, drift_days: int, batch: int = 10_000) -> int:
        """Delete events and drift reports older than so many days; return how many went.

        Each ``batch`` is a transaction of its own: after months without pruning too, no statement
        comes near its timeout, and a failure loses only the last batch.
        """
        pruned = 0
        with self._doing("pruning events and drift reports") as connection:
            for query, days in (
                (self._queries.prune_events, events_days),
                (self._queries.prune_drift_reports, drift_days),
            ):
                while deleted := int(query(connection, days=days, batch=batch)):
                    pruned += deleted
        return pruned


ADVICE: Final = "check the connection's login and database, and run `clinic db migrate`"


def translated(doing: str, error: psycopg.Error, advice: str = ADVICE) -> ClinicError:
    """Return what ``error`` means: try again, tell a person, or set one row aside.

    Args:
        doing: What was being done.
        error: What PostgreSQL or the connection said.
        advice: What a person is to do when trying again cannot help.
    """
    state = error.sqlstate or ""
    said = (error.diag.message_primary or str(error).strip().split("\n")[0])[:300]
    if state[:2] in _REFUSED_CLASSES or (not state and isinstance(error, psycopg.DataError)):
        return RefusedError(f"{doing}: PostgreSQL refused a value: {said}")
    if state[:2] in _PERMANENT_CLASSES or "authentication failed" in said:
        return PermanentError(f"{doing}: {said}. Trying again cannot help: {advice}.")
    return TransientError(f"{doing}: {said}. Trying again may help; is PostgreSQL up?")


def _named(entity: str, keys: Iterable[int | tuple[int, int, int]]) -> dict[str, Any]:
    """Return keys as the argument that the queries of ``entity`` take."""
    if entity != "stock_level":
        return {"ids": list(keys)}
    names = ("medication_id", "location_id", "lot_id")
    rows = [dict(zip(names, key, strict=True)) for key in keys if isinstance(key, tuple)]
    return {"rows": json.dumps(rows)}


def _encodable(text: str) -> str:
    """Return ``text``, or raise when it holds what no database text can."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(f"Shared database: half a surrogate pair at {error.start}") from error
    return text
