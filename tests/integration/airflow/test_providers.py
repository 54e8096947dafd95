"""What the stack's Airflow learns of this repository's distributions."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.stack_env import needed

pytestmark = pytest.mark.stack

SCRIPT = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
print(json.dumps({
    "providers": {name: provider.version for name, provider in manager.providers.items()},
    "hooks": {name: hook and hook.package_name for name, hook in manager.hooks.items()},
}))
"""
OURS = {
    "odoo": "clinic",
    "clinic_shared_db": "clinic",
    "clinic_drive": "clinic",
    "clinic_webdav": "clinic",
    "rabbitmq": "airflow-provider-rabbitmq-clinic",
}


def test_it_knows_every_connection_type_and_can_import_its_hook() -> None:
    home = Path(needed("CLINIC_STATE"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ
        | {
            "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{home / 'site'}",
            "AIRFLOW_HOME": str(home / "airflow"),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"clinic", "airflow-provider-rabbitmq-clinic"} <= found["providers"].keys()
    assert {name: found["hooks"].get(name) for name in OURS} == OURS
