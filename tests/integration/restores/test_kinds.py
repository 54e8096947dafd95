"""Every kind and form of backup becomes what was backed up: each row and file compared itself."""

import os
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from clinic.backups.compare import files_of
from clinic.backups.model import BackupKind, DumpFormat
from clinic.backups.restore import as_text
from clinic.clients.odoo_dump_http import HttpDumpSource
from clinic.clients.odoo_dump_postgres import PostgresDumpSource
from clinic.errors import PermanentError, TransientError
from psycopg import sql
from support.backups import fill_filestore, odoo_copy
from support.managed_odoo import managed_odoo
from support.postgres import PostgresCluster
from support.restoring import Rig, Stored, manifest_of, take
from support.shared_db import Database, created, on_database
from support.stack_env import needed

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

MASTER = "the master password of this test"
NONE = Stored("", "", "", "", None, Database(""))  # for what needs no vault
STRANGER = "a_role_of_that_server_only"
type Odoo = tuple[PostgresCluster, str, Path]


@pytest.fixture(scope="module")
def odoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odoo]:
    """An Odoo on a server of its own, with what a dump of another server's may bring along."""
    with odoo_copy(tmp_path_factory.mktemp("odoo")) as odoo:
        cluster, name, filestore = odoo
        with cluster.connect(name) as connection:
            connection.execute(f"CREATE ROLE {STRANGER}")
            connection.execute(f"GRANT SELECT ON res_partner TO {STRANGER}")
            connection.execute(
                f"ALTER DEFAULT PRIVILEGES FOR ROLE odoo GRANT SELECT ON TABLES TO {STRANGER}"
            )
            connection.execute(r"UPDATE res_partner SET comment = E'\\! x\n\\.\nGRANT\t\\N'")
        fill_filestore(cluster.url(name), filestore, [os.urandom(100_000), b"", b"x"])
        yield odoo


@pytest.fixture(scope="module")
def backups(
    odoo: Odoo, ledger_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Stored]]:
    """A backup of every kind from both sources."""
    cluster, name, filestore = odoo
    direct = PostgresDumpSource(cluster.url(name), filestore)
    folder = tmp_path_factory.mktemp("kinds")
    with (
        created(ledger_template.name) as ledger,
        managed_odoo(odoo, tmp_path_factory.mktemp("managed"), MASTER) as server,
    ):
        manager = HttpDumpSource(server.url, name, MASTER)
        yield {
            "zip": take(ledger, folder, BackupKind.FULL, manager),
            "custom": take(ledger, folder, BackupKind.DATABASE, manager),
            "directory": take(ledger, folder, BackupKind.DATABASE, direct),
            "none": take(ledger, folder, BackupKind.FILESTORE, direct),
        }


@contextmanager
def restored(backup: Stored, folder: Path) -> Iterator[Rig]:
    rig = Rig(backup, folder)
    try:
        yield rig
    finally:
        rig.close()


def contents(url: str) -> dict[str, tuple[int, str]]:
    """Return of every table how many rows it has, and a sum of what is in them.

    What a column computes by itself is no content: no dump holds it.
    """
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT n.nspname, c.relname, array_agg(a.attname ORDER BY a.attname)"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " JOIN pg_attribute AS a ON a.attrelid = c.oid"
            " WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
            " AND a.attgenerated = '' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
            " GROUP BY 1, 2"
        ).fetchall()
        query = (
            "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)::text FROM {}"
        )
        found = {}
        for schema, table, columns in tables:
            row = connection.execute(
                sql.SQL(query).format(
                    sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema, table)
                )
            ).fetchone()
            assert row is not None
            found[f"{schema}.{table}"] = (row[0], row[1])
        return found


def assert_rows_are_equal(odoo: Odoo, target: str) -> None:
    cluster, name, _ = odoo
    there = contents(cluster.url(name))
    here = contents(on_database(needed("ODOO_DB_URL"), target))
    assert len(there) > 400
    assert here == there


@pytest.mark.parametrize("form", ["zip", "custom", "directory"])
def test_every_row_and_file_is_there_again(
    odoo: Odoo, backups: dict[str, Stored], tmp_path: Path, form: str
) -> None:
    with restored(backups[form], tmp_path) as rig:
        _, name, filestore = odoo
        if form != "zip":  # of which the server has the files, all but one
            for kept, path in list(files_of(filestore))[1:]:
                place = rig.filestore / name / kept
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
        target = f"prueba_{form}"
        with rig.restore(target, neutralise=False) as restore:
            report = restore.run()
        manifest = manifest_of(rig)
        assert manifest.dump_format is DumpFormat(form)
        assert report["compared"]["differences"] == []
        assert report["compared"]["rows"] == sum(manifest.tables.values()) > 10_000
        assert_rows_are_equal(odoo, target)
        there = {kept: path.read_bytes() for kept, path in files_of(filestore)}
        here = {kept: path.read_bytes() for kept, path in files_of(rig.filestore / target)}
        if form == "zip":
            assert here == there
            assert report["compared"]["files"] == len(here)
        else:
            referred = set(rig.databases.facts(target)[1]) & there.keys()
            missing = referred - here.keys()
            assert here.items() <= there.items()
            assert len(missing) <= 1
            (note,) = report["notes"]
            assert f"{len(here)} files were taken over" in note
            assert f"{len(missing)} are missing" in note


def test_lost_files_are_put_back_beside_a_database_that_is_fine(
    odoo: Odoo, backups: dict[str, Stored], tmp_path: Path
) -> None:
    with restored(backups["zip"], tmp_path) as rig:
        with rig.restore("prueba_ficheros", neutralise=False) as restore:
            restore.run()
        place = rig.filestore / "prueba_ficheros"
        all_of_them = {name: path.read_bytes() for name, path in files_of(place)}
        referred = [
            name for name in rig.databases.facts("prueba_ficheros")[1] if (place / name).is_file()
        ]
        lost, damaged, *_ = sorted(referred)
        (place / lost).unlink()
        (place / damaged).unlink()  # it may be one with the spool's
        (place / damaged).write_bytes(b"rotten")
        (place / "of_today").write_text("x")
        never = f"00/{'0' * 40}"
        rig.sql(
            "prueba_ficheros",
            "INSERT INTO ir_attachment (name, type, store_fname) VALUES ('x', 'binary', %s)",
            never,
        )
        rows = contents(on_database(needed("ODOO_DB_URL"), "prueba_ficheros"))

        rig.stored = backups["none"]
        with rig.restore("prueba_ficheros") as restore:
            report = restore.run()

        assert {name: path.read_bytes() for name, path in files_of(place)} == all_of_them
        assert (place / "of_today").read_text() == "x"
        assert contents(on_database(needed("ODOO_DB_URL"), "prueba_ficheros")) == rows
        assert report["compared"]["files"] == manifest_of(rig).filestore.files  # type: ignore[union-attr]
        said = as_text(report)
        assert "into      the filestore of prueba_ficheros" in said
        assert "2 that were missing or damaged" in said
        assert never in said
        assert sorted(path.name for path in rig.filestore.iterdir()) == ["prueba_ficheros"]


@pytest.mark.parametrize(
    ("target", "said"),
    [("prueba_nadie", "there is no database prueba_nadie"), ("airflow", "no database of Odoo's")],
)
def test_files_without_a_database_of_odoos_go_nowhere(
    backups: dict[str, Stored], tmp_path: Path, target: str, said: str
) -> None:
    with restored(backups["none"], tmp_path) as rig:
        with rig.restore(target) as restore, pytest.raises(PermanentError, match=said):
            restore.run()
        assert list(rig.filestore.iterdir()) == []
        rig.made.clear()


@pytest.mark.parametrize(
    "text",
    [
        "\\! touch {}\n",
        "SELECT 1 \\! touch {}\n",
        "SELECT 1 \\g |touch {}\n",
        "/*\nCOPY x FROM stdin;\n*/ \\! touch {}\n\\.\n",
        "/*\nCOPY x FROM stdin;\n*/\n\\! touch {}\n",
        "\\restrict abc\n\\unrestrict abc\nSELECT 1\n\\! touch {}\n",
        "\\unrestrict abc\nSELECT 1 \\o |touch {}\n",
        "SELECT 'touch {}' \\gexec\n",
        "-- Name: x; Type: ACL; Schema: -; Owner: -\n\\! touch {}\n",
    ],
)
def test_no_program_is_run_that_a_dump_names(tmp_path: Path, text: str) -> None:
    """Whoever can write to the vault, and knows a recipient, can put a dump there."""
    rig = Rig(NONE, tmp_path)
    target = f"prueba_{uuid.uuid4().hex[:8]}"
    rig.made.add(target)
    ran = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "odoo.zip", "w") as archive:
        archive.writestr("dump.sql", "CREATE TABLE before ();\n" + text.format(ran))
    try:
        rig.databases.create(target)
        with pytest.raises((PermanentError, TransientError), match=r"of psql|backslash|restrict"):
            rig.databases.load(target, tmp_path, DumpFormat.ZIP)
        assert not ran.exists()
    finally:
        rig.close()


def test_a_row_of_any_length_goes_through(tmp_path: Path) -> None:
    rig = Rig(NONE, tmp_path)
    target = "prueba_larga"
    rig.made.add(target)
    row = "x" * 5_000_000 + "\\\\.y"
    with zipfile.ZipFile(tmp_path / "odoo.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "dump.sql", f"CREATE TABLE t (x text);\nCOPY t (x) FROM stdin;\n{row}\n\\.\n"
        )
    try:
        rig.databases.create(target)
        rig.databases.load(target, tmp_path, DumpFormat.ZIP)
        assert rig.sql(target, "SELECT length(x), right(x, 3) FROM t") == [(5_000_003, "\\.y")]
    finally:
        rig.close()
