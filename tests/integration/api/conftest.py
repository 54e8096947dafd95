"""The API as it runs, on a shared database of its own and with tokens of the running Keycloak."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from integration.gateway.rig import free_port
from support.shared_db import Database, migrated
from support.stack_env import ROOT, needed

SEED = Path(__file__).with_name("seed.sql").read_text()
CONFLICT = """
WITH asked AS (
    INSERT INTO movement_requests
        (idempotency_key, client, person, kind, medication_id, location_id, quantity, source, state)
    VALUES (gen_random_uuid()::text, 'c', 'Ana', 'out', 1, 9, 99, 'api', 'conflict') RETURNING id
)
INSERT INTO sync_conflicts (request_id, code, ours, theirs)
SELECT id, 'not_enough_stock', '{"quantity": "40", "detail": "Hay 40."}', '{"quantity": "99"}'
FROM asked
RETURNING id
"""


def program_token(client: str, secret: str) -> str:
    """A real access token of a program."""
    realm = f"{needed('KEYCLOAK_URL')}/realms/{needed('KEYCLOAK_REALM')}"
    answer = httpx.post(
        f"{realm}/protocol/openid-connect/token",
        data={"grant_type": "client_credentials", "client_id": client, "client_secret": secret},
        timeout=30,
        trust_env=False,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


@dataclass(frozen=True)
class Api:
    """A running API."""

    url: str
    database: Database
    process: subprocess.Popen[bytes]
    log: Path

    def token(self) -> str:
        return program_token("inventory-programs", needed("INVENTORY_PROGRAMS_CLIENT_SECRET"))

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token()}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    log = tmp_path_factory.mktemp("api") / "api.log"
    port = free_port()
    with migrated() as database, log.open("wb") as output:
        database.query(SEED)
        names = ("KEYCLOAK_URL", "KEYCLOAK_PUBLIC_URL", "KEYCLOAK_REALM", "DASHBOARD_PUBLIC_URL")
        process = subprocess.Popen(
            [sys.executable, "-m", "inventory_api", "--port", str(port)],
            env=os.environ
            | {name: needed(name) for name in names}
            | {
                "SHARED_DB_API_URL": database.api_url,
                "PYTHONPATH": f"{ROOT}/include:{ROOT}/services",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        api = Api(f"http://127.0.0.1:{port}", database, process, log)
        try:
            for _ in range(600):
                try:
                    httpx.get(f"{api.url}/api/health", trust_env=False).raise_for_status()
                    break
                except httpx.HTTPError:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.1)
            yield api
        finally:
            process.terminate()
            process.wait(60)
