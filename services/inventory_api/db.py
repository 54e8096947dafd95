"""The shared database as the role ``clinica_api``: a pool, and the queries of ``api_*.sql``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosql
import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from inventory_api.settings import Settings

SQL_DIR = Path(os.environ.get("CLINIC_SQL_DIR", Path(__file__).parents[2] / "sql"))

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]

SQL: Final = aiosql.from_str(
    "\n".join(path.read_text() for path in sorted((SQL_DIR / "queries").glob("api_*.sql"))),
    "psycopg",
)
"""The queries by name; only their text is used here, for aiosql speaks to psycopg synchronously."""


class Database:
    """A pool of connections, each statement under a timeout."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            settings.database_url,
            min_size=1,
            max_size=settings.pool_size,
            timeout=settings.pool_wait_s,
            max_waiting=2_000,
            open=False,
            check=AsyncConnectionPool.check_connection,
            kwargs={
                "autocommit": True,
                "row_factory": dict_row,
                "options": (
                    f"-c statement_timeout={int(settings.statement_timeout_s * 1000)}"
                    " -c timezone=UTC"
                    # Filters that are not given are folded away only where the values are known.
                    " -c plan_cache_mode=force_custom_plan"
                ),
                "connect_timeout": 5,
                "application_name": "inventory-api",
                "tcp_user_timeout": 10_000,
            },
        )

    async def open(self) -> None:
        """Begin to connect; a database that is away is tried again in the background."""
        await self.pool.open()

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close(timeout=5)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """A connection on which every statement sees the same moment."""
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction."""
        async with self.pool.connection() as connection, connection.transaction():
            yield connection


async def rows(connection: Connection, name: str, **arguments: Any) -> list[Row]:
    """Run a query by its name and return its rows."""
    cursor = await connection.execute(getattr(SQL, name).sql, arguments)
    return await cursor.fetchall()


async def row(connection: Connection, name: str, **arguments: Any) -> Row | None:
    """Run a query by its name and return its first row."""
    cursor = await connection.execute(getattr(SQL, name).sql, arguments)
    return await cursor.fetchone()


async def execute(connection: Connection, name: str, **arguments: Any) -> None:
    """Run a statement by its name."""
    await connection.execute(getattr(SQL, name).sql, arguments)
