"""The pharmacist's dashboard in a real browser: Odoo's changes show, and bookings reach Odoo."""

import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from clinic.clients.odoo import OdooClient
from e2e.pages import fill_form
from playwright.sync_api import BrowserContext, Page, Response, expect
from support.stack_env import ROOT

pytestmark = pytest.mark.stack

ARRIVES_MS = 60_000
"""How long a busy machine may take; what it takes is measured elsewhere."""

MOST_JAVASCRIPT_BYTES = 250_000
AXE = ROOT / "services" / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
TELEPHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 800}


@dataclass(frozen=True)
class Medicine:
    """A medicine of this test's own, with 40 in stock."""

    id: int
    name: str
    code: str
    quant_id: int
    location: str


@pytest.fixture(scope="module")
def odoo(stack_env) -> Iterator[OdooClient]:
    client = OdooClient.connect(
        stack_env["ODOO_URL"], database=stack_env["ODOO_DB"], api_key=stack_env["ODOO_API_KEY"]
    )
    yield client
    client.close()


@pytest.fixture(scope="module")
def medicine(odoo) -> Medicine:
    code = f"PANEL-{time.time_ns()}"
    name = f"Medicamento {code}"
    (product,) = odoo.call(
        "product.product",
        "create",
        vals_list=[
            {"name": name, "default_code": code, "type": "consu", "is_storable": True},
        ],
    )
    (warehouse,) = odoo.call(
        "stock.warehouse", "search_read", domain=[], fields=["lot_stock_id"], limit=1
    )
    location_id, location = warehouse["lot_stock_id"]
    (quant,) = odoo.call(
        "stock.quant",
        "create",
        vals_list=[
            {"product_id": product, "location_id": location_id, "inventory_quantity": 40},
        ],
    )
    odoo.call("stock.quant", "action_apply_inventory", ids=[quant])
    return Medicine(product, name, code, quant, location)


@pytest.fixture(scope="module")
def pharmacist(browser, stack_env, passwords) -> Iterator[BrowserContext]:
    context = browser.new_context(ignore_https_errors=True, locale="es-ES", viewport=DESK)
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(stack_env["DASHBOARD_PUBLIC_URL"])
    fill_form(page, "demo-farmacia", passwords["demo-farmacia"])
    page.locator("[data-tile=out_of_stock] strong").wait_for()
    page.close()
    yield context
    context.close()


def opened(pharmacist: BrowserContext, stack_env: dict[str, str], path: str = "/") -> Page:
    page = pharmacist.new_page()
    page.goto(stack_env["DASHBOARD_PUBLIC_URL"] + path)
    page.locator("[data-tile], h1, h2").first.wait_for()
    return page


def count(odoo: OdooClient, medicine: Medicine, quantity: float) -> None:
    """Correct the stock in Odoo, as a person who counts does."""
    odoo.call(
        "stock.quant", "write", ids=[medicine.quant_id], vals={"inventory_quantity": quantity}
    )
    odoo.call("stock.quant", "action_apply_inventory", ids=[medicine.quant_id])


def on_hand(odoo: OdooClient, medicine: Medicine) -> float:
    (quant,) = odoo.call("stock.quant", "read", ids=[medicine.quant_id], fields=["quantity"])
    return float(quant["quantity"])


def test_a_change_in_odoo_shows_without_asking(
    pharmacist, stack_env, odoo, medicine, screenshots
) -> None:
    page = opened(pharmacist, stack_env)
    page.get_by_label("Buscar medicamento").fill(medicine.code.lower())
    row = page.locator(f"tr[data-medication='{medicine.id}']")
    expect(row.locator("[data-quantity]")).to_have_text("40", timeout=ARRIVES_MS)
    expect(page.locator("tbody tr")).to_have_count(1)
    loads = page.evaluate("performance.getEntriesByType('navigation').length")
    count(odoo, medicine, 35)
    expect(row.locator("[data-quantity]")).to_have_text("35", timeout=ARRIVES_MS)
    assert page.evaluate("performance.getEntriesByType('navigation').length") == loads
    page.screenshot(path=screenshots / "dashboard-search.png")
    page.close()


def test_what_is_booked_by_scanner_is_booked_in_odoo_once(
    pharmacist, stack_env, odoo, medicine, screenshots
) -> None:
    page = opened(pharmacist, stack_env, "/registrar")
    before = on_hand(odoo, medicine)
    page.get_by_role("combobox", name="Medicamento").type(medicine.code)
    page.keyboard.press("Enter")
    page.get_by_label("Ubicación").select_option(label=medicine.location)
    page.get_by_label("Cantidad").fill("2")
    page.get_by_label("Motivo").fill("Prueba del panel")
    page.get_by_role("button", name="Registrar movimiento").click()
    expect(page.locator(".outcome")).to_have_text("Aplicado en Odoo.", timeout=ARRIVES_MS)
    page.screenshot(path=screenshots / "dashboard-booked.png")
    assert on_hand(odoo, medicine) == before - 2
    page.goto(f"{stack_env['DASHBOARD_PUBLIC_URL']}/medicamentos/{medicine.id}")
    expect(page.get_by_role("heading", name=medicine.name)).to_be_visible()
    page.close()


def test_a_code_that_nothing_has_books_nothing(pharmacist, stack_env, odoo, medicine) -> None:
    """And above all not the medicine that was chosen before."""
    before = on_hand(odoo, medicine)
    page = opened(pharmacist, stack_env, "/registrar")
    field = page.get_by_role("combobox", name="Medicamento")
    field.type(medicine.code)
    page.keyboard.press("Enter")
    expect(field).to_have_value(medicine.name)
    page.get_by_label("Ubicación").select_option(label=medicine.location)
    page.get_by_label("Cantidad").fill("1")
    field.fill("NADA-0000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Ningún medicamento tiene ese código")).to_be_visible()
    page.get_by_role("button", name="Registrar movimiento").click()
    expect(page.get_by_text("Elija primero un medicamento")).to_be_visible()
    assert on_hand(odoo, medicine) == before
    page.close()


def test_what_odoo_does_not_have_becomes_a_conflict_that_a_person_resolves(
    pharmacist, stack_env, odoo, medicine, screenshots
) -> None:
    before = on_hand(odoo, medicine)
    page = opened(pharmacist, stack_env, "/registrar")
    page.get_by_role("combobox", name="Medicamento").type(medicine.code)
    page.keyboard.press("Enter")
    page.get_by_label("Ubicación").select_option(label=medicine.location)
    page.get_by_label("Cantidad").fill("5000")
    page.get_by_role("button", name="Registrar movimiento").click()
    expect(page.locator(".outcome")).to_contain_text("Conflictos", timeout=ARRIVES_MS)
    page.get_by_role("link", name="Conflictos").first.click()
    ours = page.get_by_role("article", name=medicine.name)
    expect(ours).to_be_visible(timeout=ARRIVES_MS)
    page.screenshot(path=screenshots / "dashboard-conflict.png")
    ours.get_by_role("button", name="Descartar").click()
    expect(ours).to_be_hidden(timeout=ARRIVES_MS)
    assert on_hand(odoo, medicine) == before
    page.close()


@pytest.mark.parametrize("tile", ["out_of_stock", "below_minimum", "expiring_30", "expired"])
def test_a_tile_leads_to_its_list(pharmacist, stack_env, tile: str) -> None:
    page = opened(pharmacist, stack_env)
    strong = page.locator(f"[data-tile={tile}] strong")
    expect(strong).not_to_have_text("…")
    number = int(strong.inner_text().replace(".", ""))
    page.locator(f"[data-tile={tile}]").click()
    if number == 0:
        expect(page.get_by_text("No hay nada que coincida.")).to_be_visible()
    else:
        expect(page.locator("tbody tr")).to_have_count(min(number, 50))
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, TELEPHONE], ids=["desk", "telephone"])
def test_no_page_shuts_anybody_out(
    pharmacist, stack_env, medicine, screenshots, scheme: str, size: Any
) -> None:
    """axe finds nothing, and no page is wider than the screen."""
    axe = AXE.read_text()
    page = opened(pharmacist, stack_env)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size(size)
    for path in ("/", f"/medicamentos/{medicine.id}", "/movimientos", "/registrar", "/conflictos"):
        page.goto(stack_env["DASHBOARD_PUBLIC_URL"] + path)
        page.locator("[data-tile], h1, h2").first.wait_for()
        page.wait_for_load_state("load")
        page.get_by_text("Cargando…").first.wait_for(state="detached")
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [(each["id"], [n["html"] for n in each["nodes"][:3]]) for each in found] == [], path
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], path
        name = path.strip("/").partition("/")[0] or "existencias"
        page.screenshot(path=screenshots / f"dashboard-{name}-{size['width']}-{scheme}.png")
    page.close()


def test_the_first_page_is_light(pharmacist, stack_env) -> None:
    page = pharmacist.new_page()
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(stack_env["DASHBOARD_PUBLIC_URL"])
    page.locator("[data-tile=out_of_stock] strong").wait_for()
    scripts = {a.url: a.body() for a in answers if a.request.resource_type == "script"}
    assert scripts
    assert sum(len(gzip.compress(body)) for body in scripts.values()) <= MOST_JAVASCRIPT_BYTES
    page.close()


def test_signing_out_ends_the_session(new_context, stack_env, passwords) -> None:
    page = new_context().new_page()
    page.goto(stack_env["DASHBOARD_PUBLIC_URL"])
    fill_form(page, "demo-medicina", passwords["demo-medicina"])
    page.get_by_role("button", name="Ajustes").click()
    page.get_by_role("link", name="Cerrar sesión").click()
    page.wait_for_load_state()
    page.goto(stack_env["DASHBOARD_PUBLIC_URL"])
    expect(page.locator("#username")).to_be_visible()


def test_somebody_without_a_group_sees_no_stock(new_context, stack_env, passwords) -> None:
    page = new_context().new_page()
    page.goto(stack_env["DASHBOARD_PUBLIC_URL"])
    fill_form(page, "demo-sin-grupo", passwords["demo-sin-grupo"])
    expect(page.get_by_role("alert").first).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(0)
