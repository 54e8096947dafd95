"""``clinic demo``: fill Odoo with a pharmacy, let days pass in it, and watch one change travel."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pika
import stamina.instrumentation
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed

from clinic.clients.backups_db import BackupsDb
from clinic.clients.broker_queue import BrokerQueue
from clinic.clients.odoo_rpc import OdooRpc
from clinic.demo.airflow_api import AirflowApi
from clinic.demo.backups import show_backups
from clinic.demo.catalogue import fetch_wheel, read_catalogue
from clinic.demo.clinic import DEMO_SEED, invent_clinic
from clinic.demo.day import plan_day
from clinic.demo.documents import StoreFaults, show_documents
from clinic.demo.load import load_clinic, read_site
from clinic.demo.runner import DayRunner, read_snapshot
from clinic.demo.show import show as show_change
from clinic.documents.parcel import Parcel
from clinic.errors import ClinicError, PermanentError, TransientError
from clinic.stack_env import read_stack_env

app = typer.Typer(help="Demonstration data, and a demonstration.", no_args_is_help=True)

# Fits a terminal of 100 columns, and a log that has no terminal.
_console = Console(width=min(100, Console().width) if Console().is_terminal else 100)
_errors = Console(stderr=True, soft_wrap=True)


@app.command()
def fetch() -> None:
    """Download the list of medicines into the cache, if it is not there."""
    with _reported():
        _console.print(f"Medicines: {fetch_wheel(_cache(_environment()))}", soft_wrap=True)


@app.command()
def load(
    seed: Annotated[int, typer.Option(help="What prices, lots and stock are drawn from.")] = (
        DEMO_SEED
    ),
) -> None:
    """Load the WHO essential medicines into Odoo, with suppliers, lots, minimums and stock.

    Loading again changes nothing; what an interrupted load lacks is added.
    """
    with _reported():
        environment = _environment()
        catalogue = read_catalogue(fetch_wheel(_cache(environment)))
        clinic = invent_clinic(catalogue, seed=seed, today=datetime.now(UTC).date())
        odoo = OdooRpc.from_environment(environment)
        with _bars() as bars:
            report = load_clinic(odoo, clinic, _Bars(bars))
        made = ", ".join(f"{count:,} {what}" for what, count in report.created.items())
        _console.print(
            f"Loaded in {report.seconds:.1f} s: {made}."
            if made
            else f"Everything is there ({len(clinic.medicines)} medicines): nothing to load.",
            highlight=False,
        )


@app.command()
def day(
    seed: Annotated[int, typer.Option(help="The same seed and stock give the same day.")] = 7,
    rate: Annotated[float, typer.Option(min=0.01, help="Events a second.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long the day is.")] = 60,
    parallel: Annotated[int, typer.Option(min=1, max=32, help="Events under way at once.")] = 2,
) -> None:
    """Let a day pass in the pharmacy: dispensing, deliveries, transfers, counts, returns."""
    with _reported():
        odoo = OdooRpc.from_environment(_environment())
        site = read_site(odoo)
        now = datetime.now(UTC)
        events = plan_day(
            seed,
            read_snapshot(odoo, site),
            rate_per_s=rate,
            seconds=seconds,
            today=now.date(),
        )
        # Two runs in one second must not take one another's documents for their own.
        mark = f"demo day {seed} {now:%Y-%m-%dT%H:%M:%S} {secrets.token_hex(2)}"
        with _bars() as bars:
            task = bars.add_task(f"A day of {seconds:g} s", total=len(events))
            report = DayRunner(odoo, site, mark, parallel=parallel).run(
                events, on_done=lambda event: bars.advance(task)
            )
        kinds = ", ".join(f"{count} {kind}" for kind, count in report.events.most_common())
        _console.print(
            f"{report.events.total()} events in {report.seconds:.1f} s "
            f"({report.rate_per_s:.1f}/s of {rate:g}/s asked): {kinds}.",
            highlight=False,
        )
        if report.late_s > 1:
            _console.print(
                f"Odoo could not keep up: events began up to {report.late_s:.1f} s late.",
                highlight=False,
            )


@app.command()
def show() -> None:
    """Follow one stock change, and one alert, from Odoo to the shared database."""
    with _reported():
        environment = _environment()
        show_change(environment, OdooRpc.from_environment(environment), _console)


@app.command()
def documents() -> None:
    """Post ten invoices, sign two records, and watch them reach the document stores."""
    with _reported():
        environment = _environment()
        odoo = OdooRpc.from_environment(environment)
        with closing(_DemoBroker(environment)) as broker:
            show_documents(
                odoo,
                _doctor(odoo, environment),
                OdooRpc.from_environment(environment),
                StoreFaults(
                    *(
                        _needed(environment, name)
                        for name in ("DRIVE_API_URL", "DRIVE_EMULATOR_ADMIN_TOKEN", "CA_FILE")
                    )
                ),
                broker,
                _console,
            )


@app.command()
def backups() -> None:
    """Back Odoo up, look for the backup in Drive and in Odoo, and restore it as a drill."""
    with _reported():
        environment = _environment()
        with (
            AirflowApi(environment) as airflow,
            closing(BackupsDb(_needed(environment, "SHARED_DB_SYNC_URL"))) as ledger,
        ):
            show_backups(
                airflow,
                ledger,
                OdooRpc.from_environment(environment),
                _needed(environment, "CA_FILE"),
                _console,
            )


def _needed(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        raise PermanentError(f"No {name} in the environment. Run `make up`, which writes it.")
    return environment[name]


def _doctor(odoo: OdooRpc, environment: Mapping[str, str]) -> OdooRpc:
    """Return Odoo as a doctor: nobody else signs, not even the administrator."""
    login, password = "demo-doctora", secrets.token_urlsafe(24)
    known = odoo.call("res.users", "search", [["login", "=", login]])
    if known:
        odoo.call("res.users", "write", known, {"password": password})
    else:
        groups = odoo.call(
            "ir.model.data",
            "search_read",
            [["module", "=", "clinic_records"], ["name", "=", "group_doctor"]],
            ["res_id"],
        )
        if not groups:
            raise PermanentError("Odoo has no addon clinic_records. Run `make up`.")
        odoo.call(
            "res.users",
            "create",
            {
                "name": "Doctora de demostración",
                "login": login,
                "password": password,
                "lang": "es_ES",
                "tz": "Europe/Madrid",
                "group_ids": [(4, groups[0]["res_id"])],
            },
            context={"no_reset_password": True},
        )
    return OdooRpc.from_environment({**environment, "ODOO_LOGIN": login, "ODOO_PASSWORD": password})


class _DemoBroker:
    """The broker, as two who use it: a sender who knows no better, and who looks after parking."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        def queue(url: str, name: str) -> BrokerQueue:
            parameters = pika.URLParameters(_needed(environment, url))
            return BrokerQueue(lambda: pika.BlockingConnection(parameters), name)

        self._sender = queue("AMQP_ODOO_URL", "")
        self._lots = {
            name: queue("AMQP_URL", f"{name}.parking")
            for name in ("invoice_queue", "medical_records_queue")
        }

    def send(self, routing_key: str, body: bytes) -> None:
        """Return once the broker has it."""
        self._sender.publish("documents_exchange", Parcel(0, routing_key, body))

    def parked(self) -> list[dict[str, str]]:
        """Return the queue, reason and detail of what is parked."""
        found = []
        for queue, lot in self._lots.items():
            for parcel in lot.parked():
                headers = parcel.headers
                found.append(
                    {
                        "queue": queue,
                        "reason": str(headers.get("x-park-reason")),
                        "detail": str(headers.get("x-park-detail")),
                    }
                )
            lot.close()  # what was looked at lies there again
        return found

    def replay(self, queue: str, reason: str, why: str) -> str:
        """Send on what is parked for a reason, as an administrator does; return what was said."""
        done = subprocess.run(
            [
                "clinic", "documents", "replay", queue, "--reason", reason, "--why", why,
            ],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise TransientError(f"clinic documents replay: {done.stderr.strip()[-500:]}")
        return done.stdout.strip()

    def close(self) -> None:
        """Let go of connections."""
        for queue in (self._sender, *self._lots.values()):
            queue.close()


class _Bars:
    """A progress bar for each step of a load."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, step: str, total: int) -> None:
        """Begin a bar; a step with nothing to do has none."""
        self._task = self._bars.add_task(step, total=total) if total else None

    def advance(self, parts: int) -> None:
        """Move it."""
        if self._task is not None:
            self._bars.advance(self._task, parts)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Elapsed(),
        console=_console,
    )


@contextmanager
def _reported() -> Iterator[None]:
    """End with a sentence and exit code 1 instead of a traceback."""
    stamina.instrumentation.set_on_retry_hooks([_say_retry])
    try:
        yield
    except ClinicError as error:
        _errors.print(f"Error: {error}", markup=False, highlight=False, style="red")
        raise typer.Exit(1) from error


def _say_retry(details: stamina.instrumentation.RetryDetails) -> None:
    _errors.print(
        f"{details.caused_by} Trying again in {details.wait_for:.1f} s.",
        markup=False,
        highlight=False,
        style="dim",
    )


def _environment() -> Mapping[str, str]:
    """Return the running stack's addresses, then the environment's own, which win."""
    # Not every Odoo is the stack's: what is missing is named where it is needed.
    return {**read_stack_env(Path(os.environ.get("CLINIC_STATE", ".state"))), **os.environ}


def _cache(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("CLINIC_CACHE") or Path.home() / ".cache" / "clinic")
