"""An archive is opened whole and equal, or not at all."""

import hashlib
import io
import tarfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest
from clinic.backups.archive import write_archive
from clinic.backups.keys import new_pair
from clinic.backups.model import BackupKind, BackupName, Contents, DumpFormat, Filestore, Manifest
from clinic.backups.unpack import names_sha256, parse_identity, read_manifest, unpack
from clinic.errors import PermanentError

IDENTITY, RECIPIENT = new_pair()
TAKEN = datetime(2026, 11, 24, 1, tzinfo=UTC)


def contents(files: dict[str, bytes]) -> Contents:
    backup_id = uuid.UUID(int=7)
    return Contents(
        backup_id=backup_id,
        name=str(BackupName.of("odoo", BackupKind.FULL, TAKEN, backup_id)),
        kind=BackupKind.FULL,
        database="odoo",
        database_uuid="u",
        taken_at=TAKEN,
        source="postgres",
        dump_format=DumpFormat.DIRECTORY,
        odoo_version="19.0",
        postgres_version="17",
        modules={"base": "19.0.1.3"},
        tables={"public.res_users": 5},
        filestore=Filestore(
            files=len(files),
            size_bytes=sum(map(len, files.values())),
            names_sha256=names_sha256(list(files)),
        ),
        tools={},
        requested_by="tests",
        note="",
    )


def named(content: bytes) -> str:
    sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    return f"{sha1[:2]}/{sha1}"


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("backup")
    files = {named(body): body for body in (b"one", b"two" * 50_000, b"")}
    (folder / "dump" / "database").mkdir(parents=True)
    (folder / "dump" / "database" / "toc.dat").write_bytes(b"toc")
    (folder / "dump" / "database" / "1.dat.zst").write_bytes(b"rows" * 30_000)
    for name, body in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(body)
    (folder / "names").write_text("".join(f"{name}\n" for name in sorted(files)))
    what = contents(files)
    archive = folder / "archive.tar.age"
    sums = write_archive(
        archive,
        [RECIPIENT],
        contents=what.model_dump_json().encode(),
        dump=folder / "dump",
        names=folder / "names",
        file=lambda name: folder / name,
        taken_at=TAKEN,
    )
    manifest = Manifest(
        **what.model_dump(),
        size_bytes=sums.size_bytes,
        sha256=sums.sha256,
        encrypted_size_bytes=sums.encrypted_size_bytes,
        encrypted_sha256=sums.encrypted_sha256,
        recipients=(RECIPIENT,),
    )
    return archive, manifest


def opened(archive: Path, manifest: Manifest, folder: Path) -> Path:
    sink = folder / "contents"
    unpack(archive, manifest, parse_identity(IDENTITY), sink)
    return sink


def test_a_whole_archive_is_unpacked(backup: tuple[Path, Manifest], tmp_path: Path) -> None:
    sink = opened(*backup, tmp_path)
    assert (sink / "database" / "toc.dat").read_bytes() == b"toc"
    assert (sink / "filestore" / named(b"one")).read_bytes() == b"one"
    assert sorted(path.name for path in sink.iterdir()) == [
        "database", "filestore", "manifest.json",
    ]  # fmt: skip
    assert not (tmp_path / "contents.part").exists()


@pytest.mark.parametrize("part", [0.0, 0.0002, 0.001, 0.25, 0.5, 0.75, 0.999, 1.0])
def test_one_flipped_byte_is_found_and_nothing_is_left(
    backup: tuple[Path, Manifest], tmp_path: Path, part: float
) -> None:
    archive, manifest = backup
    content = bytearray(archive.read_bytes())
    content[int(part * (len(content) - 1))] ^= 1
    flipped = tmp_path / "flipped"
    flipped.write_bytes(content)
    with pytest.raises(PermanentError, match=r"Nothing was changed|private key"):
        opened(flipped, manifest, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["flipped"]


@pytest.mark.parametrize("cut", [1, 1000, 70_000])
def test_an_archive_that_is_cut_off_is_found(
    backup: tuple[Path, Manifest], tmp_path: Path, cut: int
) -> None:
    archive, manifest = backup
    short = tmp_path / "short"
    short.write_bytes(archive.read_bytes()[:-cut])
    with pytest.raises(PermanentError, match="Nothing was changed"):
        opened(short, manifest, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["short"]


@pytest.mark.parametrize("field", sorted(set(Manifest.model_fields) - {
    "recipients", "encrypted_size_bytes", "encrypted_sha256", "format", "source", "kind",
    "dump_format", "backup_id", "name", "taken_at",
}))  # fmt: skip
def test_a_manifest_that_says_otherwise_is_found(
    backup: tuple[Path, Manifest], tmp_path: Path, field: str
) -> None:
    archive, manifest = backup
    value = getattr(manifest, field)
    other = {
        "filestore": Filestore(files=1, size_bytes=1, names_sha256="x"),
        "tables": {"public.res_users": 6},
        "modules": {},
        "tools": {"x": "y"},
    }.get(field, value + 1 if isinstance(value, int) else f"{value}x")
    with pytest.raises(PermanentError, match="Nothing was changed"):
        opened(archive, manifest.model_copy(update={field: other}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def _link(tar: tarfile.TarFile, kind: bytes) -> None:
    member = tarfile.TarInfo("filestore/aa/" + "a" * 40)
    member.type, member.linkname = kind, "/etc/passwd"
    tar.addfile(member)


def _file(tar: tarfile.TarFile, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = 1
    tar.addfile(member, io.BytesIO(b"x"))


EVIL: dict[str, Callable[[tarfile.TarFile], object]] = {
    "absolute": lambda tar: _file(tar, "/tmp/evil"),
    "out of it": lambda tar: _file(tar, "database/../../evil"),
    "dots": lambda tar: _file(tar, "database/.."),
    "symlink": lambda tar: _link(tar, tarfile.SYMTYPE),
    "hard link": lambda tar: _link(tar, tarfile.LNKTYPE),
    "device": lambda tar: _link(tar, tarfile.CHRTYPE),
    "pipe": lambda tar: _link(tar, tarfile.FIFOTYPE),
    "folder": lambda tar: _link(tar, tarfile.DIRTYPE),
    "unknown": lambda tar: _file(tar, "journal.json"),
    "twice": lambda tar: [_file(tar, name) for name in ("database/a", "database/a")],
    "another SHA-1": lambda tar: _file(tar, "filestore/aa/" + "a" * 40),
}


@pytest.mark.parametrize("evil", EVIL)
def test_what_no_backup_holds_is_refused(
    backup: tuple[Path, Manifest], tmp_path: Path, evil: str
) -> None:
    _, manifest = backup
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        EVIL[evil](tar)
    body = plain.getvalue()
    sink = io.BytesIO()
    pyrage.encrypt_io(io.BytesIO(body), sink, [pyrage.x25519.Recipient.from_str(RECIPIENT)])
    archive = tmp_path / "spool" / "archive"
    archive.parent.mkdir()
    archive.write_bytes(sink.getvalue())
    told = manifest.model_copy(
        update={"size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    )
    with pytest.raises(PermanentError, match=r"which no backup does|SHA-1"):
        opened(archive, told, archive.parent)
    assert [path.name for path in tmp_path.rglob("*")] == ["spool", "archive"]


def test_a_manifest_that_is_cut_off_or_anothers_is_refused(
    backup: tuple[Path, Manifest],
) -> None:
    manifest = backup[1]
    text = manifest.model_dump_json().encode()
    assert read_manifest(text, manifest.name) == manifest
    with pytest.raises(PermanentError, match="damaged"):
        read_manifest(text[:-5], manifest.name)
    with pytest.raises(PermanentError, match="it is that of"):
        read_manifest(text, "odoo.full.20261124T010000Z.00000000x")


def test_a_private_key_is_read_with_its_comments_and_never_quoted() -> None:
    assert str(parse_identity(f"# created\n# public key: {RECIPIENT}\n{IDENTITY}\n")) == IDENTITY
    for text in ("", "AGE-SECRET-KEY-1WRONG", RECIPIENT):
        with pytest.raises(PermanentError) as caught:
            parse_identity(text)
        assert "WRONG" not in str(caught.value)
