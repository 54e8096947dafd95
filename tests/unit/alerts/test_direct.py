"""What is mailed while the shared database is down: once a day to each, whatever becomes of one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from clinic.alerts.direct import read_note, tell_directly
from clinic.alerts.outage import Kind, Outage
from clinic.errors import TransientError

NOW = datetime(2026, 7, 1, 10, tzinfo=UTC)
DOWN = TransientError("Shared database, reading: connection refused.")
BOTH = ("ana@clinica.example", "ben@clinica.example")


@pytest.fixture
def mails() -> list[tuple[str, Kind]]:
    return []


@pytest.fixture
def ids() -> list[tuple[str, datetime]]:
    return []


@pytest.fixture
def tell(
    tmp_path: Path, mails: list[tuple[str, Kind]], ids: list[tuple[str, datetime]]
) -> Callable[[timedelta, set[str]], int]:
    def send_at(after: timedelta, refused: set[str]) -> int:
        def send(address: str, message_id: str, outage: Outage, kind: Kind, at: datetime) -> None:
            ids.append((message_id, at))
            if address in refused:
                raise TransientError("The mail server is away.")
            mails.append((address, kind))

        return tell_directly(tmp_path / "note.json", DOWN, [], BOTH, send, NOW + after)

    return send_at


def test_each_is_told_once_a_day(
    tell: Callable[[timedelta, set[str]], int], mails: list[tuple[str, Kind]]
) -> None:
    for after in (timedelta(), timedelta(minutes=1), timedelta(hours=23, minutes=59)):
        tell(after, set())
    assert mails == [(address, Kind.OPENED) for address in BOTH]
    tell(timedelta(hours=24), set())
    assert mails[2:] == [(address, Kind.REMINDER) for address in BOTH]


def test_one_that_could_not_be_mailed_is_tried_again_a_while_later(
    tell: Callable[[timedelta, set[str]], int], mails: list[tuple[str, Kind]], tmp_path: Path
) -> None:
    assert tell(timedelta(), {BOTH[0]}) == 1
    assert tell(timedelta(minutes=1), set()) == 0
    assert tell(timedelta(minutes=5), set()) == 1
    assert mails == [(BOTH[1], Kind.OPENED), (BOTH[0], Kind.OPENED)]
    note = read_note(tmp_path / "note.json")
    assert note is not None
    assert set(note.told_at) == set(BOTH)


def test_what_is_sent_again_is_known_by_its_id_and_what_is_told_again_is_not(
    tell: Callable[[timedelta, set[str]], int], ids: list[tuple[str, datetime]]
) -> None:
    tell(timedelta(), set(BOTH))  # the mail server may have had them all the same
    tell(timedelta(minutes=5), set())
    assert len(ids) == 4
    assert len(set(ids)) == 1
    tell(timedelta(hours=25), set())
    assert len(set(ids)) == 2


def test_a_note_that_nobody_can_read_is_begun_anew(tmp_path: Path) -> None:
    for text in ("", "[]", '{"a": 1}'):
        (tmp_path / "note.json").write_text(text)
        assert read_note(tmp_path / "note.json") is None
