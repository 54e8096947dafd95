"""PostgreSQL: a cluster, its settings, its roles.

The user who owns the files reaches every role through the socket without a password; TCP takes
SCRAM passwords only. So what runs inside the box and starts before passwords exist uses the socket.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clinic_stack.commands import run
from clinic_stack.config import Config, StackError
from clinic_stack.credentials import DATABASE_ROLES, Credentials
from clinic_stack.files import write_if_changed

SUPERUSER = "clinic"
DATABASES = {
    "odoo": "odoo",
    "airflow": "airflow",
    "keycloak": "keycloak",
    "clinica_shared": "clinica_owner",
}
"""Database -> the role that owns it."""

SETTINGS = {
    "max_connections": 200,
    "shared_buffers": "'256MB'",
    "effective_cache_size": "'1GB'",
    "work_mem": "'16MB'",
    "maintenance_work_mem": "'128MB'",
    "random_page_cost": 1.1,
    "wal_compression": "on",
    "checkpoint_timeout": "'15min'",
    # Odoo's and Airflow's statements are many and short: compiling them costs more than it saves.
    "jit": "off",
    "password_encryption": "'scram-sha-256'",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
    "log_checkpoints": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}


@dataclass(frozen=True)
class Server:
    """A running server, reached through its socket as its superuser."""

    socket_directory: Path
    port: int
    log: Path

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run statements, handed over on standard input so that no secret shows in `ps`."""
        return run(
            "psql",
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-f",
            "-",
            log=self.log,
            environment=self.environment,
            stdin=statements,
        )

    @property
    def environment(self) -> dict[str, str]:
        """What libpq needs to reach the server."""
        return {
            "PGHOST": str(self.socket_directory),
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
        }


def live_server(config: Config) -> Server:
    """The stack's own server."""
    return Server(
        config.socket_directory, config.port("postgres"), config.state / "log" / "sql.log"
    )


def initdb(directory: Path, log: Path) -> None:
    """Make an empty cluster."""
    run(
        "initdb",
        "-D",
        directory,
        "-U",
        SUPERUSER,
        "--auth-local=peer",
        "--auth-host=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--data-checksums",
        "--no-sync",
        "--no-instructions",
        log=log,
    )


def write_settings(directory: Path, socket_directory: Path, port: int, **more: object) -> bool:
    """Write the cluster's three configuration files; say whether any changed."""
    settings = {
        "listen_addresses": "'127.0.0.1'",
        "port": port,
        "unix_socket_directories": f"'{socket_directory}'",
        "unix_socket_permissions": "0700",
        **SETTINGS,
        **more,
    }
    text = "".join(f"{name} = {value}\n" for name, value in settings.items())
    access = (
        "# The owner of the files is every role on the socket; TCP needs a password.\n"
        "local all all peer map=box\n"
        "host all all 127.0.0.1/32 scram-sha-256\n"
    )
    changed = [
        write_if_changed(directory / "postgresql.conf", text, 0o600),
        write_if_changed(directory / "pg_hba.conf", access, 0o600),
        write_if_changed(directory / "pg_ident.conf", f"box {SUPERUSER} all\n", 0o600),
    ]
    return any(changed)


@contextmanager
def temporary_server(directory: Path, port: int, log: Path) -> Iterator[Server]:
    """Run a cluster for a while, without the care for a power cut that data in use needs."""
    with tempfile.TemporaryDirectory(prefix="pg") as sockets:
        write_settings(
            directory,
            Path(sockets),
            port,
            fsync="off",
            full_page_writes="off",
            wal_level="minimal",
            max_wal_senders=0,
        )
        server = Server(Path(sockets), port, log)
        with log.open("a") as output:
            process = subprocess.Popen(
                ["postgres", "-D", str(directory)], stdout=output, stderr=output, process_group=0
            )
        try:
            _wait_until_ready(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    environment = os.environ | server.environment
    for _ in range(300):
        if process.poll() is not None:
            raise StackError(f"PostgreSQL ended at once; see {server.log}")
        ready = subprocess.run(
            ["pg_isready", "-q", "-t", "1", "-d", "postgres"], env=environment, check=False
        )
        if ready.returncode == 0:
            return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise StackError(f"PostgreSQL was not ready within 30 s; see {server.log}")


def create_roles_and_databases(server: Server) -> None:
    """Every role (without a password) and its empty database."""
    roles = "".join(
        f"CREATE ROLE {role} LOGIN{' CREATEDB' if role == 'odoo' else ''};\n"
        for role in DATABASE_ROLES
    )
    databases = "".join(
        f"CREATE DATABASE {name} OWNER {owner};\nREVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        for name, owner in DATABASES.items()
    )
    grants = (
        "GRANT CONNECT ON DATABASE clinica_shared TO clinica_sync, clinica_api, clinica_readonly;\n"
    )
    server.sql(roles + databases + grants)


def set_passwords(server: Server, credentials: Credentials) -> None:
    """Give this installation's passwords to all roles."""
    wanted = {SUPERUSER: credentials["postgres_admin"]} | {
        role: credentials[f"database_{role}"] for role in DATABASE_ROLES
    }
    statements = "".join(f"ALTER ROLE {role} PASSWORD '{word}';\n" for role, word in wanted.items())
    quiet = "SET log_statement = 'none'; SET log_min_error_statement = 'panic';\n"
    server.sql(quiet + statements)


def url(config: Config, credentials: Credentials, role: str, database: str) -> str:
    """The address of a database over TCP; generated passwords need no escaping."""
    word = credentials["postgres_admin" if role == SUPERUSER else f"database_{role}"]
    return (
        f"postgresql://{role}:{word}@{config.host('postgres')}:{config.port('postgres')}/{database}"
    )
