"""The closing act, on the running stack: a change in Odoo is in the shared database."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from clinic.clients.odoo_rpc import OdooRpc
from clinic.demo import show as show_module
from clinic.demo.catalogue import fetch_wheel, read_catalogue
from clinic.demo.clinic import invent_clinic
from clinic.demo.load import load_clinic
from clinic.demo.show import follow, read_mirror_counts, read_odoo_counts, show, wait_for_mirror
from clinic.errors import PermanentError, TransientError
from rich.console import Console
from support.stack_env import needed, stack_env

pytestmark = pytest.mark.stack

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def odoo() -> OdooRpc:
    odoo = OdooRpc.from_environment(stack_env())
    wheel = fetch_wheel(Path(needed("CLINIC_CACHE")))
    load_clinic(odoo, invent_clinic(read_catalogue(wheel), today=TODAY))
    return odoo


def shown(odoo: OdooRpc) -> str:
    out = io.StringIO()
    show(stack_env(), odoo, Console(file=out, width=100))
    return out.getvalue()


def test_two_changes_are_seen_arriving_and_again_the_next_time(odoo: OdooRpc) -> None:
    first, second = shown(odoo), shown(odoo)
    for text in (first, second):
        before, after = re.findall(r"([\d,.]+) units? in shared_stock_levels", text)
        units = re.search(r"dispenses ([\d,]+) units? of lot", text)
        assert units
        assert float(before.replace(",", "")) - float(after.replace(",", "")) == float(units[1])
        times = [float(ms) for ms in re.findall(r"([\d.]+) ms from Odoo's commit", text)]
        assert len(times) == 2
        assert all(0 < ms < 15_000 for ms in times)
        assert max(len(line) for line in text.splitlines()) <= 100
        assert needed("AIRFLOW_PUBLIC_URL") in text
    low = [re.findall(r"\((OMS-\d+)\)", text)[1] for text in (first, second)]
    assert low[0] != low[1], "each time another medicine falls below its minimum"
    with psycopg.connect(needed("SHARED_DB_READONLY_URL")) as shared:
        alerts = {sku for (sku,) in shared.execute("SELECT sku FROM low_stock_alerts")}
    assert set(low) <= alerts


def test_the_mirror_agrees_with_odoos_own_counts(odoo: OdooRpc) -> None:
    with psycopg.connect(needed("SHARED_DB_READONLY_URL"), autocommit=True) as shared:
        counts = wait_for_mirror(odoo, shared, Console(file=io.StringIO()), timeout_s=60)
        assert counts == read_mirror_counts(shared) == read_odoo_counts(odoo)
    assert counts.medicines >= 442


def test_a_mirror_that_does_not_come_says_where_to_look(
    odoo: OdooRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = read_odoo_counts(odoo)
    monkeypatch.setattr(
        show_module, "read_odoo_counts", lambda odoo: show_module.Counts(
            counts.medicines + 1, counts.lots, counts.levels, counts.units)
    )  # fmt: skip
    with (
        psycopg.connect(needed("SHARED_DB_READONLY_URL"), autocommit=True) as shared,
        pytest.raises(TransientError, match="sync_inventory"),
    ):
        wait_for_mirror(odoo, shared, Console(file=io.StringIO()), timeout_s=1)


def test_a_change_that_does_not_arrive_is_an_error_in_time() -> None:
    def touch_odoo() -> None:
        with psycopg.connect(needed("ODOO_DB_URL")) as database:
            database.execute("NOTIFY clinic_change")

    with pytest.raises(TransientError, match="did not come in 1 s"):
        follow(stack_env(), change=touch_odoo, arrived=lambda database: False, timeout_s=1)


def test_a_missing_address_is_named(odoo: OdooRpc) -> None:
    environment = {
        name: value for name, value in stack_env().items() if name != "SHARED_DB_READONLY_URL"
    }
    with pytest.raises(PermanentError, match="No SHARED_DB_READONLY_URL"):
        show(environment, odoo, Console(file=io.StringIO()))
