"""The files of named queries: one that is broken stops nobody but who uses it."""

import shutil
from pathlib import Path

import pytest
from clinic.clients import shared_db
from clinic.clients.alerts_db import AlertsDb
from clinic.clients.backups_db import BackupsDb
from clinic.errors import PermanentError


@pytest.mark.parametrize(
    "broken", [b"-- name: a name with spaces\nSELECT 1;\n", b"-- name: x\n", b"\xff\xfe"]
)
def test_a_broken_file_stops_its_own_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bytes
) -> None:
    shutil.copytree(shared_db.SQL_DIR / "queries", tmp_path / "queries")
    (tmp_path / "queries" / "backups.sql").write_bytes(broken)
    monkeypatch.setattr(shared_db, "SQL_DIR", tmp_path)
    address = "postgresql://nobody@127.0.0.1:1/none"
    assert AlertsDb(address)._queries.list_open_alerts
    queries = BackupsDb(address)._queries
    with pytest.raises(PermanentError, match=r"Looking up the query \w+: .*backups\.sql"):
        queries.recent_backups  # noqa: B018
