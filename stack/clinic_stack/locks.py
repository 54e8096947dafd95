"""Locks on what several checkouts share."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, alone: bool) -> Iterator[None]:
    """Hold a lock until the block ends: alone, or together with others who do not ask for that.

    It ends with this process too, however that ends, https://man7.org/linux/man-pages/man2/flock.2.html.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
