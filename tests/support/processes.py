"""Small things that every real server in a test needs."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; Debian keeps the server's off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which(name, path=":".join(map(str, folders))) or shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: run the tests in the box (`make test`)")
    return found


def wait_until[Found](
    true: Callable[[], Found], what: str, timeout_s: float = 30, every_s: float = 0.05
) -> Found:
    """Wait until something holds, and return it.

    Raises:
        TimeoutError: it did not, in time; says what.
    """
    ends_at = time.monotonic() + timeout_s
    while not (found := true()):
        if time.monotonic() > ends_at:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        time.sleep(every_s)
    return found


def run(*command: str, **options: object) -> str:
    """Run a program to its end and return its standard output; on failure show both outputs."""
    done: subprocess.CompletedProcess[str] = subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}:\n"
            f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout
