"""docs/runbooks/restore-without-airflow.md, followed word for word beside a running Odoo."""

import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
from clinic.backups.keys import DrillKeys
from clinic.backups.request import Request
from clinic.backups.take import Take
from clinic.clients.backups_db import BackupsDb
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.clients.odoo_restore import OdooRestore
from support.restoring import vault_of
from support.shared_db import Database, created, on_database
from support.stack_env import ROOT, needed

RUNBOOK = ROOT / "docs" / "runbooks" / "restore-without-airflow.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def names() -> set[str]:
    url = on_database(needed("ODOO_DB_URL"), "postgres")
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def parameter(database: str, key: str) -> str | None:
    with psycopg.connect(on_database(needed("ODOO_DB_URL"), database)) as connection:
        row = connection.execute(
            "SELECT value FROM ir_config_parameter WHERE key = %s", [key]
        ).fetchone()
        return row[0] if row else None


@pytest.fixture
def backed_up(ledger_template: Database, tmp_path: Path) -> Iterator[None]:
    """The stack's Odoo, backed up for the stack's own key, as backup_odoo does it."""
    identity = Path(needed("BACKUP_IDENTITY_FILE")).read_text()
    recipient = re.search(r"age1[0-9a-z]{58}", identity)
    files = Path(needed("ODOO_FILESTORE")) / "odoo"
    before = names()
    with created(ledger_template.name) as database:
        with (
            closing(BackupsDb(database.sync_url)) as ledger,
            vault_of("Clinica/Copias") as vault,
        ):
            source = PostgresDumpSource(needed("ODOO_DB_URL"), files)
            keys = DrillKeys(tmp_path / "keys")
            take = Take(ledger, source, vault, [recipient[0]], tmp_path, keys)
            take.run(uuid.uuid4(), Request(requested_by="tests"))
        yield
    server = OdooRestore(needed("ODOO_DB_URL"), Path(needed("ODOO_FILESTORE")))
    for name in names() - before:
        server.drop(name)


def follow(command: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace("stack/box ", "")],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, command + done.stdout + done.stderr
    return done.stdout


def test_word_for_word(backed_up: None) -> None:
    before = names()
    list_them, copy, look, replace, databases = FENCE.findall(RUNBOOK.read_text())
    newest, *_ = follow(list_them).splitlines()
    assert newest.startswith("odoo.full.")

    said = follow(copy)
    assert newest.split()[0] in said
    assert "all equal" in said
    assert "neutralised" in said
    assert parameter("odoo_copia", "database.is_neutralized") == "true"
    assert re.search(r"\d{4}-\d\d-\d\d", follow(look))

    with psycopg.connect(needed("ODOO_DB_URL"), autocommit=True) as connection:
        connection.execute("INSERT INTO ir_config_parameter (key, value) VALUES ('of_today', 'x')")
    said = follow(replace)
    assert "all equal" in said
    assert parameter("odoo", "of_today") is None
    assert parameter("odoo", "database.is_neutralized") is None
    (old,) = {name for name in names() - before if name.startswith("odoo_before_")}
    assert parameter(old, "of_today") == "x"
    assert old in follow(databases)

    # The Odoo that was running all the time serves the restored database, by the backup's key.
    ends_at = time.monotonic() + 60
    while True:
        answer = httpx.post(
            f"{needed('ODOO_URL')}/json/2/ir.config_parameter/search_read",
            headers={"Authorization": f"bearer {needed('ODOO_API_KEY')}"},
            json={"domain": [["key", "in", ["database.uuid", "of_today"]]], "fields": ["key"]},
            timeout=60,
            trust_env=False,
        )
        if answer.is_success or time.monotonic() > ends_at:
            break
        time.sleep(0.5)
    assert [row["key"] for row in answer.json()] == ["database.uuid"], answer.text[:300]
