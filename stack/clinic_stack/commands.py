"""Running other programs: their output goes to a log, and a failure names that log."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from clinic_stack.config import StackError

LARGEST_LOG_BYTES = 2_000_000
LINES_SHOWN = 15
WIDEST_LINE = 240


def run(
    *command: str | Path,
    log: Path,
    environment: Mapping[str, object] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
    timeout_s: float = 900,
    log_output: bool = True,
) -> str:
    """Run a program and return what it wrote to its standard output; all it writes goes to `log`.

    Args:
        command: The program and its arguments; no secrets, for `ps` shows them.
        log: Where its output and errors are added.
        environment: Added to this program's own environment.
        stdin: Given to the program as its input.
        cwd: The folder to run it in.
        timeout_s: After this long it is killed.
        log_output: False keeps its standard output, which may hold secrets, out of the log.

    Raises:
        StackError: It failed or took too long; the message ends with the last lines of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(log.with_suffix(".log.old"))
    variables = os.environ | {name: str(value) for name, value in (environment or {}).items()}
    name = Path(command[0]).name
    with log.open("a") as file:
        try:
            result = subprocess.run(
                [str(part) for part in command],
                env=variables,
                input=stdin if stdin is not None else "",
                stdout=subprocess.PIPE,
                stderr=file,
                cwd=cwd,
                timeout=timeout_s,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StackError(f"{name} did not end within {timeout_s:.0f} s; see {log}") from None
        if log_output:
            file.write(result.stdout)
    if result.returncode:
        raise StackError(
            f"{name} failed ({result.returncode}); the end of {log}:\n{last_lines(log)}"
        )
    return result.stdout


def last_lines(log: Path, count: int = LINES_SHOWN) -> str:
    """The end of a log, or a word that there is none."""
    if not log.exists():
        return "(nothing was logged)"
    lines = log.read_text(errors="replace").splitlines()[-count:]
    return "\n".join(
        line if len(line) <= WIDEST_LINE else f"{line[:WIDEST_LINE]}…" for line in lines
    )
