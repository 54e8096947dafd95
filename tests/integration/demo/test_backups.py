"""The backups' act, on the running stack, by its own command; then what it left is looked at."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest
from clinic.clients.backups_db import BackupsDb
from clinic.demo.backups import BACKUP_S, DRILL_S, NOTE
from support.stack_env import needed

pytestmark = pytest.mark.stack


@pytest.fixture
def ledger() -> Iterator[BackupsDb]:
    with closing(BackupsDb(needed("SHARED_DB_SYNC_URL"))) as opened:
        yield opened


def test_the_demo_s_backup_is_stored_and_was_restored(ledger: BackupsDb) -> None:
    known = {row["backup_id"] for row in ledger.recent(1000)}
    done = subprocess.run(
        ["clinic", "demo", "backups"],
        capture_output=True, text=True, check=False, timeout=BACKUP_S + DRILL_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [
        row for row in ledger.recent(1000) if row["backup_id"] not in known and row["note"] == NOTE
    ]
    assert row["state"] == "stored"
    assert row["url"] in done.stdout
    drill = ledger.last_drill()
    assert drill is not None
    assert (drill["backup_id"], drill["passed"]) == (row["backup_id"], True)
    rows = re.search(r"compared +\d+ tables, ([\d,]+) rows, .*: 0 differences", done.stdout)
    assert rows, done.stdout
    assert int(rows[1].replace(",", "")) == drill["rows_compared"] > 0
