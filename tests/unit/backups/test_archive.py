import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest
from clinic.backups.archive import Sums, write_archive
from clinic.backups.keys import new_pair
from clinic.backups.source import StaleDumpError
from clinic.errors import PermanentError, TransientError

NIGHT = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)


class Odoo:
    """A dump and a filestore, in folders."""

    def __init__(self, folder: Path) -> None:
        self.identity, self.recipient = new_pair()
        self.archive = folder / "archive.tar.age"
        self.dump = folder / "dump"
        (self.dump / "database").mkdir(parents=True)
        (self.dump / "database" / "toc.dat").write_bytes(b"the list")
        (self.dump / "database" / "1.dat.zst").write_bytes(bytes(3_000_000))
        self.filestore = folder / "filestore"
        self.names = folder / "names"
        self.names.touch()

    def add(self, content: bytes) -> str:
        sha1 = hashlib.sha1(content).hexdigest()
        name = f"{sha1[:2]}/{sha1}"
        path = self.filestore / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        known = self.names.read_text().splitlines(keepends=True)
        self.names.write_text("".join(sorted([*known, f"{name}\n"])))
        return name

    def write(self, *recipients: str, file: Callable[[str], Path] | None = None) -> Sums:
        return write_archive(
            self.archive,
            recipients or [self.recipient],
            contents=b'{"format": 1}',
            dump=self.dump,
            names=self.names,
            file=file or self.filestore.joinpath,
            taken_at=NIGHT,
        )

    def read(self, identity: str | None = None) -> tuple[bytes, dict[str, bytes]]:
        key = pyrage.x25519.Identity.from_str(identity or self.identity)
        plain = pyrage.decrypt(self.archive.read_bytes(), [key])
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            return plain, {
                member.name: file.read()
                for member in tar
                if (file := tar.extractfile(member)) is not None
            }


@pytest.fixture
def odoo(tmp_path: Path) -> Odoo:
    return Odoo(tmp_path)


def test_all_that_goes_in_comes_out_and_the_sums_are_those_of_the_bytes(odoo: Odoo) -> None:
    contents = [b"", b"a" * 511, b"b" * 512, b"c" * 2_000_001]
    names = [odoo.add(content) for content in contents]

    sums = odoo.write()

    plain, members = odoo.read()
    assert members == {
        "manifest.json": b'{"format": 1}',
        "database/toc.dat": b"the list",
        "database/1.dat.zst": bytes(3_000_000),
        **{f"filestore/{name}": content for name, content in zip(names, contents, strict=True)},
    }
    stored = odoo.archive.read_bytes()
    assert sums == Sums(
        size_bytes=len(plain),
        sha256=hashlib.sha256(plain).hexdigest(),
        encrypted_size_bytes=len(stored),
        encrypted_sha256=hashlib.sha256(stored).hexdigest(),
    )
    assert odoo.archive.stat().st_mode & 0o777 == 0o600


def test_each_recipient_alone_opens_it(odoo: Odoo) -> None:
    other_identity, other = new_pair()
    odoo.write(odoo.recipient, other)
    assert odoo.read() == odoo.read(other_identity)


def test_a_recipient_that_is_none_is_said(odoo: Odoo) -> None:
    with pytest.raises(PermanentError, match="no public key"):
        odoo.write("age1" + "q" * 58)


def test_a_damaged_file_fails_the_backup_and_is_named(odoo: Odoo) -> None:
    name = odoo.add(b"an invoice")
    (odoo.filestore / name).write_bytes(b"an invoicf")
    with pytest.raises(PermanentError, match=rf"{name}: it is damaged"):
        odoo.write()


def test_a_file_that_odoo_removed_meanwhile_asks_for_a_new_dump(odoo: Odoo) -> None:
    name = odoo.add(b"an invoice")
    (odoo.filestore / name).unlink()
    with pytest.raises(StaleDumpError, match=name):
        odoo.write()


@pytest.mark.parametrize("grown", [b"", b"an invoice and more"])
def test_a_file_that_changes_while_it_is_read_is_never_half_in_the_archive(
    odoo: Odoo, grown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = odoo.add(b"an invoice")
    real = tarfile.TarInfo.tobuf

    def change(self: tarfile.TarInfo, *args: int) -> bytes:
        if self.name.endswith(name):  # its size is known by now
            (odoo.filestore / name).write_bytes(grown)
        return real(self, *args)

    monkeypatch.setattr(tarfile.TarInfo, "tobuf", change)
    with pytest.raises(TransientError, match="its size changed"):
        odoo.write()


def test_a_full_disk_is_said(odoo: Odoo) -> None:
    odoo.archive = Path("/dev/full")
    with pytest.raises(TransientError, match="is full"):
        odoo.write()


def test_memory_holds_blocks_whatever_the_size(odoo: Odoo) -> None:
    odoo.add(bytes(100_000_000))
    tracemalloc.start()
    odoo.write()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
