"""A person of the systems department restores Odoo with Airflow's form, and answers it."""

import json
import re
import uuid

import psycopg
import pytest
from playwright.sync_api import Page, expect
from support.processes import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]  # two runs of four tasks, and a restore
DAG = "restore_odoo"
WAIT_S = 240
DESKTOP, TELEPHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture
def target(stack_env):
    """A database that is there already, with something in it to know it by."""
    name = f"prueba_{uuid.uuid4().hex[:8]}"
    with server(stack_env) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield name
    with server(stack_env) as connection:
        found = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        for (database,) in connection.execute(found, [name]).fetchall():
            connection.execute(f"ALTER DATABASE {database} IS_TEMPLATE false")
            connection.execute(f"DROP DATABASE {database} (FORCE)")


def server(stack_env, database: str = "postgres") -> psycopg.Connection:
    url = stack_env["ODOO_DB_URL"].rpartition("/")[0]
    return psycopg.connect(f"{url}/{database}", autocommit=True)


def identity(stack_env, database: str) -> tuple[int, str | None]:
    """Return what a database is by itself, whatever it is called, and what it was made from."""
    with server(stack_env) as connection:
        return connection.execute(
            "SELECT oid::int, shobj_description(oid, 'pg_database') FROM pg_database"
            " WHERE datname = %s",
            [database],
        ).fetchone()


def begin(page: Page, stack_env, target: str, screenshots) -> str:
    """Send the form without a backup's name; return the run's id."""
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/dags/{DAG}")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.get_by_role("dialog")
    form.locator("#element_target").fill(target)
    page.screenshot(path=screenshots / "restore-form-1280.png")
    form.get_by_role("button", name="Trigger").click()
    form.wait_for(state="hidden")
    return wait_until(lambda: run_of(stack_env, target), "the run is there", WAIT_S)


def run_of(stack_env, target: str) -> str | None:
    with psycopg.connect(stack_env["AIRFLOW_DB_URL"]) as database:
        rows = database.execute(
            "SELECT run_id, conf FROM dag_run WHERE dag_id = %s ORDER BY id DESC LIMIT 5", [DAG]
        ).fetchall()
    for run_id, conf in rows:
        if (conf if isinstance(conf, dict) else json.loads(conf)).get("target") == target:
            return run_id
    return None


def state_of(stack_env, run_id: str, task: str) -> str | None:
    with psycopg.connect(stack_env["AIRFLOW_DB_URL"]) as database:
        row = database.execute(
            "SELECT state FROM task_instance WHERE run_id = %s AND task_id = %s", [run_id, task]
        ).fetchone()
    return row[0] if row else None


def question(page: Page, stack_env, run_id: str, task: str) -> None:
    """Open what a task of the run asks, by the list of what waits for a person."""
    asking = {"deferred", "awaiting_input"}
    wait_until(lambda: state_of(stack_env, run_id, task) in asking, f"{task} asks", WAIT_S)
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/required_actions")
    page.locator(f'a[href*="{run_id.partition("+")[0]}"][href*="{task}"]').first.click()
    page.wait_for_url(f"**/tasks/{task}/required_actions**")


def test_what_is_there_is_replaced_only_when_a_person_says_so(
    session_of, stack_env, target, screenshots
):
    page = session_of("demo-sistemas").new_page()
    page.set_viewport_size(DESKTOP)
    before = identity(stack_env, target)

    def decide(button: str, picture: str) -> str:
        run_id = begin(page, stack_env, target, screenshots)
        question(page, stack_env, run_id, "choose")
        page.get_by_text("¿Qué copia de Odoo se restaura?").first.wait_for()
        page.screenshot(path=screenshots / "restore-choose-1280.png")
        choose_newest(page)
        question(page, stack_env, run_id, "approve")
        page.get_by_text(f"La base de datos {target} ya existe").first.wait_for()
        page.screenshot(path=screenshots / f"restore-{picture}-1280.png")
        page.set_viewport_size(TELEPHONE)
        page.screenshot(path=screenshots / f"restore-{picture}-390.png")
        page.set_viewport_size(DESKTOP)
        assert identity(stack_env, target) == before  # nobody has decided yet
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("button", name=button)).to_be_disabled()
        return run_id

    rejected = decide("Reject", "reject")
    wait_until(
        lambda: state_of(stack_env, rejected, "restore") == "skipped", "it is skipped", WAIT_S
    )
    assert identity(stack_env, target) == before

    approved = decide("Approve", "approve")
    ended = {"success", "failed", "upstream_failed", "skipped"}
    outcome = wait_until(
        lambda: {state_of(stack_env, approved, "restore")} & ended, "the restore ends", WAIT_S
    )
    assert outcome == {"success"}
    assert identity(stack_env, target)[0] != before[0]
    with server(stack_env, target) as connection:
        key = "SELECT value FROM ir_config_parameter WHERE key = 'database.is_neutralized'"
        assert connection.execute(key).fetchone() == ("true",)
    with psycopg.connect(stack_env["SHARED_DB_SYNC_URL"]) as database:
        row = database.execute(
            "SELECT requested_by, state FROM restores WHERE target = %s", [target]
        ).fetchall()
    assert row == [("demo-sistemas", "done")]
    page.close()


def choose_newest(page: Page) -> None:
    """Choose the newest full one, whose key is there; few are shown as buttons, many as a list."""
    newest = re.compile(r"^odoo\.full\.")
    button = page.get_by_role("button", name=newest)
    choice = page.get_by_role("combobox")
    button.or_(choice).first.wait_for()
    if button.first.is_visible():
        button.first.click()
        return
    choice.last.click()
    page.get_by_role("option", name=newest).first.click()
    page.get_by_role("button", name=re.compile("^(OK|Responder)$")).click()
