"""The realm file on a real Keycloak, in a realm of its own that is removed afterwards."""

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from clinic.clients.keycloak import KeycloakRealmAdmin
from clinic.errors import PermanentError, TransientError
from clinic.identity.apply import apply, current
from clinic.identity.realm import parse, placeholders, plan, state, substitute
from support.keycloak import admin_api

pytestmark = pytest.mark.stack
FILE = Path(__file__).parents[3] / "keycloak" / "clinica-realm.yaml"
PASSWORD = "Correct-horse-battery-7"


@pytest.fixture(scope="module")
def admin(stack_env):
    return KeycloakRealmAdmin(
        stack_env["KEYCLOAK_URL"],
        stack_env["KEYCLOAK_ADMIN"],
        stack_env["KEYCLOAK_ADMIN_PASSWORD"],
    )


@pytest.fixture(scope="module")
def rest(stack_env) -> Iterator[httpx.Client]:
    with admin_api(stack_env) as client:
        yield client


def file_for(realm: str) -> dict:
    text = FILE.read_text(encoding="utf-8").replace("realm: clinica-realm", f"realm: {realm}")
    values = {
        name.partition("[")[0]: "https://x.test" if name.endswith("_URL") else PASSWORD
        for name in placeholders(parse(text))
    }
    users = [n[len("DEMO_USERS[") : -1] for n in placeholders(parse(text)) if "[" in n]
    return substitute(
        parse(text), {**values, "DEMO_USERS": json.dumps(dict.fromkeys(users, PASSWORD))}
    )


@pytest.fixture(scope="module")
def file(rest):
    file = file_for(f"test-{secrets.token_hex(4)}")
    yield file
    rest.delete(f"/{file['realm']}")


@pytest.fixture(scope="module")
def name(file, admin):
    """A realm that the file was applied to once."""
    changes = apply(state(file), admin)
    assert str(changes[0]) == f"create realm {file['realm']}"
    return file["realm"]


def said(changes):
    return [str(change) for change in changes]


def found(rest, path, **query):
    answer = rest.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def client_id(rest, name, client):
    return found(rest, f"/{name}/clients", clientId=client)[0]["id"]


def authz(rest, name):
    return f"/{name}/clients/{client_id(rest, name, 'airflow')}/authz/resource-server"


def test_applying_again_changes_nothing(name, file, admin):
    assert apply(state(file), admin) == []


def test_settings_roles_and_clients_that_drifted_are_put_right(name, file, admin, rest):
    rest.put(f"/{name}", json={"accessTokenLifespan": 86400, "bruteForceProtected": False})
    group = found(rest, f"/{name}/group-by-path/medicina")
    admin_role = found(rest, f"/{name}/roles/Admin")
    rest.post(f"/{name}/groups/{group['id']}/role-mappings/realm", json=[admin_role])
    odoo = client_id(rest, name, "odoo")
    representation = found(rest, f"/{name}/clients/{odoo}")
    representation |= {"redirectUris": ["*"], "directAccessGrantsEnabled": True}
    representation["attributes"]["pkce.code.challenge.method"] = ""
    assert rest.put(f"/{name}/clients/{odoo}", json=representation).is_success
    changes = apply(state(file), admin)
    assert said(changes) == [
        f"update realm {name} (bruteForceProtected, accessTokenLifespan)",
        "update group's roles medicina (-Admin)",
        "update client odoo (redirectUris, directAccessGrantsEnabled, "
        "attributes.pkce.code.challenge.method)",
    ]
    assert found(rest, f"/{name}")["accessTokenLifespan"] == 60
    assert found(rest, f"/{name}/clients/{odoo}")["redirectUris"] == [
        "https://x.test/auth_oauth/signin"
    ]


def test_a_permission_that_somebody_added_is_gone_afterwards(name, file, admin, rest):
    base = authz(rest, name)
    viewer = found(rest, f"{base}/policy", name="Es-Viewer")[0]["id"]
    wide = {"name": "Todo-para-todos", "policies": [viewer], "scopes": ["DELETE"]}
    assert rest.post(f"{base}/permission/scope", json=wide).status_code == 201
    assert said(apply(state(file), admin)) == ["update permissions airflow (-Todo-para-todos)"]
    names = {policy["name"] for policy in found(rest, f"{base}/policy", max=1000)}
    assert "Todo-para-todos" not in names
    assert "Administrar" in names


def test_a_permission_that_somebody_widened_is_narrow_again(name, file, admin, rest):
    base = authz(rest, name)
    permission = found(rest, f"{base}/policy", name="Lanzar-inventario")[0]
    viewer = found(rest, f"{base}/policy", name="Es-Viewer")[0]["id"]
    wide = {
        "id": permission["id"],
        "name": "Lanzar-inventario",
        "type": "scope",
        "logic": "POSITIVE",
        "decisionStrategy": "UNANIMOUS",
        "policies": [viewer],
        "scopes": ["POST", "DELETE"],
        "resources": [],
    }
    assert rest.put(f"{base}/permission/scope/{permission['id']}", json=wide).is_success
    assert said(apply(state(file), admin)) == ["update permissions airflow (~Lanzar-inventario)"]
    assert plan(state(file), current(state(file), admin)) == []


def test_what_airflows_own_create_all_would_make_is_removed(name, file, admin, rest):
    base = authz(rest, name)
    assert rest.post(f"{base}/resource", json={"name": "Anything"}).status_code == 201
    assert rest.post(f"{base}/scope", json={"name": "ANY"}).status_code == 201
    rest.put(base, json={**found(rest, base), "decisionStrategy": "UNANIMOUS"})
    (change,) = apply(state(file), admin)
    assert set(change.fields) == {"~decisionStrategy", "-ANY", "-Anything"}


def test_nobodys_password_groups_or_state_is_touched(name, file, admin, rest):
    user = found(rest, f"/{name}/users", username="demo-medicina", exact="true")[0]
    path = f"/{name}/users/{user['id']}"
    new = {"type": "password", "value": "Another-password-9", "temporary": False}
    assert rest.put(f"{path}/reset-password", json=new).is_success
    farmacia = found(rest, f"/{name}/group-by-path/farmacia")["id"]
    assert rest.put(f"{path}/groups/{farmacia}").is_success
    assert rest.put(path, json={**user, "enabled": False}).is_success
    before = found(rest, f"{path}/credentials")
    rest.put(f"/{name}", json={"accessTokenLifespan": 61})

    changes = apply(state(file), admin)

    assert said(changes) == [f"update realm {name} (accessTokenLifespan)"]
    assert found(rest, f"{path}/credentials") == before
    groups = {group["name"] for group in found(rest, f"{path}/groups")}
    assert groups == {"farmacia", "medicina"}
    assert found(rest, path)["enabled"] is False


def test_people_groups_and_clients_that_somebody_added_stay(name, file, admin, rest):
    assert rest.post(f"/{name}/groups", json={"name": "laboratorio"}).is_success
    assert rest.post(f"/{name}/users", json={"username": "ana"}).is_success
    assert rest.post(f"/{name}/clients", json={"clientId": "till"}).is_success
    assert apply(state(file), admin) == []
    assert found(rest, f"/{name}/users", username="ana", exact="true")
    assert client_id(rest, name, "till")


def test_two_runs_at_the_same_time_end_in_the_same_realm(admin, rest, stack_env):
    file = file_for(f"test-{secrets.token_hex(4)}")
    keys = ("KEYCLOAK_URL", "KEYCLOAK_ADMIN", "KEYCLOAK_ADMIN_PASSWORD")
    admins = [KeycloakRealmAdmin(*(stack_env[key] for key in keys)) for _ in range(2)]
    try:
        # Who comes second at making a realm waits; from here on both are at work.
        admin.create_realm({"realm": file["realm"], "enabled": True})
        with ThreadPoolExecutor(2) as pool:
            changes = list(pool.map(lambda admin: apply(state(file), admin), admins))
        assert len(changes[0]) + len(changes[1]) >= 49
        assert apply(state(file), admin) == []
        names = [user["username"] for user in found(rest, f"/{file['realm']}/users", max=100)]
        assert len(names) == len(set(names)) == 5
    finally:
        rest.delete(f"/{file['realm']}")


def test_no_password_gets_into_keycloaks_journal(name, file, admin, rest):
    """Runs after the others, so that the journal holds accounts, clients and changes."""
    events = found(rest, f"/{name}/admin-events", max=1000)
    assert any(event["operationType"] == "CREATE" for event in events)
    assert PASSWORD not in json.dumps(events)


def test_a_wrong_password_cannot_be_helped_by_trying_again(stack_env):
    with pytest.raises(PermanentError, match="KEYCLOAK_ADMIN_PASSWORD") as error:
        KeycloakRealmAdmin(stack_env["KEYCLOAK_URL"], stack_env["KEYCLOAK_ADMIN"], "wrong-guess")
    assert "wrong-guess" not in str(error.value)


def test_a_keycloak_that_is_not_there_may_come_back(free_port):
    with pytest.raises(TransientError, match="Is Keycloak running"):
        KeycloakRealmAdmin(f"http://127.0.0.1:{free_port}", "admin", "x")


def test_a_realm_that_is_not_there_is_none(admin):
    assert admin.export("no-such-realm", [], []) is None


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
