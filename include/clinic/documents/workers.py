"""Threads that one may stop waiting for.

A server that drips a byte a minute keeps a thread for hours, and nothing ends a thread from
outside. A ``ThreadPoolExecutor`` waits for such a one when it is left, and so does the interpreter
at its end; nobody waits for these.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from queue import SimpleQueue
from typing import Any


class Job[Result]:
    """One call that a worker makes."""

    def __init__(self, call: Callable[[], Result]) -> None:
        self.future: Future[Result] = Future()
        self.began_at: float | None = None
        self._call = call

    def cancel(self) -> bool:
        """Let it not be begun; False when it was."""
        return self.future.cancel()

    def is_overdue(self, longest_s: float) -> bool:
        """Tell whether it has been under way for longer than that."""
        return (
            self.began_at is not None
            and not self.future.done()
            and time.monotonic() - self.began_at > longest_s
        )

    def make(self) -> None:
        """Make the call, in whichever thread this is; its error is kept for who waits."""
        if not self.future.set_running_or_notify_cancel():
            return
        self.began_at = time.monotonic()
        try:
            self.future.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self.future.set_exception(error)


class Workers:
    """So many threads.

    Args:
        count: How many calls are made at once.
        name: What they are called in logs.
    """

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._name = name
        self._count = count
        for _ in range(count):
            self._hire()

    def submit[Result](self, call: Callable[[], Result]) -> Job[Result]:
        """Have a call made as soon as somebody is free."""
        job = Job(call)
        self._jobs.put(job)
        return job

    def give_up(self) -> None:
        """Let another take the place of one that hangs. It ends by itself, if ever."""
        self._hire()

    def close(self) -> None:
        """Let those that are free end. Nobody waits for the others."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _hire(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.make()


def wait_for_one(jobs: Iterable[Job[Any]], timeout_s: float) -> None:
    """Return as soon as one is done, or after so long."""
    wait([job.future for job in jobs], timeout=timeout_s, return_when=FIRST_COMPLETED)
