"""A shared database a test, copied from one that is migrated once."""

from collections.abc import Iterator

import pytest
from support.shared_db import Database, created, migrated


@pytest.fixture(scope="session")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@pytest.fixture
def database(template: Database) -> Iterator[Database]:
    with created(template.name) as database:
        yield database
