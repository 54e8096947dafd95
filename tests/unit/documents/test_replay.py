"""Parked messages: which are chosen, what a replay sends, and in which order it is done."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clinic.documents.parcel import Parcel
from clinic.documents.replay import Parked, Selection, WorkQueue, examine, plan, replay
from clinic.errors import PermanentError, TransientError
from support.parcels import ListQueue

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def parked(tag: int, reason: str = "wrong_hash", hour: int = 12, **body: Any) -> Parcel:
    content = {"document_id": f"d{tag}", "document_type": "invoice", "metadata": {"revision": 2}}
    return Parcel(
        tag=tag,
        routing_key="invoice.created",
        body=json.dumps(content | body).encode(),
        message_id=f"m{tag}",
        headers={
            "x-attempt": 28,
            "x-schema-version": 1,
            "x-park-reason": reason,
            "x-park-detail": "The hash differs.",
            "x-parked-at": NOON.replace(hour=hour).isoformat(),
            "x-death": [{"queue": "documents.retry.1"}],
            "x-first-death-queue": "documents.retry.1",
            "x-last-death-reason": "expired",
            "x-delivery-count": 3,
        },
    )


class FakeLedger:
    """Writes into the queue's own list, so that the order shows."""

    def __init__(self, queue: ListQueue) -> None:
        self.queue = queue

    def record_replay(
        self, *, queue: str, message_id: str | None, parked: Parked, person: str, reason: str
    ) -> None:
        self.queue.done.append(("row", (queue, message_id, person, reason)))


def replayed(lot: ListQueue, selection: Selection) -> int:
    return replay(
        lot, FakeLedger(lot), WorkQueue.INVOICES, selection, person="Ana", reason="disk was full"
    )


@pytest.mark.parametrize(
    ("selection", "tags"),
    [
        (Selection(), [1, 2, 3, 4]),
        (Selection(document_type="invoice"), [1, 2, 4]),
        (Selection(document_type="medical_record"), [3]),
        (Selection(reason="store_refused"), [2]),
        (Selection(parked_from=NOON), [1, 3, 4]),
        (Selection(parked_to=NOON), [2]),
        (Selection(parked_to=datetime(2026, 11, 24, 12)), [2]),  # noqa: DTZ001 - taken as UTC
        (Selection(limit=2), [1, 2]),
        (Selection(planned_at=NOON.replace(hour=11, minute=30)), [2]),
        (Selection(reason="wrong_hash", document_type="invoice", limit=1), [1]),
        (Selection(reason="broken_pdf"), []),
    ],
)
def test_what_is_chosen(selection: Selection, tags: list[int]) -> None:
    lot = ListQueue(
        parked(1),
        parked(2, "store_refused", hour=11),
        parked(3, document_type="medical_record"),
        parked(4),
    )
    assert replayed(lot, selection) == len(tags)
    assert lot.acked == tags


def test_the_copy_goes_where_the_message_first_came_from_as_a_first_attempt() -> None:
    lot = ListQueue(parked(7))
    replayed(lot, Selection())
    ((exchange, copy),) = [step for step in lot.published if step[0] != "row"]
    assert exchange == "documents_exchange"
    assert copy.routing_key == "invoice.created"
    assert copy.message_id == "m7"
    assert copy.body == parked(7).body
    replayed_at = datetime.fromisoformat(copy.headers["x-replayed-at"])
    assert abs(datetime.now(UTC) - replayed_at) < timedelta(minutes=1)
    assert copy.headers == {
        "x-attempt": 1,
        "x-schema-version": 1,
        "x-replayed-at": copy.headers["x-replayed-at"],
    }


def test_the_parked_one_goes_last() -> None:
    lot = ListQueue(parked(7))
    replayed(lot, Selection())
    assert [verb for verb, _ in lot.done] == ["documents_exchange", "row", "ack"]
    assert lot.done[1] == ("row", ("invoice_queue", "m7", "Ana", "disk was full"))


def test_what_the_broker_did_not_take_stays_parked() -> None:
    class FullQueue(ListQueue):
        def publish(self, exchange: str, parcel: Parcel) -> None:
            raise TransientError("full")

    lot = FullQueue(parked(7))
    with pytest.raises(TransientError):
        replayed(lot, Selection())
    assert lot.done == []


def test_a_plan_changes_nothing_and_names_the_first() -> None:
    lot = ListQueue(*(parked(tag, "store_refused" if tag % 3 else "schema") for tag in range(60)))
    found = plan(lot, Selection(limit=50))
    assert lot.done == []
    assert (found.count, found.seen) == (50, 50)
    assert found.by_reason == {"store_refused": 33, "schema": 17}
    assert len(found.first) == 20
    assert json.loads(json.dumps(found.as_dict()))["first"][0]["message_id"] == "m0"


@pytest.mark.parametrize(("person", "reason"), [("", "x"), ("Ana", " ")])
def test_nobody_replays_without_name_and_reason(person: str, reason: str) -> None:
    lot = ListQueue(parked(1))
    with pytest.raises(PermanentError, match="person and a reason"):
        replay(lot, FakeLedger(lot), WorkQueue.INVOICES, Selection(), person=person, reason=reason)
    assert lot.done == []


def test_a_limit_below_one_is_a_mistake() -> None:
    with pytest.raises(PermanentError, match="limit"):
        Selection(limit=0)


@pytest.mark.parametrize("body", [b"not JSON", b"[1]", b"[" * 100_000, b"\xff", b'{"metadata": 1}'])
def test_garbage_is_shown_and_replayed_too(body: bytes) -> None:
    parcel = Parcel(1, "invoice.created", body, headers={"x-park-reason": "not_json"})
    found = examine(parcel)
    assert (found.document_type, found.reason, found.parked_at) == (None, "not_json", None)
    assert replayed(ListQueue(parcel), Selection(reason="not_json")) == 1


def test_what_the_broker_parked_itself_has_its_reason_and_time() -> None:
    death = {
        "queue": "invoice_queue",
        "reason": "delivery_limit",
        "time": datetime(2026, 11, 24),  # noqa: DTZ001 - as pika gives it
    }
    found = examine(Parcel(1, "invoice.created", b"{}", headers={"x-death": [death]}))
    assert found.reason == "killed_the_worker"
    assert found.parked_at == datetime(2026, 11, 24, tzinfo=UTC)


def test_a_message_parked_at_an_unknown_time_is_in_no_period() -> None:
    parcel = Parcel(1, "invoice.created", b"{}", headers={"x-parked-at": "yesterday"})
    assert not Selection(parked_from=NOON).applies_to(examine(parcel))
    assert Selection().applies_to(examine(parcel))
