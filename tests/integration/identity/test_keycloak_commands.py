"""`clinic keycloak …` as the stack and an administrator call it."""

import json
import secrets
from pathlib import Path

import pytest
from clinic.cli import app
from clinic.identity.realm import parse, placeholders
from support.keycloak import admin_api, admin_token
from typer.testing import CliRunner

pytestmark = pytest.mark.stack
FILE = Path(__file__).parents[3] / "keycloak" / "clinica-realm.yaml"
SECRET = "Generated-for-a-test-5"


@pytest.fixture(scope="module")
def master(stack_env):
    with admin_api(stack_env) as client:
        yield client


@pytest.fixture(scope="module")
def realm_file(tmp_path_factory, master):
    name = f"test-{secrets.token_hex(4)}"
    path = tmp_path_factory.mktemp("realm") / "realm.yaml"
    text = FILE.read_text(encoding="utf-8")
    path.write_text(text.replace("realm: clinica-realm", f"realm: {name}"), encoding="utf-8")
    yield path
    master.delete(f"/{name}")


@pytest.fixture(autouse=True)
def no_stack(monkeypatch, tmp_path):
    """The command takes what it lacks from stack.env: here each value is said."""
    monkeypatch.setenv("CLINIC_STATE", str(tmp_path))


@pytest.fixture
def environment(stack_env, realm_file, monkeypatch):
    """What a command finds in its environment."""
    names = placeholders(parse(realm_file.read_text(encoding="utf-8")))
    logins = [name[len("DEMO_USERS[") : -1] for name in names if "[" in name]
    values = {name: "https://x.test" if name.endswith("_URL") else SECRET for name in names}
    values |= {name: stack_env[name] for name in stack_env if name.startswith("KEYCLOAK_")}
    values |= {"DEMO_USERS": json.dumps(dict.fromkeys(logins, SECRET))}
    for name in names:
        if "SECRET" in name:
            values[name] = SECRET
    values.pop("KEYCLOAK_CONSOLE_URL", None)
    for name, value in values.items():
        if "[" not in name:
            monkeypatch.setenv(name, value)
    return monkeypatch


def run(*arguments):
    return CliRunner().invoke(app, ["keycloak", *map(str, arguments)])


def test_apply_says_what_it_changed_and_nothing_the_second_time(environment, realm_file, master):
    name = parse(realm_file.read_text(encoding="utf-8"))["realm"]
    first = run("apply", "--file", realm_file, "--without-demo-accounts")
    assert first.exit_code == 0, first.output
    assert f"create realm {name}" in first.output
    assert "demo-" not in first.output
    assert SECRET not in first.output
    second = run("apply", "--file", realm_file, "--without-demo-accounts")
    assert second.output == f"{name}: nothing to change\n"
    users = {u["username"] for u in master.get(f"/{name}/users", params={"max": 50}).json()}
    assert users == set()

    checked = run("check", "--file", realm_file)
    assert checked.exit_code == 1
    assert "would create account demo-farmacia" in checked.output
    assert checked.output.endswith(f"{name}: 5 differences\n")
    assert run("check", "--file", realm_file, "--without-demo-accounts").exit_code == 0
    users = {u["username"] for u in master.get(f"/{name}/users", params={"max": 50}).json()}
    assert users == set(), "a check changes nothing"


def test_a_value_that_is_missing_stops_everything_and_is_named(environment, realm_file):
    environment.delenv("KEYCLOAK_ODOO_SECRET")
    environment.setenv("AIRFLOW_PUBLIC_URL", "")
    done = run("apply", "--file", realm_file)
    assert done.exit_code == 1
    assert "KEYCLOAK_ODOO_SECRET" in done.output
    assert "AIRFLOW_PUBLIC_URL" in done.output
    assert "Traceback" not in done.output


def test_where_keycloak_is_must_be_said(environment, realm_file):
    environment.delenv("KEYCLOAK_URL")
    environment.delenv("KEYCLOAK_ADMIN_PASSWORD")
    done = run("apply", "--file", realm_file)
    assert done.exit_code == 1
    assert "KEYCLOAK_URL, KEYCLOAK_ADMIN_PASSWORD" in done.output


def test_the_names_of_the_values_can_be_listed(realm_file):
    done = run("placeholders", "--file", realm_file)
    names = done.output.split()
    assert "KEYCLOAK_AIRFLOW_SECRET" in names
    assert "DEMO_USERS[demo-farmacia]" in names


def test_an_administrators_password_is_changed_once(environment, master, stack_env):
    login, old, new = f"test-{secrets.token_hex(4)}", "Old-password-11", "New-password-22"
    user = {
        "username": login,
        "enabled": True,
        "attributes": {"is_temporary_admin": ["true"]},
        "credentials": [{"type": "password", "value": old}],
    }
    assert master.post("/master/users", json=user).is_success
    found = master.get("/master/users", params={"username": login, "exact": "true"}).json()[0]
    path = f"/master/users/{found['id']}"
    try:
        role = master.get("/master/roles/admin").json()
        assert master.post(f"{path}/role-mappings/realm", json=[role]).is_success
        environment.setenv("KEYCLOAK_ADMIN", login)
        environment.setenv("KEYCLOAK_ADMIN_PASSWORD", new)
        environment.setenv("KEYCLOAK_ADMIN_OLD_PASSWORD", old)
        first = run("set-admin-password")
        assert first.output == "the administrator's password: changed\n"
        assert admin_token(stack_env, login, old) is None
        assert admin_token(stack_env, login, new)
        second = run("set-admin-password")
        assert second.output == "the administrator's password: nothing to change\n"
        assert "is_temporary_admin" not in master.get(path).json().get("attributes", {})
        environment.setenv("KEYCLOAK_ADMIN_PASSWORD", "neither")
        refused = run("set-admin-password")
        assert refused.exit_code == 1
        assert "refused" in refused.output
        assert old not in refused.output
    finally:
        master.delete(path)
