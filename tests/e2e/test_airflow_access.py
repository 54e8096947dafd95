"""Who may do what in Airflow, asked with each account's own browser session through the gateway."""

import time

import pytest

pytestmark = pytest.mark.stack

FARMACIA, MEDICINA = "demo-farmacia", "demo-medicina"
ADMINISTRACION, SISTEMAS = "demo-administracion", "demo-sistemas"
NOBODY = "demo-sin-grupo"
EVERYBODY = [MEDICINA, FARMACIA, ADMINISTRACION, SISTEMAS, NOBODY]

# A body that Airflow refuses with 422, but only after it has asked whether the person may do this
# at all: what each account may write is seen without writing anything.
UNREADABLE = {"logical_date": "not a date", "value": {"not": "text"}, "slots": "not a number"}
MAY = {200, 204, 404, 409, 422}

# What is asked, and who may.
VIEWERS = {MEDICINA, FARMACIA, ADMINISTRACION, SISTEMAS}
OPERATORS = {ADMINISTRACION, SISTEMAS}
INVENTORY = {FARMACIA, ADMINISTRACION, SISTEMAS}
ADMINISTRATORS = {SISTEMAS}
MATRIX = [
    ("GET", "/ui/dags?limit=50", VIEWERS),
    ("GET", "/api/v2/dags?limit=50", VIEWERS),
    ("GET", "/api/v2/dags/sync_inventory", VIEWERS),
    ("GET", "/api/v2/dags/~/dagRuns?limit=1", VIEWERS),
    ("GET", "/api/v2/dags/sync_inventory/dagRuns?limit=1", VIEWERS),
    ("GET", "/api/v2/assets", VIEWERS),
    ("GET", "/api/v2/pools", VIEWERS),
    ("GET", "/api/v2/dags/clean_airflow_db", VIEWERS),
    # logs and data of a run: of the inventory for the pharmacy, of all for operators
    ("GET", "/api/v2/dags/sync_inventory/dagRuns/x/taskInstances/x/logs/1", INVENTORY),
    ("GET", "/api/v2/dags/sync_inventory/dagRuns/x/taskInstances/x/xcomEntries", INVENTORY),
    ("GET", "/api/v2/dags/clean_airflow_db/dagRuns/x/taskInstances/x/logs/1", OPERATORS),
    ("GET", "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", OPERATORS),
    ("GET", "/api/v2/dagSources/sync_inventory", OPERATORS),
    ("GET", "/api/v2/eventLogs?limit=1", OPERATORS),
    # starting and pausing
    ("POST", "/api/v2/dags/sync_inventory/dagRuns", INVENTORY),
    ("POST", "/api/v2/dags/reconcile_inventory/dagRuns", INVENTORY),
    ("POST", "/api/v2/dags/clean_airflow_db/dagRuns", OPERATORS),
    ("PATCH", "/api/v2/dags/sync_inventory", OPERATORS),
    ("PATCH", "/api/v2/dags/~", OPERATORS),
    ("POST", "/api/v2/dags/sync_inventory/clearTaskInstances", OPERATORS),
    ("DELETE", "/api/v2/dags/no_such_dag", ADMINISTRATORS),
    # secrets and settings
    ("GET", "/api/v2/connections", OPERATORS),
    ("GET", "/api/v2/connections/odoo_default", OPERATORS),
    ("POST", "/api/v2/connections", ADMINISTRATORS),
    ("POST", "/api/v2/connections/test", ADMINISTRATORS),
    ("PATCH", "/api/v2/connections/odoo_default", ADMINISTRATORS),
    ("DELETE", "/api/v2/connections/no_such_connection", ADMINISTRATORS),
    ("GET", "/api/v2/variables", OPERATORS),
    ("POST", "/api/v2/variables", ADMINISTRATORS),
    ("DELETE", "/api/v2/variables/no_such_variable", ADMINISTRATORS),
    ("POST", "/api/v2/pools", OPERATORS),
    ("DELETE", "/api/v2/pools/no_such_pool", ADMINISTRATORS),
    ("GET", "/api/v2/plugins", OPERATORS),
    ("GET", "/api/v2/providers", OPERATORS),
    ("GET", "/api/v2/jobs", OPERATORS),
    ("GET", "/api/v2/importErrors", OPERATORS),
    ("POST", "/api/v2/backfills", OPERATORS),
]
MENUS = {
    NOBODY: set(),
    MEDICINA: {"Dags", "Assets"},
    FARMACIA: {"Dags", "Assets"},
    ADMINISTRACION: {
        *("Dags", "Assets", "Audit Log", "Connections", "Deadlines"),
        *("Jobs", "Pools", "Required Actions", "Variables", "XComs"),
    },
    SISTEMAS: {
        *("Dags", "Assets", "Audit Log", "Connections", "Deadlines"),
        *("Jobs", "Pools", "Required Actions", "Variables", "XComs"),
        *("Config", "Docs", "Plugins", "Providers"),
    },
}


@pytest.mark.parametrize("login", EVERYBODY)
def test_each_account_may_do_what_its_group_may_and_nothing_else(login, session_of, stack_env):
    request = session_of(login).request
    wrong = []
    for method, path, allowed in MATRIX:
        body = {} if method == "GET" else {"data": UNREADABLE}
        status = request.fetch(stack_env["AIRFLOW_PUBLIC_URL"] + path, method=method, **body).status
        right = status in MAY if login in allowed else status == 403
        if not right:
            wrong.append(f"{method} {path}: {status}, {'may' if login in allowed else 'may not'}")
    assert wrong == []


@pytest.mark.parametrize("login", EVERYBODY)
def test_each_account_sees_its_menus(login, session_of, stack_env):
    answer = session_of(login).request.get(f"{stack_env['AIRFLOW_PUBLIC_URL']}/ui/auth/menus")
    assert set(answer.json()["authorized_menu_items"]) == MENUS[login]


def test_the_list_of_dags_is_not_empty_for_who_may_see_it(session_of, stack_env):
    for login in sorted(VIEWERS):
        url = f"{stack_env['AIRFLOW_PUBLIC_URL']}/ui/dags?limit=50"
        dags = {dag["dag_id"] for dag in session_of(login).request.get(url).json()["dags"]}
        assert {"sync_inventory", "reconcile_inventory"} <= dags, login


def test_the_configuration_with_its_secrets_is_shown_to_nobody(session_of, stack_env):
    for login in EVERYBODY:
        url = f"{stack_env['AIRFLOW_PUBLIC_URL']}/api/v2/config"
        assert session_of(login).request.get(url).status == 403, login


def test_no_stored_password_is_shown_even_to_who_may_see_connections(session_of, stack_env):
    for login in (ADMINISTRACION, SISTEMAS):
        url = f"{stack_env['AIRFLOW_PUBLIC_URL']}/api/v2/connections"
        connections = session_of(login).request.get(url).json()["connections"]
        assert {c["connection_id"] for c in connections} >= {"odoo_default", "shared_db"}
        for connection in connections:
            assert connection["password"] in {None, "", "***"}, connection["connection_id"]


def test_the_pharmacy_starts_a_reconciliation(session_of, stack_env):
    base = f"{stack_env['AIRFLOW_PUBLIC_URL']}/api/v2/dags/reconcile_inventory/dagRuns"
    request = session_of(FARMACIA).request
    note = f"started by a test at {time.time()}"
    started = request.post(base, data={"logical_date": None, "note": note})
    assert started.status == 200, started.text()
    run = request.get(f"{base}/{started.json()['dag_run_id']}")
    assert run.status == 200
    assert run.json()["triggering_user_name"] == FARMACIA


@pytest.mark.parametrize(("login", "may"), [(FARMACIA, True), (MEDICINA, False)])
def test_the_button_starts_a_dag_only_for_who_may(login, may, session_of, stack_env):
    page = session_of(login).new_page()
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/dags/reconcile_inventory")
    page.get_by_test_id("trigger-dag-button").click()
    with page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        page.get_by_role("dialog").locator("button", has_text="Trigger").last.click()
    assert answer.value.url.endswith("/dags/reconcile_inventory/dagRuns")
    assert answer.value.status == (200 if may else 403)
    if not may:
        page.get_by_text("403").first.wait_for()
    page.close()


def test_a_person_without_a_group_sees_no_dags(session_of, stack_env):
    page = session_of(NOBODY).new_page()
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/dags")
    page.get_by_text("403").first.wait_for()
    assert page.get_by_text("sync_inventory").count() == 0
    page.close()
