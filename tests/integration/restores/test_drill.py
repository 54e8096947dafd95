"""A drill: a real Odoo on the restored database, and nothing left of it."""

import uuid
from pathlib import Path
from typing import Any

from clinic.backups import restore as use_case
from clinic.backups.drill import Outcome, run_drill
from clinic.backups.restore import Restore, Wish
from clinic.backups.unpack import parse_identity
from clinic.clients.odoo_process import OdooProgram
from clinic.clients.odoo_restore import OdooRestore
from support.restoring import Rig, manifest_of, vault_of
from support.stack_env import needed


def hold(rig: Rig, command: list[str], spoil: Any = None) -> tuple[Outcome, str]:
    drill_id = uuid.uuid4()
    scratch = f"drill_{drill_id.hex[:8]}"
    odoo = OdooProgram(command, rig.spool / str(drill_id) / "odoo")
    databases = OdooRestore(needed("ODOO_DB_URL"), odoo.filestores)
    rig.made.add(scratch)
    with vault_of(rig.stored.folder) as vault:
        job = Restore(
            use_case.find(vault, rig.stored.name),
            vault,
            parse_identity(rig.stored.drill_identity or ""),
            Wish(drill_id, scratch, neutralise=True),
            databases,
            odoo,
            rig.spool,
            scratch=scratch,
        )
        if spoil:
            spoil(job, databases)
        return run_drill(job, databases, odoo), scratch


def nothing_is_left(rig: Rig, scratch: str) -> None:
    assert scratch not in rig.names()
    assert list(rig.spool.iterdir()) == []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        assert scratch.encode() not in process.read_bytes()


def test_odoo_runs_on_what_the_drills_own_key_opened(rig: Rig) -> None:
    outcome, scratch = hold(rig, ["odoo", "-c", needed("ODOO_CONF")])
    assert outcome.comparison.differences == []
    assert outcome.passed
    manifest = manifest_of(rig)
    assert outcome.comparison.rows == sum(manifest.tables.values())
    assert outcome.comparison.files == manifest.filestore.files
    assert "Odoo" in outcome.login_page
    assert outcome.report_bytes > 1000
    assert 0 < outcome.restore_s < outcome.total_s
    assert {"download", "open", "load", "compare", "neutralise", "odoo"} <= outcome.seconds.keys()
    nothing_is_left(rig, scratch)


def test_a_row_that_is_missing_fails_it_and_is_named(rig: Rig) -> None:
    def spoil(job: Restore, databases: OdooRestore) -> None:
        load = databases.load

        def lossy(database: str, folder: Path, dump_format: Any) -> None:
            load(database, folder, dump_format)
            rig.sql(
                database,
                # Nothing refers to these rows, whatever the database holds.
                "DELETE FROM ir_module_module_dependency"
                " WHERE id IN (SELECT max(id) FROM ir_module_module_dependency)",
            )

        databases.load = lossy  # type: ignore[method-assign]

    outcome, scratch = hold(rig, ["odoo", "-c", needed("ODOO_CONF")], spoil)
    assert not outcome.passed
    assert "table public.ir_module_module_dependency" in [
        one.what for one in outcome.comparison.differences
    ]
    nothing_is_left(rig, scratch)


def test_an_odoo_that_does_not_start_fails_it(rig: Rig) -> None:
    # It can neutralise, which it does by its command, but no server comes up.
    command = ["sh", "-c", 'case "$*" in *neutralize*) exec odoo "$@";; esac; echo broken; exit 3',
               "odoo", "-c", needed("ODOO_CONF")]  # fmt: skip
    outcome, scratch = hold(rig, command)
    assert not outcome.passed
    (only,) = outcome.comparison.differences
    assert only.what == "Odoo did not run on it"
    nothing_is_left(rig, scratch)
