"""A backup becomes a database again: compared, neutralised when it is a copy, named last."""

import threading
import uuid
from pathlib import Path

import psycopg
import pytest
from clinic.backups.compare import Comparison, compare_files
from clinic.errors import PermanentError
from support.restoring import Rig, manifest_of, on_database
from support.stack_env import needed


def test_a_copy_has_every_row_and_file_and_reaches_nobody(rig: Rig) -> None:
    with rig.restore("prueba_copia") as restore:
        report = restore.run()
    manifest = manifest_of(rig)
    assert report["compared"]["differences"] == []
    assert report["compared"]["tables"] == len(manifest.tables) > 400
    assert report["compared"]["rows"] == sum(manifest.tables.values()) > 10_000
    assert report["compared"]["files"] == manifest.filestore.files > 100
    assert report["neutralised"]
    assert report["set_aside_as"] is None
    assert rig.databases.still_alive("prueba_copia") == []
    (active,) = rig.sql("prueba_copia", "SELECT count(*) FROM ir_cron WHERE active")
    assert active == (1,)  # Odoo's own tidying up
    (uuid_there,) = rig.sql(
        "prueba_copia", "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'"
    )
    assert uuid_there != (manifest.database_uuid,)
    found = Comparison()
    compare_files(manifest.filestore, rig.filestore / "prueba_copia", found)
    assert found.differences == []
    assert found.files == manifest.filestore.files


def test_nobody_but_its_owner_may_connect_and_odoo_may_list_it(rig: Rig) -> None:
    with rig.restore("prueba_cerrada") as restore:
        restore.run()
    (row,) = rig.sql(
        "postgres",
        "SELECT datistemplate, datallowconn, datacl::text FROM pg_database WHERE datname = %s",
        "prueba_cerrada",
    )
    assert row[:2] == (False, True)
    assert "=c" not in row[2].replace("odoo=", "").replace("{", ",").split("/")[0]


def test_what_had_the_name_is_kept_with_its_files(rig: Rig) -> None:
    with rig.restore("prueba_viva") as restore:
        restore.run()
    rig.sql("prueba_viva", "CREATE TABLE of_today (x int)")
    (rig.filestore / "prueba_viva" / "of_today").write_text("x")
    with rig.restore("prueba_viva") as restore, pytest.raises(PermanentError, match="already"):
        restore.run()
    assert rig.sql("prueba_viva", "SELECT count(*) FROM of_today") == [(0,)]
    with rig.restore("prueba_viva", may_replace=True, neutralise=False) as restore:
        report = restore.run()
    before = report["set_aside_as"]
    assert before.startswith("prueba_viva_before_")
    assert rig.sql(before, "SELECT count(*) FROM of_today") == [(0,)]
    assert (rig.filestore / before / "of_today").read_text() == "x"
    assert not (rig.filestore / "prueba_viva" / "of_today").exists()
    assert rig.sql("prueba_viva", "SELECT to_regclass('of_today')") == [(None,)]
    # Kept for people: Odoo neither lists a template nor runs jobs in it.
    assert rig.sql(
        "postgres", "SELECT datistemplate, datallowconn FROM pg_database WHERE datname = %s", before
    ) == [(True, True)]
    assert not report["neutralised"]
    (crons,) = rig.sql("prueba_viva", "SELECT count(*) FROM ir_cron WHERE active")
    assert crons[0] > 1


@pytest.mark.parametrize("name", ["airflow", "clinica_shared", "postgres"])
def test_another_systems_database_is_no_target(rig: Rig, name: str) -> None:
    with (
        rig.restore(name, may_replace=True) as restore,
        pytest.raises(PermanentError, match="no database of Odoo's"),
    ):
        restore.run()
    rig.made.clear()


def test_a_name_that_cannot_be_a_database_is_refused_at_once(rig: Rig) -> None:
    for name in ("", "Odoo", "a" * 40, "x;drop", "../up", "-x"):
        with pytest.raises(PermanentError, match="is no name"), rig.restore(name):
            pass
    rig.made.clear()


def test_left_overs_of_restores_that_are_over_are_swept(rig: Rig) -> None:
    dead = uuid.uuid4()
    left = f"prueba_x_restoring_{dead.hex[:8]}"
    rig.databases.create(left)
    rig.made.add("prueba_x")
    (rig.filestore / left).mkdir()
    (rig.filestore / f"{left}.part").mkdir()
    spool = rig.spool / str(dead)
    spool.mkdir(parents=True)
    (spool / "archive.tar.age").write_bytes(b"half")
    with rig.restore("prueba_barrida") as restore, restore.alone():
        restore.sweep()
    assert left not in rig.names()
    assert not spool.exists()
    assert sorted(path.name for path in rig.filestore.iterdir()) == []


def test_somebodys_database_is_not_swept_for_its_name(rig: Rig) -> None:
    name = "drill_20261124"
    with psycopg.connect(needed("ODOO_DB_URL"), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            (rig.filestore / name).mkdir()
            with rig.restore("prueba_barrida") as restore, restore.alone():
                restore.sweep()
            assert name in rig.names()
            assert (rig.filestore / name).is_dir()
        finally:
            server.execute(f"DROP DATABASE {name}")
            (rig.filestore / name).rmdir()


def test_what_is_being_restored_now_is_not_swept(rig: Rig) -> None:
    other = uuid.uuid4()
    name = f"prueba_y_restoring_{other.hex[:8]}"
    rig.databases.create(name)
    rig.made.add("prueba_y")
    with (
        rig.databases.lock(other.hex[:8]),
        rig.restore("prueba_barrida") as restore,
        restore.alone(),
    ):
        restore.sweep()
        assert name in rig.names()


def test_a_key_of_somebody_else_opens_nothing(rig: Rig) -> None:
    rig.stored.identity, kept = (
        Path(needed("BACKUP_IDENTITY_FILE")).read_text().splitlines()[-1],
        rig.stored.identity,
    )
    try:
        with rig.restore("prueba_ajena") as restore, pytest.raises(PermanentError, match="key"):
            restore.run()
    finally:
        rig.stored.identity = kept
    assert "prueba_ajena" not in rig.names()


def test_a_database_is_dropped_though_somebody_is_in_it_whom_nobody_of_us_may_end(
    rig: Rig,
) -> None:
    """As an autovacuum is, which runs as a superuser, and goes by itself."""
    name = f"drill_{uuid.uuid4().hex[:8]}"
    rig.made.add(name)
    rig.databases.create(name)
    other = psycopg.connect(on_database(needed("POSTGRES_ADMIN_URL"), name))
    leaving = threading.Timer(1, other.close)
    leaving.start()
    rig.databases.drop(name)
    leaving.join()
    assert name not in rig.names()
