"""Every DAG loads, says what it is for, and follows the house rules."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from clinic_airflow.docs import REFERENCE, render
from clinic_airflow.failures import report_failure

ROOT = Path(__file__).parents[2]
DAGS_DIR = ROOT / "dags"
DAG_FILES = sorted(DAGS_DIR.glob("*.py"))
PARTS = ["* **Reads**:", "* **Writes**:", "* **Run it twice?**", "* **When it fails**:"]


@pytest.fixture(scope="session")
def dagbag() -> DagBag:
    return DagBag(dag_folder=str(DAGS_DIR))


def test_the_suite_looks_at_the_dags_that_there_are(dagbag: DagBag) -> None:
    assert dagbag.import_errors == {}
    assert {"sync_inventory", "reconcile_inventory", "clean_airflow_db"} <= set(dagbag.dags)
    assert {"drain_invoices", "drain_medical_records", "drain_notifications"} <= set(dagbag.dags)
    assert "replay_parked_documents" in dagbag.dags
    assert sorted(dagbag.dags) == [path.stem for path in DAG_FILES]


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_house_rules(dagbag: DagBag, path: Path) -> None:
    dag = dagbag.dags[path.stem]  # one file, one DAG, one name
    assert dag.doc_md
    assert dag.doc_md.strip().startswith("# ")
    for part in PARTS:
        assert part in dag.doc_md, part
    assert f"`docs/runbooks/{dag.dag_id}.md`" in dag.doc_md
    assert (ROOT / "docs" / "runbooks" / f"{dag.dag_id}.md").exists()
    assert dag.tags
    assert not dag.catchup
    assert dag.start_date is not None  # without one, @continuous runs once and sticks
    assert dag.tasks
    for a_task in dag.tasks:
        assert a_task.retries > 0, a_task.task_id
        assert a_task.execution_timeout, a_task.task_id
        assert a_task.retry_policy is not None, a_task.task_id
        assert report_failure in a_task.on_failure_callback, a_task.task_id
    assert len(path.read_text().splitlines()) <= 80, "move logic to include/clinic"


def test_what_may_be_left_empty_may_be_null(dagbag: DagBag) -> None:
    """Airflow's form sends nothing while a field that is a string, and no more, is empty."""
    optional = [
        (dag.dag_id, name, param.schema)
        for dag in dagbag.dags.values()
        for name, param in dag.params.items()
        if param.value == ""
    ]
    assert {(dag_id, name) for dag_id, name, _ in optional} >= {("restore_odoo", "backup")}
    for dag_id, name, schema in optional:
        assert "null" in schema["type"], (dag_id, name)


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda path: path.stem)
def test_a_task_body_is_one_call(path: Path) -> None:
    bodies = [
        node.body
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name != path.stem
    ]
    assert bodies
    for body in bodies:
        steps = [
            step
            for step in body
            if not isinstance(step, ast.ImportFrom)
            and not (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
        ]
        assert len(steps) == 1, ast.unparse(ast.Module(steps, []))


def test_the_reference_is_generated_from_the_docstrings() -> None:
    assert REFERENCE.read_text() == render(), "run `python -m clinic_airflow.docs`"


def test_the_check_says_when_the_reference_is_older_than_the_dags(tmp_path: Path) -> None:
    older = tmp_path / "dags.md"
    older.write_text("older")
    command = [sys.executable, "-m", "clinic_airflow.docs", "--check", "--to", str(older)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 1
    assert "python -m clinic_airflow.docs" in checked.stderr


def test_parsing_imports_neither_http_nor_database_libraries() -> None:
    """What parsing costs, it costs every few seconds."""
    program = (
        "import sys, importlib.util, airflow.sdk\n"
        "before = set(sys.modules)\n"
        f"for path in {[str(path) for path in DAG_FILES]}:\n"
        "    spec = importlib.util.spec_from_file_location('a_dag', path)\n"
        "    spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(new & {'psycopg', 'odoorpc', 'aiosql', 'clinic.clients.odoo'}))\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert time.monotonic() - began < 60
