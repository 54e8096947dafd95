"""Notifications: one call to Odoo a batch, no mail twice, and what is broken is set aside."""

import json
import threading
import time
from typing import Any

import pytest
from clinic.documents import notify as module
from clinic.documents.mail import Mail, UncertainError
from clinic.documents.notify import MailState, Notifier
from clinic.documents.parcel import Parcel
from clinic.documents.retry import LAST_ATTEMPT
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
        self.chokes: ClinicError | None = None
        self.chokes_on: set[str] = set()

    def call(self, model: str, method: str, /, **arguments: Any) -> Any:
        assert (model, method) == ("clinic.document", "notify")
        told = arguments["notifications"]
        self.calls.append(told)
        if self.fails:
            raise self.fails.pop(0)
        ids = [one["notification_id"] for one in told]
        if ids and self.chokes:
            raise self.chokes
        if self.chokes_on & set(ids):
            raise TransientError("Odoo clinic.document.notify: HTTP 500")
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
        self.attempts: dict[tuple[str, str], int] = {}
        self.fails: list[ClinicError] = []
        self.cannot_release = False
        self.timeline: list[tuple[str, MailState, str]] = []

    def claim(
        self, notification_id: str, recipient: str, attempt: int, *, is_carried: bool
    ) -> MailState:
        if self.fails:
            raise self.fails.pop(0)
        key = notification_id, recipient
        known = self.mails.get(key)
        if known is MailState.CLAIMED and is_carried and self.attempts[key] < attempt:
            known = None
        if known is not None:
            return known
        self.mails[key] = MailState.CLAIMED
        self.attempts[key] = attempt
        return MailState.NEW

    def release(self, notification_id: str, recipient: str) -> None:
        if self.cannot_release:
            raise TransientError("Shared database: away")
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
        self.killed = ListQueue()
        self.ledger = FakeLedger()
        self.mailer = FakeMailer(self.ledger)

    def handle(self, *parcels: Parcel) -> tuple[ListQueue, Notifier]:
        queue = ListQueue(*parcels)
        notifier = self.notifier(queue)
        notifier.run(60, 0.01)
        return queue, notifier

    def notifier(self, queue: ListQueue, **options: float) -> Notifier:
        return Notifier(
            self.odoo, self.mailer, self.ledger, queue, self.killed, problems_of, **options
        )


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
    clinic.odoo.fails = [TransientError("HTTP 503")] * 2
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
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(PermanentError("HTTP 401"), id="a revoked key"),
        pytest.param(PermanentError("HTTP 404"), id="no such method"),
    ],
)
def test_an_odoo_that_takes_nothing_parks_nothing_and_is_said_aloud(
    error: ClinicError, count: int
) -> None:
    clinic = Clinic()
    clinic.odoo.fails = [error] * 10
    queue = ListQueue(*(notification(tag) for tag in range(count)))
    with pytest.raises(PermanentError, match=r"HTTP 40.*`make up`.*drain_notifications\.md"):
        clinic.notifier(queue).run(60, 0.01)
    assert [tier for tier, _ in queue.published] == ["documents.retry.1"] * count
    assert queue.acked == list(range(count))


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("error", [TransientError("HTTP 500"), PermanentError("HTTP 422")])
def test_an_addon_that_chokes_on_everything_is_said_aloud(error: ClinicError, count: int) -> None:
    clinic = Clinic()
    clinic.odoo.chokes = error
    queue = ListQueue(*(notification(tag) for tag in range(count)))
    with pytest.raises(PermanentError, match=r"HTTP .*another version"):
        clinic.notifier(queue).run(60, 0.01)
    assert [tier for tier, _ in queue.published] == ["documents.retry.1"] * count


def test_one_notification_that_odoo_chokes_on_holds_up_no_other() -> None:
    clinic = Clinic()
    good, bad = notification(1), notification(2)
    assert bad.message_id
    clinic.odoo.chokes_on = {bad.message_id}
    queue, notifier = clinic.handle(good, bad)
    assert [(tier, copy.message_id) for tier, copy in queue.published] == [
        ("documents.retry.1", bad.message_id)
    ]
    assert notifier.summary.applied == 1


def test_an_odoo_that_asks_for_time_gets_it() -> None:
    clinic = Clinic()
    clinic.odoo.fails = [TransientError("HTTP 429", retry_after_s=300)] * 2
    queue, _ = clinic.handle(notification())
    assert [tier for tier, _ in queue.published] == ["documents.retry.3"]


def test_after_a_day_it_is_parked() -> None:
    clinic = Clinic()
    clinic.odoo.fails = [TransientError("HTTP 503")] * 2
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
def test_a_ledger_that_fails_after_the_mail_ends_the_run_and_leaves_the_claim(
    error: ClinicError,
) -> None:
    clinic = Clinic(ANA, BEN)

    def settle(*_: Any, **__: Any) -> None:
        raise error

    clinic.ledger.settle = settle  # type: ignore[method-assign]
    queue = ListQueue(notification())
    with pytest.raises(type(error), match=str(error)):
        clinic.notifier(queue).run(60, 0.01)
    assert queue.done == []
    assert list(clinic.ledger.mails.values()) == [MailState.CLAIMED]


@pytest.mark.parametrize("error", [TransientError("away"), PermanentError("no such table")])
def test_a_ledger_that_cannot_claim_ends_the_run(error: ClinicError) -> None:
    clinic = Clinic(ANA)
    clinic.ledger.fails = [error]
    queue = ListQueue(notification())
    with pytest.raises(type(error), match=str(error)):
        clinic.notifier(queue).run(60, 0.01)
    assert queue.done == []
    assert clinic.mailer.sent == []


def test_a_claim_that_could_not_be_given_back_costs_nobody_their_mail() -> None:
    clinic = Clinic(ANA, BEN)
    clinic.odoo.gives_again = True
    clinic.mailer.fails[ANA["to"]] = [TransientError("connection refused")]
    clinic.ledger.cannot_release = True
    queue = ListQueue(notification())
    with pytest.raises(TransientError, match="Shared database"):
        clinic.notifier(queue).run(60, 0.01)
    ((_, copy),) = queue.published
    assert queue.acked == [1]
    clinic.ledger.cannot_release = False
    clinic.handle(copy)
    assert [mail.to for mail in clinic.mailer.sent] == [ANA["to"], BEN["to"]]
    # The copy delivered once more, after a kill: what it claimed itself is in doubt.
    clinic.ledger.mails[str(copy.message_id), ANA["to"]] = MailState.CLAIMED
    _, notifier = clinic.handle(copy)
    assert notifier.summary.mails_uncertain == 1
    assert len(clinic.mailer.sent) == 2


def test_the_broker_is_answered_while_a_mail_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEARTBEAT_S", 0.01)
    clinic = Clinic(ANA)
    queue = ListQueue(notification())
    answered = threading.Event()

    def send(mail: Mail) -> None:
        assert answered.wait(20), "nobody answered the heartbeat"

    def keep_alive() -> None:
        answered.set()

    clinic.mailer.send = send  # type: ignore[method-assign]
    queue.keep_alive = keep_alive  # type: ignore[method-assign]
    clinic.notifier(queue).run(60, 0.01)
    assert queue.acked == [1]


def test_a_mail_server_that_never_ends_is_given_up_and_the_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HEARTBEAT_S", 0.01)
    clinic = Clinic(ANA)
    never = threading.Event()
    clinic.mailer.send = lambda _: never.wait(60)  # type: ignore[method-assign, assignment]
    queue = ListQueue(notification(1), notification(2))
    with pytest.raises(TransientError, match="did not end within"):
        clinic.notifier(queue, one_call_s=0.05).run(60, 0.01)
    never.set()
    ((whom, state, detail),) = clinic.ledger.timeline
    assert (whom, state) == (ANA["to"], MailState.UNCERTAIN)
    assert ANA["to"] not in detail
    assert queue.done == []


def test_an_odoo_that_drips_is_given_up_and_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEARTBEAT_S", 0.01)
    clinic = Clinic()
    never = threading.Event()
    clinic.odoo.call = lambda *_, **__: never.wait(60)  # type: ignore[method-assign]
    queue = ListQueue(notification())
    clinic.notifier(queue, one_call_s=0.05).run(60, 0.01)
    never.set()
    assert [tier for tier, _ in queue.published] == ["documents.retry.1"]


def test_what_there_is_no_time_for_goes_back_to_its_place() -> None:
    clinic = Clinic(ANA)
    queue = ListQueue(notification(1), notification(2))
    call = clinic.odoo.call

    def slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.2)
        return call(*args, **kwargs)

    clinic.odoo.call = slowly  # type: ignore[method-assign]
    clinic.notifier(queue).run(0.1, 0.01)
    assert queue.done == [("put back", 1), ("put back", 2)]
    assert clinic.mailer.sent == []


def test_a_notification_that_ends_its_worker_each_time_is_parked_with_its_reason() -> None:
    clinic = Clinic()
    clinic.killed = ListQueue(notification(7))
    queue, notifier = clinic.handle(notification(1))
    assert notifier.summary.parked == 1
    assert queue.published[0][1].headers["x-park-reason"] == "killed_the_worker"
    assert clinic.killed.acked == [7]
    assert notifier.summary.applied == 1
