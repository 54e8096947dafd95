"""The realm file itself: what must be in it, and that it knows all of the installed Airflow."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity
from airflow.api_fastapi.common.types import MenuItem
from airflow.providers.keycloak.auth_manager.resources import KeycloakResource
from clinic.identity.realm import parse, placeholders, state

ROOT = Path(__file__).parents[3]
FILE = ROOT / "keycloak" / "clinica-realm.yaml"
GROUPS = {"farmacia", "medicina", "administracion", "sistemas"}

# What each part of a DAG is for, decided when Airflow 3.3.2 was looked at. The policies of the
# realm file list what is allowed, so a part that is not here is closed to everybody but Op and
# Admin until somebody decides.
STATE_OF_A_DAG = {
    "RUN",
    "TASK",
    "TASK_INSTANCE",
    "DEPENDENCIES",
    "VERSION",
    "WARNING",
    "HITL_DETAIL",
}
CONTENT_OF_A_DAG = {"TASK_LOGS", "XCOM"}
HIDDEN_OF_A_DAG = {"CODE", "AUDIT_LOG"}
BASIC_VIEWS = {"WEBSITE", "DOCS", "CLUSTER_ACTIVITY"}
OTHER_VIEWS = {"IMPORT_ERRORS", "JOBS", "PLUGINS", "PROVIDERS", "TRIGGERS"}


@pytest.fixture(scope="module")
def realm():
    return parse(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def permissions(realm):
    return state(realm).clients["airflow"].permissions


def test_every_menu_of_the_installed_airflow_is_named(permissions):
    installed = {item.value for item in MenuItem}
    named = {name for name, scopes in permissions.resources.items() if scopes == {"MENU"}}
    assert installed
    assert installed - named == set(), "new in this Airflow: decide who sees these menus"
    assert named - installed == set(), "gone from this Airflow: take these menus out of the file"


def test_every_resource_of_the_installed_provider_is_named(permissions):
    installed = {resource.value for resource in KeycloakResource}
    named = {name for name, scopes in permissions.resources.items() if scopes != {"MENU"}}
    assert installed
    assert installed - named == set(), "new in this provider: decide who may do what with these"
    assert named - installed == set(), "gone from this provider: take these out of the file"


def test_every_part_of_a_dag_and_every_view_was_decided_on():
    parts = {entity.value for entity in DagAccessEntity}
    assert parts == STATE_OF_A_DAG | CONTENT_OF_A_DAG | HIDDEN_OF_A_DAG, "decide who may see these"
    assert {view.value for view in AccessView} == BASIC_VIEWS | OTHER_VIEWS, "decide who sees these"


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        ("Solo-estado", STATE_OF_A_DAG),
        ("Sin-codigo-ni-auditoria", STATE_OF_A_DAG | CONTENT_OF_A_DAG),
    ],
)
def test_a_part_of_a_dag_that_is_not_listed_is_closed(permissions, policy, allowed):
    """Keycloak asks whether the pattern matches the whole claim, and turns the answer round."""
    assert permissions.policies[policy]["logic"] == "NEGATIVE"
    refused = re.compile(permissions.policies[policy]["config"]["pattern"])
    parts = {entity.value for entity in DagAccessEntity} | {"SOMETHING_NEW"}
    assert {part for part in parts if not refused.fullmatch(part)} == allowed


@pytest.mark.parametrize("name", ["sync_inventory2", "x_sync_inventory", "sync_inventory\nx", ""])
def test_only_the_inventorys_own_dags_are_the_pharmacys(permissions, name):
    pattern = re.compile(permissions.policies["Es-proceso-de-inventario"]["config"]["pattern"])
    assert pattern.fullmatch("sync_inventory")
    assert pattern.fullmatch("reconcile_inventory")
    assert not pattern.fullmatch(name)


def test_one_yes_is_enough_and_no_other_client_decides(permissions):
    assert permissions.settings == {
        "allowRemoteResourceManagement": False,
        "policyEnforcementMode": "ENFORCING",
        "decisionStrategy": "AFFIRMATIVE",
    }


def test_each_permission_asks_who_it_is(permissions):
    """One without a policy, or of conditions on the request alone, would be everybody's."""
    who = {n for n, p in permissions.policies.items() if p["type"] in {"role", "client"}}
    allowing = {n: p for n, p in permissions.policies.items() if p["type"] == "scope"}
    assert len(allowing) > 10
    for name, permission in allowing.items():
        assert permission["decisionStrategy"] == "UNANIMOUS", name
        assert who & set(permission["config"]["applyPolicies"]), name


def test_permissions_name_only_what_exists(permissions):
    for name, permission in permissions.policies.items():
        if permission["type"] != "scope":
            continue
        assert set(permission["config"]["applyPolicies"]) <= permissions.policies.keys(), name
        assert set(permission["config"]["scopes"]) <= permissions.scopes, name
        assert set(permission["config"].get("resources", [])) <= permissions.resources.keys(), name


def test_connections_and_variables_are_written_by_administrators_only(permissions):
    for name, permission in permissions.policies.items():
        config = permission["config"]
        if permission["type"] != "scope" or "Es-Admin" in config["applyPolicies"]:
            continue
        assert "resources" in config, f"{name} would be a permission on everything"
        if {"Connection", "Variable", "Configuration"} & set(config["resources"]):
            assert set(config["scopes"]) <= {"GET", "LIST"}, name


def test_each_role_holds_the_one_below_it(realm):
    roles = state(realm).roles
    chain = ["Viewer", "User", "Op", "Admin", "SuperAdmin"]
    assert list(roles) == chain
    assert roles["Viewer"]["composites"] == frozenset()
    for lower, higher in pairwise(chain):
        assert roles[higher]["composites"] == {lower}


def test_there_is_a_group_for_each_team_and_an_account_for_each_group(realm):
    assert set(state(realm).groups) == GROUPS
    accounts = {
        user["username"]: user["groups"] for user in realm["users"] if "credentials" in user
    }
    assert accounts == {
        **{f"demo-{group}": [f"/{group}"] for group in GROUPS},
        "demo-sin-grupo": [],
    }


def test_no_secret_is_written_down(realm):
    secrets = [client["secret"] for client in realm["clients"] if "secret" in client]
    passwords = [c["value"] for user in realm["users"] for c in user.get("credentials", [])]
    assert len(secrets) == 6
    assert len(passwords) == 5
    assert all(re.fullmatch(r"\$\{[^{}]+\}", value) for value in secrets + passwords)
    assert len({*secrets, *passwords}) == 11, "each has its own"


def test_addresses_come_from_outside(realm):
    assert {"AIRFLOW_PUBLIC_URL", "ODOO_PUBLIC_URL", "DASHBOARD_PUBLIC_URL"} <= placeholders(realm)
    assert "http" not in re.sub(r"#.*", "", FILE.read_text(encoding="utf-8"))


def test_tokens_stay_small_and_passwords_stay_with_keycloak(realm):
    for client in realm["clients"]:
        assert client["fullScopeAllowed"] is False, client["clientId"]
        if not client.get("bearerOnly"):
            assert client["directAccessGrantsEnabled"] is False, client["clientId"]
            assert client["implicitFlowEnabled"] is False, client["clientId"]


def test_what_airflows_provider_needs_is_as_it_needs_it(realm):
    airflow = next(c for c in realm["clients"] if c["clientId"] == "airflow")
    assert "pkce.code.challenge.method" not in airflow["attributes"]
    assert realm["revokeRefreshToken"] is False
