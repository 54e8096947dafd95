"""What is damaged in the vault is found before a restore touches anything."""

from collections.abc import Callable
from unittest.mock import patch
from uuid import uuid4

import pytest
from clinic.backups.restore import Tell
from clinic.backups.vault import VaultFile
from clinic.clients.drive_vault import DriveVault
from clinic.errors import PermanentError, TransientError
from support.restoring import Rig

TARGET = "prueba_rota"


def flip(content: bytes, part: float) -> bytes:
    at = int(part * (len(content) - 1))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.37, 0.5, 0.9, 1.0])
def test_a_byte_of_the_manifest(rig: Rig, monkeypatch: pytest.MonkeyPatch, part: float) -> None:
    read: Callable[..., bytes] = DriveVault.read
    monkeypatch.setattr(DriveVault, "read", lambda *args: flip(read(*args), part))
    before = rig.names()
    with pytest.raises(PermanentError, match="not those that were stored"), rig.restore(TARGET):
        pass
    assert rig.names() == before


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 1.0])
def test_a_byte_of_the_archive(rig: Rig, monkeypatch: pytest.MonkeyPatch, part: float) -> None:
    """The bytes change where the vault keeps them, and so does the sum that it counts."""
    get: Callable[..., None] = DriveVault.download

    def damaged(self: DriveVault, file_id: str, sink, *, size_bytes, sha256, on_progress=None):  # type: ignore[no-untyped-def]
        get(self, file_id, sink, size_bytes=size_bytes, sha256=sha256)
        sink.write_bytes(flip(sink.read_bytes(), part))

    monkeypatch.setattr(DriveVault, "download", damaged)
    before = rig.names()
    with (
        rig.restore(TARGET) as restore,
        pytest.raises(PermanentError, match=r"Nothing was changed|private key"),
    ):
        restore.run()
    assert rig.names() == before
    assert list(rig.filestore.iterdir()) == []


def test_an_archive_of_another_backup(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    files: Callable[..., list[VaultFile]] = DriveVault.files

    def swapped(self: DriveVault) -> list[VaultFile]:
        found = files(self)
        for file in found:
            if file.name.endswith(".age"):
                file.properties["clinic_sha256"] = "0" * 64  # type: ignore[index]
        return found

    monkeypatch.setattr(DriveVault, "files", swapped)
    with pytest.raises(PermanentError, match="not the one"), rig.restore(TARGET):
        pass


def test_what_could_not_be_loaded_or_differs_is_gone_at_once(rig: Rig) -> None:
    """Patients' data lie nowhere that nobody looks after, and what failed is called by name."""
    restore_id = uuid4()
    with rig.restore(TARGET, restore_id) as restore:
        data = restore.folder / "contents" / "database"
        hidden = rig.spool / "hidden"

        def damage(sentence: str) -> None:
            if sentence.startswith("loading"):
                largest = max(data.glob("[0-9]*.dat*"), key=lambda path: path.stat().st_size)
                largest.rename(hidden)
                (rig.spool / "name").write_text(largest.name)

        with (
            patch.object(restore, "_tell", Tell(damage)),
            pytest.raises(TransientError, match=r"pg_restore ended with 1: pg_restore: error: \w+"),
        ):
            restore.run()
    assert not any(name.startswith(TARGET) for name in rig.names())
    hidden.rename(data / (rig.spool / "name").read_text())

    with rig.restore(TARGET, restore_id) as restore:

        def change(sentence: str) -> None:
            if sentence.startswith("comparing"):
                rig.sql(
                    restore.scratch, "DELETE FROM ir_config_parameter WHERE key = 'web.base.url'"
                )

        with (
            patch.object(restore, "_tell", Tell(change)),
            pytest.raises(PermanentError, match="ir_config_parameter"),
        ):
            restore.run()
        assert not (restore.folder / "contents").exists()
    assert not any(name.startswith(TARGET) for name in rig.names())
    assert list(rig.filestore.iterdir()) == []
