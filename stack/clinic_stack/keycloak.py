"""Keycloak: its environment, and its schema without any realm for the cached databases."""

import os
import secrets
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from clinic_stack.config import Config, StackError
from clinic_stack.credentials import Credentials
from clinic_stack.fetch import keycloak_home
from clinic_stack.files import shell_variables, write_if_changed
from clinic_stack.postgres import Server

START_TIMEOUT_S = 300
# What says which migrations have run; everything else belongs to realms.
KEPT_TABLES = ("databasechangelog", "databasechangeloglock", "migration_model")


def prepare(config: Config, credentials: Credentials) -> None:
    """Write the environment that the service starts with.

    Tokens name the public address as their issuer whoever asks, and programs may ask on loopback:
    https://www.keycloak.org/server/hostname
    """
    environment = {
        "KC_DB_URL": f"jdbc:postgresql://{config.host('postgres')}:{config.port('postgres')}/keycloak",
        "KC_DB_USERNAME": "keycloak",
        "KC_DB_PASSWORD": credentials["database_keycloak"],
        "KC_HTTP_PORT": config.port("keycloak"),
        "KC_HTTP_MANAGEMENT_PORT": config.port("keycloak_management"),
        "KC_HOSTNAME": config.public_url("auth"),
        # The gateway does not let the administration through; it is used on loopback.
        "KC_HOSTNAME_ADMIN": config.url("keycloak"),
        "KC_HOSTNAME_BACKCHANNEL_DYNAMIC": "true",
        "KC_PROXY_HEADERS": "xforwarded",
        "KC_PROXY_TRUSTED_ADDRESSES": config.gateway_networks,
        # Used once, when there is no realm yet; Keycloak ignores it afterwards.
        "KC_BOOTSTRAP_ADMIN_USERNAME": "admin",
        "KC_BOOTSTRAP_ADMIN_PASSWORD": credentials["keycloak_admin"],
        **_common_settings(config.bind),
        "KEYCLOAK_HOME": keycloak_home(config),
    }
    text = shell_variables(environment, export=True)
    write_if_changed(config.state / "keycloak" / "environment", text, 0o600)


def _common_settings(bind: str = "127.0.0.1") -> dict[str, object]:
    return {
        "KC_HTTP_ENABLED": "true",
        "KC_HTTP_HOST": bind,
        "KC_HTTP_MANAGEMENT_HOST": bind,
        # One node: without this it would look for others, and listen for them on every interface.
        "KC_CACHE": "local",
        "KC_LOG_CONSOLE_COLOR": "false",
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
        # A small start-up beats peak speed for a handful of people.
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    }


def create_schema(config: Config, server: Server, ports: tuple[int, int], log: Path) -> None:
    """Let Keycloak make its tables, then take everything out that belongs to an installation.

    A first start also makes the realm `master`, its signing keys and an administrator. Those must
    not be in a snapshot that several installations start from: the next start makes new ones.
    """
    word = secrets.token_urlsafe(24)
    quiet = "SET log_statement = 'none';\n"
    server.sql(f"{quiet}ALTER ROLE keycloak PASSWORD '{word}';\n")
    environment = {
        "KC_DB_URL": f"jdbc:postgresql://127.0.0.1:{server.port}/keycloak",
        "KC_DB_USERNAME": "keycloak",
        "KC_DB_PASSWORD": word,
        "KC_HTTP_PORT": ports[0],
        "KC_HTTP_MANAGEMENT_PORT": ports[1],
        "KC_HOSTNAME_STRICT": "false",
        **_common_settings(),
    }
    _start_once(
        keycloak_home(config), environment, f"http://127.0.0.1:{ports[1]}/health/ready", log
    )
    server.sql(
        f"\\set kept '{','.join(KEPT_TABLES)}'\n"
        "SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') FROM pg_tables "
        "WHERE schemaname = 'public' AND tablename <> ALL (string_to_array(:'kept', ','))\n"
        "\\gexec\n"
        "ALTER ROLE keycloak PASSWORD NULL;\n",
        "keycloak",
    )


def _start_once(home: Path, settings: Mapping[str, object], ready_url: str, log: Path) -> None:
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    with log.open("a") as output:
        process = subprocess.Popen(
            [home / "bin" / "kc.sh", "start", "--optimized"],
            env=environment,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        for _ in range(START_TIMEOUT_S * 2):
            if process.poll() is not None:
                raise StackError(f"Keycloak ended while it made its tables; see {log}")
            try:
                with urllib.request.urlopen(ready_url, timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                pass
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        raise StackError(f"Keycloak was not ready within {START_TIMEOUT_S} s; see {log}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            process.wait(60)
