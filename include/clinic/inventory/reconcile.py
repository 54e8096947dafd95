"""Compare the mirror with Odoo's own figures; report every difference with its cause, and heal it.

The quantities are read by Odoo's ORM, not by the change feed: a fault in the feed must not hide
itself. What changes meanwhile is no drift. So for each kind of record:

1. note the mirror's cursor ``c``;
2. read Odoo (seconds), and compare with the mirror: what differs is a candidate;
3. read the feed from ``c`` to its end; lock the mirror's cursor, read what the feed has got to say
   since, and compare the candidates again.

A record that the feed names since ``c`` is under way and will be written anew. One that it does not
name has not changed since ``c``: what was read in 2 is its value, the mirror should have it, and a
difference is drift. Healing happens under the same lock. Nothing has to wait, and the mirror may
run, or not.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from clinic.errors import NotYetError, PermanentError, TransientError
from clinic.inventory.changes import ENTITIES, Batch, Decoded, Key, Row, decode, parse_key
from clinic.inventory.mirror import Page, Progress, Refresh, Rows, State, write_batches

log = logging.getLogger(__name__)

PAGE = 5000

# The mirror waits 10 s for its lock before it gives up: what is read under the lock takes less.
LOCKED_S = 5.0

STOCK_USAGES: Final = ["internal", "transit"]
SUMMED: Final = ("quantity", "reserved_quantity")

# Odoo's JSON carries quantities as floats: each may be off by its 16th digit, and their sum by as
# much as all of them, however small it is itself.
FLOAT_ERROR: Final = Decimal("1e-14")

# What of a movement is compared, under the names that Odoo's stock.move.line has for it.
MOVEMENT_FIELDS: Final[Mapping[str, str]] = {
    "medication_id": "product_id",
    "lot_id": "lot_id",
    "from_location_id": "location_id",
    "to_location_id": "location_dest_id",
    "quantity": "quantity_product_uom",
}

CENTS: Final = Decimal("0.0001")  # numeric(16, 4)


class Odoo(Protocol):
    """The part of :class:`clinic.clients.odoo.OdooClient` used here."""

    def search_read(  # noqa: D102
        self, model: str, domain: list[Any], fields: list[str], *, page_size: int = 2000
    ) -> Iterator[dict[str, Any]]: ...


class Feed(Protocol):
    """The part of :class:`clinic.clients.odoo_feed.OdooFeed` used here."""

    def page(  # noqa: D102
        self, cursor: str | None, limit: int, timeout_s: float | None = None
    ) -> Page: ...
    def state(self, entity: str, after: str | None, limit: int) -> State: ...  # noqa: D102


class Store(Rows, Protocol):
    """The part of :class:`clinic.clients.shared_db.SharedDb` used here."""

    def progress(self) -> Progress: ...  # noqa: D102
    def lock(self) -> Progress: ...  # noqa: D102
    def transaction(self, doing: str) -> AbstractContextManager[None]: ...  # noqa: D102
    def rows(self, entity: str) -> list[dict[str, Any]]: ...  # noqa: D102
    def wrong_totals(self) -> list[dict[str, Any]]: ...  # noqa: D102
    def set_aside_reasons(self) -> dict[tuple[str, str], str]: ...  # noqa: D102
    def touch_alerts(self) -> None: ...  # noqa: D102
    def refresh_alerts(self) -> Refresh | None: ...  # noqa: D102
    def announce(self, kind: str, payload: Mapping[str, Any]) -> int: ...  # noqa: D102
    def reconciled(self, *, rows_compared: int, drifted: int) -> None: ...  # noqa: D102
    def report_drift(  # noqa: D102
        self,
        *,
        run_id: uuid.UUID,
        entity: str,
        record_id: str,
        odoo_value: Mapping[str, Any] | None,
        mirror_value: Mapping[str, Any] | None,
        probable_cause: str,
        healed: bool,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Drift:
    """One record in which the mirror differs from Odoo; None where there is no record.

    ``is_unreadable``: Odoo has it, with values that cannot be mirrored.
    """

    entity: str
    key: Key | str
    odoo: Row | None
    mirror: Row | None
    cause: str
    is_unreadable: bool = False

    @property
    def record_id(self) -> str:
        """The id as the feed writes it."""
        return _record_id(self.key)


@dataclass(slots=True)
class Report:
    """What a reconcile found, by kind of record, and how many records it healed."""

    run_id: uuid.UUID = field(default_factory=uuid.uuid4)
    compared: dict[str, int] = field(default_factory=dict)
    in_flight: dict[str, int] = field(default_factory=dict)
    drifted: dict[str, int] = field(default_factory=dict)
    healed: int = 0
    took_s: float = 0.0

    @property
    def drift(self) -> int:
        """How many records differed."""
        return sum(self.drifted.values())

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self) | {"run_id": str(self.run_id)}


@dataclass(slots=True)
class _Theirs:
    """What Odoo has of one entity.

    ``changed_at`` is the newest change Odoo knows of a record. ``terms`` says, of each figure that
    is a sum, what the absolute values of its terms sum to.
    """

    rows: dict[Key, Row]
    terms: dict[Key, dict[str, Decimal]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    changed_at: dict[Key, datetime] = field(default_factory=dict)


def reconcile(
    odoo: Odoo,
    feed: Feed,
    store: Store,
    *,
    threshold: int = 20,
    dry_run: bool = False,
    page_size: int = 2000,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Compare everything, write a row of ``drift_reports`` a difference, and heal it.

    Args:
        odoo: Odoo's ORM.
        feed: Odoo's change feed, to tell what is under way.
        store: The shared database.
        threshold: More differences than this are not chance; they end in an error.
        dry_run: Report only.
        page_size: Records a call to Odoo.
        clock: As :func:`time.monotonic`.

    Raises:
        TransientError: Odoo or the shared database could not be read, or the mirror has to be
            loaded anew first.
        PermanentError: More than ``threshold`` records differed. They are reported, and healed if
            Odoo's values can be stored: what made them differ is for a person to look for.
    """
    started = clock()
    report = Report()
    for entity in _mirrored(store):
        cursor = _mirrored_up_to(store)
        theirs = _read_odoo(entity, odoo, feed, page_size)
        ours = _read_mirror(entity, store)
        report.compared[entity] = max(len(theirs.rows), len(ours))
        candidates = _different(entity, theirs, ours) | _set_aside(entity, store)
        if entity == "movement":
            _fill_in_movements(theirs, candidates, feed)
        drifts: list[Drift] = []
        if candidates or theirs.unreadable:
            under_way, cursor = _named_since(entity, cursor, feed)
            with store.transaction("reconciling"):
                drifts = _confirm(
                    entity, candidates, theirs, under_way, store, feed, cursor, report=report
                )
                _write(drifts, store, report, dry_run=dry_run)
        report.drifted[entity] = len(drifts)
    with store.transaction("reconciling totals"):
        generation = store.lock().generation
        totals = _wrong_totals(store)
        _write(totals, store, report, dry_run=dry_run)
        report.drifted["total"] = len(totals)
        # Cheap, and the only way to be sure that the stored alerts are the right ones.
        store.touch_alerts()
        store.reconciled(rows_compared=sum(report.compared.values()), drifted=report.drift)
    store.refresh_alerts()
    report.took_s = round(clock() - started, 2)
    log.info(
        "reconciled: generation=%d compared=%s in_flight=%s drifted=%s healed=%d took_s=%.2f",
        generation,
        report.compared,
        report.in_flight,
        report.drifted,
        report.healed,
        report.took_s,
    )
    if report.drift > threshold:
        raise PermanentError(
            f"Reconciling the inventory: {report.drift} records differed from Odoo, more than "
            f"{threshold}. {'Dry run: none' if dry_run else report.healed} of them healed; the "
            f"probable causes are in drift_reports, run_id {report.run_id}. Find what made them "
            "differ before the next night."
        )
    return report


def _mirrored(store: Store) -> list[str]:
    """Return what the last full load found Odoo to have."""
    _mirrored_up_to(store)  # or say what is missing
    entities = store.progress().entities
    if not entities:
        raise TransientError(
            "Reconciling the inventory: the mirror was last loaded by an older version. Let "
            "sync_inventory load it anew."
        )
    return entities


def _mirrored_up_to(store: Store) -> str:
    progress = store.progress()
    if progress.cursor is None or progress.load_cursor is not None:
        unfinished = NotYetError if progress.cursor is None else TransientError
        raise unfinished(
            "Reconciling the inventory: a full load is not finished. Let sync_inventory finish it."
        )
    return progress.cursor


def _read_odoo(entity: str, odoo: Odoo, feed: Feed, page_size: int) -> _Theirs:
    if entity == "stock_level":
        return _read_sums(odoo, page_size)
    if entity == "movement":
        return _read_movements(odoo)
    theirs = _Theirs({})
    for decoded in _states(entity, feed, page_size):
        theirs.rows.update(decoded.batches[entity].upserts)
        theirs.unreadable.update({each.record_id: each.reason for each in decoded.rejects})
    return theirs


def _states(entity: str, feed: Feed, page_size: int) -> Iterator[Decoded]:
    after = None
    while True:
        page = feed.state(entity, after, page_size)
        yield decode(page.changes)
        after = page.after
        if after is None:
            return


def _read_sums(odoo: Odoo, page_size: int) -> _Theirs:
    """Sum Odoo's quants by product, location and lot, as the mirror keeps them."""
    theirs = _Theirs({})
    for quant in odoo.search_read(
        "stock.quant",
        [["location_id.usage", "in", STOCK_USAGES]],
        ["product_id", "location_id", "lot_id", *SUMMED, "write_date"],
        page_size=page_size,
    ):
        product, location, lot = quant["product_id"], quant["location_id"], quant["lot_id"] or 0
        key = (product, location, lot)
        ids = {"medication_id": product, "location_id": location, "lot_id": lot}
        row = theirs.rows.setdefault(key, ids | dict.fromkeys(SUMMED, Decimal(0)))
        terms = theirs.terms.setdefault(key, dict.fromkeys(SUMMED, Decimal(0)))
        for name in SUMMED:
            row[name] += Decimal(quant[name])
            terms[name] += abs(Decimal(quant[name]))
        _note_change(theirs, key, quant["write_date"])
    for each, row in list(theirs.rows.items()):
        if not all(row[name].is_finite() for name in SUMMED):
            theirs.unreadable[_record_id(each)] = "its quantity is not a finite number"
            del theirs.rows[each]
    return theirs


def _note_change(theirs: _Theirs, key: Key, write_date: str | None) -> None:
    if write_date:  # what SQL inserted may have none
        written = datetime.fromisoformat(write_date).replace(tzinfo=UTC)
        theirs.changed_at[key] = max(written, theirs.changed_at.get(key, written))


def _read_movements(odoo: Odoo) -> _Theirs:
    """Read of each finished movement what is compared: done lines can be edited in Odoo."""
    theirs = _Theirs({})
    for line in odoo.search_read(
        "stock.move.line",
        [["state", "=", "done"]],
        [*MOVEMENT_FIELDS.values(), "write_date"],
        page_size=PAGE,
    ):
        row = {ours: line[name] for ours, name in MOVEMENT_FIELDS.items()}
        row |= {"lot_id": row["lot_id"] or None, "quantity": Decimal(row["quantity"])}
        theirs.rows[line["id"]] = row
        _note_change(theirs, line["id"], line["write_date"])
    return theirs


def _fill_in_movements(theirs: _Theirs, candidates: Iterable[Key], feed: Feed) -> None:
    """Read the whole rows of movements that differ, to heal them with.

    What was compared stays as the ORM said it: should the feed's own SQL be what is wrong, then its
    row must not take the difference away again.
    """
    wanted = {key for key in candidates if key in theirs.rows}
    if not wanted:
        return
    for decoded in _states("movement", feed, PAGE):
        upserts = decoded.batches["movement"].upserts
        for key in wanted & upserts.keys():
            whole, compared = upserts[key], theirs.rows[key]
            theirs.rows[key] = whole | {
                name: value
                for name, value in compared.items()
                if not _same_value(name, value, whole[name])  # as exactly as the feed said it
            }
        wanted -= upserts.keys()
        theirs.unreadable.update({each.record_id: each.reason for each in decoded.rejects})
    for key in wanted:  # gone meanwhile, or unreadable
        del theirs.rows[key]


def _set_aside(entity: str, store: Store) -> set[Key]:
    """Return the records that the mirror set aside: Odoo may hold a good version by now."""
    keys = (
        _key(entity, record_id) for kind, record_id in store.set_aside_reasons() if kind == entity
    )
    return {key for key in keys if not isinstance(key, str)}


def _key(entity: str, record_id: str) -> Key | str:
    """Return the mirror's key of a record, or its id as it came when that is none."""
    try:
        return parse_key(entity, record_id)
    except ValueError:
        return record_id


def _record_id(key: Key | str) -> str:
    return ":".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _read_mirror(entity: str, store: Store) -> dict[Key, Row]:
    if entity == "stock_level":
        return {
            (row["medication_id"], row["location_id"], row["lot_id"]): row
            for row in store.rows(entity)
        }
    return {row["id"]: row for row in store.rows(entity)}


def _different(entity: str, theirs: _Theirs, ours: Mapping[Key, Row]) -> set[Key]:
    both = theirs.rows.keys() & ours.keys()
    only_one = theirs.rows.keys() ^ ours.keys()
    return only_one | {key for key in both if not _agree(entity, key, theirs, ours[key])}


def _agree(entity: str, key: Key, theirs: _Theirs, ours: Row) -> bool:
    row = theirs.rows[key]
    if entity == "movement":
        row = {name: row[name] for name in MOVEMENT_FIELDS}
    return same(row, ours, theirs.terms.get(key, {}))


def same(theirs: Row, ours: Row, terms: Mapping[str, Decimal] | None = None) -> bool:
    """Say whether the mirror's row holds what Odoo's row says.

    Args:
        theirs: Odoo's row.
        ours: The mirror's.
        terms: For a figure that is a sum of floats: the sum of their absolute values.

    >>> same({"quantity": Decimal("0.30000000000000004")}, {"quantity": Decimal("0.3")})
    True
    >>> same({"quantity": Decimal("1e-9")}, {"quantity": Decimal("2e-9")})
    False
    >>> rest = {"quantity": Decimal("1e-9")}  # of a million that came and went
    >>> same(rest, {"quantity": Decimal("2e-9")}, {"quantity": Decimal("2e6")})
    True
    """
    terms = terms or {}
    return all(
        _same_value(name, value, ours.get(name), terms.get(name, Decimal(0)))
        for name, value in theirs.items()
    )


def _same_value(name: str, theirs: Any, ours: Any, terms: Decimal = Decimal(0)) -> bool:
    if isinstance(theirs, Decimal) and isinstance(ours, Decimal):
        if name in {"list_price", "unit_cost"}:
            return theirs.quantize(CENTS) == ours.quantize(CENTS)
        return abs(theirs - ours) <= FLOAT_ERROR * max(abs(theirs), abs(ours), terms)
    return bool(theirs == ours)


def _confirm(
    entity: str,
    candidates: set[Key],
    theirs: _Theirs,
    under_way: set[Key],
    store: Store,
    feed: Feed,
    cursor: str,
    *,
    report: Report,
) -> list[Drift]:
    """Compare the candidates again under the lock, without those that are under way.

    What cannot be read in Odoo is reported each time, whether or not the mirror has a row of it.
    """
    place = store.lock()
    if place.cursor is None or place.load_cursor is not None:
        raise TransientError("Reconciling the inventory: a full load began meanwhile.")
    under_way = under_way | _named_since(entity, cursor, feed, within_s=LOCKED_S)[0]
    ours = _read_mirror(entity, store)
    report.in_flight[entity] = len(candidates & under_way)
    reasons = store.set_aside_reasons()
    drifts = []
    suspects = candidates | {_key(entity, record_id) for record_id in theirs.unreadable}
    for key in sorted(suspects - under_way, key=str):
        known = None if isinstance(key, str) else key
        odoo_row = theirs.rows.get(known) if known else None
        mirror_row = ours.get(known) if known else None
        unreadable = theirs.unreadable.get(_record_id(key))
        if unreadable is None:
            if odoo_row is None and mirror_row is None:
                continue
            if known and odoo_row and mirror_row and _agree(entity, known, theirs, mirror_row):
                continue
        reason = unreadable or reasons.get((entity, _record_id(key)))
        changed_at = theirs.changed_at.get(known) if known else None
        cause = probable_cause(odoo_row, mirror_row, changed_at, reason)
        drifts.append(Drift(entity, key, odoo_row, mirror_row, cause, unreadable is not None))
    return drifts


def _named_since(
    entity: str, cursor: str, feed: Feed, within_s: float | None = None
) -> tuple[set[Key], str]:
    """Return the records of ``entity`` that the feed names since ``cursor``, and its newest cursor.

    Raises:
        TransientError: The feed begins anew, or is not read to its end ``within_s``.
    """
    named: set[Key] = set()
    give_up_at = None if within_s is None else time.monotonic() + within_s
    while True:
        if give_up_at is not None and time.monotonic() > give_up_at:
            raise TransientError(
                "Reconciling the inventory: more changes than can be read while the mirror has to "
                "wait. Trying again may help."
            )
        page = feed.page(cursor, PAGE, within_s)
        if page.reset:
            raise TransientError(
                "Reconciling the inventory: the feed begins anew "
                f"({page.reason}). Let sync_inventory load everything first."
            )
        for change in page.changes:
            if change.get("entity") == entity:
                try:
                    named.add(parse_key(entity, change["id"]))
                except ValueError:
                    continue  # the mirror sets it aside
        cursor = page.cursor
        if not page.more:
            return named, cursor


def probable_cause(
    odoo: Row | None, mirror: Row | None, changed_at: datetime | None, set_aside: str | None
) -> str:
    """Return what most probably made a record differ, for the person who reads the report.

    Args:
        odoo: Odoo's row, None when Odoo has none.
        mirror: The mirror's row with ``synced_at``, None when it has none.
        changed_at: When Odoo last changed the record, if Odoo tells; whole seconds.
        set_aside: Why the mirror set the record aside, if it did.
    """
    if set_aside:
        return f"set aside by the mirror: {set_aside}"
    if mirror is None:
        return "its change never arrived, or its row was deleted in the shared database"
    if odoo is None:
        return "its deletion never arrived, or its row was added in the shared database"
    if changed_at is not None and changed_at > mirror["synced_at"]:
        return "a change in Odoo never arrived: were the feed's triggers off?"
    return "its row was changed in the shared database by something else than the mirror"


def _wrong_totals(store: Store) -> list[Drift]:
    drifts = []
    for row in store.wrong_totals():
        names = [name for name in row if name != "id" and not name.startswith("right_")]
        drifts.append(
            Drift(
                "total",
                row["id"],
                {name: row[f"right_{name}"] for name in names},
                {name: row[name] for name in names},
                "shared_medications or its levels were changed by something else than the mirror",
            )
        )
    return drifts


def _write(drifts: list[Drift], store: Store, report: Report, *, dry_run: bool) -> None:
    """Report the differences and heal them, in the transaction that found them."""
    if not drifts:
        return
    healed = set() if dry_run else _heal(drifts, store)
    report.healed += len(healed)
    for drift in drifts:
        is_healed = (drift.entity, drift.record_id) in healed
        store.report_drift(
            run_id=report.run_id,
            entity=drift.entity,
            record_id=drift.record_id,
            odoo_value=drift.odoo,
            mirror_value=drift.mirror,
            probable_cause=drift.cause,
            healed=is_healed,
        )
        log.warning(
            "drift: entity=%s id=%s healed=%s cause=%s",
            drift.entity,
            drift.record_id,
            is_healed,
            drift.cause,
        )


def _heal(drifts: list[Drift], store: Store) -> set[tuple[str, str]]:
    """Write Odoo's values where they can be stored; return the entity and id of what is right now.

    What was set aside is tried again: Odoo may hold a good version by now. What still cannot be
    read keeps its older value, which is better than none.
    """
    decoded = Decoded({entity: Batch() for entity in ENTITIES})
    tried: set[tuple[str, str]] = set()
    totals: set[int] = set()
    for drift in drifts:
        if drift.is_unreadable or isinstance(drift.key, str):
            continue
        tried.add((drift.entity, drift.record_id))
        if drift.entity == "total":
            if isinstance(drift.key, int):
                totals.add(drift.key)
            continue
        batch = decoded.batches[drift.entity]
        batch.raw[drift.key] = {
            "entity": drift.entity,
            "id": drift.record_id,
            "values": drift.odoo,
        }
        if drift.odoo is None:
            batch.deletes.add(drift.key)
        else:
            batch.upserts[drift.key] = drift.odoo
    if not tried:
        return tried
    generation = store.lock().generation
    written = write_batches(store, decoded, generation=generation, has_rejects=True, careful=True)
    medications = written.medications | totals
    if medications:
        store.update_totals(medications)
    store.announce("inventory.changed", {"medication_ids": sorted(medications), "healed": True})
    return tried - written.refused
