"""The report that a failed task leaves."""

import stat
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from clinic.alerts import report
from clinic.errors import TransientError
from clinic_airflow import failures

AT = datetime(2026, 7, 1, 10, tzinfo=UTC)
TI = SimpleNamespace(
    dag_id="sync", task_id="mirror", run_id="r1", map_index=None, try_number=3, end_date=AT
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    return tmp_path


def test_a_failed_task_leaves_one_report() -> None:
    failures.report_failure({"ti": TI, "exception": TransientError("Odoo x.y: HTTP 502.")})
    ((path, found),) = report.read_all(failures.folder())
    assert found == report.Report("sync", "mirror", "r1", -1, 3, AT, "odoo", "Odoo x.y: HTTP 502.")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_secret_lies_on_the_disk() -> None:
    error = TransientError("Odoo: https://ana:s3cret@odoo.example did not answer")
    failures.report_failure({"ti": TI, "exception": error})
    ((path, _),) = report.read_all(failures.folder())
    assert "s3cret" not in path.read_text()


def test_it_never_raises(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    (home / "spool").write_text("in the way")
    failures.report_failure({"ti": TI, "exception": None})
    failures.report_failure({})
    assert caplog.text.count("could not be written") == 2


def test_what_is_no_report_is_named(home: Path) -> None:
    folder = failures.folder()
    folder.mkdir(parents=True)
    for number, text in enumerate(("", "[]", '{"at": 1}', '{"at": "2026-07-01T10:00:00+00:00"}')):
        (folder / f"{number}.json").write_text(text)
    assert [found for _, found in report.read_all(folder)] == [None] * 4


def test_a_folder_that_nobody_empties_does_not_grow_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "MOST_FILES", 2)
    for _ in range(5):
        failures.report_failure({"ti": TI, "exception": None})
    assert len(list(failures.folder().iterdir())) == 2
