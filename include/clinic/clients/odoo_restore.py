"""Odoo's databases and filestores on the server where a restore goes to.

Everything here can be done again. A database that is being restored, and one that was set aside,
is marked as a template: Odoo then neither lists it nor runs its scheduled jobs, and nobody drops it
by mistake. https://www.postgresql.org/docs/17/manage-ag-templatedbs.html
"""

from __future__ import annotations

import contextlib
import filecmp
import io
import os
import re
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row, tuple_row

from clinic.backups.compare import files_of
from clinic.backups.model import DumpFormat
from clinic.backups.source import FILE_NAME
from clinic.clients import pg_tools
from clinic.clients.odoo_dump_postgres import count_rows
from clinic.clients.shared_db import translated
from clinic.errors import PermanentError, TransientError

_ADVICE: Final = (
    "check the connection odoo_database: its role must own Odoo's databases and have CREATEDB"
)
_LOCK: Final = "clinic restore "
LEFT_OVER: Final = re.compile(r".+_restoring_([0-9a-f]{8})|drill_([0-9a-f]{8})")
_TOOL_TIMEOUT_S: Final = 6 * 3600
_PIECE: Final = 1024**2
_RESTRICT: Final = re.compile(rb"\\(un)?restrict [A-Za-z0-9]+\n")
_COPY: Final = re.compile(rb"COPY .* FROM stdin;\n")
_ENTRY: Final = re.compile(rb"-- (Data for )?Name: |-- PostgreSQL database dump complete")
_GRANTS: Final = re.compile(rb"; Type: (DEFAULT )?ACL;")
_ALIVE: Final[Mapping[str, str]] = {
    "ir_mail_server": "SELECT smtp_host FROM ir_mail_server "
    "WHERE active AND smtp_host <> 'invalid'",
    "fetchmail_server": "SELECT name FROM fetchmail_server WHERE active",
    "ir_cron": "SELECT cron_name FROM ir_cron WHERE active AND id NOT IN ("
    "SELECT res_id FROM ir_model_data WHERE model = 'ir.cron' AND module = 'base' "
    "AND name = 'autovacuum_job')",
    "payment_provider": "SELECT code FROM payment_provider WHERE state = 'enabled'",
}
"""What lets Odoo act by itself or reach others, and what of it is still on."""


class OdooRestore:
    """One PostgreSQL server that holds Odoo's databases, and the folder of their filestores.

    Args:
        conninfo: A libpq address of any database there, as the role that owns Odoo's.
        filestore: The folder that holds ``<database>/ab/abcd…``.
    """

    def __init__(self, conninfo: str, filestore: Path) -> None:
        self._conninfo = conninfo
        self.filestore = filestore

    # Databases

    def exists(self, database: str) -> bool:
        """Say whether there is such a database."""
        with self._server(f"looking for database {database}") as server:
            found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            return found.fetchone() is not None

    def check_target(self, database: str) -> None:
        """Look whether a database of this name may be ours.

        Raises:
            PermanentError: It is somebody else's, or the server's own.
        """
        with self._server(f"looking whose {database} is") as server:
            row = server.execute(
                "SELECT datistemplate AND datname LIKE 'template%%' OR datname = 'postgres' "
                "OR NOT pg_has_role(datdba, 'USAGE'), pg_get_userbyid(datdba), current_user "
                "FROM pg_database WHERE datname = %s",
                [database],
            ).fetchone()
        if row and row[0]:
            raise PermanentError(
                f"Database {database} belongs to {row[1]}, not to {row[2]}: it is no database of "
                "Odoo's. Nothing was changed; choose another name."
            )

    def files(self, database: str) -> Path:
        """Return where a database's filestore is."""
        return self.filestore / database

    def create(self, database: str) -> None:
        """Make an empty database, hidden from Odoo; one of this name is dropped first."""
        self.drop(database)
        with self._server(f"creating database {database}") as server:
            name = sql.Identifier(database)
            server.execute(
                sql.SQL(
                    "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' IS_TEMPLATE true"
                ).format(name)
            )
            # By this it is known again under another name.
            server.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, f"restored as {database}")
            )
            # Other roles of this server have no business in it.
            server.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))

    def drop(self, database: str) -> None:
        """Drop a database, with whoever uses it; gone is fine."""
        with self._server(f"dropping database {database}") as server:
            name = sql.Identifier(database)
            with contextlib.suppress(psycopg.errors.InvalidCatalogName):
                server.execute(
                    sql.SQL("ALTER DATABASE {} IS_TEMPLATE false ALLOW_CONNECTIONS false").format(
                        name
                    )
                )
            # Not WITH (FORCE): that fails where an autovacuum is at work, which only a superuser
            # may end; a plain DROP asks it to go, and waits for it.
            for is_last in (False, False, True):
                self._end_connections(server, database)
                try:
                    server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
                    break
                except psycopg.errors.ObjectInUse:
                    if is_last:
                        raise
        self.drop_files(database)

    def left_overs(self) -> dict[str, str]:
        """Return the scratch databases and filestores that are there, each with its restore.

        A name alone proves nothing: somebody may call a copy ``drill_20261124``. A scratch bears
        the marks that :meth:`create` gave it, and a filestore belongs to its database, if it has
        one.
        """
        with self._server("looking for left-over databases") as server:
            ours: dict[str, bool] = dict(
                server.execute(
                    "SELECT datname, datistemplate OR shobj_description(oid, 'pg_database')"
                    " IS NOT DISTINCT FROM 'restored as ' || datname FROM pg_database"
                ).fetchall()
            )
        names = {name for name, is_ours in ours.items() if is_ours}
        if self.filestore.is_dir():
            names |= {
                path.name
                for path in self.filestore.iterdir()
                if path.is_dir() and ours.get(path.name.removesuffix(".part"), True)
            }
        found = {}
        for name in sorted(names):
            if match := LEFT_OVER.fullmatch(name.removesuffix(".part")):
                found[name] = match[1] or match[2]
        return found

    @contextmanager
    def lock(self, what: str) -> Iterator[bool]:
        """Hold an advisory lock on the server; False where another process holds it."""
        with self._server(f"locking {what}") as server:
            row = server.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [_LOCK + what]
            ).fetchone()
            yield bool(row and row[0])

    # Filling one

    def load(self, database: str, folder: Path, dump_format: DumpFormat) -> None:
        """Fill an empty database from what an archive held.

        Owners and grants are left out: everything belongs to the role that restores it.

        Raises:
            TransientError: A program failed; the database is half filled.
        """
        doing = f"Loading database {database}"
        env = pg_tools.environment(self._conninfo, dbname=database)
        if dump_format is DumpFormat.ZIP:
            self._load_text(doing, env, folder / "odoo.zip")
            return
        source = folder / ("database" if dump_format is DumpFormat.DIRECTORY else "database.dump")
        command = [
            pg_tools.program("pg_restore"),
            *("--jobs=2", "--exit-on-error", "--no-owner", "--no-privileges"),
            *(f"--dbname={database}", str(source)),
        ]
        with pg_tools.started(
            doing, command, env, timeout_s=_TOOL_TIMEOUT_S, dies_with_us=True
        ) as wait:
            wait()

    def _load_text(self, doing: str, env: dict[str, str], archive: Path) -> None:
        command = [
            pg_tools.program("psql"),
            *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"),
        ]
        # What psql itself takes for a command of its own, wherever it stands, it refuses by this.
        key = secrets.token_hex(16)
        try:
            with (
                zipfile.ZipFile(archive) as whole,
                whole.open("dump.sql") as member,
                io.BufferedReader(member, _PIECE) as text,  # type: ignore[type-var]  # it reads
                pg_tools.fed(doing, command, env, timeout_s=_TOOL_TIMEOUT_S) as write,
            ):
                write(f"\\restrict {key}\n".encode())
                for piece in _only_sql(doing, text):
                    write(piece)
        except (zipfile.BadZipFile, KeyError) as error:
            raise PermanentError(
                f"{doing}: odoo.zip of the archive cannot be read ({error}). Choose another backup."
            ) from error

    def tables(self, database: str) -> dict[str, int]:
        """Return the rows of every table, counted as they were when the backup was taken."""
        doing = f"counting the rows of {database}"
        with self._server(doing, database, row_factory=dict_row) as connection:
            return count_rows(connection)

    def facts(self, database: str) -> tuple[str, list[str]]:
        """Return Odoo's ``database.uuid``, and the names of the files it refers to."""
        with self._server(f"reading {database}", database) as connection:
            row = connection.execute(
                "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'"
            ).fetchone()
            names = connection.execute(
                "SELECT DISTINCT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL"
            )
            return (row[0] if row else ""), [name for (name,) in names]

    def set_parameter(self, database: str, key: str, value: str) -> None:
        """Set one of Odoo's system parameters."""
        with self._server(f"setting {key} of {database}", database) as connection:
            connection.execute(
                "INSERT INTO ir_config_parameter (key, value) VALUES (%s, %s) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [key, value],
            )

    def be_another(self, database: str) -> None:
        """Give a copy an identity of its own, so that nobody takes it for what it is a copy of."""
        self.set_parameter(database, "database.uuid", str(uuid4()))

    def is_neutralised(self, database: str) -> bool:
        """Say whether ``odoo neutralize`` was done; it commits all of it or nothing."""
        with self._server(f"reading {database}", database) as connection:
            row = connection.execute(
                "SELECT value FROM ir_config_parameter WHERE key = 'database.is_neutralized'"
            ).fetchone()
        return row is not None and str(row[0]).lower() in {"true", "t", "1"}

    def still_alive(self, database: str) -> list[str]:
        """Return what could still reach the outside world from a neutralised database."""
        found = [] if self.is_neutralised(database) else ["database.is_neutralized is not set"]
        with self._server(f"looking what is on in {database}", database) as connection:
            for table, query in _ALIVE.items():
                known = connection.execute("SELECT to_regclass(%s)", [table]).fetchone()
                if known and known[0]:
                    rows = connection.execute(query)
                    found += [f"{table}: {name}" for (name,) in rows]
        return found

    # Filestores

    def put_files(self, source: Path, database: str) -> None:
        """Move a filestore out of the spool to where Odoo looks for it; done again is fine.

        What is under way has a name of its own, so that a kill leaves no half of it behind.
        """
        place = self.filestore / database
        if not source.exists() and place.exists():
            return
        half = self.filestore / f"{database}.part"
        shutil.rmtree(half, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        self.filestore.mkdir(parents=True, exist_ok=True)
        if source.exists():
            # Another file system, perhaps: then it is a copy, and the source goes afterwards.
            shutil.copytree(source, half, copy_function=_link_or_copy)
        else:
            half.mkdir(mode=0o700)
        os.sync()
        half.rename(place)
        shutil.rmtree(source, ignore_errors=True)

    def borrow_files(self, names: Iterable[str], source: str, database: str) -> int:
        """Give a database, whose backup has no files, those of another that it refers to."""
        place = self.filestore / database
        count = 0
        for name in names:
            path = self.filestore / source / name
            if FILE_NAME.fullmatch(name) and path.is_file() and not (place / name).exists():
                (place / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _link_or_copy(path, place / name)
                count += 1
        return count

    def add_files(self, source: Path, database: str) -> int:
        """Put files into a filestore in use: what is missing there, or has another content."""
        count = 0
        for name, path in files_of(source):
            place = self.filestore / database / name
            if place.is_file() and filecmp.cmp(path, place, shallow=False):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            half = place.with_name(f".{place.name}.part")
            half.unlink(missing_ok=True)
            _link_or_copy(path, half)
            half.replace(place)
            count += 1
        os.sync()
        return count

    def drop_files(self, database: str) -> None:
        """Remove a filestore; gone is fine."""
        for name in (database, f"{database}.part"):
            shutil.rmtree(self.filestore / name, ignore_errors=True)

    # Taking the name

    def take_name(self, scratch: str, target: str, before: str) -> bool:
        """Let a restored database have its name, and set aside who has it: ``before``.

        May be done again after a kill at any point: as long as ``scratch`` is there, who is called
        ``target`` is the old one. Files go first, so that whoever reconnects finds them.

        Returns:
            Whether there was an old one.

        Raises:
            TransientError: Somebody else's program is connected and stays so.
        """
        if self.exists(scratch):
            self._admit(scratch, target)
            if self.exists(target):
                self._outdo(scratch, target)
                self._rename(target, before)
            self._move_files(scratch, target, before)
            self._rename(scratch, target)
        elif not self.is_placed(scratch, target):
            raise TransientError(
                f"Giving {scratch} the name {target}: it is gone. The next try restores it anew."
            )
        self._admit(target, before)
        with self._server(f"handing over {target}") as server:
            server.execute(
                sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(target))
            )
        return self.exists(before)

    def is_placed(self, scratch: str, target: str) -> bool:
        """Say whether the database called ``target`` is the one that was ``scratch``."""
        with self._server(f"looking what {target} is") as server:
            row = server.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
                [target],
            ).fetchone()
        return row is not None and row[0] == f"restored as {scratch}"

    def _admit(self, *databases: str) -> None:
        """Let databases be connected to again; a kill may have left them closed."""
        with self._server("letting connections in") as server:
            for database in databases:
                if self.exists(database):
                    name = sql.Identifier(database)
                    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))

    def _move_files(self, scratch: str, target: str, before: str) -> None:
        mine, theirs = self.filestore / scratch, self.filestore / target
        if mine.exists():
            if (self.filestore / before).exists():
                # Theirs were put away before a kill: these are an earlier scratch's, which is gone.
                if theirs.exists():
                    shutil.rmtree(theirs)
            elif theirs.exists():
                theirs.rename(self.filestore / before)
            mine.rename(theirs)

    def _rename(self, name: str, new: str) -> None:
        """Rename a database, with nobody connected; it is a template until it is handed over."""
        old, young = sql.Identifier(name), sql.Identifier(new)
        alter = sql.SQL("ALTER DATABASE {} {}")
        with self._server(f"renaming database {name} to {new}") as server:
            # Odoo lists no template and runs no jobs in it, and nobody drops it by mistake.
            server.execute(alter.format(old, sql.SQL("IS_TEMPLATE true")))
            server.execute(alter.format(old, sql.SQL("ALLOW_CONNECTIONS false")))
            try:
                self._end_connections(server, name)
                server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(old, young))
            except psycopg.errors.ObjectInUse as error:
                server.execute(alter.format(old, sql.SQL("ALLOW_CONNECTIONS true")))
                if not LEFT_OVER.fullmatch(name):  # in use, and must be listed and have its jobs
                    server.execute(alter.format(old, sql.SQL("IS_TEMPLATE false")))
                raise TransientError(
                    f"Renaming database {name} to {new}: somebody is connected who cannot be cut "
                    f"off ({error.diag.message_detail}). End that program and run this again."
                ) from error
            server.execute(alter.format(young, sql.SQL("ALLOW_CONNECTIONS true")))

    def _end_connections(self, server: psycopg.Connection[Any], database: str) -> None:
        for _ in range(50):
            left = 0
            rows = server.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = "
                "'client backend'",
                [database],
            ).fetchall()
            for (pid,) in rows:
                left += 1
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    server.execute("SELECT pg_terminate_backend(%s, 1000)", [pid])
            if not left:
                return
            time.sleep(0.1)

    def _outdo(self, scratch: str, target: str) -> None:
        """Let an Odoo that runs on the old database see that its caches are of another.

        It compares numbers of signals with those it saw last; so none may be as high.
        """
        highest = self._signals(target)
        with self._server(f"signalling in {scratch}", scratch) as connection:
            for table, number in self._signals(scratch).items():
                wanted = max(number, highest.get(table, 0)) + 1000
                connection.execute(
                    sql.SQL("INSERT INTO {} (id) VALUES (%s)").format(sql.Identifier(table)),
                    [wanted],
                )
                connection.execute(
                    "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, wanted]
                )

    def _signals(self, database: str) -> dict[str, int]:
        with self._server(f"reading signals of {database}", database) as connection:
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
                "AND tablename LIKE 'orm\\_signaling\\_%'"
            ).fetchall()
            return {
                table: int(
                    connection.execute(
                        sql.SQL("SELECT coalesce(max(id), 0) FROM {}").format(sql.Identifier(table))
                    ).fetchone()[0]  # type: ignore[index]  # an aggregate always answers
                )
                for (table,) in tables
            }

    @contextmanager
    def _server(
        self, doing: str, database: str = "postgres", row_factory: Any = tuple_row
    ) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection of its own; translate what goes wrong."""
        try:
            with contextlib.closing(
                psycopg.connect(
                    make_conninfo(self._conninfo, dbname=database),
                    autocommit=True,
                    row_factory=row_factory,
                    connect_timeout=10,
                    application_name="clinic restore",
                    options="-c statement_timeout=30min -c lock_timeout=60s",
                    keepalives_idle=10,
                    keepalives_interval=5,
                    keepalives_count=3,
                )
            ) as connection:
                yield connection
        except psycopg.Error as error:
            raise translated(f"Odoo's PostgreSQL, {doing}", error, _ADVICE) from error


def _only_sql(doing: str, text: IO[bytes]) -> Iterator[bytes]:
    """Yield a dump without its grants, in pieces of lines: a row may be of any length.

    A command of psql's own at the beginning of a line is refused here with a sentence of ours; one
    that hides elsewhere psql refuses itself.
    """
    in_rows = in_grants = in_line = False
    while piece := text.readline(_PIECE):
        begins, in_line = not in_line, not piece.endswith(b"\n")
        if not begins:
            pass
        elif in_rows:
            in_rows = piece != b"\\.\n"
        elif _RESTRICT.match(piece):
            continue  # of pg_dump, for the same purpose as ours
        elif piece.startswith(b"\\"):
            raise PermanentError(
                f"{doing}: dump.sql holds a command of psql ({piece[:40]!r}), which no dump of "
                "PostgreSQL does. It was tampered with: choose another backup."
            )
        elif _ENTRY.match(piece):
            in_grants = _GRANTS.search(piece) is not None
        else:
            in_rows = _COPY.fullmatch(piece) is not None
        if not in_grants:
            yield piece


def _link_or_copy(source: str | Path, sink: str | Path) -> None:
    """Give a file a second name; across file systems, a copy. Odoo never changes one in place."""
    try:
        os.link(source, sink)
    except OSError:
        shutil.copyfile(source, sink)
