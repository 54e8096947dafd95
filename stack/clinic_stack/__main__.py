"""The part of `stack/ctl` that runs inside the box: python -m clinic_stack COMMAND."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from clinic_stack import (
    airflow,
    backups,
    credentials,
    dashboard,
    databases,
    environment,
    fetch,
    gateway,
    inventory_api,
    keycloak,
    odoo,
    outside,
    postgres,
    rabbitmq,
    services,
    tls,
)
from clinic_stack.applying import apply_keycloak, migrate_shared_database
from clinic_stack.config import SERVICES, Config, StackError
from clinic_stack.progress import Progress, together

UP_TIMEOUT_S = 180


def setup(config: Config, progress: Progress, what: str = "databases") -> None:
    """Fetch what is missing into the cache; with `databases`, fill the databases there too."""
    fetch.mark_used(config.root)
    together(
        lambda: fetch.python_packages(config, progress),
        lambda: fetch.keycloak(config, progress),
    )
    dashboard.build(config, progress)
    if what == "databases":
        databases.snapshot(config, progress)


def prepare(config: Config, progress: Progress) -> None:
    """Write every file that the services start from; what runs is not disturbed."""
    (config.state / "run").mkdir(parents=True, exist_ok=True)
    config.state.chmod(0o700)
    config.socket_directory.mkdir(parents=True, exist_ok=True)
    words = credentials.load(config.state / "credentials.json")
    tls.prepare(config)
    databases.initialise(config, progress)
    postgres.write_settings(
        config.state / "postgres", config.socket_directory, config.port("postgres")
    )
    rabbitmq.prepare(config, words)
    keycloak.prepare(config, words)
    odoo.prepare(config, words)
    outside.prepare(config, words)
    airflow.prepare(config, words)
    backups.prepare(config)
    inventory_api.prepare(config, words)
    environment.write(config, words)
    gateway.prepare(config, words)
    services.prepare(config)


def start(config: Config, progress: Progress) -> None:
    """Start every service in the order of what it needs, and bring what they hold up to date."""
    words = credentials.load(config.state / "credentials.json")
    runit = services.Runit(config, progress)
    timeout_s = float(os.environ.get("CLINIC_UP_TIMEOUT", UP_TIMEOUT_S))

    def wanted(*names: str) -> list[str]:
        return [name for name in names if name in config.services]

    runit.start(*wanted("postgres"))
    runit.wait(*wanted("postgres"), timeout_s=timeout_s)
    if wanted("postgres"):
        postgres.set_passwords(postgres.live_server(config), words)
    runit.start(*wanted("epmd", "rabbitmq", "gateway", "keycloak", "drive", "webdav", "mail"))

    def odoo_and_airflow() -> None:
        if wanted("odoo"):
            _update_odoo(config, words, runit, progress)
            runit.start("odoo")
        environment.write(config, words)  # Odoo's new API keys are in it
        if wanted(*airflow.SERVICES):
            _update_airflow(config, words, progress)
            schema.result()  # else the first runs of the DAGs fail
            runit.start(*wanted(*airflow.SERVICES))

    def realm() -> None:
        if wanted("keycloak"):
            runit.wait("keycloak", timeout_s=timeout_s)
            apply_keycloak(config, words, progress)

    def shared_database() -> None:
        if wanted("postgres"):
            migrate_shared_database(config, words, progress)
        runit.start(*wanted("inventory-api"))

    with ThreadPoolExecutor(1) as pool:
        schema = pool.submit(shared_database)
        together(odoo_and_airflow, realm, schema.result)
    runit.wait(*config.services, timeout_s=timeout_s)
    _say_addresses(config, progress, runit.started_any)


def _update_odoo(
    config: Config, words: credentials.Credentials, runit: services.Runit, progress: Progress
) -> None:
    log = config.state / "log" / "odoo-setup.log"
    new, changed = odoo.outdated_addons(config)
    if new or changed:
        runit.stop("odoo")
        with progress.step("Odoo's addons", ", ".join(new + changed)):
            odoo.update_addons(config, new, changed, log)
    if odoo.needs_personalising(config):
        runit.stop("odoo")
        with progress.step("Odoo's own identity, password and API keys"):
            odoo.personalise(config, words, log)


def _update_airflow(config: Config, words: credentials.Credentials, progress: Progress) -> None:
    log = config.state / "log" / "airflow-setup.log"
    if airflow.needs_migration(config):
        with progress.step("Airflow's tables"):
            airflow.upgrade(config, log)
    if airflow.connections_differ(config, words):
        with progress.step("Airflow's connections"):
            airflow.import_connections(config, words, log)
    if airflow.variables_missing(config):
        with progress.step("Airflow's variables"):
            airflow.import_variables(config, log)


def stop(config: Config, progress: Progress) -> None:
    """Stop every service, users before what they use."""
    runit = services.Runit(config, progress)
    with progress.step("Stopping"):
        # A task that ends reports to Airflow's API, which therefore outlives the scheduler.
        runit.stop("airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
        runit.stop(
            *("airflow-api", "gateway", "inventory-api", "odoo", "keycloak"),
            *("drive", "webdav", "mail"),
        )
        runit.stop("rabbitmq", "postgres")
        runit.stop("epmd")


def status(config: Config, progress: Progress) -> None:
    """A table of the services: state, since when, ready, address."""
    runit = services.Runit(config, progress)
    addresses = _addresses(config)
    rows = [("service", "state", "for", "ready", "address")]
    for name in SERVICES:
        state = runit.state(name)
        supervised = not state.text.startswith(("fail", "warning"))
        word = "running" if state.running else "stopped" if supervised else "down"
        lasted = _duration(state.seconds) if supervised else ""
        ready = ("yes" if runit.ready(name) else "no") if state.running else ""
        rows.append((name, word, lasted, ready, addresses.get(name, "")))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        progress.say(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def _addresses(config: Config) -> dict[str, str]:
    return {
        "postgres": f"127.0.0.1:{config.port('postgres')}",
        "epmd": f"127.0.0.1:{config.port('epmd')}",
        "rabbitmq": f"127.0.0.1:{config.port('amqp')}  {config.public_url('rabbitmq')}",
        "gateway": f"https://*.{config.domain}:{config.port('gateway')}",
        "drive": outside.drive_url(config),
        "webdav": outside.webdav_url(config),
        "mail": f"127.0.0.1:{config.port('mail')}  {config.state / 'mail'}",
        "keycloak": f"{config.url('keycloak')}  {config.public_url('auth')}",
        "inventory-api": f"{config.url('inventory_api')}  {config.public_url('farmacia')}/api",
        "odoo": f"{config.url('odoo')}  {config.public_url('odoo')}",
        "airflow-api": f"{config.url('airflow')}  {config.public_url('airflow')}",
    }


def _say_addresses(config: Config, progress: Progress, started_any: bool) -> None:
    what = "All services are ready" if started_any else "All services were running already"
    progress.say(
        f"{what} ({progress.elapsed_s():.1f} s). Addresses and passwords: {config.state}/stack.env"
    )
    for label, name in (
        ("Odoo", "odoo"),
        ("Airflow", "airflow"),
        ("Keycloak", "auth"),
        ("RabbitMQ", "rabbitmq"),
    ):
        progress.say(f"  {label:<9} {config.public_url(name)}")
    for label, service, address in (
        ("Drive", "drive", f"{outside.drive_url(config)} (an emulator)"),
        ("WebDAV", "webdav", outside.webdav_url(config)),
        ("Mail", "mail", str(config.state / "mail")),
    ):
        if service in config.services:
            progress.say(f"  {label:<9} {address}")


COMMANDS: dict[str, Callable[..., None]] = {
    "setup": setup,
    "prepare": prepare,
    "start": start,
    "stop": stop,
    "status": status,
}


def main() -> int:
    """Run one command; an error that a person has to know is one message, not a traceback."""
    name, *arguments = sys.argv[1:]
    os.umask(0o077)
    try:
        COMMANDS[name](Config.from_environment(), Progress(), *arguments)
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
