from pathlib import Path
from uuid import uuid4

import pyrage
import pytest
from clinic.backups.journal import Journal, Stage, left_over, opened
from clinic.backups.keys import DrillKeys, new_pair, public_key
from clinic.errors import PermanentError, TransientError


def test_a_private_key_is_not_quoted_when_it_cannot_be_read() -> None:
    with pytest.raises(PermanentError) as caught:
        public_key("AGE-SECRET-KEY-1NOTONE")
    assert "NOTONE" not in str(caught.value)


def test_a_drill_opens_what_was_encrypted_for_it_until_it_is_forgotten(tmp_path: Path) -> None:
    keys = DrillKeys(tmp_path / "keys")
    old, new = uuid4(), uuid4()
    recipient = keys.new(old)
    assert keys.new(old) == recipient  # the next try of the same backup
    assert keys.new(new) != recipient
    identity = keys.identity(old)
    assert identity is not None
    secret = pyrage.encrypt(b"x", [pyrage.x25519.Recipient.from_str(recipient)])
    assert pyrage.decrypt(secret, [pyrage.x25519.Identity.from_str(identity)]) == b"x"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "keys").iterdir()} == {0o600}

    keys.keep_only({new})

    assert keys.identity(old) is None
    assert keys.identity(new) is not None


def test_a_pair_belongs_together() -> None:
    identity, recipient = new_pair()
    assert public_key(f"{identity}\n") == recipient
    assert new_pair()[1] != recipient


def test_a_journal_is_found_again_and_its_folder_is_private(tmp_path: Path) -> None:
    backup_id = uuid4()
    with opened(tmp_path, backup_id) as spool:
        assert spool.journal == Journal()
        spool.journal.stage, spool.journal.session_uri = Stage.ENCRYPTED, "https://secret"
        spool.write()
        assert spool.folder.stat().st_mode & 0o777 == 0o700
        assert (spool.folder / "journal.json").stat().st_mode & 0o777 == 0o600
    with opened(tmp_path, backup_id) as spool:
        assert spool.journal.session_uri == "https://secret"


@pytest.mark.parametrize("text", ["", "{", '{"stage": "of another version"}', '{"new": 1}'])
def test_a_journal_that_cannot_be_read_means_to_begin_anew(tmp_path: Path, text: str) -> None:
    backup_id = uuid4()
    with opened(tmp_path, backup_id) as spool:
        (spool.folder / "journal.json").write_text(text)
    with opened(tmp_path, backup_id) as spool:
        assert spool.journal == Journal()


def test_beginning_anew_throws_away_what_there_was(tmp_path: Path) -> None:
    with opened(tmp_path, uuid4()) as spool:
        (spool.folder / "dump-1" / "database").mkdir(parents=True)
        spool.archive.write_bytes(b"half")
        spool.journal.stage = Stage.DUMPED
        spool.begin_anew()
        assert {path.name for path in spool.folder.iterdir()} == {"journal.json", "lock"}
        assert spool.journal.stage is Stage.BEGUN


def test_nobody_works_or_sweeps_where_another_works(tmp_path: Path) -> None:
    mine, other = uuid4(), uuid4()
    with opened(tmp_path, other):
        with pytest.raises(TransientError, match="still works in"), opened(tmp_path, other):
            pass
        with left_over(tmp_path, mine) as spools:
            assert spools == []
    with left_over(tmp_path, mine) as spools:
        assert [spool.folder.name for spool in spools] == [str(other)]
    with left_over(tmp_path, other) as spools:
        assert spools == []
