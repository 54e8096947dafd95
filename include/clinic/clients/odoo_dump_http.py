"""Dumps an Odoo through its database manager: where a URL and the master password are all there is.

Odoo answers HTTP 200 to everything, and never says how long its answer is: an error is a page, a
failed ``pg_dump`` is an empty answer, and one that is cut off looks like any other. So nothing is
believed until it was read to its end. Measured on Odoo 19 (``odoo/service/db.py`` and
``addons/web/controllers/database.py``).
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import time
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Literal

import httpx

from clinic.backups.model import BackupKind, DumpFormat, Filestore
from clinic.backups.source import (
    FILE_NAME,
    OdooFacts,
    RowCounter,
    Snapshot,
    chunks,
    odoo_version,
)
from clinic.clients import pg_tools
from clinic.errors import PermanentError, TransientError

_DOING: Final = "Asking Odoo's database manager for a backup"
_PAGE_BYTES: Final = 256 * 1024
_SAID: Final = re.compile(r"Database backup error:\s*([^<]+)")


class HttpDumpSource:
    """An Odoo by its address and its master password.

    Args:
        url: Its address.
        database: Which of its databases.
        master_password: ``admin_passwd`` of its settings.
        first_byte_s: How long to wait for the first byte: Odoo writes the whole zip first.
        total_s: How long the whole answer may take.
    """

    name: Final[Literal["http"]] = "http"

    def __init__(
        self,
        url: str,
        database: str,
        master_password: str,
        *,
        first_byte_s: float = 3600,
        total_s: float = 4 * 3600,
    ) -> None:
        self._url = url.rstrip("/")
        self.database = database
        self._master_password = master_password
        self._timeout = httpx.Timeout(30, read=first_byte_s)
        self._total_s = total_s

    def needed_bytes(self, kind: BackupKind) -> int | None:
        """Odoo does not say how large it is."""
        return None

    def file(self, name: str) -> Path:
        """Never asked: the zip holds the files."""
        raise NotImplementedError

    def verify(self, folder: Path, tables: Mapping[str, int]) -> None:
        """Do nothing more: what is known of a dump comes from reading it to its end."""

    def dump(self, kind: BackupKind, folder: Path, names: Path) -> Snapshot:
        """Fetch a dump, and read it to its end; see :class:`DumpSource`."""
        if kind is BackupKind.FILESTORE:
            raise PermanentError(
                "Backing up the filestore alone: Odoo's database manager gives a database, with "
                "or without its files. Take a full backup, or set the source to postgres in the "
                "Variable clinic_backup_settings."
            )
        names.write_bytes(b"")
        asked_at = datetime.now(UTC)  # whatever was committed by now will be in it
        if kind is BackupKind.DATABASE:
            self._fetch("dump", folder / "database.dump")
            found = _read_custom(folder / "database.dump")
        else:
            self._fetch("zip", folder / "odoo.zip")
            found = _read_zip(folder / "odoo.zip")
        return Snapshot(taken_at=asked_at, database=self.database, **found)

    def _fetch(self, backup_format: str, sink: Path) -> None:
        form = {
            "master_pwd": self._master_password,
            "name": self.database,
            "backup_format": backup_format,
        }
        give_up_at = time.monotonic() + self._total_s
        try:
            with (
                httpx.Client(timeout=self._timeout) as http,
                http.stream("POST", f"{self._url}/web/database/backup", data=form) as answer,
                sink.open("wb") as file,
            ):
                kind = answer.headers.get("content-type", "")
                if answer.status_code != 200 or not kind.startswith("application/octet-stream"):
                    raise _refused(answer.status_code, _beginning(answer), self.database)
                for block in answer.iter_bytes(1024**2):
                    file.write(block)
                    if time.monotonic() > give_up_at:
                        raise TransientError(
                            f"{_DOING}: it was not over after {self._total_s:.0f} s."
                        )
        except httpx.HTTPError as error:
            raise TransientError(
                f"{_DOING}: the connection to {self._url} failed ({type(error).__name__}). What "
                "came is thrown away. Is Odoo up, and is its limit_time_real long enough for a "
                "dump?"
            ) from None
        if not sink.stat().st_size:
            raise TransientError(
                f"{_DOING}: it sent nothing. Odoo's pg_dump failed; Odoo's log says why (is "
                "pg_dump older than its server?)."
            )


def _beginning(answer: httpx.Response) -> str:
    page = b""
    for block in answer.iter_bytes(16 * 1024):
        page += block
        if len(page) > _PAGE_BYTES:
            break
    return page.decode(errors="replace")


def _refused(status: int, page: str, database: str) -> TransientError | PermanentError:
    """Return what a page means that came instead of a dump."""
    match = _SAID.search(page)
    said = " ".join(html.unescape(match[1]).split())[:200] if match else ""
    if status in {429, 502, 503, 504}:
        return TransientError(f"{_DOING}: HTTP {status}. Odoo, or what is before it, is busy.")
    if "Access Denied" in said or "AccessDenied" in said:
        return PermanentError(
            f"{_DOING}: the master password is wrong, or its list of databases is switched off. "
            "Put Odoo's admin_passwd into the connection odoo_database_manager, and see that Odoo "
            "runs with list_db = True."
        )
    if "is not known" in said:
        return PermanentError(
            f"{_DOING}: it has no database {database!r}, or hides it (dbfilter). Put right the "
            "schema of the connection odoo_database_manager."
        )
    if said:
        return TransientError(f"{_DOING}: it said {said!r}. Odoo's log says more.")
    return PermanentError(
        f"{_DOING}: HTTP {status} with a page that is no dump. Is the host of the connection "
        "odoo_database_manager Odoo's address, and its database manager reachable there?"
    )


# Reading to the end


def _read_custom(dump: Path) -> dict[str, Any]:
    """Read a dump of pg_dump's own format to its end."""
    with pg_tools.piped(
        "Reading the dump back",
        [pg_tools.program("pg_restore"), "--file=-", str(dump)],
        pg_tools.environment(""),
    ) as read:
        found, facts = _read_sql(read)
    return found | {
        "dump_format": DumpFormat.CUSTOM,
        "filestore": None,
        "odoo_version": odoo_version(facts.modules),
        "tools": {"pg_restore": pg_tools.version("pg_restore")},
    }


def _read_zip(file: Path) -> dict[str, Any]:
    """Read a zip to its end: each file's CRC, each of the filestore's SHA-1, each table's rows."""
    try:
        with zipfile.ZipFile(file) as archive:
            with archive.open("dump.sql") as dump:
                found, facts = _read_sql(dump.read)
            about = json.loads(archive.read("manifest.json"))
            filestore = _read_files(archive, facts.files)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError) as error:
        raise TransientError(
            f"Reading the zip back that Odoo sent: it is damaged or cut off ({error}). It is "
            "thrown away. If it happens again, raise Odoo's limit_time_real: a worker that is "
            "ended while it sends looks like success."
        ) from None
    return found | {
        "dump_format": DumpFormat.ZIP,
        "filestore": filestore,
        "odoo_version": str(about.get("major_version") or odoo_version(facts.modules)),
        "tools": {"odoo": str(about.get("version", ""))},
    }


def _read_sql(read: Any) -> tuple[dict[str, Any], OdooFacts]:
    facts = OdooFacts()
    counter = RowCounter(facts.listeners)
    head = b""
    for chunk in chunks(read):
        head = head if len(head) > 4096 else head + chunk[:4096]
        counter.feed(chunk)
    counter.finish()
    server = re.search(rb"-- Dumped from database version ([\d.]+)", head)
    return {
        "database_uuid": facts.database_uuid,
        "modules": dict(sorted(facts.modules.items())),
        "tables": counter.tables,
        "postgres_version": server[1].decode() if server else "",
    }, facts


def _read_files(archive: zipfile.ZipFile, referenced: set[str]) -> Filestore:
    """Compare the zip's files with their names, and with what the database refers to.

    Raises:
        PermanentError: A file is damaged in Odoo's filestore.
    """
    there: dict[str, int] = {}
    for member in archive.infolist():
        name = member.filename.removeprefix("filestore/")
        if name == member.filename or not FILE_NAME.fullmatch(name):
            continue
        with archive.open(member) as content:
            sha1 = _sha1(content)
        if sha1 != name[3:]:
            raise PermanentError(
                f"Reading Odoo's file {name}: it is damaged, for its content has another SHA-1 "
                f"({sha1}) than its name. Put the file back from an older backup, or delete the "
                "attachments that use it; nothing was backed up meanwhile."
            )
        there[name] = member.file_size
    return Filestore(
        files=len(there),
        size_bytes=sum(there.values()),
        names_sha256=_names_sha256(there),
        missing=tuple(sorted(referenced - there.keys())),
    )


def _sha1(content: IO[bytes]) -> str:
    seen = hashlib.sha1(usedforsecurity=False)  # Odoo's choice
    for block in chunks(content.read):
        seen.update(block)
    return seen.hexdigest()


def _names_sha256(names: Mapping[str, int]) -> str:
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\n".encode())
    return digest.hexdigest()
