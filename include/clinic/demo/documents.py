"""The documents' part of ``make demo``: ten invoices posted at once, two medical records signed.

Nobody waits for an upload: a clerk's question is put to Odoo ten times a second, before and while
the documents travel, and the answers are timed. The store runs out of room on the way, one message
is garbage, and one document is refused, parked, and sent on by hand.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any, Final, Protocol

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clinic.demo.load import NAMESPACE, Odoo
from clinic.errors import PermanentError, TransientError

INVOICES: Final = 10
RECORDS: Final = 2
TIMEOUT_S: Final = 300.0
_IDLE_S: Final = 3.0
_EVERY_S: Final = 0.1
_PATIENCE_S: Final = 60
# As a person's browser does: a program that names no language is answered in English.
_SPANISH = {"lang": "es_ES", "tz": "Europe/Madrid"}
_QUIET = {**_SPANISH, "tracking_disable": True, "mail_create_nolog": True}

# A drive without room: every upload is refused, until somebody makes room.
_NO_ROOM = {"status": 403, "reason": "storageQuotaExceeded", "method": "POST", "path": "/upload/"}
# What no second try can help: Google finds the request itself wrong.
_REFUSED = {
    "status": 400,
    "reason": "badRequest",
    "method": "POST",
    "path": "/upload/",
    "times": 1,
}


class Broker(Protocol):
    """RabbitMQ, as its users see it."""

    def send(self, routing_key: str, body: bytes) -> None:
        """Return once the broker has it."""
        ...

    def parked(self) -> Sequence[Mapping[str, str]]:
        """Return the ``queue``, ``reason`` and ``detail`` of what is parked."""
        ...

    def replay(self, queue: str, reason: str, why: str) -> str:
        """Send on what is parked for a reason; return what was said."""
        ...


class StoreFaults:
    """Tells the stand-in for Google Drive to fail. The real one has no such door.

    Args:
        url: Of the stand-in.
        token: Its administrator's token.
        ca_file: The authority that signed its certificate.
    """

    def __init__(self, url: str, token: str, ca_file: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=ca_file),
            timeout=10,
        )

    def lift(self) -> None:
        """End all faults, also those that a killed demo left."""
        self._ask("DELETE")

    @contextmanager
    def during(self, *rules: Mapping[str, Any]) -> Iterator[None]:
        """Let the rules hold inside the block."""
        self._ask("POST", list(rules))
        try:
            yield
        finally:
            self.lift()

    def _ask(self, method: str, rules: list[Mapping[str, Any]] | None = None) -> None:
        try:
            self._http.request(method, "/_emulator/faults", json=rules).raise_for_status()
        except httpx.HTTPError as error:
            raise TransientError(
                "Drive's stand-in does not take its faults. Look at `make logs SERVICE=drive`."
            ) from error


@dataclass(frozen=True, slots=True)
class Waits:
    """How long one question to Odoo took, in milliseconds."""

    times: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Waits:
        """Sum up at least two samples."""
        return cls(len(samples_ms), median(samples_ms), quantiles(samples_ms, n=100)[98])


class Clerk(threading.Thread):
    """Asks Odoo for a customer ten times a second, and times each answer."""

    def __init__(self, odoo: Odoo) -> None:
        super().__init__(daemon=True)
        self._odoo = odoo
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._samples_ms: list[float] = []
        self._error: Exception | None = None

    def run(self) -> None:
        """Ask until stopped."""
        try:
            while not self._stopping.wait(_EVERY_S):
                began = time.perf_counter()
                self._odoo.call("res.partner", "search_read", [], ["name", "email"], limit=20)
                with self._lock:
                    self._samples_ms.append((time.perf_counter() - began) * 1000)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asks
            self._error = error

    def take(self) -> Waits:
        """Return what was measured since the last time, and begin anew.

        On a busy machine this waits until there is something to tell.

        Raises:
            TransientError: Odoo failed to answer, or did not for a minute.
        """
        give_up_at = time.monotonic() + _PATIENCE_S
        while len(self._samples_ms) < 2 and self._error is None:
            if time.monotonic() > give_up_at:
                raise TransientError("Odoo answered fewer than two questions of the demo's clerk.")
            time.sleep(_EVERY_S)
        if self._error is not None:
            raise self._error
        with self._lock:
            samples, self._samples_ms = self._samples_ms, []
        return Waits.of(samples)

    def stop(self) -> None:
        """Let it end."""
        self._stopping.set()
        self.join(60)


def show_documents(
    odoo: Odoo,
    doctors_odoo: Odoo,
    clerks_odoo: Odoo,
    faults: StoreFaults,
    broker: Broker,
    console: Console,
) -> None:
    """Post, sign, fail, park, replay, and print what happened.

    Args:
        odoo: Odoo, as the administrator.
        doctors_odoo: Odoo, as a doctor.
        clerks_odoo: Odoo, for a thread that asks it questions meanwhile.
        faults: Makes Drive's stand-in fail.
        broker: RabbitMQ.
        console: Where to print.

    Raises:
        TransientError: A document did not arrive in time.
        PermanentError: Odoo lacks the documents' addon.
    """
    faults.lift()
    invoices, records, refused = prepare(odoo, doctors_odoo)
    clerk = Clerk(clerks_odoo)
    clerk.start()
    try:
        time.sleep(_IDLE_S)
        idle = clerk.take()
        with faults.during(_NO_ROOM):
            posted_at = time.perf_counter()
            odoo.call("account.move", "action_post", invoices, context=_SPANISH)
            posting_ms = (time.perf_counter() - posted_at) * 1000
            began = time.perf_counter()
            doctors_odoo.call("clinic.medical.record", "action_sign", records, context=_SPANISH)
            signing_ms = (time.perf_counter() - began) * 1000
            broker.send("invoice.created", b"Factura 17, adjunta por correo")
            documents = _documents(odoo, invoices, records)
            _wait(
                console,
                "A full Drive puts one off",
                1,
                lambda: sum(row["state"] == "retrying" for row in _read(odoo, documents)),
            )
        _wait(
            console,
            "Stored",
            len(documents),
            lambda: sum(row["state"] == "stored" for row in _read(odoo, documents)),
        )
        stored_s = time.perf_counter() - posted_at
        busy = clerk.take()
    finally:
        clerk.stop()
    _print_waits(console, posting_ms, signing_ms, idle, busy, stored_s)
    _print_documents(console, _read(odoo, documents))
    _show_replay(odoo, faults, broker, refused, console)


def prepare(odoo: Odoo, doctors_odoo: Odoo) -> tuple[list[int], list[int], int]:
    """Make a patient, drafts of ten invoices and two records, and one invoice more.

    Returns:
        The ids of the invoices, of the records, and of the invoice that will be refused.
    """
    if not odoo.call("ir.model", "search_count", [["model", "=", "clinic.document"]]):
        raise PermanentError(
            "Odoo has no addon medical_documents_integration. Run `make up`, which installs it."
        )
    patient = _patient(odoo)
    _give_a_mail_address(odoo)
    today = datetime.now(UTC).date().isoformat()
    drafts = odoo.call(
        "account.move",
        "create",
        [
            {
                "move_type": "out_invoice",
                "partner_id": patient,
                "invoice_date": today,
                "invoice_line_ids": [
                    (0, 0, {"name": name, "quantity": quantity, "price_unit": price})
                    for name, quantity, price in (
                        ("Consulta de medicina interna", 1, 60.0 + number),
                        ("Analítica de sangre", 1, 24.5),
                    )
                ],
            }
            for number in range(INVOICES + 1)
        ],
        context=_QUIET,
    )
    records = doctors_odoo.call(
        "clinic.medical.record",
        "create",
        [
            {
                "patient_id": patient,
                "kind": kind,
                "subject": subject,
                "note": f"<p>{note}</p>",
            }
            for kind, subject, note in (
                ("consultation", "Revisión anual", "Sin hallazgos. Próxima revisión en un año."),
                ("report", "Informe de analítica", "Valores dentro de la normalidad."),
            )
        ],
        context=_QUIET,
    )
    return drafts[:INVOICES], records, drafts[INVOICES]


def _patient(odoo: Odoo) -> int:
    name = "patient_1"
    known = odoo.call(
        "ir.model.data",
        "search_read",
        [["module", "=", NAMESPACE], ["name", "=", name]],
        ["res_id"],
    )
    if known:
        return int(known[0]["res_id"])
    (patient,) = odoo.call(
        "res.partner",
        "create",
        [{"name": "Paciente de demostración", "is_patient": True, "lang": "es_ES"}],
        context=_QUIET,
    )
    odoo.call(
        "ir.model.data",
        "create",
        [{"module": NAMESPACE, "name": name, "model": "res.partner", "res_id": patient}],
    )
    return int(patient)


def _give_a_mail_address(odoo: Odoo) -> None:
    """Let the administrator be reached: a new Odoo knows no address, and sends no mail then."""
    (administrator,) = odoo.call(
        "res.users", "search_read", [["login", "=", "admin"]], ["partner_id", "email"]
    )
    if not administrator["email"]:
        odoo.call(
            "res.partner",
            "write",
            administrator["partner_id"][:1],
            {"email": "administracion@clinica.example"},
        )


def _documents(odoo: Odoo, invoices: list[int], records: list[int]) -> list[int]:
    found = odoo.call(
        "clinic.document",
        "search",
        [
            "|",
            "&",
            ["res_model", "=", "account.move"],
            ["res_id", "in", invoices],
            "&",
            ["res_model", "=", "clinic.medical.record"],
            ["res_id", "in", records],
        ],
        order="id",
    )
    wanted = len(invoices) + len(records)
    if len(found) != wanted:
        raise PermanentError(f"Odoo wrote {len(found)} documents for {wanted} postings.")
    return list(found)


def _read(odoo: Odoo, documents: list[int]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = odoo.call(
        "clinic.document",
        "read",
        documents,
        ["document_id", "number", "state", "url", "error"],
    )
    return rows


def _wait(console: Console, what: str, wanted: int, count: Callable[[], int]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    with Progress(
        TextColumn("{task.description:<26}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        task = bars.add_task(what, total=wanted)
        while (done := count()) < wanted:
            bars.update(task, completed=done)
            if time.monotonic() > deadline:
                raise TransientError(
                    f"{what}: {done} of {wanted} after {TIMEOUT_S:.0f} s. Look at Odoo, Documentos "
                    "clínicos, and at the DAGs drain_invoices, drain_medical_records and "
                    "drain_notifications in Airflow."
                )
            time.sleep(0.5)
        bars.update(task, completed=wanted)


def _show_replay(
    odoo: Odoo, faults: StoreFaults, broker: Broker, invoice: int, console: Console
) -> None:
    """Let the store refuse one invoice, and send it on by hand once the reason is gone."""
    with faults.during(_REFUSED):
        odoo.call("account.move", "action_post", [invoice], context=_SPANISH)
        documents = _documents(odoo, [invoice], [])
        _wait(
            console,
            "Refused, so parked",
            1,
            lambda: sum(row["state"] == "parked" for row in _read(odoo, documents)),
        )
    (document,) = _read(odoo, documents)
    parked = broker.parked()
    said = broker.replay(
        "invoice_queue", "store_refused", "The store takes it again (clinic demo documents)"
    )
    _wait(
        console,
        "Replayed, so stored",
        1,
        lambda: sum(row["state"] == "stored" for row in _read(odoo, documents)),
    )
    console.print()
    console.print("[bold]What was parked, and one replay[/bold]")
    for message in parked:
        console.print(
            f"  {message['queue']}: {message['reason']}. {message['detail']}",
            markup=False,
            highlight=False,
        )
    console.print(
        f"  {document['number']}: {said} It is stored now.",
        markup=False,
        highlight=False,
    )


def _print_waits(
    console: Console,
    posting_ms: float,
    signing_ms: float,
    idle: Waits,
    busy: Waits,
    stored_s: float,
) -> None:
    console.print()
    console.print(f"[bold]{INVOICES} invoices posted at once, {RECORDS} records signed[/bold]")
    for name, value in (
        ("posting", f"{posting_ms:.0f} ms for all {INVOICES}: the clerk's only wait"),
        ("signing", f"{signing_ms:.0f} ms for both"),
        ("others", f"{idle.p50_ms:.0f} ms p50 and {idle.p99_ms:.0f} ms p99 before ({idle.times})"),
        ("", f"{busy.p50_ms:.0f} ms p50 and {busy.p99_ms:.0f} ms p99 meanwhile ({busy.times})"),
        ("stored", f"{stored_s:.0f} s after posting, a full Drive included"),
    ):
        console.print(f"  {name:<10}{value}", markup=False, highlight=False)


def _print_documents(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        console.print(
            f"  {row['number']:<18}{row['url']}", markup=False, highlight=False, soft_wrap=True
        )
