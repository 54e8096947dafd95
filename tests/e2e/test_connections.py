"""The test button of Airflow's Connections page, pressed for each connection of the stack."""

import json

import pytest

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    "connection",
    [
        "odoo_default",
        "odoo_documents",
        "shared_db",
        "airflow_metadata",
        "rabbitmq_default",
        "google_cloud_drive",
        "nextcloud_default",
        "smtp_default",
        "odoo_backups",
        "odoo_alerts",
        "odoo_database",
    ],
)
def test_the_button_says_that_the_connection_works(session_of, stack_env, connection: str) -> None:
    page = session_of("demo-sistemas").new_page()
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/connections")
    row = page.get_by_role("row").filter(has_text=connection)
    with page.expect_response(lambda answer: "/connections/test" in answer.url) as pressed:
        row.locator("button").first.click()
    status, said = pressed.value.status, pressed.value.text()
    page.close()
    assert status == 200, said
    assert json.loads(said)["status"] is True, said
