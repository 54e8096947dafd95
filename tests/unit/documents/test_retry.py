"""When a message comes again."""

import json

import pytest
from clinic.documents.retry import LAST_ATTEMPT, TIER_DELAYS_S, delay_s, tier
from support.stack_env import ROOT


@pytest.mark.parametrize(
    ("attempt", "asked_s", "expected"),
    [
        (1, None, 1),
        (4, None, 4),
        (27, None, 4),
        (1, 0, 1),
        (1, 10, 1),
        (1, 11, 2),
        (1, 600, 3),
        (3, 5, 3),
        (1, 86_400, 4),
    ],
)
def test_a_message_waits_by_its_attempt_and_not_less_than_was_asked(
    attempt: int, asked_s: float | None, expected: int
) -> None:
    assert tier(attempt, asked_s) == expected
    assert delay_s(attempt, asked_s) == TIER_DELAYS_S[expected - 1]


def test_the_last_attempt_is_about_a_day_after_the_first() -> None:
    hours = sum(delay_s(attempt) for attempt in range(1, LAST_ATTEMPT)) / 3600
    assert 23 < hours < 25


def test_the_delays_are_the_brokers() -> None:
    definitions = json.loads((ROOT / "rabbitmq" / "definitions.json").read_text())
    policies = {policy["name"]: policy["definition"] for policy in definitions["policies"]}
    ttls = [policies[f"retry-{number}"]["message-ttl"] for number in (1, 2, 3, 4)]
    assert ttls == [seconds * 1000 for seconds in TIER_DELAYS_S]
