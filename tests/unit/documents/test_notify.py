"""Notifications: one call to Odoo a batch, no mail twice, and what is broken is set aside."""

import json
from typing import Any

import pytest
from clinic.documents.mail import Mail, UncertainError
from clinic.documents.notify import LAST_ATTEMPT, MailState, Notifier
from clinic.documents.parcel import Parcel
from clinic.errors import ClinicError, PermanentError, TransientError
from support.parcels import DOCUMENT_ID, ListQueue, notification

ANA = {
    "to": "ana@clinica.example",
    "name": "Ana Núñez",
    "lang": "es_ES",
    "subject": "Documento apartado",
    "body_text": "La factura no se pudo guardar.",
}
BEN = ANA | {"to": "ben@clinica.example", "name": "Ben", "lang": "en_US"}


class FakeOdoo:
    """Applies each notification once; gives its mails with the first answer, or each time."""

    def __init__(self, *emails: dict[str, str]) -> None:
        self.emails = list(emails)
        self.applied: set[str] = set()
        self.gives_again = False
        self.unknown: set[str] = set()
        self.calls: list[list[dict[str, Any]]] = []
        self.fails: list[Exception] = []
        self.refuses: set[str] = set()

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        assert (model, method) == ("clinic.document", "notify")
        told = arguments["notifications"]
        self.calls.append(told)
        if self.fails:
            raise self.fails.pop(0)
        ids = [one["notification_id"] for one in told]
        if self.refuses & set(ids):
            raise PermanentError("Odoo clinic.document.notify: HTTP 422")
        return [self._answer(one) for one in ids]

    def _answer(self, notification_id: str) -> dict[str, Any]:
        if notification_id in self.unknown:
            return {"notification_id": notification_id, "status": "unknown_document", "emails": []}
        if notification_id in self.applied:
            emails = self.emails if self.gives_again else []
            return {"notification_id": notification_id, "status": "duplicate", "emails": emails}
        self.applied.add(notification_id)
        return {"notification_id": notification_id, "status": "applied", "emails": self.emails}


class FakeLedger:
    """Who was sent what, in memory."""

    def __init__(self) -> None:
        self.mails: dict[tuple[str, str], MailState] = {}
        self.timeline: list[tuple[str, MailState, str]] = []

    def claim(self, notification_id: str, recipient: str) -> MailState:
        key = notification_id, recipient
        if key in self.mails:
            return self.mails[key]
        self.mails[key] = MailState.CLAIMED
        return MailState.NEW

    def release(self, notification_id: str, recipient: str) -> None:
        del self.mails[notification_id, recipient]

    def settle(
        self,
        notification_id: str,
        recipient: str,
        state: MailState,
        *,
        document_id: str,
        revision: int,
        detail: str = "",
    ) -> None:
        assert (document_id, revision) == (DOCUMENT_ID, 1)
        self.mails[notification_id, recipient] = state
        self.timeline.append((recipient, state, detail))


class FakeMailer:
    """Keeps mails, and fails as told. Looks whether each was claimed before."""

    def __init__(self, ledger: FakeLedger) -> None:
        self.ledger = ledger
        self.sent: list[Mail] = []
        self.fails: dict[str, list[BaseException]] = {}

    def send(self, mail: Mail) -> None:
        assert self.ledger.mails[mail.notification_id, mail.to] is MailState.CLAIMED
        if self.fails.get(mail.to):
            raise self.fails[mail.to].pop(0)
        self.sent.append(mail)

    def close(self) -> None:
        pass


class Clinic:
    """Everything a notifier works with."""

    def __init__(self, *emails: dict[str, str]) -> None:
        self.odoo = FakeOdoo(*emails)
        self.ledger = FakeLedger()
        self.mailer = FakeMailer(self.ledger)

    def handle(self, *parcels: Parcel) -> tuple[ListQueue, Notifier]:
        queue = ListQueue(*parcels)
        notifier = Notifier(self.odoo, self.mailer, self.ledger, queue, problems_of)
        notifier.run(60, 0.01)
        return queue, notifier


def problems_of(body: Any) -> str:
    try:
        assert body["metadata"]["notification_id"]
    except (KeyError, TypeError):
        return "metadata.notification_id is missing"
    return ""


def test_a_batch_is_one_call_to_odoo() -> None:
    clinic = Clinic()
    parcels = [notification(tag) for tag in range(1, 11)]
    queue, notifier = clinic.handle(*parcels)
    assert len(clinic.odoo.calls) == 1
    assert queue.acked == list(range(1, 11))
    assert queue.published == []
    assert notifier.summary.applied == 10


def test_odoo_is_told_what_the_message_says_and_nothing_else() -> None:
    clinic = Clinic()
    parcel = notification(extra="x", mails=[])
    clinic.handle(parcel)
    assert clinic.odoo.calls == [
        [
            {
                "document_id": DOCUMENT_ID,
                "notification_id": parcel.message_id,
                "revision": 1,
                "number": 4,
                "event": "parked",
                "at": "2026-11-24T10:00:00+00:00",
                "reason": "wrong_hash",
                "detail": "The hash differs.",
            }
        ]
    ]


@pytest.mark.parametrize("gives_again", [False, True])
def test_each_person_gets_one_mail_however_often_the_message_comes(gives_again: bool) -> None:
    clinic = Clinic(ANA, BEN)
    clinic.odoo.gives_again = gives_again
    parcel = notification()
    clinic.handle(parcel)
    queue, notifier = clinic.handle(parcel, parcel)
    assert [mail.to for mail in clinic.mailer.sent] == [ANA["to"], BEN["to"]]
    assert clinic.mailer.sent[0].subject == "Documento apartado"
    assert queue.acked == [1, 1]
    assert notifier.summary.duplicates == 2


def test_a_mail_whose_sender_was_killed_is_not_sent_again_and_the_timeline_says_so() -> None:
    clinic = Clinic(ANA)
    clinic.mailer.fails[ANA["to"]] = [KeyboardInterrupt()]
    parcel = notification()
    with pytest.raises(KeyboardInterrupt):
        clinic.handle(parcel)
    clinic.odoo.applied.clear()  # Odoo gives the mails again
    queue, notifier = clinic.handle(parcel)
    assert clinic.mailer.sent == []
    assert queue.acked == [1]
    assert notifier.summary.mails_uncertain == 1
    ((whom, state, detail),) = clinic.ledger.timeline
    assert (whom, state) == (ANA["to"], MailState.UNCERTAIN)
    assert "may have arrived" in detail


def test_a_kill_between_odoos_answer_and_the_first_mail_loses_none() -> None:
    clinic = Clinic(ANA)
    clinic.odoo.gives_again = True
    parcel = notification()
    clinic.odoo.applied.add(str(parcel.message_id))
    queue, _ = clinic.handle(parcel)
    assert [mail.to for mail in clinic.mailer.sent] == [ANA["to"]]
    assert queue.acked == [1]


def test_a_mail_that_may_have_been_taken_is_uncertain() -> None:
    clinic = Clinic(ANA)
    clinic.mailer.fails[ANA["to"]] = [UncertainError("connection lost")]
    queue, _ = clinic.handle(notification())
    assert clinic.ledger.timeline == [(ANA["to"], MailState.UNCERTAIN, "connection lost")]
    assert queue.acked == [1]


def test_a_refused_address_keeps_nobody_elses_mail_back() -> None:
    clinic = Clinic(ANA, BEN)
    clinic.mailer.fails[ANA["to"]] = [PermanentError("550 no such user")]
    queue, notifier = clinic.handle(notification())
    assert [mail.to for mail in clinic.mailer.sent] == [BEN["to"]]
    assert clinic.ledger.timeline[0] == (ANA["to"], MailState.FAILED, "550 no such user")
    assert queue.acked == [1]
    assert (notifier.summary.mails_failed, notifier.summary.mails_sent) == (1, 1)


def test_when_the_mail_server_is_away_the_mails_wait_in_the_retried_message() -> None:
    clinic = Clinic(ANA, BEN)
    clinic.mailer.fails[BEN["to"]] = [TransientError("connection refused")]
    queue, _ = clinic.handle(notification())
    ((tier, copy),) = queue.published
    assert tier == "documents.retry.1"
    assert queue.done[-1] == ("ack", 1)  # after the copy
    assert copy.attempt == 2
    assert json.loads(copy.body)["metadata"]["mails"][0]["to"] == BEN["to"]

    queue, notifier = clinic.handle(copy)  # Odoo calls it a duplicate, and gives no mails
    assert [mail.to for mail in clinic.mailer.sent] == [ANA["to"], BEN["to"]]
    assert clinic.mailer.sent[1].lang == "en_US"
    assert queue.acked == [1]
    assert notifier.summary.duplicates == 1


def test_while_odoo_is_away_all_are_tried_again() -> None:
    clinic = Clinic()
    clinic.odoo.fails = [TransientError("HTTP 503")]
    queue, notifier = clinic.handle(notification(1), notification(2, {"x-attempt": 7}))
    assert [tier for tier, _ in queue.published] == ["documents.retry.1", "documents.retry.4"]
    assert [copy.attempt for _, copy in queue.published] == [2, 8]
    assert queue.acked == [1, 2]
    assert notifier.summary.retried == 2


def test_what_odoo_refuses_alone_is_parked_and_the_others_go_on() -> None:
    clinic = Clinic()
    good, bad = notification(1), notification(2)
    assert bad.message_id
    clinic.odoo.refuses = {bad.message_id}
    queue, notifier = clinic.handle(good, bad)
    ((exchange, copy),) = queue.published
    assert exchange == "documents.dlx"
    assert copy.message_id == bad.message_id
    assert copy.headers["x-park-reason"] == "gave_up"
    assert "HTTP 422" in copy.headers["x-park-detail"]
    assert notifier.summary.applied == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_revoked_key_parks_nothing(count: int) -> None:
    clinic = Clinic()
    clinic.odoo.fails = [PermanentError("HTTP 401")] * 10
    queue, notifier = clinic.handle(*(notification(tag) for tag in range(count)))
    assert {exchange for exchange, _ in queue.published} == {"documents.retry.1"}
    assert notifier.summary.retried == count


def test_after_a_day_it_is_parked() -> None:
    clinic = Clinic()
    clinic.odoo.fails = [TransientError("HTTP 503")]
    queue, _ = clinic.handle(notification(1, {"x-attempt": LAST_ATTEMPT}))
    ((exchange, copy),) = queue.published
    assert exchange == "documents.dlx"
    assert copy.headers["x-park-reason"] == "gave_up"


def test_a_notification_about_no_document_of_odoos_is_parked() -> None:
    clinic = Clinic(ANA)
    parcel = notification()
    clinic.odoo.unknown = {str(parcel.message_id)}
    queue, _ = clinic.handle(parcel)
    assert queue.published[0][1].headers["x-park-reason"] == "gone_in_odoo"
    assert clinic.mailer.sent == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not JSON", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"{}", "schema"),
        (b"[]", "schema"),
        (b'"' + b"x" * 5_000_000 + b'"', "too_large"),
    ],
)
def test_a_broken_message_is_parked_with_its_reason_and_the_next_goes_on(
    body: bytes, reason: str
) -> None:
    clinic = Clinic()
    queue, notifier = clinic.handle(
        Parcel(1, "notification.send", body, "m1", headers={"x-death": [], "x-own": "kept"}),
        notification(2),
    )
    ((exchange, copy),) = queue.published
    assert exchange == "documents.dlx"
    assert copy.body == body
    assert copy.headers["x-park-reason"] == reason
    assert copy.headers["x-parked-at"]
    assert copy.headers["x-own"] == "kept"
    assert "x-death" not in copy.headers
    assert queue.acked == [1, 2]
    assert notifier.summary.applied == 1


def test_a_silent_odoo_is_asked_again() -> None:
    clinic = Clinic()
    clinic.odoo.call = lambda *_, **__: []  # type: ignore[method-assign]
    queue, _ = clinic.handle(notification())
    assert [tier for tier, _ in queue.published] == ["documents.retry.1"]


@pytest.mark.parametrize("error", [TransientError("away"), PermanentError("no such table")])
def test_a_ledger_that_fails_after_the_mail_leaves_the_claim(error: ClinicError) -> None:
    clinic = Clinic(ANA)

    def settle(*_: Any, **__: Any) -> None:
        raise error

    clinic.ledger.settle = settle  # type: ignore[method-assign]
    if isinstance(error, TransientError):
        queue, _ = clinic.handle(notification())
        assert queue.published[0][0] == "documents.retry.1"  # there it is found, and told
    else:
        with pytest.raises(PermanentError):
            clinic.handle(notification())
    assert list(clinic.ledger.mails.values()) == [MailState.CLAIMED]
