"""The demo's clerk, who asks Odoo questions meanwhile, on a machine that is busy."""

import threading

import pytest
from clinic.demo.documents import Clerk
from clinic.errors import TransientError


class BusyOdoo:
    """Answers one question, and the next ones when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self._error = error

    def call(self, *_args: object, **_values: object) -> list[object]:
        self.asked += 1
        if self.asked > 1:
            assert self.may_answer.wait(60)
            if self._error:
                raise self._error
        return []


def test_what_is_measured_waits_for_two_answers() -> None:
    odoo = BusyOdoo()
    clerk = Clerk(odoo)  # type: ignore[arg-type]
    clerk.start()
    threading.Timer(0.5, odoo.may_answer.set).start()
    waits = clerk.take()
    clerk.stop()
    assert waits.times >= 2


def test_an_error_of_odoo_is_the_clerks() -> None:
    odoo = BusyOdoo(TransientError("Odoo: HTTP 502."))
    clerk = Clerk(odoo)  # type: ignore[arg-type]
    clerk.start()
    threading.Timer(0.2, odoo.may_answer.set).start()
    with pytest.raises(TransientError, match="HTTP 502"):
        clerk.take()
