"""The button *Copiar ahora* in Odoo, pressed in a real browser, until the backup is stored."""

import re
import time

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = pytest.mark.stack

STORED_WITHIN_S = 240


@pytest.fixture(scope="module")
def administrator(browser, stack_env):
    """A window of Odoo's administrator."""
    context = browser.new_context(ignore_https_errors=True, locale="es-ES")
    context.set_default_timeout(30_000)
    page = context.new_page()
    page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/web/login")
    page.locator("input[name=password]").wait_for()
    page.fill("input[name=login]", stack_env["ODOO_LOGIN"])
    page.fill("input[name=password]", stack_env["ODOO_PASSWORD"])
    page.locator("form.oe_login_form button[type=submit]").click()
    page.locator(".o_main_navbar").wait_for()  # its address begins with /odoo before, too
    page.close()
    yield context
    context.close()


def open_backups(context: BrowserContext, stack_env: dict[str, str]) -> Page:
    page = context.new_page()
    page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/odoo/action-clinic_backups.action_clinic_backup")
    page.get_by_role("button", name="Copiar ahora").first.wait_for()
    return page


def test_the_button_starts_the_dag_and_the_row_becomes_stored(
    administrator, stack_env, screenshots
) -> None:
    page = open_backups(administrator, stack_env)
    page.get_by_role("button", name="Copiar ahora").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Solo la base de datos").check()
    note = f"Prueba del botón {time.time_ns()}"
    dialog.get_by_label("Motivo").fill(note)
    began = time.monotonic()
    dialog.get_by_role("button", name="Copiar ahora").click()
    expect(page.get_by_text(note)).to_be_visible()
    answered_s = time.monotonic() - began
    state = page.locator(".o_statusbar_status [aria-checked=true]")
    seen = []
    deadline = time.monotonic() + STORED_WITHIN_S
    while "Guardada" not in seen:
        word = state.inner_text().strip()
        if word not in seen:
            seen.append(word)
        assert word != "Fallida", page.locator(".o_form_view").inner_text()
        assert time.monotonic() < deadline, f"seen so far: {seen}"
        page.wait_for_timeout(500)
        page.reload()
        page.get_by_text(note).wait_for()
    assert answered_s < STORED_WITHIN_S  # it did not wait for the backup itself
    assert seen[0] in {"Por enviar", "Pedida"}
    link = page.locator(".o_field_widget[name=url] a")
    assert re.match(r"https?://", link.get_attribute("href") or "")
    page.screenshot(path=screenshots / "odoo-backup-stored.png")
    page.close()


def test_a_list_of_backups_fits_a_telephone(browser, administrator, stack_env, screenshots) -> None:
    page = open_backups(administrator, stack_env)
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    page.get_by_role("button", name="Copiar ahora").first.wait_for()
    page.locator(".o_kanban_record").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.screenshot(path=screenshots / "odoo-backups-390.png")
    page.close()


def test_the_service_account_may_report_and_nothing_else(stack_env) -> None:
    def call(model: str, method: str, **arguments) -> httpx.Response:
        return httpx.post(
            f"{stack_env['ODOO_URL']}/json/2/{model}/{method}",
            json=arguments,
            headers={
                "Authorization": f"bearer {stack_env['ODOO_BACKUPS_API_KEY']}",
                "X-Odoo-Database": stack_env["ODOO_DB"],
            },
            timeout=30,
        )

    assert call("clinic.backup", "report", backups=[]).status_code == 200
    for model in ("clinic.backup", "res.partner", "res.users", "clinic.document"):
        assert call(model, "search_read", domain=[]).status_code == 403, model
    assert call("clinic.backup.request", "create", vals_list=[{}]).status_code == 403
