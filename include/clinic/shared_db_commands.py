"""``clinic db``: bring the shared database's schema to this version of the code, or back.

Tables are the history in ``sql/migrations`` (yoyo). Views are not history: each is one file in
``sql/views``, dropped before a migration and created again after it, so that a view never stands in
the way of a change to a table, and its file always shows what is in the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import stamina
import typer
import yoyo
from psycopg import sql

from clinic.clients.locks import MIGRATION_LOCK
from clinic.errors import PermanentError, TransientError
from clinic.tables import print_table

SQL_DIR = Path(os.environ.get("CLINIC_SQL_DIR", Path(__file__).parents[2] / "sql"))

app = typer.Typer(help="The schema of the shared database.", no_args_is_help=True)

Url = Annotated[
    str,
    typer.Option(
        envvar="SHARED_DB_URL",
        help="postgresql:// address of the shared database, as its owner.",
        show_envvar=True,
    ),
]


@app.command()
def migrate(url: Url) -> None:
    """Apply every migration that is missing, then create the views that are missing or changed."""
    applied = migrate_database(url)
    typer.echo(f"{applied} migrations applied; the schema is up to date.")


@app.command()
def rollback(
    url: Url,
    count: Annotated[int, typer.Option(min=1, help="How many migrations to take back.")] = 1,
    all_: Annotated[bool, typer.Option("--all", help="Take back every migration.")] = False,
) -> None:
    """Take back the newest migrations, and all views: `migrate` of older code restores them."""
    undone = rollback_database(url, None if all_ else count)
    typer.echo(f"{undone} migrations taken back.")


@app.command()
def status(url: Url) -> None:
    """List the migrations and views, and whether the database has them."""
    with _locked(url) as connection, _yoyo(url) as backend:
        migrations = _migrations()
        missing = {migration.id for migration in backend.to_apply(migrations)}
        have = _views_in_database(connection)
        rows = []
        for migration in migrations:
            state = "missing" if migration.id in missing else "applied"
            rows.append(("migration", migration.id, state))
        for name, (_, digest) in _view_files().items():
            state = "current" if have.get(name) == digest else "missing or changed"
            rows.append(("view", name, state))
    print_table(("what", "name", "state"), rows)


@app.command()
def describe(url: Url) -> None:
    """Print docs/reference/shared-database.md, from the comments in the database."""
    typer.echo(describe_database(url), nl=False)


_COLUMNS = """
SELECT c.relname AS relation, c.relkind AS kind, obj_description(c.oid) AS about,
    a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS needed,
    col_description(c.oid, a.attnum) AS remark
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm')
    AND a.attnum > 0 AND NOT a.attisdropped
    AND c.relname NOT LIKE '%yoyo%' AND c.relname <> 'schema_views'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY c.relname LIKE 'shared%' DESC, c.relname LIKE 'low%' DESC, c.relname, a.attnum
"""


def describe_database(url: str) -> str:
    """Return the reference of the tables and views, in Markdown."""
    kinds = {"r": "table", "v": "view", "m": "materialized view"}
    preface = (SQL_DIR / "reference.md").read_text(encoding="utf-8")
    page, relation_before = [preface + "## Tables and views\n"], None
    with psycopg.connect(url, connect_timeout=10) as connection:
        rows = connection.execute(_COLUMNS).fetchall()
    for relation, kind, about, name, type_, needed, remark in rows:
        if relation != relation_before:
            page.append(f"\n### {relation}\n\n*{kinds[kind].capitalize()}.* {about}\n")
            page.append("| column | type | |\n|---|---|---|")
            relation_before = relation
        null = "" if needed or kind != "r" else ", may be null"
        page.append(f"| `{name}` | {type_}{null} | {remark or ''} |")
    return "\n".join(page) + "\n"


def migrate_database(url: str) -> int:
    """Bring the database up to date and return how many migrations were applied.

    Args:
        url: ``postgresql://`` address, as a role that owns the database's objects.

    Raises:
        TransientError: The database is out of reach, or someone else is changing the schema.
        PermanentError: The role may not change the schema.
    """
    with _locked(url) as connection, _yoyo(url) as backend:
        pending = backend.to_apply(_migrations())
        count = len(pending)
        if count:
            _drop_views(connection)
            backend.apply_migrations(pending)
        _create_views(connection)
        return count


def rollback_database(url: str, count: int | None) -> int:
    """Take back the newest ``count`` migrations (all when None) and return how many it were."""
    with _locked(url) as connection, _yoyo(url) as backend:
        applied = backend.to_rollback(_migrations())
        undo = applied if count is None else applied[:count]
        _drop_views(connection)
        backend.rollback_migrations(undo)
        return len(undo)


@contextlib.contextmanager
def _locked(url: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """Yield a connection that holds the migration lock; a killed holder releases it by dying."""
    doing = "Migrating the shared database"
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("SET lock_timeout = '30s'")
            connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
            connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_views"
                " (name text PRIMARY KEY, sha256 text NOT NULL)"
            )
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermanentError(
            f"{doing}: {error.diag.message_primary}. Use the address of the owner (SHARED_DB_URL)."
        ) from error
    except psycopg.OperationalError as error:
        raise TransientError(f"{doing}: {error}") from error


@contextlib.contextmanager
def _yoyo(url: str) -> Iterator[Any]:
    """Yield yoyo's backend on psycopg 3, closed afterwards."""
    parts = urlsplit(url)
    backend = yoyo.get_backend(urlunsplit(parts._replace(scheme="postgresql+psycopg")))
    try:
        # yoyo's own lock is a row that outlives a killed process. We hold a better one.
        backend.break_lock()
        with backend.lock():
            yield backend
    finally:
        backend.connection.close()


def _migrations() -> Any:
    return yoyo.read_migrations(str(SQL_DIR / "migrations"))


def _view_files() -> dict[str, tuple[str, str]]:
    """Return ``{file stem: (SQL, sha256 of it)}`` of every view, in order of name."""
    files = sorted((SQL_DIR / "views").glob("*.sql"))
    if not files:
        raise PermanentError(f"No views under {SQL_DIR / 'views'}: is CLINIC_SQL_DIR right?")
    texts = {file.stem: file.read_text(encoding="utf-8") for file in files}
    return {name: (text, hashlib.sha256(text.encode()).hexdigest()) for name, text in texts.items()}


def _views_in_database(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, str]:
    """Return ``{file stem: sha256 of the file it was created from}``."""
    rows = connection.execute("SELECT name, sha256 FROM schema_views").fetchall()
    return {str(name): str(digest) for name, digest in rows}


def _create_views(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Create all views anew when any file differs from what the database was given."""
    files = _view_files()
    if _views_in_database(connection) == {name: digest for name, (_, digest) in files.items()}:
        return
    with connection.transaction():  # readers see the old views, then the new ones
        _drop_views(connection)
        for name, (text, digest) in files.items():
            connection.execute(text.encode())
            connection.execute("INSERT INTO schema_views VALUES (%s, %s)", (name, digest))


# A mirror that runs refreshes a view and reads what stands below it: the other order than ours.
@stamina.retry(on=psycopg.errors.DeadlockDetected, attempts=5, timeout=60)
def _drop_views(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Drop all views but those of extensions: one file may stand on another, so none is kept."""
    with connection.transaction():
        rows = connection.execute(
            """
            SELECT c.relname, c.relkind FROM pg_class AS c
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('v', 'm')
              AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
            """
        ).fetchall()
        for relation, kind in rows:
            what = sql.SQL("MATERIALIZED VIEW" if kind == "m" else "VIEW")
            connection.execute(
                sql.SQL("DROP {} IF EXISTS {} CASCADE").format(what, sql.Identifier(relation))
            )
        connection.execute("DELETE FROM schema_views")
