"""The closing act of ``make demo``: one change followed from Odoo to the shared database.

Every figure is measured here and now. Three clocks are read in one process: when PostgreSQL told
that Odoo had committed (NOTIFY is delivered at commit), when it told that the mirror had, and when
a reader that knows nothing of either first saw the new row.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from clinic.demo.day import Demand, Dispense, Level, Line, Lot, Place, Receive, Restock, Snapshot
from clinic.demo.load import Odoo, Site, read_site
from clinic.demo.runner import DayRunner, read_snapshot
from clinic.errors import PermanentError, TransientError

MIRROR_TIMEOUT_S = 300.0
CHANGE_TIMEOUT_S = 30.0
_POLL_S = 0.002
_QUIET_S = 0.3  # nothing committed for this long: the change that follows is ours

_LEVEL_SQL = """
SELECT quantity FROM shared_stock_levels
WHERE medication_id = %s AND location_id = %s AND lot_id = %s
"""
_ALERT_SQL = """
SELECT quantity, min_quantity, missing_quantity FROM low_stock_alerts
WHERE medication_id = %s AND location_id = %s
"""
# What both sides must agree on. Transit and internal places only: others hold no stock.
_MIRROR_COUNTS_SQL = """
SELECT
    (SELECT count(*) FROM shared_medications),
    (SELECT count(*) FROM shared_lots),
    (SELECT count(*) FROM shared_stock_levels),
    (SELECT coalesce(sum(quantity), 0) FROM shared_stock_levels)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What Odoo and the shared database must agree on."""

    medicines: int
    lots: int
    levels: int
    units: Decimal

    @property
    def rows(self) -> int:
        """How many rows that is."""
        return self.medicines + self.lots + self.levels


@dataclass(frozen=True, slots=True)
class Timing:
    """When a change was seen, in milliseconds after the first sign of Odoo's commit.

    The sign is PostgreSQL's NOTIFY, or Odoo's answer where that was seen first.

    Attributes:
        told_ms: The shared database's NOTIFY came, and the row read then was the new one.
        seen_ms: A reader who polls the row every 2 ms first saw it changed.
        returned_ms: Odoo's answer to the request that made the change came back; 0 where it was the
            first sign.
    """

    told_ms: float
    seen_ms: float
    returned_ms: float


def show(environment: Mapping[str, str], odoo: Odoo, console: Console) -> None:
    """Wait for the mirror, make two changes in Odoo, show them arriving, and say where to look.

    Args:
        environment: What ``make up`` wrote to ``stack.env``.
        odoo: Odoo, logged in.
        console: Where to print.

    Raises:
        TransientError: The mirror did not come, or a change did not arrive in time.
        PermanentError: Odoo has no demo data, or an address is missing.
    """
    site = read_site(odoo)
    with _connect(environment, "SHARED_DB_READONLY_URL") as shared:
        counts = wait_for_mirror(odoo, shared, console)
        _print_counts(console, counts)
        # A day of its own each time, so that a second demo shows another change.
        rng = Random(time.time_ns())
        runner = DayRunner(odoo, site, f"demo show {datetime.now(UTC):%Y-%m-%dT%H:%M:%S}")
        _show_change(environment, odoo, shared, site, runner, rng, console)
        _show_alert(environment, odoo, shared, site, runner, rng, console)
    print_where_to_look(environment, console)


def read_odoo_counts(odoo: Odoo) -> Counts:
    """Return Odoo's own counts of what the mirror holds."""
    # The mirror keeps archived products too.
    everything = {"active_test": False}
    products = odoo.call(
        "product.product", "search_count", [["is_storable", "=", True]], context=everything
    )
    lots = odoo.call("stock.lot", "search_count", [], context=everything)
    groups = odoo.call(
        "stock.quant",
        "formatted_read_group",
        [["location_id.usage", "in", ["internal", "transit"]]],
        ["product_id", "location_id", "lot_id"],
        ["quantity:sum"],
    )
    units = sum((Decimal(str(group["quantity:sum"])) for group in groups), Decimal(0))
    return Counts(products, lots, len(groups), units)


def read_mirror_counts(shared: psycopg.Connection[tuple[Any, ...]]) -> Counts:
    """Return the same of the shared database; nothing where it has no schema yet."""
    try:
        row = shared.execute(_MIRROR_COUNTS_SQL).fetchone()
    except psycopg.errors.UndefinedTable as error:
        raise PermanentError(
            "The shared database has no tables. Run `make up`, which makes them."
        ) from error
    assert row is not None  # an aggregate always answers
    return Counts(*row)


def wait_for_mirror(
    odoo: Odoo,
    shared: psycopg.Connection[tuple[Any, ...]],
    console: Console,
    timeout_s: float = MIRROR_TIMEOUT_S,
) -> Counts:
    """Wait until the shared database holds what Odoo has; return what that is.

    Raises:
        TransientError: It did not in ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("Waiting for sync_inventory", total=None)
        while True:
            # Odoo after the mirror: stock that moves in between delays an agreement, and can
            # never make one up.
            there = read_mirror_counts(shared)
            wanted = read_odoo_counts(odoo)
            progress.update(task, completed=min(there.rows, wanted.rows), total=wanted.rows)
            if there == wanted:
                return wanted
            if time.monotonic() > deadline:
                raise TransientError(
                    f"The shared database holds {there.rows:,} of {wanted.rows:,} rows after "
                    f"{timeout_s:.0f} s. Look at the DAG sync_inventory in Airflow (is it "
                    f"running?) and at `make logs SERVICE=airflow-scheduler`."
                )
            time.sleep(0.5)


def _show_change(
    environment: Mapping[str, str],
    odoo: Odoo,
    shared: psycopg.Connection[tuple[Any, ...]],
    site: Site,
    runner: DayRunner,
    rng: Random,
    console: Console,
) -> None:
    """Dispense a little of something that there is plenty of, and follow it."""
    snapshot = read_snapshot(odoo, site)
    shelf = Shelf(snapshot, datetime.now(UTC).date())
    plenty = [demand for demand in snapshot.demands if shelf.above_minimum(demand) >= 10]
    if not plenty:
        raise PermanentError(
            "No medicine has 10 units more than its minimum in the pharmacy. Let a day of "
            "deliveries pass (`clinic demo day`), then run this again."
        )
    level = rng.choice(shelf.fresh(rng.choice(plenty).product_id))
    units = min(Decimal(3), level.on_hand - level.reserved)
    lot_id = _lot_id(odoo, level.lot)
    key = (level.lot.product_id, site.pharmacy, lot_id)
    event = Dispense(0, 0.0, (Line(level.lot, units),))
    runner.prepare(event.products)
    delivery = runner.draft(event)
    before = _read_level(shared, key)
    expected = before - units
    timing = follow(
        environment,
        change=lambda: runner.validate(delivery),
        arrived=lambda database: _read_level(database, key) == expected,
    )
    _print_facts(
        console,
        "One change, from Odoo to the shared database",
        (
            ("medicine", _product_name(shared, level.lot.product_id)),
            (
                "in Odoo",
                f"the pharmacy dispenses {_units(units)} of lot {level.lot.name} "
                f"({_reference(odoo, delivery)})",
            ),
            ("before", f"{_units(before)} in shared_stock_levels"),
            ("after", f"{_units(_read_level(shared, key))} in shared_stock_levels"),
        ),
    )
    _print_timing(console, timing)


def _show_alert(
    environment: Mapping[str, str],
    odoo: Odoo,
    shared: psycopg.Connection[tuple[Any, ...]],
    site: Site,
    runner: DayRunner,
    rng: Random,
    console: Console,
) -> None:
    """Dispense what takes one medicine below its minimum, and wait for its alert."""
    snapshot = read_snapshot(odoo, site)
    shelf = Shelf(snapshot, datetime.now(UTC).date())
    demand = shelf.nearest_to_minimum()
    if demand is None:
        demand = _restock_one(odoo, site, runner, snapshot, rng)
        shelf = Shelf(read_snapshot(odoo, site), datetime.now(UTC).date())
    lines = shelf.lines_to_fall_below(demand)
    event = Dispense(1, 0.0, tuple(lines))
    runner.prepare(event.products)
    delivery = runner.draft(event)
    key = (demand.product_id, site.pharmacy)
    # The alert of a restocked medicine leaves with its own refresh.
    _wait_until(lambda: shared.execute(_ALERT_SQL, key).fetchone() is None, "an old alert to leave")
    timing = follow(
        environment,
        change=lambda: runner.validate(delivery),
        arrived=lambda database: database.execute(_ALERT_SQL, key).fetchone() is not None,
    )
    alert = shared.execute(_ALERT_SQL, key).fetchone()
    if alert is None:
        raise TransientError("The alert left again at once: is somebody restocking the pharmacy?")
    quantity, minimum, missing = alert
    _print_facts(
        console,
        "One medicine falls below its minimum",
        (
            ("medicine", _product_name(shared, demand.product_id)),
            (
                "in Odoo",
                f"the pharmacy dispenses {_units(sum(line.units for line in lines))} "
                f"({_reference(odoo, delivery)})",
            ),
            ("before", "no row in low_stock_alerts"),
            (
                "after",
                f"a row in low_stock_alerts: {_units(quantity)} of at least {_number(minimum)}, "
                f"{_number(missing)} missing",
            ),
        ),
    )
    _print_timing(console, timing)


class Shelf:
    """The pharmacy's part of a snapshot, and what can be handed out of it."""

    def __init__(self, snapshot: Snapshot, today: date) -> None:
        self._demands = snapshot.demands
        self._levels: dict[int, list[Level]] = {}
        self._today = today
        for level in snapshot.levels:
            if level.place is Place.PHARMACY:
                self._levels.setdefault(level.lot.product_id, []).append(level)

    def above_minimum(self, demand: Demand) -> Decimal:
        """How much more than its minimum there is of a product that can be handed out."""
        if not self.fresh(demand.product_id):
            return Decimal(-1)
        return self._total(demand.product_id) - demand.min_units

    def fresh(self, product: int) -> list[Level]:
        """Return the lots that can be handed out, those that expire first before the others."""
        return sorted(
            (
                level
                for level in self._levels.get(product, [])
                if level.on_hand - level.reserved >= 1
                and (level.expires_on is None or level.expires_on > self._today)
            ),
            key=lambda level: (level.expires_on or date.max, level.lot.name),
        )

    def nearest_to_minimum(self) -> Demand | None:
        """Return the product that the least dispensing takes below its minimum, if any can."""
        able = [demand for demand in self._demands if self.lines_to_fall_below(demand)]
        return min(able, key=self.above_minimum, default=None)

    def lines_to_fall_below(self, demand: Demand) -> list[Line]:
        """Return the fewest whole units that leave less than the minimum, soonest expiry first.

        None where it is less already, or where what can be handed out is not enough for it.
        """
        above = self._total(demand.product_id) - demand.min_units
        if above < 0:
            return []
        wanted = above // 1 + 1
        lines = []
        for level in self.fresh(demand.product_id):
            units = min((level.on_hand - level.reserved) // 1, wanted)
            if units > 0:
                lines.append(Line(level.lot, units))
                wanted -= units
        return [] if wanted else lines

    def _total(self, product: int) -> Decimal:
        return sum((level.on_hand for level in self._levels.get(product, [])), Decimal(0))


def follow(
    environment: Mapping[str, str],
    *,
    change: Callable[[], object],
    arrived: Callable[[psycopg.Connection[tuple[Any, ...]]], bool],
    timeout_s: float = CHANGE_TIMEOUT_S,
) -> Timing:
    """Make a change in Odoo and measure when it is in the shared database.

    Args:
        environment: Addresses of both databases.
        change: Makes the change: one request, one commit.
        arrived: Whether a connection to the shared database shows it.
        timeout_s: How long to wait.

    Raises:
        TransientError: It did not arrive in time.
    """
    watchers = (
        _Watcher("Odoo's commit", environment, "ODOO_DB_URL", "clinic_change", None),
        _Watcher("the mirror's NOTIFY", environment, "SHARED_DB_READONLY_URL", "clinica_events",
                 arrived),
        _Watcher("the row, by polling", environment, "SHARED_DB_READONLY_URL", None, arrived),
    )  # fmt: skip
    for watcher in watchers:
        watcher.start()
    try:
        for watcher in watchers:
            watcher.wait_ready()
        change()
        returned_at = time.perf_counter()
        notified_at, told_at, seen_at = (watcher.result(timeout_s) for watcher in watchers)
    finally:
        for watcher in watchers:
            watcher.stop()
    # Odoo answers after it has committed: where its answer was seen before the NOTIFY, the NOTIFY
    # was late (a busy machine), and counting from it would flatter.
    committed_at = min(notified_at, returned_at)
    return Timing(
        told_ms=(told_at - committed_at) * 1000,
        seen_ms=(seen_at - committed_at) * 1000,
        returned_ms=(returned_at - committed_at) * 1000,
    )


class _Watcher(threading.Thread):
    """Notes the moment at which a database first shows something.

    With a channel it waits for NOTIFY and then looks; without one it looks every 2 ms. With nothing
    to look for, the NOTIFY itself is what it waits for.
    """

    def __init__(
        self,
        what: str,
        environment: Mapping[str, str],
        url_name: str,
        channel: str | None,
        arrived: Callable[[psycopg.Connection[tuple[Any, ...]]], bool] | None,
    ) -> None:
        super().__init__(daemon=True)
        self._what = what
        self._environment = environment
        self._url_name = url_name
        self._channel = channel
        self._arrived = arrived
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._at: float | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            with _connect(self._environment, self._url_name) as database:
                if self._channel:
                    database.execute(f"LISTEN {self._channel}")
                    # What was on its way before is not what is waited for.
                    while list(database.notifies(timeout=_QUIET_S, stop_after=1)):
                        continue
                self._ready.set()
                while not self._stopping.is_set() and self._at is None:
                    self._look(database)
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            self._error = error
        finally:
            self._ready.set()
            self._done.set()

    def _look(self, database: psycopg.Connection[tuple[Any, ...]]) -> None:
        if self._channel is None:
            found = self._arrived is not None and self._arrived(database)
            now = time.perf_counter()
            if not found:
                time.sleep(_POLL_S)
        else:
            told = list(database.notifies(timeout=0.2, stop_after=1))
            now = time.perf_counter()
            found = bool(told) and (self._arrived is None or self._arrived(database))
            if told and self._arrived is not None:
                now = time.perf_counter()  # the row has been read by now
        if found:
            self._at = now

    def wait_ready(self) -> None:
        """Return once it looks."""
        self._ready.wait(CHANGE_TIMEOUT_S)
        self._raise_error()

    def result(self, timeout_s: float) -> float:
        """Return the moment, on this process's performance counter."""
        self._done.wait(timeout_s)
        self._raise_error()
        if self._at is None:
            raise TransientError(
                f"The change was made in Odoo, but {self._what} did not come in {timeout_s:.0f} s. "
                f"Look at the DAG sync_inventory in Airflow (is it running?)."
            )
        return self._at

    def stop(self) -> None:
        """Let it end."""
        self._stopping.set()
        self.join(CHANGE_TIMEOUT_S)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


def _restock_one(
    odoo: Odoo, site: Site, runner: DayRunner, snapshot: Snapshot, rng: Random
) -> Demand:
    """Deliver one medicine and fill the pharmacy's shelf with it: there is none above minimum."""
    if not snapshot.demands:
        raise PermanentError("Odoo has no reorder rule of the pharmacy. Run `clinic demo load`.")
    demand = rng.choice(snapshot.demands)
    today = datetime.now(UTC).date()
    lot = Lot(demand.product_id, f"{datetime.now(UTC):%y%m%d-%H%M%S}")
    line = (Line(lot, Decimal(2 * demand.max_units)),)
    runner.prepare({demand.product_id})
    runner.carry_out(
        Receive(2, 0.0, line, demand.supplier_id, today.replace(year=today.year + 2, day=1))
    )
    runner.carry_out(Restock(3, 0.0, line))
    return demand


def print_where_to_look(environment: Mapping[str, str], console: Console) -> None:
    """Print addresses, logins, what to click, and how to stop."""

    def row(*cells: str) -> None:
        # One line each, however long a name is: a password cut in two cannot be copied.
        name, value, hint = (*cells, "", "")[:3]
        console.print(
            f"  {name:<10}{value:<42} {hint}".rstrip(),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def heading(text: str) -> None:
        console.print()
        console.print(f"[bold]{text}[/bold]")

    heading("Look for yourself")
    for name, variable, hint in (
        ("Pharmacy", "DASHBOARD_PUBLIC_URL", "the dashboard, as demo-farmacia"),
        ("Odoo", "ODOO_PUBLIC_URL", "Inventario > Operaciones > Inventario físico"),
        ("Airflow", "AIRFLOW_PUBLIC_URL", "Dags > sync_inventory > the run's log"),
        ("Keycloak", "KEYCLOAK_CONSOLE_URL", "realm clinica-realm > Users, Groups"),
        ("RabbitMQ", "RABBITMQ_PUBLIC_URL", "Queues"),
    ):
        if environment.get(variable):
            row(name, environment[variable], hint)
    console.print(
        "  The browser asks once about the certificate, which this machine signed itself.\n"
        "  To have it trusted, import "
        + _near(environment.get("CA_FILE", "the CA file"))
        + " as an authority.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    heading("Logins (name, password)")
    for name, login, password in (
        ("Odoo", "ODOO_LOGIN", "ODOO_PASSWORD"),
        ("Keycloak", "KEYCLOAK_ADMIN", "KEYCLOAK_ADMIN_PASSWORD"),
        ("RabbitMQ", "RABBITMQ_ADMIN", "RABBITMQ_ADMIN_PASSWORD"),
    ):
        if environment.get(login):
            row(name, f"{environment[login]:<21}{environment.get(password, '')}")
    users: dict[str, str] = json.loads(environment.get("DEMO_USERS") or "{}")
    for login, password in users.items():
        row("Airflow", f"{login:<21}{password}")
    heading("And then")
    state = _near(environment.get("CLINIC_STATE", ".state"))
    for name, command in (
        ("SQL", f'. {state}/stack.env; stack/box psql "$SHARED_DB_READONLY_URL"'),
        ("A day", "stack/box clinic demo day --rate 5 --seconds 60"),
        ("Again", "make demo"),
        ("Stop", "make down"),
    ):
        row(name, command)


def _near(path: str) -> str:
    """Write a path as it is typed from here: shorter, where it is below this folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _units(units: Decimal | int) -> str:
    """Write a quantity as a person would.

    >>> _units(Decimal("3581.00")), _units(Decimal(1)), _units(Decimal("2.50"))
    ('3,581 units', '1 unit', '2.5 units')
    """
    return f"{_number(units)} unit{'' if units == 1 else 's'}"


def _number(units: Decimal | int) -> str:
    return f"{Decimal(units).normalize():,f}"


def _print_counts(console: Console, counts: Counts) -> None:
    console.print(
        f"Odoo and the shared database agree: {counts.medicines:,} products, {counts.lots:,} lots, "
        f"{counts.levels:,} stock levels, {_units(counts.units)}.",
        highlight=False,
    )


def _print_facts(console: Console, title: str, facts: Sequence[tuple[str, str]]) -> None:
    console.print()
    console.print(f"[bold]{title}[/bold]")
    for name, value in facts:
        console.print(f"  {name:<10}{value}", markup=False, highlight=False)


def _print_timing(console: Console, timing: Timing) -> None:
    console.print(
        f"  [bold]{'time':<10}{timing.seen_ms:.1f} ms[/bold] from Odoo's commit until a polling "
        f"reader saw it ({timing.told_ms:.1f} ms by NOTIFY)",
        highlight=False,
    )


@contextmanager
def _connect(
    environment: Mapping[str, str], name: str
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    if not environment.get(name):
        raise PermanentError(f"No {name} in the environment. Run `make up`, which writes it.")
    try:
        connection = psycopg.connect(
            environment[name],
            autocommit=True,
            row_factory=tuple_row,
            connect_timeout=10,
            options="-c statement_timeout=20s",
        )
    except psycopg.OperationalError as error:
        raise TransientError(
            f"Connecting to {name}: PostgreSQL cannot be reached or refused. Look at `make status`."
        ) from error
    with connection:
        yield connection


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + CHANGE_TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TransientError(f"Waited {CHANGE_TIMEOUT_S:.0f} s for {what}.")
        time.sleep(0.05)


def _read_level(shared: psycopg.Connection[tuple[Any, ...]], key: tuple[int, int, int]) -> Decimal:
    row = shared.execute(_LEVEL_SQL, key).fetchone()
    return Decimal(row[0]) if row else Decimal(0)


def _product_name(shared: psycopg.Connection[tuple[Any, ...]], product: int) -> str:
    row = shared.execute(
        "SELECT name_es, sku FROM shared_medications WHERE id = %s", (product,)
    ).fetchone()
    return f"{row[0]}  ({row[1]})" if row else f"product {product}"


def _lot_id(odoo: Odoo, lot: Lot) -> int:
    found = odoo.call(
        "stock.lot", "search", [["product_id", "=", lot.product_id], ["name", "=", lot.name]]
    )
    return int(found[0])


def _reference(odoo: Odoo, picking: int) -> str:
    (row,) = odoo.call("stock.picking", "read", [picking], ["name"])
    return str(row["name"])
