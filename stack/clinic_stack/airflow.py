"""Airflow: its environment, its connections, and how it learns of our connection types."""

import json
import os
import shlex
import shutil
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from clinic_stack import postgres
from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import fingerprint, shell_variables, write_if_changed
from clinic_stack.odoo import FEED_LOGIN

REALM = "clinica-realm"
SERVICES = ("airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
AUTH_MANAGER = "airflow.providers.keycloak.auth_manager.keycloak_auth_manager.KeycloakAuthManager"


def settings(config: Config, database_url: str) -> dict[str, object]:
    """What every Airflow command needs, secrets apart."""
    return {
        "AIRFLOW_HOME": config.state / "airflow",
        "AIRFLOW__CORE__DAGS_FOLDER": config.checkout / "dags",
        "AIRFLOW__CORE__PLUGINS_FOLDER": config.checkout / "plugins",
        "AIRFLOW__CORE__LOAD_EXAMPLES": False,
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database_url,
        "PYTHONPATH": ":".join(
            str(path)
            for path in (
                config.checkout / "include",
                config.checkout / "plugins",
                config.checkout / "providers" / "rabbitmq" / "src",
                config.state / "site",
            )
        ),
    }


def prepare(config: Config, credentials: Credentials) -> None:
    """Write the environment that Airflow's services start with."""
    database = postgres.url(config, credentials, "airflow", "airflow")
    environment = {
        **settings(config, database.replace("postgresql:", "postgresql+psycopg2:")),
        "AIRFLOW__CORE__FERNET_KEY": credentials["airflow_fernet"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{config.url('airflow')}/execution/",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        # Tuned for two cores, measured: a task starts 0.25 s after it is due.
        "AIRFLOW__CORE__PARALLELISM": 8,
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.25,
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": 1,
        # A task that died with its scheduler is found by the next one: after 45 s at the latest,
        # where the defaults leave a mirror standing still for five minutes.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 15,
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 60,
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": 30,
        "AIRFLOW__API__WORKERS": 1,
        "AIRFLOW__API__HOST": config.bind,
        "AIRFLOW__API__PORT": config.port("airflow"),
        "AIRFLOW__API__BASE_URL": config.public_url("airflow"),
        # Readable without a login; the gateway hides the description of the API too.
        "AIRFLOW__API__ENABLE_SWAGGER_UI": False,
        "AIRFLOW__API__SECRET_KEY": credentials["airflow_api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": credentials["airflow_jwt"],
        # As long as a Keycloak session lives; the tokens inside end after minutes and are renewed.
        "AIRFLOW__API_AUTH__JWT_EXPIRATION_TIME": 36000,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": config.state / "airflow" / "logs",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": False,
        "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGER,
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__CLIENT_ID": "airflow",
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__CLIENT_SECRET": credentials["keycloak_client_airflow"],
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__REALM": REALM,
        # One address for the browser and for Airflow itself: it must be the issuer in the tokens.
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__SERVER_URL": config.public_url("auth"),
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__JWT_FEDERATED_CLIENT_IDS": "airflow-ci",
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__REQUESTS_POOL_SIZE": 10,
        "AIRFLOW__KEYCLOAK_AUTH_MANAGER__CACHE_TTL_SECONDS": 30,
        "REQUESTS_CA_BUNDLE": config.ca_bundle,
        "SSL_CERT_FILE": config.ca_bundle,
        "FORWARDED_ALLOW_IPS": config.gateway_networks,
    }
    text = shell_variables(environment, export=True)
    write_if_changed(config.state / "airflow" / "environment", text, 0o600)
    _prepare_metadata(config)


def _prepare_metadata(config: Config) -> None:
    """Put the metadata of the distribution `clinic` on Airflow's path.

    Airflow learns of connection types from the entry point `apache_airflow_provider` of installed
    distributions. The hook of PEP 660 writes the metadata; the code stays in the checkout.
    """
    inputs = [config.checkout / name for name in ("pyproject.toml", "README.md")]
    mark = config.state / "site" / ".made-from"
    key = fingerprint("with entry points", *(path.read_text() for path in inputs))
    if mark.exists() and mark.read_text() == key:
        return
    shutil.rmtree(config.state / "site", ignore_errors=True)
    (config.state / "site").mkdir(parents=True)
    hook = "import sys, hatchling.build as b; b.prepare_metadata_for_build_editable(sys.argv[1])"
    run(
        config.venv / "bin" / "python",
        "-c",
        hook,
        config.state / "site",
        log=config.state / "log" / "airflow-setup.log",
        cwd=config.checkout,
    )
    # hatchling leaves out the one file that Airflow looks for.
    project = tomllib.loads(inputs[0].read_text())["project"]
    (folder,) = (config.state / "site").glob("*.dist-info")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()), ""])
        for group, entries in groups.items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(sections))
    mark.write_text(key)


def migrate(config: Config, database_url: str, log: Path) -> None:
    """Make or upgrade Airflow's tables."""
    home = config.cache / "home" / "airflow"
    environment = settings(config, database_url) | {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__FERNET_KEY": "",
        "PYTHONPATH": "",
        "AIRFLOW__CORE__DAGS_FOLDER": home,
        "AIRFLOW__CORE__PLUGINS_FOLDER": home,
    }
    run(config.venv / "bin" / "airflow", "db", "migrate", log=log, environment=environment)


def connections(config: Config, credentials: Credentials) -> dict[str, dict[str, object]]:
    """The connections that the DAGs use, as Airflow's import reads them."""

    def database(conn_type: str, role: str, name: str) -> dict[str, object]:
        return {
            "conn_type": conn_type,
            "host": config.host("postgres"),
            "port": config.port("postgres"),
            "login": role,
            "password": credentials[f"database_{role}"],
            "schema": name,
        }

    odoo = urlsplit(config.url("odoo"))
    return {
        "odoo_default": {
            "conn_type": "odoo",
            # The form's test button sends port 0 where none is stored, and is then refused.
            "host": odoo.scheme + "://" + (odoo.hostname or ""),
            "port": odoo.port,
            "login": FEED_LOGIN,
            "password": credentials.get(f"odoo_key_{FEED_LOGIN}", ""),
            "schema": "odoo",
            "extra": json.dumps({"evented_url": config.url("odoo_evented"), "timeout_s": 30}),
            "description": "Odoo, as the change feed's own user",
        },
        "shared_db": database("clinic_shared_db", "clinica_sync", "clinica_shared")
        | {"description": "The shared database, with the rights of the synchronisation"},
        "airflow_metadata": database("postgres", "airflow", "airflow")
        | {"description": "Airflow's own database, for clean_airflow_db"},
    }


def _connections_text(config: Config, credentials: Credentials) -> tuple[str, str]:
    text = json.dumps(connections(config, credentials), indent=1) + "\n"
    return text, fingerprint(text, config.venv)


def connections_differ(config: Config, credentials: Credentials) -> bool:
    """Whether they differ from what was loaded last."""
    mark = config.state / "airflow" / "connections.loaded"
    return not mark.exists() or mark.read_text() != _connections_text(config, credentials)[1]


def needs_migration(config: Config) -> bool:
    """Whether the Python packages changed since the tables were last brought up to date."""
    mark = config.state / "airflow" / "migrated"
    return not mark.exists() or mark.read_text() != config.venv.name


def upgrade(config: Config, log: Path) -> None:
    """Bring this installation's tables up to date."""
    run(
        config.venv / "bin" / "airflow",
        "db",
        "migrate",
        log=log,
        environment=read_environment(config),
    )
    (config.state / "airflow" / "migrated").write_text(config.venv.name)


def import_connections(config: Config, credentials: Credentials, log: Path) -> None:
    """Load the connections into Airflow's database."""
    text, key = _connections_text(config, credentials)
    file = config.state / "airflow" / "connections.json"
    write_if_changed(file, text, 0o600)
    environment = read_environment(config)
    run(
        config.venv / "bin" / "airflow",
        "connections",
        "import",
        "--overwrite",
        file,
        log=log,
        environment=environment,
    )
    (config.state / "airflow" / "connections.loaded").write_text(key)


def read_environment(config: Config) -> dict[str, str]:
    """The variables of the services' environment file."""
    text = (config.state / "airflow" / "environment").read_text()
    variables = {}
    for line in text.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        variables[name] = shlex.split(value)[0] if value else ""
    return variables | {"PATH": os.environ["PATH"]}
