"""A stack of a test's own: another state folder, started by the same commands a person uses."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil
from clinic.stack_env import read_stack_env

CHECKOUT = Path(__file__).parents[2]
CTL = CHECKOUT / "stack" / "ctl"
CHEAP = "postgres epmd rabbitmq"
COMMAND_TIMEOUT_S = 280


def command_lines(processes: Iterable[psutil.Process] | None = None) -> dict[str, str]:
    """The command lines of these processes, or of all to be seen from here, whoever's they are."""
    lines = {}
    for process in psutil.process_iter() if processes is None else processes:
        try:
            lines[str(process)] = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended meanwhile
    return lines


class Stack:
    """Runs `stack/ctl` for one state folder.

    Args:
        state: The state folder; it need not exist.
        services: Names of the services to start; empty for all.
        checkout: Whose commands; this one's.
        variables: Added to the environment of every command.
    """

    def __init__(
        self, state: Path, services: str = CHEAP, *, checkout: Path = CHECKOUT, **variables: str
    ) -> None:
        self.state = state
        self._ctl = str(checkout / "stack" / "ctl")
        self._variables = {"CLINIC_STATE": str(state), "CLINIC_SERVICES": services} | variables

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end; its output is text."""
        return subprocess.run(
            [self._ctl, *arguments],
            env=self._environment() | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def begin(self, *arguments: str, wrapper: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start one command, in a session of its own; its output comes from `communicate()`."""
        return subprocess.Popen(
            [*wrapper, self._ctl, *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "CLINIC_PORTS"}
        return inherited | self._variables

    def up(self, **variables: str) -> str:
        """Start it; the output."""
        done = self.run("up", **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def values(self) -> dict[str, str]:
        """What stack.env says."""
        return read_stack_env(self.state)

    def secrets(self) -> dict[str, str]:
        """Every password and key of this installation, by its name in credentials.json."""
        secrets: dict[str, str] = json.loads((self.state / "credentials.json").read_text())
        return secrets

    def processes(self) -> list[psutil.Process]:
        """Every process of the long-lived box, its keeper first."""
        keeper = psutil.Process(int((self.state / "run" / "keeper.pid").read_text()))
        return [keeper, *keeper.children(recursive=True)]

    def process(self, name: str) -> psutil.Process:
        """The server that the runit service `name` runs."""
        for supervisor in self.processes():
            if supervisor.cmdline()[:2] == ["runsv", name]:
                return next(child for child in supervisor.children() if child.name() != "svlogd")
        raise AssertionError(f"{name} is not supervised")

    def wait_until_ready(self, name: str, timeout_s: float = 30) -> None:
        """Wait until `status` calls a service ready."""
        deadline = time.monotonic() + timeout_s
        while self.row(name)[-2] != "yes":
            assert time.monotonic() < deadline, self.run("status").stdout
            time.sleep(0.2)

    def row(self, name: str) -> list[str]:
        """The line of `status` about a service: name, state, for, ready, address."""
        for line in self.run("status").stdout.splitlines():
            cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
            if cells and cells[0] == name:
                return [*cells, ""] if len(cells) == 4 else cells[:5]
        raise AssertionError(f"status does not name {name}")
