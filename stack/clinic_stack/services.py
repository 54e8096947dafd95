"""The services under runit: their folders, and what `sv` is asked.

`sv` speaks to a service through FIFOs in its folder, so it works from any box that sees the state.
"""

import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from clinic_stack.commands import last_lines
from clinic_stack.config import SERVICES, Config, StackError
from clinic_stack.files import code_fingerprint, fingerprint, shell_variables, write_if_changed
from clinic_stack.progress import Progress

POLL_S = 0.2
MOST_STARTS = 8
"""So often a service may end and be started again before it is ready; then it is given up."""
LOG_FILES = "s2000000\nn5\n"

# A service is started anew when one of these, or its own scripts, changed since its start.
SETTINGS_FILES = {
    "postgres": ("postgres/postgresql.conf", "postgres/pg_hba.conf", "postgres/pg_ident.conf"),
    "epmd": ("services.env",),
    "rabbitmq": ("rabbitmq/rabbitmq.conf", "rabbitmq/definitions.json", "rabbitmq/environment"),
    "gateway": ("gateway/bootstrap.yaml",),  # takes up the other files by itself
    "drive": ("google/config.json", "google/made-from", "tls/server.crt"),
    "webdav": ("webdav/wsgidav.json", "tls/server.crt"),
    "mail": ("services.env",),
    "keycloak": ("keycloak/environment",),
    "inventory-api": ("inventory-api/environment",),
    "odoo": ("odoo/odoo.conf", "odoo/environment"),
    "airflow": ("airflow/environment", "site/*/entry_points.txt"),
}

# What Airflow's processes import or read once when they start: without a new start they would go on
# with what the checkout held before. `dags` they read again by themselves. Of the others that run
# code of this checkout, Odoo is stopped while its addons are updated, and `google/made-from` tells
# the emulator's code.
AIRFLOW_CODE = ("include", "plugins", "providers/*/src", "sql/queries")
"""Folders of the checkout."""

ON_VENV = {"airflow", "inventory-api", "gateway", "drive", "webdav", "mail"}
"""What runs on the Python packages of the lock, not on Debian's programs."""


@dataclass(frozen=True)
class State:
    """What runit says of a service."""

    running: bool
    seconds: int
    process: str
    text: str


def prepare(config: Config) -> None:
    """Write every service's folder; those that run are not disturbed."""
    source = config.stack / "services"
    target = config.service_directory
    write_if_changed(target / ".common.sh", (source / "common.sh").read_text())
    write_if_changed(target / ".heartbeat.sh", (source / "heartbeat.sh").read_text())
    for name in SERVICES:
        folder, logs = target / name, config.state / "log" / name
        for script in sorted((source / name).rglob("*")):
            if script.is_file():
                path = folder / script.relative_to(source / name)
                write_if_changed(path, script.read_text(), 0o755)
        write_if_changed(folder / "finish", (source / "finish").read_text(), 0o755)
        write_if_changed(folder / "log" / "run", (source / "log-run").read_text(), 0o755)
        (folder / "down").touch()  # nothing starts before it is told to
        logs.mkdir(parents=True, exist_ok=True)
        write_if_changed(logs / "config", LOG_FILES)
        link = config.state / "log" / f"{name}.log"
        if not link.is_symlink():
            link.symlink_to(Path(name) / "current")
    variables = {
        "POSTGRES_PORT": config.port("postgres"),
        "POSTGRES_SOCKETS": config.socket_directory,
        "EPMD_PORT": config.port("epmd"),
        "AMQP_PORT": config.port("amqp"),
        "RABBITMQ_MANAGEMENT_PORT": config.port("rabbitmq_management"),
        "KEYCLOAK_PORT": config.port("keycloak"),
        "KEYCLOAK_MANAGEMENT_PORT": config.port("keycloak_management"),
        "ODOO_PORT": config.port("odoo"),
        "ODOO_EVENTED_PORT": config.port("odoo_evented"),
        "AIRFLOW_PORT": config.port("airflow"),
        "INVENTORY_API_PORT": config.port("inventory_api"),
        "GATEWAY_PORT": config.port("gateway"),
        "DRIVE_PORT": config.port("drive"),
        "WEBDAV_PORT": config.port("webdav"),
        "MAIL_PORT": config.port("mail"),
        "CLINIC_STACK": config.stack,
        # The box of the services may have been started before the Python packages last changed.
        "PATH": f"{config.venv}/bin:{os.environ['PATH'].partition(':')[2]}",
        "CLINIC_VENV": config.venv,
        "SVDIR": target,
    }
    write_if_changed(config.state / "services.env", shell_variables(variables, export=True))


class Runit:
    """Asks runit about the services of one state folder, and tells it what to do."""

    def __init__(self, config: Config, progress: Progress) -> None:
        self._config = config
        self._progress = progress
        self._watched: dict[str, float] = {}
        self._ready: set[str] = set()
        self._failing: set[str] = set()
        self._quiet: set[str] = set()
        self._changed = threading.Condition()

    def supervised(self, name: str, timeout_s: float = 10) -> None:
        """Wait until runit has found the service's folder.

        Raises:
            StackError: It did not; the box is not running.
        """
        deadline = time.monotonic() + timeout_s
        while self.state(name).text.startswith(("fail", "warning")):
            if time.monotonic() > deadline:
                raise StackError(f"runit does not supervise {name}: {self.state(name).text}")
            time.sleep(POLL_S / 4)

    def state(self, name: str) -> State:
        """What runit says of the service."""
        text = self._sv("status", name).split(";")[0].strip()
        seconds = re.search(r"(\d+)s", text)
        process = re.search(r"\(pid (\d+)\)", text)
        return State(
            running=text.startswith("run:"),
            seconds=int(seconds[1]) if seconds else 0,
            process=process[1] if process else "",
            text=text,
        )

    def ready(self, name: str) -> bool:
        """Whether the service runs and its own check finds it ready."""
        if not self.state(name).running:
            return False
        folder = self._config.service_directory / name
        done = subprocess.run(["./check"], cwd=folder, capture_output=True, check=False)
        return done.returncode == 0

    def start(self, *names: str) -> None:
        """Tell services to start, or to start anew when their settings changed; do not wait."""
        wanted = {name: self._settings(name) for name in names}
        outdated = []
        for name in names:
            self.supervised(name)
            if self.state(name).running and self._started_with(name) != wanted[name]:
                outdated.append(name)
        if outdated:
            self._progress.say(f"  New settings, so starting anew: {', '.join(outdated)}")
            self.stop(*outdated)
        for name in names:
            if self.state(name).running:
                self._quiet.add(name)
            else:
                self._mark(name).write_text(wanted[name])
                self._control(name, "u")
            self._watch(name)

    @property
    def started_any(self) -> bool:
        """Whether any service had to be started."""
        return self._watched.keys() > self._quiet

    def _watch(self, name: str) -> None:
        """Look after a service from now on: say when it is ready, and wake who waits for it."""
        self._watched[name] = time.monotonic()

        def look() -> None:
            seen = set()
            while not self.ready(name):
                seen.add(self.state(name).process)
                if len(seen - {""}) > MOST_STARTS:
                    with self._changed:
                        self._failing.add(name)
                        self._changed.notify_all()
                    return
                time.sleep(POLL_S)
            if name not in self._quiet:
                elapsed_s = self._progress.elapsed_s()
                self._progress.say(f"  {name}: ready {elapsed_s:.1f} s after the start")
            with self._changed:
                self._ready.add(name)
                self._changed.notify_all()

        threading.Thread(target=look, daemon=True).start()

    def _mark(self, name: str) -> Path:
        return self._config.state / "run" / f"{name}.settings"

    def _started_with(self, name: str) -> str:
        return self._mark(name).read_text() if self._mark(name).exists() else ""

    def stop(self, *names: str, timeout_s: int = 40) -> None:
        """Stop services together; what has not ended by then is killed."""
        known = [
            name for name in names if not self.state(name).text.startswith(("fail", "warning"))
        ]
        if known:
            self._sv("force-stop", *known, wait_s=timeout_s)

    def wait(self, *names: str, timeout_s: float) -> None:
        """Wait until all these services, which were told to start, are ready.

        Raises:
            StackError: One was not ready within `timeout_s` of being told to start, or ends again
                and again; the message ends with the end of its log.
        """
        with self._changed:
            while waiting := [name for name in names if name not in self._ready]:
                if failing := [name for name in waiting if name in self._failing]:
                    raise self._not_ready("Ends again and again", failing)
                deadline = max(self._watched[name] for name in waiting) + timeout_s
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise self._not_ready(f"Not ready within {timeout_s:.0f} s", waiting)

    def _not_ready(self, what: str, names: list[str]) -> StackError:
        log = self._config.state / "log" / f"{names[0]}.log"
        return StackError(f"{what}: {', '.join(names)}. The end of {log}:\n{last_lines(log)}")

    def _settings(self, name: str) -> str:
        folder = self._config.service_directory / name
        scripts = [
            folder.parent / ".common.sh",
            folder / "run",
            folder / "finish",
            folder / "control" / "t",
        ]
        key = "airflow" if name.startswith("airflow-") else name
        files = [
            path for each in SETTINGS_FILES[key] for path in sorted(self._config.state.glob(each))
        ]
        extra = [str(self._config.venv) if key in ON_VENV else self._config.root.name]
        if key == "airflow":
            extra.append(code_fingerprint(self._config.checkout, AIRFLOW_CODE))
        return fingerprint(*extra, *(path.read_text() for path in scripts + files if path.exists()))

    def _control(self, name: str, command: str) -> None:
        fifo = self._config.service_directory / name / "supervise" / "control"
        with open(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK), "w") as file:
            file.write(command)

    def _sv(self, command: str, *names: str, wait_s: int = 7) -> str:
        answer = subprocess.run(
            ["sv", "-w", str(wait_s), command, *names],
            env=os.environ | {"SVDIR": str(self._config.service_directory)},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.stdout + answer.stderr
