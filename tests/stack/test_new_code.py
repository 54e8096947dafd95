"""What `up` starts anew after a `git pull`: the services whose code changed, and no other."""

import os
import shutil
from pathlib import Path

import pytest
from support.stacks import CHECKOUT, Stack

FOLDERS = (
    "stack",
    "include",
    "plugins",
    "providers",
    "sql",
    "odoo-addons",
    "gateway",
    "rabbitmq",
    "services",
)
FILES = ("pyproject.toml", "README.md", "requirements.txt", "requirements-dev.txt")


@pytest.fixture(scope="module")
def checkout(folder: Path) -> Path:
    """A checkout that may be changed."""
    copy = folder / "checkout"
    for name in (*FOLDERS, "dags", "keycloak"):
        shutil.copytree(
            CHECKOUT / name,
            copy / name,
            ignore=shutil.ignore_patterns("__pycache__", "node_modules"),
        )
    for name in FILES:
        shutil.copy(CHECKOUT / name, copy / name)
    return copy


def test_a_service_whose_code_changed_is_started_anew_and_only_then(
    folder: Path, checkout: Path
) -> None:
    stack = Stack(folder / "pulled", "drive", checkout=checkout)
    stack.up()
    first = stack.process("drive").pid
    module = checkout / "stack" / "drive_emulator" / "__main__.py"
    os.utime(module)
    (checkout / "include" / "clinic" / "new.py").write_text("not the emulator's\n")
    assert "running already" in stack.up()
    assert stack.process("drive").pid == first
    module.write_text(module.read_text() + "\n# changed\n")
    assert "starting anew: drive" in stack.up()
    assert stack.process("drive").pid != first
    assert "running already" in stack.up()
    stack.run("down")


@pytest.mark.parametrize(
    ("changed", "is_code"),
    [
        ("include/clinic/errors.py", True),
        ("plugins/clinic_airflow/hooks/odoo.py", True),
        ("providers/rabbitmq/src/rabbitmq_provider/new.py", True),
        ("sql/queries/mirror.sql", True),
        ("include/clinic/__pycache__/errors.cpython-313.py", False),
        ("dags/sync_inventory.py", False),  # read by Airflow itself
        ("providers/rabbitmq/tests/test_hook.py", False),
    ],
)
def test_airflows_services_start_anew_when_a_module_or_query_changed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, changed: str, is_code: bool
) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT / "stack"))
    from clinic_stack.config import Config
    from clinic_stack.progress import Progress
    from clinic_stack.services import Runit

    state = checkout.parent / "nothing"
    runit = Runit(Config(checkout, state, state, state, state, "x", 20000, ()), Progress())
    names = ("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-api")
    before = {name: runit._settings(name) for name in names}
    file = checkout / changed
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as text:
        text.write("\n")
    after = {name: runit._settings(name) for name in names}
    assert [before[name] != after[name] for name in names] == [is_code] * 4
