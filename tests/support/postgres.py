"""A PostgreSQL cluster of a test's own: it may be stopped, restarted and killed."""

import contextlib
import os
import secrets
import signal
import subprocess
from pathlib import Path

import psutil
import psycopg
from support.processes import free_port, postgres_program, run, wait_until


class PostgresCluster:
    """One server with its own data folder, on a port of its own of the loopback interface.

    Attributes:
        port: TCP port.
        password: of the roles `postgres` and `odoo`.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        """Make the cluster's files; `start` starts it.

        Args:
            folder: where its data and log go; made if missing.
            settings: PostgreSQL settings, for example wal_writer_delay="10s".
        """
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self._data = folder / "pgdata"
        self._log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        password_file = folder / "password"
        password_file.write_text(self.password)
        password_file.chmod(0o600)
        run(
            postgres_program("initdb"), "--pgdata", str(self._data), "--username", "postgres",
            "--auth", "scram-sha-256", "--pwfile", str(password_file), "--encoding", "UTF8",
            "--locale", "C.UTF-8", "--no-sync",
        )  # fmt: skip
        everything = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "150",
            **settings,
        }
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in everything.items())

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    postgres_program("postgres"),
                    "-D",
                    str(self._data),
                    "-p",
                    str(self.port),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, f"PostgreSQL answers (its log: {self._log})")

    def stop(self) -> None:
        """Stop in order (`fast`): clients are cut off, everything is written."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        """Let all its processes die at once (`kill -9`), as at a power cut: nothing more is
        written."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        server.suspend()  # so that it starts nobody who would be missed
        backends = server.children(recursive=True)
        for process in (server, *backends):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(60)
        # Until the last is gone, its shared memory keeps the next server from starting.
        psutil.wait_procs(backends, timeout=60)
        self._process = None

    def url(self, database: str, role: str = "odoo") -> str:
        """Return the postgresql:// address of a database."""
        return f"postgresql://{role}:{self.password}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str, role: str = "postgres") -> psycopg.Connection:
        """Open a connection in autocommit mode."""
        return psycopg.connect(self.url(database, role), autocommit=True)

    def create_database(self, name: str, template: str = "template1") -> None:
        """Make a database that the role `odoo` owns, as a copy of another that nobody uses."""
        run(
            postgres_program("createdb"), "--maintenance-db", self.url("postgres", "postgres"),
            "--owner", "odoo", "--template", template, name,
        )  # fmt: skip

    def drop_database(self, name: str) -> None:
        """Remove a database, with its connections."""
        run(
            postgres_program("dropdb"), "--maintenance-db", self.url("postgres", "postgres"),
            "--force", "--if-exists", name,
        )  # fmt: skip

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended:\n{self._log.read_text()[-2000:]}")
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


def copy_database(source_url: str, cluster: PostgresCluster, name: str, scratch: Path) -> None:
    """Copy a database that may be in use into a cluster; its owner is `odoo` there too.

    Args:
        source_url: postgresql:// address, as a role that may read everything.
        cluster: where the copy goes.
        name: of the copy.
        scratch: a folder for the dump.
    """
    dump = scratch / f"{name}.dump"
    run(
        postgres_program("pg_dump"), "--format=directory", "--jobs=2", "--compress=0", "--file",
        str(dump), source_url, env={**os.environ, "PGOPTIONS": "-c statement_timeout=0"},
    )  # fmt: skip
    cluster.create_database(name)
    run(
        postgres_program("pg_restore"), "--jobs=2", "--no-privileges", "--exit-on-error",
        "--dbname", cluster.url(name, "postgres"), str(dump),
    )  # fmt: skip
