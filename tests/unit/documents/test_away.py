"""When a lot leaves a store alone, and when it asks again."""

import pytest
from clinic.documents.away import ASK_AGAIN_S, Sides
from clinic.errors import AwayError, ParkError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sides(clock: Clock) -> Sides:
    return Sides(clock)


def fail(sides: Sides, name: str, **options: float) -> None:
    with pytest.raises(AwayError, match="no answer"), sides.asking(name):
        raise AwayError("store_away", "The store gave no answer.", **options)


def test_two_failures_put_the_rest_off_with_their_reason(sides: Sides) -> None:
    fail(sides, "drive")
    sides.expect("drive")  # one may be one document's own fault
    fail(sides, "drive", retry_after_s=90)
    with pytest.raises(AwayError, match=r"untried.*The store gave no answer") as raised:
        sides.expect("drive")
    assert (raised.value.reason, raised.value.retry_after_s) == ("store_away", 90)
    sides.expect("webdav")  # another store has nothing to do with it


def test_one_document_that_fails_holds_up_nobody(sides: Sides) -> None:
    for _ in range(5):
        fail(sides, "drive")
        with sides.asking("drive"):
            pass
    sides.expect("drive")


def test_a_success_meanwhile_refutes_a_failure(sides: Sides) -> None:
    fail(sides, "drive")
    slow = sides.asking("drive")
    slow.__enter__()
    with sides.asking("drive"):
        pass
    slow.__exit__(AwayError, AwayError("store_full", "There is no space for this one."), None)
    fail(sides, "drive")
    sides.expect("drive")


def test_ids_of_a_full_store_do_not_show_that_it_is_well(sides: Sides) -> None:
    fail(sides, "drive")
    with sides.asking("drive", is_proof=False):
        pass
    fail(sides, "drive")
    with pytest.raises(AwayError):
        sides.expect("drive")


def test_what_a_document_itself_is_refused_for_is_no_fault_of_the_store(sides: Sides) -> None:
    for _ in range(5):
        with pytest.raises(ParkError), sides.asking("drive"):
            raise ParkError("store_refused", "No such name.")
    sides.expect("drive")


def test_it_is_asked_again_after_a_while_and_one_answer_decides(sides: Sides, clock: Clock) -> None:
    for _ in range(2):
        fail(sides, "drive")
    clock.now += ASK_AGAIN_S
    fail(sides, "drive")
    with pytest.raises(AwayError):
        sides.expect("drive")
    clock.now += ASK_AGAIN_S
    with sides.asking("drive"):
        pass
    fail(sides, "drive")
    sides.expect("drive")
