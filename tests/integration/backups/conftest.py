"""An Odoo, a Drive, and a shared database a test, copied from one that is migrated once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.backups import BackupRig, backup_rig, odoo_copy
from support.drive import Drive, running_drive
from support.postgres import PostgresCluster
from support.shared_db import Database, created, migrated

type Odoo = tuple[PostgresCluster, str, Path]


@pytest.fixture(scope="session")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@pytest.fixture
def database(template: Database) -> Iterator[Database]:
    with created(template.name) as database:
        yield database


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture(scope="session")
def odoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odoo]:
    """A copy of the stack's Odoo: its database in a cluster of its own, and its files."""
    with odoo_copy(tmp_path_factory.mktemp("odoo")) as odoo:
        yield odoo


@pytest.fixture
def rig(database: Database, odoo: Odoo, drive: Drive, tmp_path: Path) -> Iterator[BackupRig]:
    with backup_rig(tmp_path, odoo, drive, database.sync_url) as rig:
        yield rig
