"""Files: secrets are never readable by others, and nothing is rewritten without a change."""

import hashlib
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path


def write_if_changed(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write `text` beside `path` and rename it into place; say whether anything changed."""
    if path.exists() and path.read_text() == text and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    new.chmod(mode)  # whatever the umask
    new.rename(path)
    return True


def shell_variables(values: Mapping[str, object], *, export: bool = False) -> str:
    """KEY=VALUE lines that a shell can source."""
    prefix = "export " if export else ""
    return "".join(f"{prefix}{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def fingerprint(*parts: object) -> str:
    """12 hexadecimal digits that change when any part does."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:12]


def tree_fingerprint(paths: Iterable[Path]) -> str:
    """12 hexadecimal digits over the names and contents of all files under `paths`."""
    digest = hashlib.sha256()
    for top in sorted(paths):
        files = [top] if top.is_file() else sorted(top.rglob("*"))
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(top.parent)}\0".encode())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def code_fingerprint(checkout: Path, folders: Iterable[str]) -> str:
    """12 hexadecimal digits over the Python modules and the SQL in these folders of a checkout."""
    found = (
        path
        for folder in folders
        for top in checkout.glob(folder)
        for path in top.rglob("*")
        if path.suffix in {".py", ".sql"} and "__pycache__" not in path.parts
    )
    return fingerprint(
        *(part for path in sorted(found) for part in (path.relative_to(checkout), path.read_text()))
    )
