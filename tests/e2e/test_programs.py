"""A program calls Airflow: docs/how-to/call-airflow-from-a-program.md, step by step."""

import base64
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest

pytestmark = pytest.mark.stack
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "call-airflow-from-a-program.md"


def keycloak_token(http, stack_env, client_id, secret):
    answer = http.post(
        f"{stack_env['KEYCLOAK_PUBLIC_URL']}/realms/{stack_env['KEYCLOAK_REALM']}"
        "/protocol/openid-connect/token",
        data={
            "grant_type": "client_credentials",
            "scope": "openid",
            "client_id": client_id,
            "client_secret": secret,
        },
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["access_token"]


def exchange(http, stack_env, assertion):
    return http.post(
        f"{stack_env['AIRFLOW_PUBLIC_URL']}/auth/token",
        json={
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion,
        },
    )


@pytest.fixture(scope="module")
def assertion(http, stack_env):
    return keycloak_token(
        http, stack_env, stack_env["AIRFLOW_CI_CLIENT_ID"], stack_env["AIRFLOW_CI_CLIENT_SECRET"]
    )


@pytest.fixture(scope="module")
def token(http, stack_env, assertion):
    answer = exchange(http, stack_env, assertion)
    assert answer.status_code == 201, answer.text
    return answer.json()["access_token"]


def call(http, stack_env, token, method, path, **options):
    return http.request(
        method,
        stack_env["AIRFLOW_PUBLIC_URL"] + path,
        headers={"Authorization": f"Bearer {token}"},
        **options,
    )


def test_a_program_lists_the_dags_and_starts_one(http, stack_env, token):
    dags = call(http, stack_env, token, "GET", "/api/v2/dags?limit=50").json()["dags"]
    assert "reconcile_inventory" in {dag["dag_id"] for dag in dags}
    path = "/api/v2/dags/reconcile_inventory/dagRuns"
    started = call(http, stack_env, token, "POST", path, json={"logical_date": None})
    assert started.status_code == 200, started.text
    run = call(http, stack_env, token, "GET", f"{path}/{started.json()['dag_run_id']}")
    assert run.status_code == 200
    assert run.json()["triggering_user_name"] == "service-account-airflow-ci"


def test_the_program_in_the_guide_runs_as_it_stands_there(stack_env):
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={name: stack_env[name] for name in stack_env if name in program},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("manual__")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "/api/v2/dags/sync_inventory"),
        ("DELETE", "/api/v2/dags/no_such_dag"),
        ("GET", "/api/v2/connections"),
        ("GET", "/api/v2/variables"),
        ("GET", "/api/v2/dagSources/sync_inventory"),
        ("POST", "/api/v2/pools"),
    ],
)
def test_a_program_may_do_no_more_than_that(http, stack_env, token, method, path):
    body = {} if method in {"GET", "DELETE"} else {"json": {}}
    assert call(http, stack_env, token, method, path, **body).status_code == 403


def test_keycloaks_own_token_is_not_airflows(http, stack_env, assertion):
    assert call(http, stack_env, assertion, "GET", "/api/v2/dags").status_code in {401, 403}


def test_a_token_made_for_others_is_not_exchanged(http, stack_env):
    sync = keycloak_token(http, stack_env, "sync", stack_env["KEYCLOAK_SYNC_SECRET"])
    assert exchange(http, stack_env, sync).status_code == 403


def test_a_token_of_airflow_itself_is_not_exchanged_either(http, stack_env):
    """Its audience fits, but `airflow` is not among the programs that may."""
    own = keycloak_token(http, stack_env, "airflow", stack_env["KEYCLOAK_AIRFLOW_SECRET"])
    assert exchange(http, stack_env, own).status_code == 403


def forged(assertion):
    """Tokens that claim what a real one claims, signed by nobody or by somebody else."""
    header = json.loads(base64.urlsafe_b64decode(assertion.split(".")[0] + "=="))
    claims = jwt.decode(assertion, options={"verify_signature": False})
    claims |= {"exp": int(time.time()) + 3600, "azp": "airflow-ci", "aud": "airflow"}
    head, body, signature = assertion.split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    return {
        "unsigned": jwt.encode(claims, None, algorithm="none", headers={"kid": header["kid"]}),
        "signed with a guess": jwt.encode(
            claims, "a" * 64, algorithm="HS256", headers={"kid": header["kid"]}
        ),
        "signature changed": f"{head}.{body}.{flipped}",
        "claims changed": f"{head}.{_encoded(claims)}.{signature}",
        "no token": "x.y.z",
    }


def _encoded(claims):
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def test_forged_tokens_are_refused_everywhere(http, stack_env, assertion, token):
    assert exchange(http, stack_env, assertion).status_code == 201  # the real one
    for what, fake in forged(assertion).items():
        assert exchange(http, stack_env, fake).status_code == 403, what
    for what, fake in forged(token).items():
        status = call(http, stack_env, fake, "GET", "/api/v2/dags").status_code
        assert status in {401, 403}, what


def test_a_persons_password_is_no_way_in_for_a_program(http, stack_env, passwords):
    answer = http.post(
        f"{stack_env['KEYCLOAK_PUBLIC_URL']}/realms/{stack_env['KEYCLOAK_REALM']}"
        "/protocol/openid-connect/token",
        data={
            "grant_type": "password",
            "client_id": "airflow",
            "client_secret": stack_env["KEYCLOAK_AIRFLOW_SECRET"],
            "username": "demo-sistemas",
            "password": passwords["demo-sistemas"],
        },
    )
    assert answer.status_code in {400, 401}
    assert "access_token" not in answer.json()
