"""An Odoo of our own on a restored database: as a process, without jobs, on a port of its own."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from clinic.clients.pg_tools import with_parent
from clinic.errors import PermanentError, TransientError

_START_TIMEOUT_S: Final = 180.0
_SHELL_TIMEOUT_S: Final = 300.0
_NEUTRALISE_TIMEOUT_S: Final = 600.0
_MARK: Final = "clinic-result:"
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")

# A posted invoice, or what each database has: a report of the core.
_RENDER: Final = """
import json
found = None
for report, model, domain in (
    ("account.account_invoices", "account.move", [
        ("move_type", "in", ("out_invoice", "out_refund")), ("state", "=", "posted")]),
    ("stock.action_report_picking", "stock.picking", []),
    ("base.report_ir_model_overview", "ir.model", [("model", "=", "res.partner")]),
):
    if model in env and env.ref(report, raise_if_not_found=False):
        record = env[model].with_context(active_test=False).search(domain, order="id desc", limit=1)
        if record:
            content, kind = env["ir.actions.report"]._render_qweb_pdf(report, record.ids)
            if kind == "pdf":
                found = {"report": report, "record": record.display_name, "path": target}
                with open(target, "wb") as stream:
                    stream.write(content)
                break
env.cr.rollback()
print(mark + json.dumps(found))
"""


class OdooProgram:
    """The Odoo of this machine.

    Args:
        command: What starts it, such as ``["odoo", "-c", "/etc/odoo/odoo.conf"]``; its settings say
            where PostgreSQL is, and by them it logs in there.
        folder: For its log and its data (sessions, assets); removed by whoever made it.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = list(command)
        self._folder = folder
        self._data = folder / "data"
        self.log = folder / "odoo.log"

    @property
    def filestores(self) -> Path:
        """Where it looks for filestores, by their database's name."""
        return self._data / "filestore"

    def neutralise(self, database: str) -> None:
        """Turn off what reaches the outside world: mail servers, jobs, payments and the like.

        Raises:
            TransientError: Odoo failed; nothing of it is done then.
        """
        self._run("neutralize", ["-d", database], f"Neutralising {database}", _NEUTRALISE_TIMEOUT_S)

    @contextmanager
    def running(self, database: str) -> Iterator[str]:
        """Run it on a database; yield its address once it answers, and end it afterwards.

        Raises:
            TransientError: It ended, or did not answer in time.
        """
        port, evented = _free_port(), _free_port()
        arguments = [
            *self._settings(database),
            *(f"--http-port={port}", f"--gevent-port={evented}", "--http-interface=127.0.0.1"),
            *("--workers=0", "--max-cron-threads=0"),
        ]
        url = f"http://127.0.0.1:{port}"
        with (
            self._open_log() as log,
            subprocess.Popen(
                with_parent([*self._command, *arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
            ) as process,
        ):
            try:
                self._wait(process, url, database)
                yield url
            finally:
                _end(process)

    def login_form(self, url: str) -> str:
        """Open the login page and return its title.

        Raises:
            TransientError: It answered otherwise than with the form.
        """
        doing = "Opening the login page of the restored Odoo"
        try:
            answer = httpx.get(f"{url}/web/login", timeout=60, trust_env=False)
        except httpx.HTTPError as error:
            raise TransientError(f"{doing}: {type(error).__name__}; see its log above.") from error
        text = answer.text
        if answer.status_code != 200 or 'name="login"' not in text or 'type="password"' not in text:
            raise TransientError(f"{doing}: status {answer.status_code}, and no form to log in.")
        return text.partition("<title>")[2].partition("</title>")[0].strip()

    def render_report(self, database: str) -> tuple[str, Path]:
        """Print a posted invoice, or another report of the core; return what it was, and the PDF.

        Raises:
            TransientError: Odoo failed to.
            PermanentError: It has no report that could be printed.
        """
        pdf = self._folder / "report.pdf"
        pdf.unlink(missing_ok=True)
        script = f"target, mark = {str(pdf)!r}, {_MARK!r}\n{_RENDER}"
        doing = f"Printing a report from {database}"
        arguments = [*self._settings(database), "--no-http", "--workers=0", "--max-cron-threads=0"]
        said = self._run("shell", arguments, doing, _SHELL_TIMEOUT_S, script)
        for line in said.splitlines():
            if _MARK in line:
                found = json.loads(line.partition(_MARK)[2])
                if found is None:
                    raise PermanentError(f"{doing}: Odoo has no report that could be printed.")
                return f"{found['report']}: {found['record']}", pdf
        raise TransientError(f"{doing}: Odoo's shell ended without a result: {self._end_of_log()}")

    def _settings(self, database: str) -> list[str]:
        return [
            # Without a filter it takes the database it is given, and looks for no others: among
            # them it would not find this one, which is hidden from the Odoo that is in use.
            *("-d", database, "--db-filter="),
            *(f"--data-dir={self._data}", "--logfile="),
        ]

    def _run(
        self, name: str, arguments: list[str], doing: str, timeout_s: float, script: str = ""
    ) -> str:
        """Run one of Odoo's commands to its end; return what it printed."""
        # The command's name comes before Odoo's settings and after what starts Odoo.
        options = [index for index, part in enumerate(self._command) if part in {"-c", "--config"}]
        at = options[-1] if options else len(self._command)
        command = [*self._command[:at], name, *self._command[at:], *arguments]
        with self._open_log() as log:
            try:
                done = subprocess.run(
                    with_parent(command),
                    input=script,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    timeout=timeout_s,
                    check=False,
                    env=_environment(),
                )
            except FileNotFoundError as error:
                raise PermanentError(
                    f"{doing}: {command[0]} is not installed here. Put what starts Odoo into "
                    "odoo_command of the connection odoo_database (--odoo-command), and run this "
                    "on the machine of Odoo."
                ) from error
            except subprocess.TimeoutExpired as error:
                raise TransientError(f"{doing}: not done after {timeout_s:.0f} s.") from error
        if done.returncode:
            raise TransientError(
                f"{doing}: Odoo ended with {done.returncode}: {self._end_of_log()}"
            )
        return done.stdout

    def _wait(self, process: subprocess.Popen[bytes], url: str, database: str) -> None:
        ends_at = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < ends_at:
            if process.poll() is not None:
                raise TransientError(
                    f"Starting Odoo on {database}: it ended with {process.returncode}: "
                    f"{self._end_of_log()}"
                )
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/web/health", timeout=10, trust_env=False).is_success:
                    return
            time.sleep(0.2)
        raise TransientError(
            f"Starting Odoo on {database}: no answer within {_START_TIMEOUT_S:.0f} s: "
            f"{self._end_of_log()}"
        )

    @contextmanager
    def _open_log(self) -> Iterator[int]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            yield log.fileno()

    def _end_of_log(self) -> str:
        lines = self.log.read_bytes()[-20_000:].decode(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:])[:600]


def _environment() -> dict[str, str]:
    """Return what Odoo needs of ours: not our Python's paths, nor the way to the broker."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
