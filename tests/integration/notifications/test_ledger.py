"""Who was sent what, and who replayed what, in a real database; and a sender that is killed."""

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from clinic.clients.notifications_db import NotificationsDb
from clinic.documents.notify import MailState
from clinic.documents.replay import examine
from clinic.errors import TransientError
from support.parcels import DOCUMENT_ID, notification
from support.processes import wait_until
from support.shared_db import Database

ANA = "Ana@clinica.example"
NOTIFICATION = str(uuid.UUID(int=7))

CLAIM_AND_STALL = """
import sys, threading
from clinic.clients.notifications_db import NotificationsDb
NotificationsDb(sys.argv[1]).claim(sys.argv[2], sys.argv[3], 1, is_carried=False)
print("claimed", flush=True)
threading.Event().wait()
"""

# A server lets go of a lock a moment after its client has left.
LOCKS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def ledger(database: Database) -> Iterator[NotificationsDb]:
    ledger = NotificationsDb(database.sync_url)
    yield ledger
    ledger.close()


def claim(
    ledger: NotificationsDb, whom: str, attempt: int = 1, *, is_carried: bool = False
) -> MailState:
    return ledger.claim(NOTIFICATION, whom, attempt, is_carried=is_carried)


def settle(ledger: NotificationsDb, state: MailState, detail: str = "") -> None:
    ledger.settle(NOTIFICATION, ANA, state, document_id=DOCUMENT_ID, revision=1, detail=detail)


def test_a_mail_is_claimed_once(ledger: NotificationsDb) -> None:
    assert claim(ledger, ANA) is MailState.NEW
    assert claim(ledger, ANA.lower()) is MailState.CLAIMED
    assert claim(ledger, "ben@clinica.example") is MailState.NEW


def test_the_claim_of_an_earlier_attempt_is_free_for_what_a_message_carries(
    ledger: NotificationsDb,
) -> None:
    assert claim(ledger, ANA, 3) is MailState.NEW
    assert claim(ledger, ANA, 4) is MailState.CLAIMED  # a kill's: nobody says it was not sent
    assert claim(ledger, ANA, 3, is_carried=True) is MailState.CLAIMED
    assert claim(ledger, ANA, 4, is_carried=True) is MailState.NEW
    assert claim(ledger, ANA, 4, is_carried=True) is MailState.CLAIMED  # its own, before a kill
    settle(ledger, MailState.SENT)
    assert claim(ledger, ANA, 5, is_carried=True) is MailState.SENT


@pytest.mark.parametrize("state", [MailState.SENT, MailState.FAILED, MailState.UNCERTAIN])
def test_an_outcome_stays_and_stands_in_the_timeline(
    ledger: NotificationsDb, database: Database, state: MailState
) -> None:
    claim(ledger, ANA)
    settle(ledger, state, "what happened")
    assert claim(ledger, ANA) is state
    ledger.release(NOTIFICATION, ANA)  # a claim is given back, an outcome is not
    assert claim(ledger, ANA) is state
    (event,) = database.query("SELECT * FROM document_events")
    assert str(event["document_id"]) == DOCUMENT_ID
    assert (event["revision"], event["state"]) == (1, f"mail_{state}")
    assert event["actor"] == "drain_notifications"
    assert event["detail"]["recipient"] == ANA
    assert event["detail"]["detail"] == "what happened"


def test_what_was_not_sent_may_be_claimed_again(ledger: NotificationsDb) -> None:
    claim(ledger, ANA)
    ledger.release(NOTIFICATION, ANA)
    assert claim(ledger, ANA) is MailState.NEW


def test_two_do_not_send_mails_at_once(ledger: NotificationsDb, database: Database) -> None:
    claim(ledger, ANA)
    other = NotificationsDb(database.sync_url)
    with pytest.raises(TransientError, match="another process sends notifications"):
        claim(other, ANA)
    ledger.close()
    wait_until(lambda: database.value(LOCKS) == 0, "the lock is let go")
    assert claim(other, ANA) is MailState.CLAIMED
    other.close()


def test_a_killed_senders_claim_is_found(ledger: NotificationsDb) -> None:
    """The claim was on disk before the mail server was asked, and dying lets go of the lock."""
    sender = subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_STALL, ledger._conninfo, NOTIFICATION, ANA],
        stdout=subprocess.PIPE,
        text=True,
    )
    with sender:
        assert sender.stdout
        assert sender.stdout.readline() == "claimed\n"
        sender.kill()

    def found() -> MailState | None:
        try:
            return claim(ledger, ANA)
        except TransientError:
            return None  # PostgreSQL has not noticed yet

    wait_until(found, "the lock is free")
    assert found() is MailState.CLAIMED


def test_a_replay_is_kept_with_person_and_reason(
    ledger: NotificationsDb, database: Database
) -> None:
    parcel = notification()
    ledger.record_replay(
        queue="notification_queue",
        message_id=parcel.message_id,
        parked=examine(parcel),
        person="ana, approved by ben",
        reason="the key was renewed",
    )
    (row,) = database.query("SELECT who, why, queue, message_id FROM document_replays")
    assert row == {
        "who": "ana, approved by ben",
        "why": "the key was renewed",
        "queue": "notification_queue",
        "message_id": parcel.message_id,
    }
