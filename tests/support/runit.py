"""The running stack's services, to be killed: they belong to the test run, which starts its own."""

import subprocess
from pathlib import Path

import psutil
from support.processes import run, wait_until
from support.stack_env import needed


def _sv(verb: str, service: str, *, seconds: int = 0) -> str:
    folder = Path(needed("CLINIC_STATE"), "sv", service)
    wait = ["-w", str(seconds)] if seconds else []
    return run("sv", *wait, verb, str(folder), timeout=seconds + 30)


def kill(service: str) -> None:
    """Send SIGKILL to a service; runit starts it again."""
    _sv("kill", service)


def wait_until_ready(service: str, timeout_s: int = 120) -> None:
    """Wait until a service that was killed answers again."""

    def is_ready() -> bool:
        try:
            _sv("start", service, seconds=10)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
        return True

    wait_until(is_ready, f"{service} is ready", timeout_s, every_s=0.5)


def task_processes() -> list[psutil.Process]:
    """Return the processes that run this stack's Airflow tasks now, one each."""
    keeper = int(Path(needed("CLINIC_STATE"), "run", "keeper.pid").read_text())
    found = []
    for process in psutil.Process(keeper).children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        # The executor's own workers carry its name; the process that a task runs in does not.
        if title.startswith("airflow worker -- ") and "LocalExecutor" not in title:
            found.append(process)
    return found
