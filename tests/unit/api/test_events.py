"""The hub of events: nobody waits for the slowest, and nobody hears more than their token lasts."""

import asyncio

import pytest
from inventory_api.db import Database
from inventory_api.events import QUEUE_SIZE, Event, Hub
from inventory_api.observe import Metrics
from inventory_api.problems import Problem
from inventory_api.settings import Settings

SETTINGS = Settings(
    database_url="postgresql://nobody@127.0.0.1:9/none",
    issuer="",
    jwks_url="",
    public_url="",
    most_listeners=2,
    heartbeat_s=0.01,
)


def event(number):
    return Event(number, b"id: %d\n\n" % number)


def run(story):
    async def whole():
        metrics = Metrics()
        await story(Hub(SETTINGS, Database(SETTINGS), metrics), metrics)

    asyncio.run(whole())


def test_a_listener_that_does_not_read_is_cut_off_and_the_others_get_all():
    async def story(hub, metrics):
        slow, quick = hub.join(), hub.join()
        heard, reading = [], hub.stream(quick, None, 60)
        await anext(reading)
        for number in range(1, QUEUE_SIZE + 3):
            hub._tell(event(number))
            heard.append(await anext(reading))
        assert heard == [event(number).text for number in range(1, QUEUE_SIZE + 3)]
        assert (slow.is_dropped, quick.is_dropped, hub.listeners) == (True, False, 1)
        told = [line async for line in hub.stream(slow, None, 60)]
        assert told == [b"retry: 2000\n\n"]
        assert metrics.registry.get_sample_value("inventory_api_listeners_dropped_total") == 1
        await reading.aclose()
        assert hub.listeners == 0

    run(story)


def test_a_quiet_stream_shows_that_it_lives():
    async def story(hub, _):
        reading = hub.stream(hub.join(), None, 60)
        assert [await anext(reading) for _ in range(3)] == [
            b"retry: 2000\n\n",
            b": \n\n",
            b": \n\n",
        ]
        await reading.aclose()

    run(story)


def test_a_stream_ends_with_its_token_and_with_the_server():
    async def story(hub, _):
        ended = [line async for line in hub.stream(hub.join(), None, 0)]
        assert ended == [b"retry: 2000\n\n"]
        open_one = hub.join()
        hub.close()
        assert [line async for line in hub.stream(open_one, None, 60)] == ended
        assert hub.listeners == 0
        with pytest.raises(Problem, match="Too many"):
            hub.join()

    run(story)


def test_there_are_no_more_listeners_than_are_allowed():
    async def story(hub, _):
        hub.join()
        hub.join()
        with pytest.raises(Problem) as raised:
            hub.join()
        assert raised.value.status == 503
        assert "Retry-After" in raised.value.headers

    run(story)
