"""The Drive emulator as a real process over TLS, with an authority of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from clinic_stack.tls import AUTHORITY, SERVER
from drive_emulator.credentials import make
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import credentials as person
from google.oauth2 import service_account
from support.processes import free_port, run, wait_until

SCOPE = "https://www.googleapis.com/auth/drive"
ROOT = Path(__file__).parents[2]


def make_certificate(directory: Path, domain: str = "clinica.localhost") -> None:
    """Write an authority (``ca.crt``) and a server's certificate for the loopback."""
    (directory / "ca.cnf").write_text(AUTHORITY.format(domain=domain))
    (directory / "server.cnf").write_text(SERVER.format(domain=domain))
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    for name in ("ca", "server"):
        run("openssl", "genpkey", *curve, "-out", str(directory / f"{name}.key"))
    run(
        *("openssl", "req", "-x509", "-config", "ca.cnf", "-key", "ca.key", "-days", "2"),
        *("-out", "ca.crt"),
        cwd=directory,
    )
    run(
        *("openssl", "req", "-new", "-config", "server.cnf", "-key", "server.key"),
        *("-out", "server.csr"),
        cwd=directory,
    )
    run(
        *("openssl", "x509", "-req", "-in", "server.csr", "-days", "2", "-CA", "ca.crt"),
        *("-CAkey", "ca.key", "-extfile", "server.cnf", "-extensions", "extensions"),
        *("-out", "server.crt"),
        cwd=directory,
    )


class Drive:
    """A running emulator."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.url = f"https://127.0.0.1:{port}"
        self.ca_file = directory / "ca.crt"
        self.keyfile = directory / "service_account.json"
        self.config: dict[str, Any] = json.loads((directory / "config.json").read_text())
        self.drive_id: str = self.config["shared_drives"][0]["id"]
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._admin = requests.Session()
        self._admin.headers["Authorization"] = f"Bearer {self.config['admin_token']}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        files = {"certificate": "server.crt", "key": "server.key", "config": "config.json"}
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "drive_emulator", "--port", str(self._port)),
                    *("--data", str(self.directory / "data"), "--browse"),
                    *(
                        part
                        for option, name in files.items()
                        for part in (f"--{option}", str(self.directory / name))
                    ),
                ],
                env={**os.environ, "PYTHONPATH": str(ROOT / "stack")},
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "the Drive emulator answers")

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError((self.directory / "server.log").read_text())
        try:
            return self._admin.get(f"{self.url}/healthz", timeout=5).ok
        except requests.exceptions.SSLError:
            raise
        except requests.ConnectionError:
            return False

    def kill(self) -> None:
        """End it as a power cut does."""
        if self.process:
            self.process.kill()
            self.process.wait(10)

    def close(self) -> None:
        """End it."""
        self.kill()
        self._admin.close()

    def fault(self, **rule: Any) -> None:
        """Plan what goes wrong, once unless told otherwise."""
        self.admin("POST", "faults", json=[{"times": 1} | rule])

    def reset(self) -> None:
        """Let all go well, and forget what was asked."""
        self.admin("DELETE", "faults")
        self.admin("DELETE", "log")

    def log(self) -> list[dict[str, Any]]:
        """Return what was asked, oldest first."""
        found: list[dict[str, Any]] = self.admin("GET", "log").json()
        return found

    def admin(self, method: str, name: str, **arguments: Any) -> requests.Response:
        """Ask the emulator itself."""
        address = f"{self.url}/_emulator/{name}"
        answer = self._admin.request(method, address, timeout=10, **arguments)
        assert answer.ok, answer.text
        return answer

    def service_account(self, subject: str | None = None, scope: str = SCOPE) -> Any:
        """Return the service account's credentials, on behalf of somebody or not."""
        return service_account.Credentials.from_service_account_file(
            self.keyfile, scopes=[scope], subject=subject
        )

    def person(self) -> Any:
        """Return the credentials of a person who consented."""
        key = json.loads((self.directory / "authorized_user.json").read_text())
        del key["type"]
        return person.Credentials(None, scopes=[SCOPE], **key)

    def session(self, credentials: Any = None) -> AuthorizedSession:
        """Return a session for these credentials; default the service account's own."""
        return AuthorizedSession(credentials or self.service_account(), max_refresh_attempts=1)


@contextmanager
def running_drive(directory: Path, **settings: Any) -> Iterator[Drive]:
    """Run an emulator; ``settings`` go into its config.json."""
    port = free_port()
    make_certificate(directory)
    make(f"https://127.0.0.1:{port}", directory)
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    drive = Drive(directory, port)
    # As in the stack; what this variable says comes before what a session is told.
    with patch.dict(os.environ, {"REQUESTS_CA_BUNDLE": str(drive.ca_file)}):
        try:
            drive.start()
            yield drive
        finally:
            drive.close()
