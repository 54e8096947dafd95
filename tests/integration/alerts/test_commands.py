"""``clinic alerts`` on a real database."""

import sys
from datetime import UTC, datetime

import pytest
from clinic.alerts.model import Alert, Severity
from clinic.alerts.runbooks import of_alert
from clinic.cli import main
from clinic.clients.alerts_db import AlertsDb
from support.shared_db import Database


def clinic(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["clinic", "alerts", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_what_is_open_is_listed_until_somebody_closes_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARED_DB_SYNC_URL", database.sync_url)
    detail = "The newest backup is 30 h old. " * 10
    alert = Alert("rpo", "rpo", Severity.CRITICAL, "Too old", detail, "check_backups.md")
    ledger = AlertsDb(database.sync_url)
    ledger.raise_alert(alert, "check_backups", datetime.now(UTC))
    ledger.close()
    assert clinic(monkeypatch, "list") == 0
    columns, line = capsys.readouterr().out.splitlines()
    said = dict(zip(columns.split("\t"), line.split("\t"), strict=True))
    assert (said["key"], said["detail"]) == ("rpo", detail.strip())
    assert said["first step"] == of_alert("check_backups.md", "rpo").do[1]
    assert "No alert 'other' is open" in str(clinic(monkeypatch, "resolve", "other"))
    assert clinic(monkeypatch, "resolve", "rpo") == 0
    capsys.readouterr()
    assert clinic(monkeypatch, "list") == 0
    assert "Nothing is open" in capsys.readouterr().out
