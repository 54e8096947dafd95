"""One real backup for the session, and a rig a test that restores it under other names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.restoring import Rig, Stored, take
from support.shared_db import Database, created, migrated


@pytest.fixture(scope="session")
def ledger_template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@pytest.fixture(scope="session")
def stored(ledger_template: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    with created(ledger_template.name) as database:
        yield take(database, tmp_path_factory.mktemp("taken"))


@pytest.fixture
def rig(stored: Stored, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(stored, tmp_path)
    yield rig
    rig.close()
