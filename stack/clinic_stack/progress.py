"""What a person sees: a line when a step starts and ends, and on a terminal a running clock."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress


class Progress:
    """Prints steps, also when several run at once. All times are seconds since the step began."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._lock = threading.Lock()
        self._active: dict[str, float] = {}
        self._started = time.monotonic()
        if self._terminal:
            threading.Thread(target=self._tick, daemon=True).start()

    def elapsed_s(self) -> float:
        """Seconds since this program began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """One line."""
        # When nobody reads any more the servers are started all the same.
        with self._lock, suppress(BrokenPipeError):
            self._erase()
            print(text, flush=True)

    @contextmanager
    def step(self, label: str, detail: str = "") -> Iterator[None]:
        """A step with a clock: announced now, and again with its time when it is done."""
        began = time.monotonic()
        self._active[label] = began
        if not self._terminal:
            self.say(f"  {label}{f' ({detail})' if detail else ''}")
        try:
            yield
        except BaseException:
            self._active.pop(label)
            self.say(f"  {label}: failed after {time.monotonic() - began:.0f} s")
            raise
        self._active.pop(label)
        self.say(f"  {label}: {time.monotonic() - began:.1f} s")

    def _erase(self) -> None:
        if self._terminal:
            sys.stdout.write("\r\033[K")

    def _tick(self) -> None:
        while True:
            time.sleep(0.5)
            with self._lock:
                now = time.monotonic()
                running = ", ".join(f"{name} {now - t:.0f} s" for name, t in self._active.items())
                if running:
                    self._erase()
                    sys.stdout.write(f"    {running}"[:160])
                    sys.stdout.flush()


def together(*tasks: Callable[[], None]) -> None:
    """Run the tasks at once; when all have ended, raise the first error among them."""
    with ThreadPoolExecutor(max(1, len(tasks))) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()
