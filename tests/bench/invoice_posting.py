"""What the documents cost those who work in Odoo. Writes build/bench/documents_posting.json.

Run in the box, with the whole stack running: `python tests/bench/invoice_posting.py`.

- posting: ten invoices posted with the addon medical_documents_integration and without it (it is
  uninstalled), in two databases of one server that belongs to the bench, in one process by turns
  (ABBA). `ratio` is the median of the paired ratios, with the 95 % interval of 2,000 bootstrap
  samples.
- others: a clerk's question, ten times a second, to the running stack's Odoo: at idle times, and
  from posting ten invoices until all ten are stored.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clinic.clients.odoo_rpc import OdooRpc
from clinic.demo.documents import Clerk, Waits

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.odoo import OdooCluster, OdooServer  # noqa: E402
from support.processes import run  # noqa: E402
from support.stack_env import stack_env  # noqa: E402

ADDON = "medical_documents_integration"
INVOICES = 10
STORED_WITHIN_S = 300
_UNINSTALL = f"""
env["ir.module.module"].search([("name", "=", "{ADDON}")]).button_immediate_uninstall()
"""


def posting(cluster: OdooCluster, rounds: int) -> dict[str, Any]:
    """Time posting with and without the addon, by turns."""
    databases = {"with": cluster.new_database(), "without": cluster.new_database()}
    servers = {
        side: OdooServer(cluster, name, cluster.folder / side) for side, name in databases.items()
    }
    odoo = servers["without"]
    shell = [*odoo.command("shell"), "--no-http", "--workers=0", "--log-level=error"]
    run(*shell, input=_UNINSTALL, env=odoo.environment)
    installed = {
        side: server.sql("SELECT state FROM ir_module_module WHERE name = %s", ADDON)[0][0]
        for side, server in servers.items()
    }
    if installed != {"with": "installed", "without": "uninstalled"}:
        raise RuntimeError(f"the addon is {installed}; run `make up`, which installs it")
    count = "SELECT count(*) FROM clinic_document"
    before = servers["with"].sql(count)[0][0]
    script = (Path(__file__).parent / "odoo_post_cost.py").read_text()
    settings = {"databases": databases, "rounds": rounds, "warm_up": 5}
    environment = {**odoo.environment, "CLINIC_BENCH": json.dumps(settings)}
    output = run(*shell, input=script, env=environment)
    written = servers["with"].sql(count)[0][0] - before
    if written != INVOICES * (rounds + 5):
        raise RuntimeError(f"{written} documents were written; something else was measured")
    times = json.loads(output.partition("RESULT ")[2].splitlines()[0])
    ratios = [a / b for a, b in zip(times["with"], times["without"], strict=True)]
    chance = random.Random(1)
    samples = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    return {
        "invoices": INVOICES,
        "rounds": rounds,
        "with_p50_ms": round(1000 * statistics.median(times["with"]), 1),
        "without_p50_ms": round(1000 * statistics.median(times["without"]), 1),
        "ratio": round(statistics.median(ratios), 4),
        "ratio_95": [round(samples[50], 4), round(samples[-51], 4)],
    }


def others(idle_s: float, times: int) -> dict[str, Any]:
    """Time a clerk's questions to the stack's Odoo, idle and while ten invoices drain."""
    odoo = OdooRpc.from_environment(stack_env())
    clerk = Clerk(OdooRpc.from_environment(stack_env()))
    clerk.start()
    try:
        time.sleep(2)
        clerk.take()  # caches are warm now
        time.sleep(idle_s)
        idle = clerk.take()
        waits, stored_s = [], []
        for _ in range(times):
            moves = drafts(odoo)
            clerk.take()
            began = time.monotonic()
            odoo.call("account.move", "action_post", moves, context={"lang": "es_ES"})
            wait_stored(odoo, moves)
            stored_s.append(round(time.monotonic() - began, 1))
            waits.append(clerk.take())
    finally:
        clerk.stop()
    busy = max(waits, key=lambda one: one.p99_ms)
    return {
        "idle": rounded(idle),
        "drains": [rounded(one) for one in waits],
        "stored_s": stored_s,
        "p99_ratio": round(busy.p99_ms / idle.p99_ms, 2),
    }


def rounded(waits: Waits) -> dict[str, float]:
    """Return figures as they are printed."""
    return {name: round(value, 1) for name, value in asdict(waits).items()}


def drafts(odoo: OdooRpc) -> list[int]:
    """Make ten drafts."""
    (partner,) = odoo.call("res.partner", "create", [{"name": "Bench"}])
    line = (0, 0, {"name": "Visit", "quantity": 1, "price_unit": 50})
    invoice = {
        "move_type": "out_invoice",
        "partner_id": partner,
        "invoice_date": datetime.now(UTC).date().isoformat(),
        "invoice_line_ids": [line],
    }
    made: list[int] = odoo.call("account.move", "create", [invoice] * INVOICES)
    return made


def wait_stored(odoo: OdooRpc, moves: list[int]) -> None:
    """Wait until the documents of all invoices are stored."""
    search = [["res_model", "=", "account.move"], ["res_id", "in", moves], ["state", "=", "stored"]]
    deadline = time.monotonic() + STORED_WITHIN_S
    while (stored := odoo.call("clinic.document", "search_count", search)) < len(moves):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{stored} of {len(moves)} documents after {STORED_WITHIN_S} s")
        time.sleep(1)


def main() -> None:
    """Measure, and keep the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--idle", type=float, default=60, help="seconds")
    options.add_argument("--drains", type=int, default=3)
    asked = options.parse_args()
    figures: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    figures["others"] = others(asked.idle, asked.drains)
    with tempfile.TemporaryDirectory() as folder:
        cluster = OdooCluster(Path(folder))
        try:
            figures["posting"] = posting(cluster, asked.rounds)
        finally:
            cluster.stop()
    target = ROOT / "build" / "bench" / "documents_posting.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
