"""PostgreSQL's own programs, ``pg_dump`` and ``pg_restore``, run with a limit and without secrets.

A password goes into the environment, which only its owner can read, and never into the arguments.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final

import psycopg

from clinic.errors import PermanentError, TransientError

READ_TIMEOUT_S: Final = 4 * 3600
"""How long a program may be read from; less than the task that reads a dump back may take."""

_LINES: Final = 3
_TAIL_BYTES: Final = 16_384
_REASON: Final = re.compile(r"\b(error|ERROR|FATAL|PANIC): ")


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs.

    Raises:
        PermanentError: It is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise PermanentError(
            f"{name} is not installed on this machine: install PostgreSQL's client programs "
            "(postgresql-client), not older than the server."
        )
    return path


def version(name: str) -> str:
    """Return a program's version (``17.6``)."""
    said = subprocess.run(
        [program(name), "--version"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    found = re.search(r"\d+(\.\d+)*", said)
    return found[0] if found else ""


def environment(conninfo: str, **more: str) -> dict[str, str]:
    """Return the environment in which PostgreSQL's programs reach a database.

    Args:
        conninfo: A libpq address or string.
        more: Fields of it to be changed, for example ``dbname``.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") or name in {"PGSSLROOTCERT", "PGPASSFILE"}
    }
    fields = psycopg.conninfo.conninfo_to_dict(conninfo) | more
    variables = {
        field.keyword.decode(): field.envvar.decode()
        for field in psycopg.pq.Conninfo.get_defaults()
        if field.envvar
    }
    return inherited | {variables[name]: str(value) for name, value in fields.items() if value}


@contextlib.contextmanager
def started(
    doing: str,
    command: Sequence[str],
    env: dict[str, str],
    *,
    timeout_s: float,
    dies_with_us: bool = False,
) -> Iterator[Callable[[], None]]:
    """Start a program, and yield what waits for its end; who leaves before that ends it.

    Args:
        doing: What for, at the beginning of errors.
        command: The program and its arguments.
        env: Its environment, with the password.
        timeout_s: The longest it may take.
        dies_with_us: End it when this process is killed, too.

    Raises:
        TransientError: It failed, or took too long; says what it said last.
    """
    started_as = with_parent(command) if dies_with_us else command
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            started_as, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env
        ) as process,
    ):

        def wait() -> None:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise TransientError(
                    f"{doing}: {command[0]} was not done after {timeout_s:.0f} s and was ended."
                ) from None
            if process.returncode:
                raise _failed(doing, process.returncode, command[0], _last_lines(said))

        try:
            yield wait
        finally:
            _end(process)


@contextlib.contextmanager
def piped(
    doing: str, command: Sequence[str], env: dict[str, str], *, timeout_s: float = READ_TIMEOUT_S
) -> Iterator[Callable[[int], bytes]]:
    """Start a program, and yield what reads its standard output; its end is checked at the end.

    Raises:
        TransientError: It failed, or took too long; says what it said last.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=env
        ) as process,
    ):
        assert process.stdout is not None
        watch = threading.Timer(timeout_s, process.kill)
        watch.daemon = True
        watch.start()
        try:
            yield process.stdout.read
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()  # which changes nothing about one that has ended
            if process.wait():
                raise _failed(doing, process.returncode, command[0], _last_lines(said))
        finally:
            watch.cancel()
            _end(process)


@contextlib.contextmanager
def fed(
    doing: str, command: Sequence[str], env: dict[str, str], *, timeout_s: float
) -> Iterator[Callable[[bytes], None]]:
    """Start a program, and yield what writes to its standard input; its end is checked at the end.

    It is ended when this process is killed, too.

    Raises:
        TransientError: It failed, or took too long; says what it said last.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            with_parent(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=env,
        ) as process,
    ):
        assert process.stdin is not None
        watch = threading.Timer(timeout_s, process.kill)
        watch.start()
        try:
            # Who ends before it read everything says why by its code.
            with contextlib.suppress(BrokenPipeError):
                yield process.stdin.write  # type: ignore[misc]  # nobody wants the count
                process.stdin.close()
            if process.wait(timeout_s):
                raise _failed(doing, process.returncode, command[0], _last_lines(said))
        finally:
            watch.cancel()
            if process.poll() is None:
                process.kill()  # not in order: it would run what it was told so far
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def with_parent(command: Sequence[str]) -> list[str]:
    """Let a program end when we are killed, where this machine has a way to say so."""
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", "TERM"] if setpriv else []), *command]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, then by force."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _last_lines(said: IO[bytes]) -> str:
    """Return what a program gave as the reason, or else the end of what it said, on one line.

    After the reason PostgreSQL's programs show the statement, which may be long.
    """
    said.seek(max(0, said.seek(0, os.SEEK_END) - _TAIL_BYTES))
    lines = said.read().decode(errors="replace").strip().splitlines()
    reasons = [line for line in lines if _REASON.search(line)]
    return " / ".join((reasons or lines)[-_LINES:])[:500]


def _failed(doing: str, code: int, name: str, said: str) -> TransientError:
    """Return the error of a program that failed."""
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    advice = "If it ends so again, look into PostgreSQL's log at this time"
    if "No space left" in said:
        advice = "Make room on that disk first"
    return TransientError(
        f"{doing}: {os.path.basename(name)} {how}: {said or 'it said nothing'}. The next try does "
        f"it anew. {advice}."
    )
