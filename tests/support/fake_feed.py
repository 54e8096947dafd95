"""A change feed in memory, with the contract of the addon clinic_change_feed, and it over HTTP.

For what a real Odoo cannot be made to do on demand: breaking at a given line, bad values, a kill
between two given steps. Whether the addon keeps the contract is tested against a real Odoo.
"""

import contextlib
import copy
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clinic.errors import TransientError

ENTITIES = ("location", "product", "lot", "reorder_rule", "stock_level", "movement", "patient")


@dataclass(frozen=True)
class Page:
    cursor: str
    changes: list[Any]
    more: bool = False
    reset: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class State:
    changes: list[Any]
    after: str | None = None


def location(name: str = "WH/Stock", parent_path: str = "1/", **values: Any) -> dict[str, Any]:
    return {
        "name": name, "usage": "internal", "active": True, "parent_path": parent_path,
        "company_id": 1, "company": "Clinic", "warehouse_id": 1, "warehouse": "WH",
    } | values  # fmt: skip


def product(name: Any = "Paracetamol 500 mg", **values: Any) -> dict[str, Any]:
    names = {"en_US": name, "es_ES": f"{name} (es)"} if isinstance(name, str) else name
    return {
        "sku": "P-1", "barcode": None, "name": names, "category": "Analgesics", "uom": "Units",
        "active": True, "storable": True, "tracking": "lot", "list_price": "1.5",
        "unit_cost": "0.75", "currency": "USD", "company_id": None,
    } | values  # fmt: skip


def lot(product_id: int, **values: Any) -> dict[str, Any]:
    return {
        "product_id": product_id, "name": "L-1", "expires_at": "2027-01-31T00:00:00+00:00",
        "removal_at": None, "company_id": None,
    } | values  # fmt: skip


def rule(product_id: int, location_id: int, minimum: str, **values: Any) -> dict[str, Any]:
    return {
        "product_id": product_id, "location_id": location_id, "warehouse_id": 1, "company_id": 1,
        "min_quantity": minimum, "max_quantity": "100", "active": True,
    } | values  # fmt: skip


def level(key: str, quantity: str, reserved: str = "0") -> dict[str, Any]:
    product_id, location_id, lot_id = map(int, key.split(":"))
    return {
        "product_id": product_id, "location_id": location_id, "lot_id": lot_id or None,
        "quantity": quantity, "reserved_quantity": reserved,
    }  # fmt: skip


def movement(product_id: int, quantity: str, **values: Any) -> dict[str, Any]:
    return {
        "product_id": product_id, "lot_id": None, "from_location_id": 4, "to_location_id": 8,
        "quantity": quantity, "reference": "WH/IN/00001", "origin": None, "is_inventory": False,
        "done_at": "2026-11-24T10:00:00+00:00", "user": "Ana", "company_id": 1,
    } | values  # fmt: skip


def patient(name: str = "Lucía Ñúñez", **values: Any) -> dict[str, Any]:
    return {
        "patient_number": "P-000001", "name": name, "birth_date": "1984-02-29", "sex": "female",
        "identity_type": "dni", "identity_number": "12345678Z", "phone": None, "email": None,
        "language": "es_ES", "active": True, "company_id": None,
    } | values  # fmt: skip


@dataclass
class FakeOdoo:
    """What Odoo holds, and the log of its commits. A cursor is ``epoch:number of commits``."""

    records: dict[str, dict[Any, Any]] = field(
        default_factory=lambda: {entity: {} for entity in ENTITIES}
    )
    log: list[list[tuple[str, Any]]] = field(default_factory=list)
    epoch: int = 1
    changed: threading.Condition = field(default_factory=threading.Condition)
    broken: Exception | None = None  # raised by every call while set
    stream_broken: Exception | None = None  # raised by the stream only
    offered: tuple[str, ...] = ENTITIES  # depends on the addons that it has
    streams: int = 0  # how many were opened and did not break at once

    def commit(self, *changes: tuple[str, Any, Any]) -> None:
        """Apply ``(entity, id, values or None)`` in one transaction."""
        with self.changed:
            for entity, record_id, values in changes:
                if values is None:
                    self.records[entity].pop(record_id, None)
                else:
                    self.records[entity][record_id] = values
            self.log.append([(entity, record_id) for entity, record_id, _ in changes])
            self.changed.notify_all()

    def restore(self, records: dict[str, dict[Any, Any]]) -> None:
        """Become a restored copy: other contents, another uuid."""
        with self.changed:
            self.records = copy.deepcopy(records)
            self.epoch += 1
            self.log = []
            self.changed.notify_all()

    def _head(self) -> str:
        return f"{self.epoch}:{len(self.log)}"

    def _change(self, entity: str, record_id: Any, at: datetime | None) -> dict[str, Any]:
        values = self.records[entity].get(record_id)
        return {
            "entity": entity, "id": record_id, "op": "delete" if values is None else "upsert",
            "values": values, "changed_at": at.isoformat() if at else None,
        }  # fmt: skip

    def entities(self) -> list[str]:
        if self.broken:
            raise self.broken
        return list(self.offered)

    def page(self, cursor: str | None, limit: int, timeout_s: float | None = None) -> Page:
        if self.broken:
            raise self.broken
        with self.changed:
            if cursor is None:
                return Page(self._head(), [], reset=True, reason="first")
            epoch, number = map(int, cursor.split(":"))
            if epoch != self.epoch:
                return Page(self._head(), [], reset=True, reason="restored")
            touched: dict[tuple[str, Any], None] = {}
            end = number
            while end < len(self.log) and len(touched) < limit:
                touched.update(dict.fromkeys(self.log[end]))
                end += 1
            now = datetime.now(UTC)
            shown = [item for item in touched if item[0] in self.offered]
            order = sorted(shown, key=lambda item: ENTITIES.index(item[0]))
            changes = [self._change(entity, record_id, now) for entity, record_id in order]
            return Page(f"{epoch}:{end}", changes, more=end < len(self.log))

    def state(self, entity: str, after: str | None, limit: int) -> State:
        if self.broken:
            raise self.broken
        assert entity in self.offered
        with self.changed:
            keys = sorted(self.records[entity], key=str)
            begin = 0 if after is None else sum(1 for key in keys if str(key) <= after)
            chosen = keys[begin : begin + limit]
            changes = [self._change(entity, key, None) for key in chosen]
            last = begin + limit >= len(keys)
            return State(changes, None if last or not chosen else str(chosen[-1]))

    def stream(self, cursor: str, limit: int, until: float) -> Iterator[Page]:
        opened = 1
        while time.monotonic() < until:
            if self.broken or self.stream_broken:
                raise self.broken or self.stream_broken  # type: ignore[misc]
            self.streams += opened
            opened = 0
            page = self.page(cursor, limit)
            cursor = page.cursor
            if page.changes or page.reset:
                yield page
                if page.reset:
                    return
            if not page.more:
                with self.changed:
                    if self._head() == cursor:
                        self.changed.wait(min(0.05, max(0.0, until - time.monotonic())))


class _Handler(http.server.BaseHTTPRequestHandler):
    odoo: FakeOdoo

    def do_POST(self) -> None:
        arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = self.path.rsplit("/", 1)[1]
        method = {"feed": "page", "state": "state", "entities": "entities"}[name]
        try:
            answer = getattr(self.odoo, method)(**arguments)
        except TransientError:
            self.send_error(503)
            return
        body = json.dumps(answer if isinstance(answer, list) else answer.__dict__).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        query = dict(part.split("=") for part in self.path.split("?")[1].split("&"))
        cursor = query["cursor"].replace("%3A", ":")
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        with contextlib.suppress(OSError, TransientError):
            for page in self.odoo.stream(cursor, int(query["limit"]), time.monotonic() + 600):
                self.wfile.write(json.dumps(page.__dict__).encode() + b"\n")
                self.wfile.flush()

    def log_message(self, *args: Any) -> None:
        pass


@contextlib.contextmanager
def served(odoo: FakeOdoo) -> Iterator[str]:
    """Serve it over HTTP on a free port of the loopback; yield its address."""
    handler = type("Handler", (_Handler,), {"odoo": odoo})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
