"""Where a backup comes from, and what is read back from a dump to see that it is whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from clinic.backups.model import BackupKind, DumpFormat, Filestore
from clinic.errors import TransientError

FILE_NAME: Final = re.compile(r"[0-9a-f]{2}/[0-9a-f]{40}")
"""How Odoo names a file in its filestore: by its SHA-1."""

_COPY: Final = re.compile(rb"\nCOPY ([^\n(]+?) (?:\(([^\n]*)\) )?FROM stdin;(?=\n)")
_END: Final = b"\n\\.\n"
_COMPLETE: Final = b"-- PostgreSQL database dump complete"


class StaleDumpError(TransientError):
    """The dump is of no use any more; the next try makes a new one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was dumped, as it was at one moment."""

    taken_at: datetime
    """What was committed before is in it."""
    database: str
    database_uuid: str
    odoo_version: str
    postgres_version: str
    modules: Mapping[str, str]
    tables: Mapping[str, int]
    """Rows of each table; :meth:`DumpSource.verify` finds the dump to hold as many."""
    dump_format: DumpFormat
    filestore: Filestore | None
    tools: Mapping[str, str]


class DumpSource(Protocol):
    """An Odoo that can be backed up."""

    @property
    def name(self) -> Literal["postgres", "http"]:
        """What manifests call it."""
        ...

    @property
    def database(self) -> str:
        """Which database it dumps."""
        ...

    def needed_bytes(self, kind: BackupKind) -> int | None:
        """Return how much room a backup needs in the spool at most; None where it is not known."""
        ...

    def dump(self, kind: BackupKind, folder: Path, names: Path) -> Snapshot:
        """Dump into an empty folder.

        Args:
            kind: What to dump.
            folder: What it holds then goes into the archive, under the same names.
            names: Gets the names of the files that :meth:`file` has for the archive, sorted, one a
                line; none where the dump holds the files itself.

        Raises:
            TransientError: Trying again may help; nothing in ``folder`` is worth keeping.
            PermanentError: A person has to change something.
        """
        ...

    def verify(self, folder: Path, tables: Mapping[str, int]) -> None:
        """Read a dump to its end to see that it is whole; called beside other work, in a thread.

        Args:
            folder: What :meth:`dump` dumped into.
            tables: The rows that each table has to have.

        Raises:
            TransientError: It is damaged, or has other rows: nothing in ``folder`` is worth
                keeping.
            PermanentError: A person has to change something.
        """
        ...

    def file(self, name: str) -> Path:
        """Return where a file of the filestore lies."""
        ...


class RowCounter:
    """Counts the rows of each table in the text of a dump, whatever its size.

    In COPY's text format a row is a line: a newline in a value is written as two characters.
    https://www.postgresql.org/docs/17/sql-copy.html#id-1.9.3.55.9.2

    Args:
        on_row: Told the rows of the tables that it names, each a table's columns and values.
    """

    def __init__(
        self, on_row: Mapping[str, Callable[[dict[str, str]], None]] | None = None
    ) -> None:
        self.tables: dict[str, int] = {}
        self._on_row = on_row or {}
        self._rest = b"\n"
        self._table: str | None = None
        self._columns: list[str] = []
        self._tail = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._tail = (self._tail + chunk)[-200:]
        text = self._rest + chunk
        while True:
            if self._table is None:
                match = _COPY.search(text)
                if match is None:
                    # The line that is not over yet may become one that begins a table.
                    self._rest = text[text.rfind(b"\n") :]
                    return
                self._table = match[1].decode().rstrip()  # two blanks, without columns
                self._columns = (match[2] or b"").decode().split(", ")
                self.tables.setdefault(self._table, 0)
                text = text[match.end() :]  # begins with the newline after it
            end = text.find(_END)
            if end >= 0:
                self._rows(text[:end])
                self._table, text = None, text[end + len(_END) - 1 :]
                continue
            # Up to a newline that may be the beginning of the end.
            keep = text.rfind(b"\n") if self._table in self._on_row else max(len(text) - 3, 0)
            self._rows(text[:keep])
            self._rest = text[keep:]
            return

    def _rows(self, text: bytes) -> None:
        """Count the newlines that begin a row, and tell of the rows if somebody listens."""
        assert self._table is not None
        self.tables[self._table] += text.count(b"\n")
        if tell := self._on_row.get(self._table):
            for line in text.split(b"\n")[1:]:
                values = line.decode().split("\t")
                tell(dict(zip(self._columns, values, strict=True)))

    def finish(self) -> None:
        """Say that there is no more.

        Raises:
            TransientError: The text ended before its end.
        """
        if self._table is not None or _COMPLETE not in self._tail:
            where = f" within table {self._table}" if self._table else ""
            raise TransientError(
                f"Reading the dump back: it is cut off{where}. It is thrown away, and the next try "
                "dumps again; if it happens again, look whether a disk is full or a process is "
                "ended while it dumps."
            )


def compare_rows(counted: Mapping[str, int], dumped: Mapping[str, int]) -> None:
    """Compare the rows of each table in the database with those in the dump.

    Raises:
        TransientError: They differ.
    """
    differ = [
        f"{table}: {dumped.get(table)} instead of {counted.get(table)}"
        for table in sorted({*counted, *dumped})
        if counted.get(table) != dumped.get(table)
    ]
    if differ:
        raise TransientError(
            f"Reading the dump back: {len(differ)} tables have other numbers of rows than the "
            f"database had in the same snapshot ({'; '.join(differ[:5])}). The dump is thrown "
            "away, and the next try dumps again."
        )


class OdooFacts:
    """What a dump says about its Odoo; filled by the rows of a :class:`RowCounter`."""

    def __init__(self) -> None:
        self.database_uuid = ""
        self.modules: dict[str, str] = {}
        self.files: set[str] = set()

    @property
    def listeners(self) -> dict[str, Callable[[dict[str, str]], None]]:
        """What to give to a :class:`RowCounter`."""
        return {
            "public.ir_config_parameter": self._parameter,
            "public.ir_module_module": self._module,
            "public.ir_attachment": self._attachment,
        }

    def _parameter(self, row: dict[str, str]) -> None:
        if row["key"] == "database.uuid":
            self.database_uuid = row["value"]

    def _module(self, row: dict[str, str]) -> None:
        if row["state"] == "installed":
            self.modules[row["name"]] = row["latest_version"]

    def _attachment(self, row: dict[str, str]) -> None:
        if row["store_fname"] != r"\N":
            self.files.add(row["store_fname"])


def odoo_version(modules: Mapping[str, str]) -> str:
    """Return Odoo's series (``19.0``), as the version of its module ``base`` says."""
    return ".".join(modules.get("base", "").split(".")[:2])


def chunks(read: Callable[[int], bytes], size: int = 1024**2) -> Iterable[bytes]:
    """Read to the end, so many bytes at once."""
    return iter(lambda: read(size), b"")
