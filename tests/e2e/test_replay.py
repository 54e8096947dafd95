"""A data engineer replays parked messages in Airflow, as docs/how-to/replay-parked-documents.md."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing

import pika
import psycopg
import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.stack
MANY = 101  # one more than are replayed without anybody's approval
DAG = "replay_parked_documents"
LOT = "notification_queue.parking"


@pytest.fixture
def broker(stack_env) -> Iterator[pika.BlockingConnection]:
    with closing(pika.BlockingConnection(pika.URLParameters(stack_env["AMQP_URL"]))) as connection:
        yield connection


@pytest.fixture
def garbage(broker) -> Iterator[set[bytes]]:
    """Messages in the parking lot that no other test has anything to do with."""
    mark = uuid.uuid4().hex
    bodies = {f"garbage {mark} {number}".encode() for number in range(MANY)}
    channel = broker.channel()
    channel.confirm_delivery()
    for body in bodies:
        channel.basic_publish(
            "documents_exchange",
            "notification.send",
            body,
            properties=pika.BasicProperties(delivery_mode=2),
            mandatory=True,
        )
    eventually(lambda: seen(broker, bodies) == MANY)
    yield bodies
    seen(broker, bodies, remove=True)


def seen(broker, bodies: set[bytes], *, remove: bool = False) -> int:
    """Count these messages in the lot; they stay there, and so does what belongs to others."""
    count = 0
    channel = broker.channel()
    while (got := channel.basic_get(LOT))[0] is not None:
        if got[2] in bodies:
            count += 1
            if remove:
                channel.basic_ack(got[0].delivery_tag)
    channel.close()  # gives back what was not acknowledged
    return count


def eventually(holds) -> None:
    for _ in range(120):
        if holds():
            return
        time.sleep(1)
    pytest.fail(f"it never held: {holds.__code__.co_names}")


def fill_in(page: Page, why: str) -> None:
    form = page.get_by_role("dialog")
    queue = form.get_by_role("combobox").first
    queue.fill("notification_queue")
    queue.press("Enter")
    form.locator("input[name=element_limit]").fill("1000")
    # The box itself is one pixel wide; a person clicks what is painted over it.
    form.locator("input[name=element_dry_run]").evaluate("box => box.click()")
    form.locator("#element_why").fill(why)
    form.get_by_role("button", name="Trigger").click()
    form.wait_for(state="hidden")


def test_more_than_a_hundred_wait_for_an_approval_and_the_person_is_kept(
    session_of, stack_env, broker, garbage, screenshots
):
    why = f"prueba {uuid.uuid4().hex[:8]}"
    page = session_of("demo-sistemas").new_page()
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/dags/{DAG}")
    page.get_by_test_id("trigger-dag-button").click()
    fill_in(page, why)
    eventually(lambda: waiting_run(stack_env, why) is not None)
    assert replays(stack_env, why) == []  # nothing moved before somebody approved
    page.goto(f"{stack_env['AIRFLOW_PUBLIC_URL']}/required_actions")
    page.locator(f'a[href*="{waiting_run(stack_env, why)}"][href*="approve"]').first.click()
    page.get_by_text(f"Why: {why}").wait_for()
    page.screenshot(path=screenshots / "approve_replay.png")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    page.close()
    eventually(lambda: len(replays(stack_env, why)) >= MANY)
    assert set(replays(stack_env, why)) == {"demo-sistemas, approved by demo-sistemas"}
    # What was garbage is garbage still: it was tried, and none is lost.
    eventually(lambda: seen(broker, garbage) == MANY)


def replays(stack_env, why: str) -> list[str]:
    with psycopg.connect(stack_env["SHARED_DB_SYNC_URL"]) as database:
        rows = database.execute("SELECT who FROM document_replays WHERE why = %s", [why])
        return [who for (who,) in rows]


def waiting_run(stack_env, why: str) -> str | None:
    """Return how the id of the run begins that waits for an approval, once it does."""
    with psycopg.connect(stack_env["AIRFLOW_DB_URL"]) as database:
        row = database.execute(
            "SELECT run_id FROM hitl_detail"
            " JOIN task_instance ON task_instance.id = ti_id WHERE body LIKE %s",
            [f"%Why: {why}"],
        ).fetchone()
        return row[0].partition("+")[0] if row else None
