"""Airflow: its environment, its connections, and how it learns of our connection types."""

import json
import os
import shlex
import shutil
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

from clinic_stack import backups, odoo, outside, postgres
from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import fingerprint, shell_variables, write_if_changed

REALM = "clinica-realm"
SERVICES = ("airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
AUTH_MANAGER = "airflow.providers.keycloak.auth_manager.keycloak_auth_manager.KeycloakAuthManager"
ALERT_SETTINGS = "clinic_alert_settings"
ALERTS_TO = "administracion@clinica.example"
"""Who is mailed when something fails; the mail server of this stack keeps every mail."""


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
        "HTTPLIB2_CA_CERTS": config.ca_bundle,  # Google's library asks by it
        "FORWARDED_ALLOW_IPS": config.gateway_networks,
    }
    text = shell_variables(environment, export=True)
    write_if_changed(config.state / "airflow" / "environment", text, 0o600)
    _prepare_metadata(config)


def distributions(checkout: Path) -> list[Path]:
    """The folders of this repository that Airflow takes for installed providers."""
    return [
        checkout,
        *(path.parent for path in sorted(checkout.glob("providers/*/pyproject.toml"))),
    ]


def _prepare_metadata(config: Config) -> None:
    """Put the metadata of this repository's distributions on Airflow's path.

    Airflow learns of connection types from the entry point `apache_airflow_provider` of installed
    distributions. The hook of PEP 660 writes the metadata; the code stays in the checkout.
    """
    folders = distributions(config.checkout)
    inputs = [folder / name for folder in folders for name in ("pyproject.toml", "README.md")]
    mark = config.state / "site" / ".made-from"
    key = fingerprint("each one's entry points", *(path.read_text() for path in inputs))
    if mark.exists() and mark.read_text() == key:
        return
    shutil.rmtree(config.state / "site", ignore_errors=True)
    (config.state / "site").mkdir(parents=True)
    for folder in folders:
        _write_metadata(config, folder)
    mark.write_text(key)


def _write_metadata(config: Config, distribution: Path) -> None:
    site = config.state / "site"
    hook = (
        "import sys, hatchling.build as build; "
        "print(build.prepare_metadata_for_build_editable(sys.argv[1]))"
    )
    answer = run(
        *(config.venv / "bin" / "python", "-c", hook, site),
        log=config.state / "log" / "airflow-setup.log",
        cwd=distribution,
    )
    # hatchling leaves out the one file that Airflow looks for.
    project = tomllib.loads((distribution / "pyproject.toml").read_text())["project"]
    groups = {"console_scripts": project.get("scripts", {}), **project["entry-points"]}
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()), ""])
        for group, entries in groups.items()
        if entries
    ]
    (site / answer.split()[-1] / "entry_points.txt").write_text("\n".join(sections))


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

    def odoo_user(login: str) -> dict[str, object]:
        address = urlsplit(config.url("odoo"))
        return {
            "conn_type": "odoo",
            # The form's test button sends port 0 where none is stored, and is then refused.
            "host": address.scheme + "://" + (address.hostname or ""),
            "port": address.port,
            "login": login,
            "password": credentials.get(f"odoo_key_{login}", ""),
            "schema": "odoo",
        }

    return {
        "odoo_default": odoo_user(odoo.FEED_LOGIN)
        | {
            "extra": json.dumps({"evented_url": config.url("odoo_evented"), "timeout_s": 30}),
            "description": "Odoo, as the change feed's own user",
        },
        "odoo_documents": odoo_user(odoo.DOCUMENTS_LOGIN)
        | {
            "extra": json.dumps({"timeout_s": 30}),
            "description": "Odoo, as the user who fetches documents and reports on them",
        },
        "odoo_backups": odoo_user(odoo.BACKUPS_LOGIN)
        | {
            "extra": json.dumps({"timeout_s": 30}),
            "description": "Odoo, as the user who reports on backups",
        },
        "odoo_alerts": odoo_user(odoo.ALERTS_LOGIN)
        | {
            "extra": json.dumps({"timeout_s": 10}),
            "description": "Odoo, as the user who tells administrators of outages",
        },
        "odoo_movements": odoo_user(odoo.MOVEMENTS_LOGIN)
        | {
            "extra": json.dumps({"timeout_s": 30}),
            "description": "Odoo, as the user who books what other systems ask for",
        },
        "odoo_database": database("clinic_odoo_database", "odoo", "odoo")
        | {
            "extra": json.dumps(_beside_the_database(config)),
            "description": "Odoo's database and files, for backups and restores",
        },
        "odoo_database_manager": {
            "conn_type": "http",
            "host": config.url("odoo"),
            "schema": "odoo",
            "password": credentials["odoo_master"],
            "description": "Odoo's database manager, for backups where only a URL is at hand",
        },
        "rabbitmq_default": {
            "conn_type": "rabbitmq",
            "host": config.host("amqp"),
            "port": config.port("amqp"),
            "login": "airflow",
            "password": credentials["amqp_airflow"],
            "schema": "/",
            "description": "The broker, with the rights of the drain",
        },
        **_stores(config, credentials),
        "smtp_default": {
            "conn_type": "smtp",
            "host": config.host("mail"),
            "port": config.port("mail"),
            "extra": json.dumps(
                {"disable_ssl": True, "disable_tls": True, "from_email": outside.MAIL_FROM}
            ),
            "description": "This stack's own mail server, which keeps every mail and sends none on",
        },
        "shared_db": database("clinic_shared_db", "clinica_sync", "clinica_shared")
        | {"description": "The shared database, with the rights of the synchronisation"},
        "airflow_metadata": database("postgres", "airflow", "airflow")
        | {"description": "Airflow's own database, for clean_airflow_db and send_alerts"},
    }


def _beside_the_database(config: Config) -> dict[str, object]:
    found: dict[str, object] = {"filestore": str(odoo.filestore(config))}
    if not config.containers:  # Airflow's image has no Odoo, so that nothing is drilled there
        found["odoo_command"] = ["odoo", "-c", str(odoo.conf_file(config))]
    return found


def _stores(config: Config, credentials: Credentials) -> dict[str, dict[str, object]]:
    """The document stores; Drive where its emulator has made a key, else a person adds it."""
    found: dict[str, dict[str, object]] = {
        "nextcloud_default": {
            "conn_type": "clinic_webdav",
            "host": outside.webdav_url(config),
            "port": 0,  # what the form's test button sends where there is none
            "login": outside.WEBDAV_LOGIN,
            "password": credentials["webdav"],
            "extra": json.dumps({"is_nextcloud": "auto", "timeout_s": 30}),
            "description": "The store of medical records, by WebDAV",
        }
    }
    if keyfile := outside.drive_keyfile(config):
        found["google_cloud_drive"] = {
            "conn_type": "clinic_drive",
            "port": 0,  # as above
            "extra": json.dumps(
                {
                    "keyfile_dict": json.dumps(keyfile),
                    # A service account has no space of its own, neither at Google nor here.
                    "drive_id": outside.shared_drive_id(config),
                    "api_endpoint": outside.drive_url(config),
                    "scope": "https://www.googleapis.com/auth/drive",
                }
            ),
            "description": "The store of invoices: this stack's stand-in for Google Drive",
        }
    return found


def _connections_text(config: Config, credentials: Credentials) -> tuple[str, str]:
    text = json.dumps(connections(config, credentials), indent=1) + "\n"
    return text, fingerprint(text, config.venv)


def connections_differ(config: Config, credentials: Credentials) -> bool:
    """Whether they differ from what was loaded last."""
    mark = config.state / "airflow" / "connections.loaded"
    return not mark.exists() or mark.read_text() != _connections_text(config, credentials)[1]


def _variables_text(config: Config) -> tuple[str, str]:
    values = backups.variables(config) | {ALERT_SETTINGS: json.dumps({"emails": [ALERTS_TO]})}
    text = json.dumps(values, indent=1) + "\n"
    return text, fingerprint(text)


def variables_missing(config: Config) -> bool:
    """Whether the Variables of a new installation have not been set yet."""
    mark = config.state / "airflow" / "variables.loaded"
    return not mark.exists() or mark.read_text() != _variables_text(config)[1]


def import_variables(config: Config, log: Path) -> None:
    """Set the Variables that are not there; a person's own are left as they are."""
    text, key = _variables_text(config)
    file = config.state / "airflow" / "variables.json"
    write_if_changed(file, text, 0o600)
    run(
        config.venv / "bin" / "airflow",
        "variables",
        "import",
        "--action-on-existing-key=skip",
        file,
        log=log,
        environment=read_environment(config),
    )
    (config.state / "airflow" / "variables.loaded").write_text(key)


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
