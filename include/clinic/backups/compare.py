"""What was restored, compared with what the manifest says was backed up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clinic.backups.model import Filestore, Manifest
from clinic.backups.source import FILE_NAME, chunks
from clinic.backups.unpack import names_sha256


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was backed up; ``expected`` is empty where ``found`` says it."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.what}: {self.found}" + (
            f" instead of {self.expected}" if self.expected else ""
        )


@dataclass(slots=True)
class Comparison:
    """What was compared, and what differs."""

    tables: int = 0
    rows: int = 0
    files: int = 0
    files_bytes: int = 0
    differences: list[Difference] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as a report keeps it."""
        return {
            "tables": self.tables,
            "rows": self.rows,
            "files": self.files,
            "files_bytes": self.files_bytes,
            "differences": [
                {"what": one.what, "expected": one.expected, "found": one.found}
                for one in self.differences
            ],
        }


def compare_tables(expected: Mapping[str, int], found: Mapping[str, int], into: Comparison) -> None:
    """Compare every table's rows; a table that only one side has is a difference, too."""
    for table in sorted(expected.keys() | found.keys()):
        want, have = expected.get(table), found.get(table)
        if want is None or have is None:
            into.differences.append(
                Difference(f"table {table}", _rows(want), _rows(have)),
            )
            continue
        into.tables += 1
        into.rows += have
        if want != have:
            into.differences.append(Difference(f"table {table}", _rows(want), _rows(have)))


def _rows(count: int | None) -> str:
    return "none such" if count is None else f"{count} rows"


def compare_identity(manifest: Manifest, database_uuid: str, into: Comparison) -> None:
    """Compare which installation it is."""
    if manifest.database_uuid != database_uuid:
        into.differences.append(
            Difference("database.uuid", manifest.database_uuid or "none", database_uuid or "none")
        )


def compare_files(told: Filestore, folder: Path, into: Comparison) -> None:
    """Read every file of a filestore, and compare it with its name and the names with the list."""
    names = []
    for name, path in files_of(folder):
        names.append(name)
        sha1 = hashlib.sha1(usedforsecurity=False)  # Odoo's choice
        with path.open("rb", buffering=0) as content:
            for block in chunks(content.read):
                sha1.update(block)
                into.files_bytes += len(block)
        into.files += 1
        if sha1.hexdigest() != name[3:]:
            into.differences.append(Difference(f"file {name}", name[3:], sha1.hexdigest()))
    if len(names) != told.files:
        into.differences.append(Difference("files", str(told.files), str(len(names))))
    elif names_sha256(names) != told.names_sha256:
        into.differences.append(Difference("the files' names", "those of the manifest", "others"))


def compare_references(
    names: Iterable[str], told: Filestore, folder: Path, into: Comparison
) -> None:
    """Look whether each file that the database refers to is there, or was missing before."""
    missing = set(told.missing)
    for name in sorted(set(names)):
        if name not in missing and not (folder / name).is_file():
            into.differences.append(Difference(f"file {name}", "a file", "none such"))


def files_of(folder: Path) -> Iterable[tuple[str, Path]]:
    """Yield each file of a filestore with its name; what Odoo itself keeps beside is left out."""
    for part in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        for path in sorted(part.iterdir()):
            name = f"{part.name}/{path.name}"
            if FILE_NAME.fullmatch(name):
                yield name, path
