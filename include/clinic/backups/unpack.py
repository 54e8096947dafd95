"""Opening an archive: decrypted, compared and unpacked into the spool, before anything is touched.

Nothing of an archive is believed until its last byte was read: what is unpacked lies in a folder
that gets its name only after the sums are those of the manifest. Memory holds a few blocks.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final

import pyrage
from pydantic import ValidationError

from clinic.backups.model import Contents, DumpFormat, Manifest
from clinic.backups.source import chunks
from clinic.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_MANIFEST_BYTES: Final = 64 * 1024**2
_BLOCK: Final = 1024**2
# Everything that an archive may hold; the second half of a filestore's name is a SHA-1.
_KNOWN: Final = re.compile(
    r"manifest\.json|database/[A-Za-z0-9_.-]+|database\.dump|odoo\.zip"
    r"|filestore/([0-9a-f]{2})/(\1[0-9a-f]{38})"
)


def read_manifest(content: bytes, name: str) -> Manifest:
    """Read a manifest that came from the vault.

    Raises:
        PermanentError: It is not one, or is another backup's.
    """
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise PermanentError(
            f"Reading the manifest of {name}: {place}: {first['msg']}. It is damaged or of another "
            "version: choose another backup."
        ) from error
    if manifest.name != name:
        raise PermanentError(
            f"Reading the manifest of {name}: it is that of {manifest.name}. Nothing was changed; "
            "choose another backup."
        )
    return manifest


def parse_identity(text: str) -> pyrage.x25519.Identity:
    """Read a private key: a line of its own in a file that ``age-keygen`` writes, or alone.

    Raises:
        PermanentError: There is none. The error does not quote what was read.
    """
    for line in text.splitlines():
        if line.strip().startswith("AGE-SECRET-KEY-"):
            with contextlib.suppress(pyrage.IdentityError):
                return pyrage.x25519.Identity.from_str(line.strip())
    raise PermanentError(
        "Reading the private key: there is no line AGE-SECRET-KEY-… in it. Take the file that "
        "`clinic backup new-key` wrote."
    )


def unpack(
    archive: Path,
    manifest: Manifest,
    identity: pyrage.x25519.Identity,
    folder: Path,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Decrypt and unpack an archive, and compare it with its manifest.

    Args:
        archive: The encrypted file, whose sum was compared.
        manifest: What it has to be.
        identity: The private key of one of its recipients.
        folder: Where to; it is there only when everything was equal.
        on_progress: Told the bytes of the tar file read so far.

    Raises:
        PermanentError: The key is another's, or a byte differs; ``folder`` is not made.
        TransientError: The disk is full.
    """
    half = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(mode=0o700, parents=True)
    try:
        _unpack(archive, manifest, identity, half, on_progress)
        os.sync()  # thousands of files: one call, not one for each
        half.rename(folder)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise TransientError(
                f"Unpacking {manifest.name}: the disk of {folder.parent} is full. Make room; the "
                "restore goes on there."
            ) from error
        raise
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _unpack(
    archive: Path,
    manifest: Manifest,
    identity: pyrage.x25519.Identity,
    folder: Path,
    on_progress: Callable[[int], None] | None,
) -> None:
    with _decrypted(archive, identity, manifest.name, on_progress) as plain:
        try:
            members = _extract(plain.file, folder, manifest.name)
            for _ in chunks(plain.file.read, _BLOCK):
                pass  # what follows the last member counts, too
        except tarfile.TarError as error:
            raise _damaged(manifest.name, f"its tar file cannot be read ({error})") from error
    found = (plain.size_bytes, plain.digest.hexdigest())
    if found != (manifest.size_bytes, manifest.sha256):
        raise _damaged(
            manifest.name,
            f"it holds {found[0]} bytes of sha256 {found[1]}, and the manifest says "
            f"{manifest.size_bytes} of {manifest.sha256}",
        )
    _compare(folder, members, manifest)


def _extract(file: BinaryIO, folder: Path, name: str) -> list[str]:
    """Unpack what is known; refuse everything else, such as a link or a way out of the folder."""
    members: list[str] = []
    seen: set[str] = set()
    with tarfile.open(fileobj=file, mode="r|", bufsize=_BLOCK, format=tarfile.PAX_FORMAT) as tar:
        for member in tar:
            known = _KNOWN.fullmatch(member.name)
            plain = member.type in {tarfile.REGTYPE, tarfile.AREGTYPE} and not member.issparse()
            if known is None or not plain or ".." in member.name or member.name in seen:
                raise _damaged(name, f"it holds {member.name[:200]!r}, which no backup does")
            seen.add(member.name)
            members.append(member.name)
            content = tar.extractfile(member)
            assert content is not None  # it is a regular file
            sha1 = _write(content, folder / member.name)
            if known[2] and sha1 != known[2]:
                raise _damaged(name, f"{member.name} has another SHA-1 ({sha1}) than its name")
            tar.members = []  # type: ignore[attr-defined]  # else it remembers each of a hundred thousand files
    return members


def _write(content: IO[bytes], path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sha1 = hashlib.sha1(usedforsecurity=False)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        for block in chunks(content.read, _BLOCK):
            sha1.update(block)
            sink.write(block)
    return sha1.hexdigest()


def names_sha256(names: Sequence[str]) -> str:
    """Return what :attr:`clinic.backups.model.Filestore.names_sha256` is of these names."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def _compare(folder: Path, members: list[str], manifest: Manifest) -> None:
    """Compare what was unpacked with what the manifest says is in it."""
    name = manifest.name
    try:
        inner = Contents.model_validate_json((folder / "manifest.json").read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise _damaged(name, "it has no manifest.json that can be read") from error
    outer = Contents(**{field: getattr(manifest, field) for field in Contents.model_fields})
    if inner != outer:
        differ = [
            field
            for field in Contents.model_fields
            if getattr(inner, field) != getattr(outer, field)
        ]
        raise _damaged(name, f"the manifest beside it says otherwise of {', '.join(differ)}")
    expected = {
        DumpFormat.DIRECTORY: "database/toc.dat",
        DumpFormat.CUSTOM: "database.dump",
        DumpFormat.ZIP: "odoo.zip",
        DumpFormat.NONE: None,
    }[manifest.dump_format]
    if expected and expected not in members:
        raise _damaged(name, f"{expected} is missing")
    if manifest.filestore is None or manifest.dump_format is DumpFormat.ZIP:
        return  # Odoo's zip file brings its own
    names = [one.removeprefix("filestore/") for one in members if one.startswith("filestore/")]
    size_bytes = sum((folder / "filestore" / one).stat().st_size for one in names)
    told = manifest.filestore
    if (len(names), size_bytes, names_sha256(names)) != (
        told.files,
        told.size_bytes,
        told.names_sha256,
    ):
        raise _damaged(
            name,
            f"it holds {len(names)} files of {size_bytes} bytes, and the manifest says "
            f"{told.files} of {told.size_bytes}, or they are others",
        )


def _damaged(name: str, what: str) -> PermanentError:
    return PermanentError(
        f"Opening {name}: {what}. Nothing was changed. It is damaged or was tampered with: choose "
        "another backup, and find out who can write to the vault."
    )


class _Plain:
    """The writer that the cipher writes to: counts, and hands on to the reading end of a pipe."""

    def __init__(self, sink: BinaryIO, file: BinaryIO, on_progress: Callable[[int], None]) -> None:
        self.file = file
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self._sink = sink
        self._on_progress = on_progress

    def write(self, block: ReadableBuffer) -> int:
        view = memoryview(block)
        self._sink.write(view)
        self.digest.update(view)
        self.size_bytes += len(view)
        self._on_progress(self.size_bytes)
        return len(view)

    def flush(self) -> None:
        self._sink.flush()


@contextlib.contextmanager
def _decrypted(
    archive: Path,
    identity: pyrage.x25519.Identity,
    name: str,
    on_progress: Callable[[int], None] | None,
) -> Iterator[_Plain]:
    """Decrypt in a thread, for the cipher pushes and the tar reader pulls."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []
    with os.fdopen(reading, "rb", buffering=_BLOCK) as file:
        sink = os.fdopen(writing, "wb", buffering=_BLOCK)
        plain = _Plain(sink, file, on_progress or (lambda _: None))

        def decrypt() -> None:
            try:
                with sink, archive.open("rb") as source:
                    pyrage.decrypt_io(source, plain, [identity])
            except BaseException as error:  # noqa: BLE001  told by the thread that waits
                failed.append(error)

        thread = threading.Thread(target=decrypt, name="decrypt", daemon=True)
        thread.start()
        try:
            yield plain
        finally:
            # What was not read is not wanted: the writer ends with a broken pipe.
            file.close()
            thread.join()
            if failed and not isinstance(failed[0], BrokenPipeError):
                # An archive that does not decrypt ends early, and how the reader took that is
                # only its consequence.
                raise _why(failed[0], name) from failed[0]


def _why(error: BaseException, name: str) -> Exception:
    text = str(error)
    if isinstance(error, pyrage.DecryptError) and "matching key" in text.lower():
        return PermanentError(
            f"Opening {name}: the private key is not one of those that it is encrypted for. Take "
            "the key that belongs to a recipient in its manifest."
        )
    # The cipher tells a changed or missing byte as an OSError that no system call gave.
    if isinstance(error, pyrage.DecryptError) or getattr(error, "errno", 0) is None:
        return _damaged(name, f"it cannot be decrypted ({text})")
    return TransientError(f"Opening {name}: {type(error).__name__}: {text}.")


def unpack_zip(folder: Path, name: str) -> None:
    """Take the filestore out of Odoo's own zip file; done again, it is done anew.

    Raises:
        PermanentError: A file of it is damaged.
    """
    shutil.rmtree(folder / "filestore", ignore_errors=True)
    try:
        with zipfile.ZipFile(folder / "odoo.zip") as whole:
            for member in whole.infolist():
                known = _KNOWN.fullmatch(member.filename)
                if known is None or not known[2]:
                    continue  # dump.sql is read from where it is, and of the rest nothing is used
                with whole.open(member) as content:
                    sha1 = _write(content, folder / member.filename)
                if sha1 != known[2]:
                    raise _damaged(name, f"{member.filename} has another SHA-1 than its name")
    except (zipfile.BadZipFile, FileExistsError) as error:
        raise _damaged(name, f"odoo.zip cannot be read ({error})") from error
