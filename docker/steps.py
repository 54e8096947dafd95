"""The one-shot services of docker-compose.yaml: python3 docker/steps.py STEP.

The same code as the native stack's; only the hosts differ (CLINIC_CONTAINERS). Each step may run
again at every `docker compose up`: what is there stays, what is missing is made. `odoo` runs in
Odoo's image with that image's Python, so nothing here needs more than the standard library.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from clinic_stack import (
    airflow,
    backups,
    credentials,
    environment,
    gateway,
    inventory_api,
    keycloak,
    odoo,
    postgres,
    rabbitmq,
    tls,
)
from clinic_stack.applying import apply_keycloak, migrate_shared_database
from clinic_stack.config import Config, StackError
from clinic_stack.credentials import Credentials
from clinic_stack.files import write_if_changed
from clinic_stack.progress import Progress

OWNER = 1000
"""Every other service runs as this user, whatever its image's own: a file of mode 600 is read."""


def setup(config: Config, words: Credentials, progress: Progress) -> None:
    """Write what the services start from, and hand it to their user. Runs as root."""
    for name in ("cache", "home", "log", "mail", "nextcloud", "odoo", "postgres", "run"):
        (config.state / name).mkdir(parents=True, exist_ok=True)
    with progress.step("Secrets, certificates and settings"):
        write_if_changed(
            config.state / "postgres" / "password", words["postgres_admin"] + "\n", 0o600
        )
        write_if_changed(config.state / "nextcloud" / "password", words["webdav"] + "\n", 0o600)
        tls.prepare(config)
        rabbitmq.prepare(config, words)
        keycloak.prepare(config, words)
        odoo.prepare(config, words)
        airflow.prepare(config, words)
        backups.prepare(config)
        inventory_api.prepare(config, words)
        gateway.prepare(config, words)
        environment.write(config, words)
    if os.getuid() == 0:
        for folder, _, files in os.walk(config.state):
            for path in (folder, *(Path(folder, name) for name in files)):
                os.chown(path, OWNER, 0, follow_symlinks=False)
        # Signs certificates; whoever runs the gateway need not.
        os.chown(config.state / "tls" / "ca.key", 0, 0)


def databases(config: Config, words: Credentials, progress: Progress) -> None:
    """Make PostgreSQL's roles and databases, and the shared database's schema."""
    os.environ["PGPASSWORD"] = words["postgres_admin"]
    server = postgres.live_server(config)
    if "odoo" not in server.sql("SELECT rolname FROM pg_roles;").split():
        with progress.step("Roles and databases"):
            postgres.create_roles_and_databases(server)
    postgres.set_passwords(server, words)
    migrate_shared_database(config, words, progress)


def odoo_database(config: Config, words: Credentials, progress: Progress) -> None:
    """Install Odoo's modules and this repository's addons, with passwords and keys of its own."""
    conf, log = config.state / "odoo" / "odoo.conf", config.state / "log" / "odoo-setup.log"
    installed = config.state / "odoo" / "installed"
    if not installed.exists():
        with progress.step("Odoo's modules, in Spanish", "some minutes, once"):
            odoo.install(conf, odoo.MODULES, log, f"--load-language={odoo.LANGUAGE}")
            script = (config.stack / "odoo" / "language.py").read_text()
            odoo.shell(conf, script, {"language": odoo.LANGUAGE}, log)
            installed.touch()
    new, changed = odoo.outdated_addons(config)
    if new or changed:
        with progress.step("Odoo's addons", ", ".join(new + changed)):
            odoo.update_addons(config, new, changed, log)
    if odoo.needs_personalising(config):
        with progress.step("Odoo's own identity, password and API keys"):
            odoo.personalise(config, words, log)
        credentials.save(config.state / "credentials.json", words)
    environment.write(config, words)  # with the keys


def airflow_database(config: Config, words: Credentials, progress: Progress) -> None:
    """Bring Airflow's tables up to date and load the connections."""
    log = config.state / "log" / "airflow-setup.log"
    with progress.step("Airflow's tables, connections and variables"):
        airflow.upgrade(config, log)
        airflow.import_connections(config, words, log)
        airflow.import_variables(config, log)


STEPS: dict[str, Callable[[Config, Credentials, Progress], None]] = {
    "setup": setup,
    "databases": databases,
    "odoo": odoo_database,
    "airflow": airflow_database,
    "realm": apply_keycloak,
}


def main() -> int:
    """Run one step; an error that a person has to know is one message."""
    os.umask(0o077)
    config = Config.from_environment()
    try:
        words = credentials.load(config.state / "credentials.json")
        STEPS[sys.argv[1]](config, words, Progress())
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
