"""Dumps an Odoo whose database and filestore are within reach: by ``pg_dump``, in one snapshot.

What is counted, named and dumped comes from one and the same snapshot, whoever writes meanwhile.
Source: https://www.postgresql.org/docs/17/app-pgdump.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from clinic.backups.model import BackupKind, DumpFormat, Filestore
from clinic.backups.source import (
    FILE_NAME,
    RowCounter,
    Snapshot,
    chunks,
    compare_rows,
    odoo_version,
)
from clinic.clients import pg_tools
from clinic.clients.shared_db import translated
from clinic.errors import PermanentError

_ADVICE: Final = "check the connection odoo_database"

# Tables whose rows pg_dump dumps. Not those of extensions, unless they say so.
_TABLES: Final = """
SELECT pg_namespace.nspname AS schema, pg_class.relname AS name
FROM pg_class
INNER JOIN pg_namespace ON pg_class.relnamespace = pg_namespace.oid
WHERE pg_class.relkind = 'r' AND pg_class.relpersistence <> 't'
    AND pg_namespace.nspname NOT LIKE 'pg\\_%' AND pg_namespace.nspname <> 'information_schema'
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE pg_depend.classid = 'pg_class'::regclass AND pg_depend.objid = pg_class.oid
            AND pg_depend.deptype = 'e'
    )
ORDER BY schema, name
"""
_FACTS: Final = """
SELECT
    transaction_timestamp() AS taken_at,
    pg_export_snapshot() AS snapshot,
    current_setting('server_version') AS postgres_version,
    (SELECT value FROM ir_config_parameter WHERE key = 'database.uuid') AS database_uuid
"""
_FILES: Final = """
SELECT DISTINCT store_fname COLLATE "C" AS name FROM ir_attachment
WHERE store_fname IS NOT NULL ORDER BY name
"""
_SIZES: Final = """
SELECT
    pg_database_size(current_database()) AS database_bytes,
    (
        SELECT coalesce(sum(file_size), 0) FROM (
            SELECT DISTINCT store_fname, file_size FROM ir_attachment
            WHERE store_fname IS NOT NULL
        ) AS files
    ) AS files_bytes
"""
_SPARE_BYTES: Final = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take."""

    statement_s: float = 1800
    dump_s: float = 4 * 3600


class PostgresDumpSource:
    """An Odoo by its database and its folder of files.

    Args:
        conninfo: A libpq address, as the database's owner.
        filestore: The folder that holds ``ab/abcdef…`` of this database; None where only databases
            are backed up.
        jobs: How many tables are dumped at once.
        patience: How long things may take.
    """

    name: Final[Literal["postgres"]] = "postgres"

    def __init__(
        self,
        conninfo: str,
        filestore: Path | None,
        *,
        jobs: int = 2,
        patience: Patience = Patience(),
    ) -> None:
        self._conninfo = conninfo
        self._filestore = filestore
        self._jobs = jobs
        self._patience = patience
        self.database = str(psycopg.conninfo.conninfo_to_dict(conninfo).get("dbname", ""))

    def needed_bytes(self, kind: BackupKind) -> int:
        """Return the size of what is dumped, before anything is compressed."""
        with self._transaction("asking for sizes") as connection:
            sizes = cast("dict[str, Any]", connection.execute(_SIZES).fetchone())
        parts = {
            BackupKind.FULL: sizes["database_bytes"] + sizes["files_bytes"],
            BackupKind.DATABASE: sizes["database_bytes"],
            BackupKind.FILESTORE: sizes["files_bytes"],
        }
        return int(parts[kind]) + _SPARE_BYTES

    def file(self, name: str) -> Path:
        """Return where a file of the filestore lies."""
        return self._files_folder() / name

    def _files_folder(self) -> Path:
        if self._filestore is None or not self._filestore.is_dir():
            raise PermanentError(
                f"Backing up the files of {self.database}: {self._filestore or 'no folder'} is "
                "not a folder that is there. Put into the extra field 'filestore' of the "
                "connection odoo_database the folder that holds a folder of files a database."
            )
        return self._filestore

    def dump(self, kind: BackupKind, folder: Path, names: Path) -> Snapshot:
        """Dump one snapshot; see :class:`DumpSource`."""
        with_database = kind is not BackupKind.FILESTORE
        with self._transaction("opening a snapshot") as connection:
            facts = cast("dict[str, Any]", connection.execute(_FACTS).fetchone())
            tools = self._tools(connection) if with_database else {}
            modules = {
                row["name"]: row["latest_version"] or ""
                for row in connection.execute(
                    "SELECT name, latest_version FROM ir_module_module"
                    " WHERE state = 'installed' ORDER BY name"
                )
            }
            tables: dict[str, int] = {}
            filestore = None
            if with_database:
                with self._dumping(facts["snapshot"], folder / "database") as wait:
                    tables = count_rows(connection)
                    if kind is BackupKind.FULL:
                        filestore = self._name_files(connection, names)
                    wait()
            else:
                filestore = self._name_files(connection, names)
        if filestore is None:
            names.write_bytes(b"")
        return Snapshot(
            taken_at=facts["taken_at"],
            database=self.database,
            database_uuid=facts["database_uuid"] or "",
            odoo_version=odoo_version(modules),
            postgres_version=facts["postgres_version"].split(" ")[0],
            modules=modules,
            tables=tables,
            dump_format=DumpFormat.DIRECTORY if with_database else DumpFormat.NONE,
            filestore=filestore,
            tools=tools,
        )

    @contextmanager
    def _dumping(self, snapshot: str, folder: Path) -> Iterator[Any]:
        """Run pg_dump beside what is done inside."""
        command = [
            pg_tools.program("pg_dump"),
            "--format=directory",
            f"--jobs={self._jobs}",
            "--compress=zstd:3",
            f"--snapshot={snapshot}",
            "--lock-wait-timeout=60s",
            "--no-sync",  # see Spool.is_of_this_boot
            "--no-password",
            f"--file={folder}",
        ]
        with pg_tools.started(
            f"Dumping database {self.database}",
            command,
            pg_tools.environment(self._conninfo),
            timeout_s=self._patience.dump_s,
            dies_with_us=True,
        ) as wait:
            yield wait

    def verify(self, folder: Path, tables: Mapping[str, int]) -> None:
        """Read the dump back, where there is one; see :class:`DumpSource`."""
        if tables:
            self.read_back(folder / "database", tables)

    def read_back(self, dump: Path, tables: Mapping[str, int]) -> None:
        """Read a dump to its end, and compare its rows with those of the snapshot.

        Raises:
            TransientError: It is cut off or damaged, or has other rows.
        """
        counter = RowCounter()
        with pg_tools.piped(
            "Reading the dump back",
            [pg_tools.program("pg_restore"), "--file=-", str(dump)],
            pg_tools.environment(""),
        ) as read:
            for chunk in chunks(read):
                counter.feed(chunk)
        counter.finish()
        compare_rows(tables, counter.tables)

    def _tools(self, connection: psycopg.Connection[dict[str, Any]]) -> dict[str, str]:
        """Return the versions of what dumps.

        Raises:
            PermanentError: pg_dump is older than the server, which it would refuse to dump.
        """
        tools = {name: pg_tools.version(name) for name in ("pg_dump", "pg_restore")}
        server = connection.info.server_version // 10_000
        if int(tools["pg_dump"].split(".")[0] or 0) < server:
            raise PermanentError(
                f"Dumping database {self.database}: pg_dump {tools['pg_dump']} is older than the "
                f"server ({server}). Install the client programs of PostgreSQL {server}."
            )
        return tools

    def _name_files(self, connection: psycopg.Connection[dict[str, Any]], names: Path) -> Filestore:
        """Write down the files of this snapshot that are there; return what they come to."""
        folder = self._files_folder()
        digest = hashlib.sha256()
        files = size_bytes = 0
        missing: list[str] = []
        with (
            names.open("w") as lines,
            connection.cursor(name="files") as cursor,  # by thousands, however many there are
        ):
            cursor.itersize = 10_000
            for row in cursor.execute(_FILES):
                name = row["name"]
                path = folder / name
                if not FILE_NAME.fullmatch(name) or not path.is_file():
                    missing.append(name)
                    continue
                lines.write(f"{name}\n")
                digest.update(f"{name}\n".encode())
                files += 1
                size_bytes += path.stat().st_size
        return Filestore(
            files=files,
            size_bytes=size_bytes,
            names_sha256=digest.hexdigest(),
            missing=tuple(missing),
        )

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """Yield a connection in a transaction that sees one snapshot and writes nothing.

        Raises:
            TransientError: The database is out of reach, or the connection broke.
            PermanentError: The connection is wrong, or this is no database of Odoo's.
        """
        what = f"Odoo's database {self.database}, {doing}"
        try:
            with psycopg.connect(
                self._conninfo,
                row_factory=dict_row,
                connect_timeout=10,
                application_name="clinic backup",
                options=f"-c statement_timeout={int(self._patience.statement_s * 1000)}"
                " -c lock_timeout=60s -c idle_in_transaction_session_timeout=0",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=30_000,
            ) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
                yield connection
        except psycopg.errors.UndefinedTable as error:
            raise PermanentError(
                f"{what}: this is no database of Odoo's ({error.diag.message_primary}). Put into "
                "the connection odoo_database the database that Odoo uses."
            ) from error
        except psycopg.Error as error:
            raise translated(what, error, _ADVICE) from error


def count_rows(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, int]:
    """Return the rows of each table, under the name that a dump has for it."""
    counts = {}
    for row in connection.execute(_TABLES).fetchall():
        table = sql.Identifier(row["schema"], row["name"])
        found = connection.execute(
            sql.SQL(
                "SELECT format('%I.%I', {schema}::text, {name}::text) AS name, count(*) AS rows"
                " FROM ONLY {table}"
            ).format(schema=row["schema"], name=row["name"], table=table)
        ).fetchone()
        assert found is not None
        counts[found["name"]] = found["rows"]
    return counts
