"""A setting that would make backups which nobody can open is refused before one is taken."""

import pytest
from clinic.backups.keys import new_pair
from clinic.backups.settings import parse_settings
from clinic.errors import PermanentError


def test_a_mistyped_public_key_and_a_private_one_are_refused_and_not_shown() -> None:
    private, public = new_pair()
    assert parse_settings(f'{{"recipients": ["{public}"]}}').recipients == (public,)
    mistyped = public[:-1] + ("q" if public[-1] != "q" else "p")
    for wrong in (mistyped, private):
        with pytest.raises(PermanentError, match=r"recipients\.0: it is no public key") as refused:
            parse_settings(f'{{"recipients": ["{wrong}"]}}')
        assert wrong not in str(refused.value)
        assert "at least 1 item" not in str(refused.value)


def test_nobody_to_encrypt_for_is_said() -> None:
    with pytest.raises(PermanentError, match="at least 1 item"):
        parse_settings('{"recipients": []}')
