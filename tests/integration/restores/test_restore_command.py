"""``clinic restore`` has its row in the shared database, and goes on where that cannot be had."""

import json
from pathlib import Path
from typing import Any

import pytest
from clinic.cli import app
from clinic.clients.odoo_process import OdooProgram
from support.processes import free_port
from support.restoring import Rig
from support.stack_env import needed
from typer.testing import CliRunner

TARGET = "prueba_orden"
ROW = "SELECT * FROM restores WHERE target = %s"
STACK = ("DRIVE_KEYFILE", "DRIVE_SHARED_DRIVE_ID", "DRIVE_API_URL", "ODOO_DB_URL", "ODOO_CONF")


@pytest.fixture
def words(rig: Rig, tmp_path: Path) -> list[str]:
    """The command, with all that it needs."""
    rig.made.add(TARGET)
    identity = tmp_path / "key.txt"
    identity.write_text(rig.stored.id_file)
    return [
        "restore",
        *("--from-drive", rig.stored.name, "--identity", str(identity), "--target", TARGET),
        *("--folder", rig.stored.folder, "--filestore", str(rig.filestore)),
        *("--spool", str(rig.spool), "--report", str(tmp_path / "report.json")),
    ]


def test_its_row_tells_expiry_that_it_is_at_work(
    rig: Rig, words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", needed("CA_FILE"))
    for name in STACK:
        monkeypatch.setenv(name, needed(name))
    monkeypatch.setenv("SHARED_DB_SYNC_URL", rig.stored.database.sync_url)
    meanwhile: list[dict[str, Any]] = []
    neutralise = OdooProgram.neutralise

    def look(self: OdooProgram, database: str) -> None:
        meanwhile.extend(rig.stored.database.query(ROW, TARGET))
        neutralise(self, database)

    monkeypatch.setattr(OdooProgram, "neutralise", look)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "warning" not in done.output
    (running,) = meanwhile
    assert (running["state"], running["purpose"], running["target"]) == (
        "running",
        "restore",
        TARGET,
    )
    (row,) = rig.stored.database.query(ROW, TARGET)
    assert row["state"] == "done"
    assert row["report"] == json.loads((tmp_path / "report.json").read_text())

    # Again, over what is there now, which is refused: the same row says so.
    again = CliRunner().invoke(app, words)
    assert "There is a database" in str(again.exception) + again.output
    (row,) = rig.stored.database.query(ROW, TARGET)
    assert row["state"] == "failed"
    assert "There is a database" in row["error"]

    # The shared database is gone: it says so, and comes as far as before.
    monkeypatch.setenv("SHARED_DB_SYNC_URL", f"postgresql://x:y@127.0.0.1:{free_port()}/gone")
    without = CliRunner().invoke(app, words)
    assert "the shared database does not know of this restore" in " ".join(without.output.split())
    assert "There is a database" in str(without.exception) + without.output
