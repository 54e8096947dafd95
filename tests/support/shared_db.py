"""Shared databases for tests, each a copy of one migrated template."""

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from clinic.shared_db_commands import migrate_database
from psycopg import sql
from psycopg.rows import dict_row
from support.stack_env import needed


def on_database(url: str, name: str) -> str:
    """Return ``url`` with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@dataclass(frozen=True)
class Database:
    """One database, and the addresses by which each role reaches it."""

    name: str

    @property
    def owner_url(self) -> str:
        return on_database(needed("SHARED_DB_URL"), self.name)

    @property
    def sync_url(self) -> str:
        return on_database(needed("SHARED_DB_SYNC_URL"), self.name)

    @property
    def api_url(self) -> str:
        return on_database(needed("SHARED_DB_API_URL"), self.name)

    @property
    def readonly_url(self) -> str:
        return on_database(needed("SHARED_DB_READONLY_URL"), self.name)

    def query(self, statement: str, *args: Any) -> list[dict[str, Any]]:
        """Run one statement as the owner."""
        with psycopg.connect(self.owner_url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement, args or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *args: Any) -> Any:
        """Return the one value of the one row of a statement."""
        (row,) = self.query(statement, *args)
        (value,) = row.values()
        return value


@contextlib.contextmanager
def created(template: str | None = None) -> Iterator[Database]:
    """Create a database, empty or as a copy, and drop it at the end with whoever is connected."""
    name = f"clinica_test_{uuid.uuid4().hex[:12]}"
    admin = needed("POSTGRES_ADMIN_URL")
    owner = urlsplit(needed("SHARED_DB_URL")).username
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(owner), sql.Identifier(template or "template0")
            )
        )
        try:
            yield Database(name)
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )


@contextlib.contextmanager
def migrated() -> Iterator[Database]:
    """Create a database with today's schema, to copy from."""
    with created() as database:
        migrate_database(database.owner_url)
        yield database
