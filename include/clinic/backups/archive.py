"""The archive: a tar file, encrypted while it is written, with both sums counted on the way.

Nothing is held in memory but a few blocks. The sums are counted in threads of their own: OpenSSL
lets go of the interpreter meanwhile, and the cipher does not.

Sources: https://age-encryption.org/v1, and POSIX pax,
https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import queue
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

import pyrage

from clinic.backups.source import FILE_NAME, StaleDumpError, chunks
from clinic.errors import ClinicError, PermanentError, TransientError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_BLOCK: Final = 1024**2
_BLOCKS_AHEAD: Final = 4  # what a sum may be behind


@dataclass(frozen=True, slots=True)
class Sums:
    """What was counted while an archive was written: of the tar file, and of what is stored."""

    size_bytes: int
    sha256: str
    encrypted_size_bytes: int
    encrypted_sha256: str


def write_archive(
    sink: Path,
    recipients: Sequence[str],
    *,
    contents: bytes,
    dump: Path,
    names: Path,
    file: Callable[[str], Path],
    taken_at: datetime,
) -> Sums:
    """Write the archive.

    Args:
        sink: Where to; what is there is overwritten.
        recipients: Public keys; each alone opens it.
        contents: Its ``manifest.json``.
        dump: What this folder holds goes in, under the same names.
        names: A file of names, one a line; each ``file(name)`` goes into ``filestore/``.
        file: Where a file of the filestore lies.
        taken_at: The time that the members carry.

    Raises:
        TransientError: The disk is full, or a file changed while it was read.
        StaleDumpError: A file went away meanwhile.
        PermanentError: A file of the filestore is damaged, or a key is none.
    """
    try:
        keys = [pyrage.x25519.Recipient.from_str(one) for one in recipients]
    except pyrage.RecipientError:
        raise PermanentError(
            "Encrypting the archive: one of the recipients is no public key of age's. Put right "
            "the Variable clinic_backup_settings."
        ) from None
    with _Sum() as plain_sum, _Sum() as encrypted_sum:
        plain = _Reader(_tar(contents, dump, names, file, int(taken_at.timestamp())), plain_sum)
        _encrypt(plain, sink, encrypted_sum, keys)
    return Sums(
        size_bytes=plain_sum.size_bytes,
        sha256=plain_sum.hexdigest(),
        encrypted_size_bytes=encrypted_sum.size_bytes,
        encrypted_sha256=encrypted_sum.hexdigest(),
    )


def _encrypt(
    plain: _Reader, sink: Path, encrypted_sum: _Sum, keys: Sequence[pyrage.x25519.Recipient]
) -> None:
    encrypted: _Writer | None = None
    try:
        descriptor = os.open(sink, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as target:
            encrypted = _Writer(target, encrypted_sum)
            with io.BufferedWriter(encrypted, _BLOCK) as writer:
                pyrage.encrypt_io(io.BufferedReader(plain, _BLOCK), writer, keys)
    except (OSError, pyrage.EncryptError, ClinicError) as error:
        # Through the cipher an error comes as another: the first one is what happened.
        first = plain.error or (encrypted and encrypted.error) or error
        if isinstance(first, ClinicError):
            raise first from None
        raise _of_disk(first, sink) from first


def _of_disk(error: BaseException, sink: Path) -> TransientError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return TransientError(
            f"Writing the archive: the disk that holds {sink.parent} is full "
            f"({os.strerror(error.errno)}). Make room there; the next try goes on from the dump."
        )
    return TransientError(
        f"Writing the archive {sink}: {type(error).__name__}: {error}. The next try goes on from "
        "the dump."
    )


# The tar file, block by block


def _tar(
    contents: bytes, dump: Path, names: Path, file: Callable[[str], Path], mtime: int
) -> Iterator[bytes]:
    yield _header("manifest.json", len(contents), mtime)
    yield contents
    yield _padding(len(contents))
    for path in sorted(dump.rglob("*")):
        if path.is_file():
            yield from _member(path.relative_to(dump).as_posix(), path, mtime)
    with names.open() as lines:
        for line in lines:
            name = line.rstrip("\n")
            assert FILE_NAME.fullmatch(name)
            yield from _file(name, file(name), mtime)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _file(name: str, path: Path, mtime: int) -> Iterator[bytes]:
    """Yield a file of the filestore, whose name says what its content has to be."""
    seen = hashlib.sha1(usedforsecurity=False)  # Odoo's choice
    try:
        yield from _member(f"filestore/{name}", path, mtime, seen.update)
    except FileNotFoundError:
        raise StaleDumpError(
            f"Reading Odoo's file {name}: Odoo removed it while the backup was taken. The next try "
            "starts with a new dump."
        ) from None
    if seen.hexdigest() != name[3:]:
        raise PermanentError(
            f"Reading Odoo's file {name}: it is damaged, for its content has another SHA-1 "
            f"({seen.hexdigest()}) than its name. Put the file back from an older backup, or "
            "delete the attachments that use it; nothing was backed up meanwhile."
        )


def _member(
    name: str, path: Path, mtime: int, on_block: Callable[[bytes], None] | None = None
) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as content:
        size_bytes = os.fstat(content.fileno()).st_size
        yield _header(name, size_bytes, mtime)
        left = size_bytes
        for block in chunks(content.read, _BLOCK):
            left -= len(block)
            if on_block:
                on_block(block)
            if left >= 0:  # else it grows, and says so below
                yield block
    if left:
        raise TransientError(
            f"Reading {path}: its size changed from {size_bytes} to {size_bytes - left} bytes "
            "while it was read. The next try reads it again."
        )
    yield _padding(size_bytes)


def _header(name: str, size_bytes: int, mtime: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size_bytes, mtime, 0o600
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % tarfile.BLOCKSIZE)


# What the cipher reads from and writes to


class _Sum:
    """Counts bytes and their SHA-256 in a thread of its own; complete once it is left."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_BLOCKS_AHEAD)
        self._thread = threading.Thread(target=self._count, name="sum", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks.put(None)
        self._thread.join()

    def add(self, block: bytes) -> None:
        """Take the next bytes, which nobody changes any more."""
        self._blocks.put(block)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()

    def _count(self) -> None:
        while (block := self._blocks.get()) is not None:
            self._digest.update(block)
            self.size_bytes += len(block)


class _Reader(io.RawIOBase):
    """Gives an iterator's bytes, as many at once as there is room for."""

    def __init__(self, blocks: Iterator[bytes], total: _Sum) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")
        self._sum = total
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        count = 0
        try:
            while count < len(target):
                if not self._block:
                    block = next(self._blocks, None)
                    if block is None:
                        break
                    self._block = memoryview(block)
                part = min(len(target) - count, len(self._block))
                target[count : count + part] = self._block[:part]
                self._block = self._block[part:]
                count += part
        except Exception as error:
            self.error = error
            raise
        self._sum.add(bytes(target[:count]))
        return count


class _Writer(io.RawIOBase):
    """Writes to a file."""

    def __init__(self, target: BinaryIO | io.FileIO, total: _Sum) -> None:
        self._target = target
        self._sum = total
        self.error: Exception | None = None

    def writable(self) -> bool:
        return True

    def write(self, buffer: ReadableBuffer) -> int:
        try:
            count = self._target.write(buffer) or 0
        except Exception as error:
            self.error = self.error or error
            raise
        self._sum.add(bytes(memoryview(buffer)[:count]))
        return count
