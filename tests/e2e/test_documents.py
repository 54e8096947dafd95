"""What became of documents, as a clerk, a manager and a doctor see it in Odoo, in a real browser.

Needs documents in Odoo: the test posts an invoice and signs a record of its own and waits for them.
"""

import secrets
import time
from datetime import UTC, datetime

import pytest
from clinic.clients.odoo_rpc import OdooRpc
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.stack

STORED_WITHIN_S = 240
DESKTOP, TELEPHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
DOCUMENTS = "/odoo/action-medical_documents_integration.action_clinic_document"
GROUPS = {
    "clerk": ("account", "group_account_invoice"),
    "manager": ("medical_documents_integration", "group_manager"),
    "doctor": ("clinic_records", "group_doctor"),
}
_QUIET = {"lang": "es_ES", "tracking_disable": True, "no_reset_password": True}


@pytest.fixture(scope="module")
def odoo(stack_env) -> OdooRpc:
    return OdooRpc.from_environment(stack_env)


@pytest.fixture(scope="module")
def people(odoo, stack_env):
    """Role -> login and password of a user made for this module, and archived after it."""

    def group(module: str, name: str) -> int:
        search = [["module", "=", module], ["name", "=", name]]
        (found,) = odoo.call("ir.model.data", "search_read", search, ["res_id"])
        return found["res_id"]

    made = {}
    for role, right in GROUPS.items():
        login, password = f"e2e-{role}-{secrets.token_hex(3)}", secrets.token_urlsafe(18)
        groups = [group("base", "group_user"), group(*right)]
        user = odoo.call(
            "res.users", "create",
            {"name": f"Prueba {role}", "login": login, "password": password, "lang": "es_ES",
             "tz": "Europe/Madrid", "odoobot_state": "disabled", "group_ids": [(6, 0, groups)]},
            context=_QUIET,
        )  # fmt: skip
        made[role] = (user, login, password)
    yield {role: (login, password) for role, (_, login, password) in made.items()}
    odoo.call("res.users", "write", [user for user, _, _ in made.values()], {"active": False})


@pytest.fixture(scope="module")
def stored(odoo, people, stack_env):
    """The ids of two stored invoices and of a stored record, all new."""
    (patient,) = odoo.call(
        "res.partner", "create", [{"name": "Paciente de prueba", "is_patient": True}],
        context=_QUIET,
    )  # fmt: skip
    line = (0, 0, {"name": "Consulta", "quantity": 1, "price_unit": 60})
    invoice = {"move_type": "out_invoice", "partner_id": patient, "invoice_line_ids": [line],
               "invoice_date": datetime.now(UTC).date().isoformat()}  # fmt: skip
    invoices = odoo.call("account.move", "create", [invoice, invoice], context=_QUIET)
    odoo.call("account.move", "action_post", invoices)  # a program, which names no language
    login, password = people["doctor"]
    doctor = OdooRpc.from_environment(
        {**stack_env, "ODOO_LOGIN": login, "ODOO_PASSWORD": password, "ODOO_API_KEY": ""}
    )
    record = {"patient_id": patient, "subject": "Revisión", "note": "<p>Sin hallazgos.</p>"}
    records = doctor.call("clinic.medical.record", "create", [record])
    doctor.call("clinic.medical.record", "action_sign", records)
    wanted = {("account.move", i) for i in invoices} | {("clinic.medical.record", records[0])}
    deadline = time.monotonic() + STORED_WITHIN_S
    while True:
        rows = odoo.call(
            "clinic.document", "search_read", [["state", "=", "stored"]],
            ["res_model", "res_id", "number"], order="id desc", limit=50,
        )  # fmt: skip
        if wanted <= {(row["res_model"], row["res_id"]) for row in rows}:
            break
        assert time.monotonic() < deadline, "documents are not stored"
        time.sleep(1)
    numbers = [r["number"] for r in rows if (r["res_model"], r["res_id"]) in wanted]
    return {"invoices": invoices, "record": records[0], "numbers": numbers}


@pytest.fixture
def opened(new_context, people, stack_env):
    """Log in as a role and return the page."""

    def open_as(role: str, viewport) -> Page:
        page = new_context(viewport=viewport).new_page()
        page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/web/login")
        login, password = people[role]
        page.fill("input[name=login]", login)
        page.fill("input[name=password]", password)
        page.locator("form.oe_login_form button[type=submit]").click()
        page.locator(".o_main_navbar").wait_for()  # the address alone says nothing of the login
        return page

    return open_as


def open_list(page: Page, stack_env, number: str) -> None:
    page.goto(stack_env["ODOO_PUBLIC_URL"] + DOCUMENTS)
    page.locator(".o_data_row", has_text=number).wait_for()


def test_the_list_fits_a_telephone(opened, stored, stack_env, screenshots) -> None:
    page = opened("manager", TELEPHONE)
    open_list(page, stack_env, stored["numbers"][0])
    row = page.locator(".o_data_row", has_text=stored["numbers"][0])
    page.screenshot(path=screenshots / "odoo-documents-list-390.png")
    for column in ("number", "state", "url"):
        box = row.locator(f"td[name={column}]").bounding_box()
        assert box, column
        assert 0 <= box["x"] <= TELEPHONE["width"] - box["width"], column
    assert row.locator("td[name=state]").inner_text().strip() == "Archivado"


def test_the_form_fits_a_telephone(opened, stored, stack_env, screenshots) -> None:
    page = opened("manager", TELEPHONE)
    open_list(page, stack_env, stored["numbers"][0])
    page.locator(".o_data_row", has_text=stored["numbers"][0]).locator("td[name=number]").click()
    page.locator(".o_form_view .o_field_widget[name=url] a").wait_for()
    page.screenshot(path=screenshots / "odoo-document-form-390.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE["width"]
    assert "Nextcloud (WebDAV)" in page.locator(".o_field_widget[name=store_name]").inner_text()


def test_a_manager_sends_many_again_and_one(opened, odoo, stored, stack_env, screenshots) -> None:
    page = opened("manager", DESKTOP)
    open_list(page, stack_env, stored["numbers"][0])
    page.screenshot(path=screenshots / "odoo-documents-list.png")
    for number in stored["numbers"][:2]:
        page.locator(".o_data_row", has_text=number).locator("input[type=checkbox]").check()
    page.get_by_role("button", name="Enviar de nuevo").click()
    for number in stored["numbers"][:2]:
        row = page.locator(".o_data_row", has_text=number)
        expect(row.locator("td[name=state]")).not_to_have_text("Archivado")
    page.locator(".o_data_row", has_text=stored["numbers"][2]).locator("td[name=number]").click()
    page.get_by_role("button", name="Enviar de nuevo").click()
    page.locator(".modal-footer .btn-primary").click()
    expect(page.get_by_text("Enviado de nuevo por Prueba manager.")).to_be_visible()
    page.screenshot(path=screenshots / "odoo-document-form.png")
    deadline = time.monotonic() + STORED_WITHIN_S
    search = [["number", "in", stored["numbers"]], ["state", "=", "stored"]]
    while odoo.call("clinic.document", "search_count", search) < 3:
        assert time.monotonic() < deadline, "what was sent again is not stored again"
        time.sleep(1)


def test_a_clerk_sees_the_document_on_the_invoice_and_cannot_send_it(
    opened, stored, stack_env, screenshots
) -> None:
    page = opened("clerk", DESKTOP)
    page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/odoo/account.move/{stored['invoices'][0]}")
    button = page.locator(".oe_stat_button[name=action_open_documents]")
    expect(button).to_contain_text("Archivado")
    expect(page.locator(".o-mail-Chatter")).to_contain_text("está archivado")
    assert " is stored" not in page.locator(".o-mail-Chatter").inner_text()
    page.screenshot(path=screenshots / "odoo-invoice-document.png")
    button.click()
    page.get_by_role("button", name="Abrir el documento archivado").wait_for()
    assert not page.get_by_role("button", name="Enviar de nuevo").count()
    assert not page.get_by_text("Detalle técnico").count()


def test_a_doctor_sees_the_document_on_the_record(opened, stored, stack_env, screenshots) -> None:
    page = opened("doctor", TELEPHONE)
    page.goto(f"{stack_env['ODOO_PUBLIC_URL']}/odoo/clinic.medical.record/{stored['record']}")
    page.locator(".o_form_view").wait_for()
    page.screenshot(path=screenshots / "odoo-record-390.png", full_page=True)
    page.set_viewport_size(DESKTOP)
    button = page.locator(".oe_stat_button[name=action_open_documents]")
    expect(button).to_contain_text("Archivado")
    chatter = page.locator(".o-mail-Chatter")
    expect(chatter).to_contain_text("Firmado")
    for english in ("Signed", "Draft", "created", "is stored"):
        assert english not in chatter.inner_text()
    page.screenshot(path=screenshots / "odoo-record-document.png")
    button.click()
    page.get_by_role("button", name="Abrir el documento archivado").wait_for()
    assert not page.get_by_role("button", name="Enviar de nuevo").count()
