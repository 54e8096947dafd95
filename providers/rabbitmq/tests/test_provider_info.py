"""What Airflow learns of the distribution, and that it finds it."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import airflow
import pytest
from jsonschema import Draft7Validator
from rabbitmq_provider.get_provider_info import FIELDS, get_provider_info

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_airflow_accepts_it():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    Draft7Validator(schema).validate(get_provider_info())


def test_it_is_named_as_the_distribution():
    assert get_provider_info()["package-name"] == PROJECT["name"]
    module, function = PROJECT["entry-points"]["apache_airflow_provider"]["provider_info"].split(
        ":"
    )
    assert getattr(importlib.import_module(module), function) is get_provider_info


def test_what_it_names_exists():
    info = get_provider_info()
    names = [*info["queues"], *(one["hook-class-name"] for one in info["connection-types"])]
    assert len(names) == 2
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute)


def test_the_form_is_known_without_the_client_libraries():
    code = (
        "import sys; from rabbitmq_provider.get_provider_info import get_provider_info; "
        "get_provider_info(); assert not {'pika', 'aio_pika', 'airflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=_environment())


def test_every_extra_field_has_a_label_and_a_description():
    assert set(FIELDS) == {"ssl", "ca_file", "heartbeat_s", "timeout_s"}
    for field in FIELDS.values():
        assert field["label"]
        assert field["description"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with what an installation writes of the distribution: its metadata."""
    folder = tmp_path / "airflow_provider_rabbitmq_clinic-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    )
    ((group, entries),) = PROJECT["entry-points"].items()
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    return tmp_path


def test_a_message_queue_trigger_of_scheme_rabbitmq_becomes_ours(installed: Path):
    code = """
import json
from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Asset, AssetWatcher
trigger = MessageQueueTrigger(
    scheme="rabbitmq", queue_name="orders", rabbitmq_conn_id="shop", prefetch=7
)
Asset("orders", watchers=[AssetWatcher(name="orders", trigger=trigger)])
form = ProvidersManager().hooks["rabbitmq"]
print(json.dumps([*trigger.serialize(), form.hook_name, form.package_name]))
"""
    environment = _environment() | {"AIRFLOW_HOME": str(installed / "home")}
    environment["PYTHONPATH"] = f"{installed}:{environment['PYTHONPATH']}"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == [
        "rabbitmq_provider.triggers.rabbitmq.RabbitMQMessageTrigger",
        {"queue_name": "orders", "rabbitmq_conn_id": "shop", "prefetch": 7},
        "RabbitMQ",
        PROJECT["name"],
    ]


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(ROOT / "src")}
