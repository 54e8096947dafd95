"""Odoo: its settings, its addons, and what makes a copied database this installation's own."""

import ast
import json
from collections.abc import Iterable
from pathlib import Path

from clinic_stack.commands import run
from clinic_stack.config import Config, StackError
from clinic_stack.credentials import Credentials, load, save
from clinic_stack.files import shell_variables, tree_fingerprint, write_if_changed
from clinic_stack.postgres import Server

MODULES = ("base", "stock", "account", "purchase", "product_expiry")
LANGUAGE = "es_ES"
FEED_LOGIN = "clinic_feed"
DOCUMENTS_LOGIN = "clinic_documents"
BACKUPS_LOGIN = "clinic_backups"
ALERTS_LOGIN = "clinic_alerts"
MOVEMENTS_LOGIN = "clinic_movements"
SERVICE_USERS = {
    FEED_LOGIN: "clinic_change_feed",
    DOCUMENTS_LOGIN: "medical_documents_integration",
    BACKUPS_LOGIN: "clinic_backups",
    ALERTS_LOGIN: "clinic_alerts",
    MOVEMENTS_LOGIN: "clinic_movements",
}
"""Login of a program -> the addon that makes this user."""
DEPRECATED_RPC = (
    "odoo.addons.rpc.controllers.jsonrpc",
    "odoo.addons.rpc.controllers.xmlrpc",
)
SYSTEM_ADDONS = "/usr/lib/python3/dist-packages/odoo/addons"
RESULT_MARK = "clinic-result:"


def conf_file(config: Config) -> Path:
    """Where its settings lie."""
    return config.state / "odoo" / "odoo.conf"


def filestore(config: Config) -> Path:
    """The folder with one folder of files for each database."""
    return config.state / "odoo" / "filestore"


def own_addons(checkout: Path) -> dict[str, Path]:
    """This repository's addons that can be installed: name -> folder."""
    addons = {}
    for manifest in sorted((checkout / "odoo-addons").glob("*/__manifest__.py")):
        if ast.literal_eval(manifest.read_text()).get("installable", True):
            addons[manifest.parent.name] = manifest.parent
    return addons


def configuration(
    checkout: Path, data_directory: Path, host: str | Path, port: int, **more: object
) -> str:
    """The text of odoo.conf; the database is reached through its socket, without a password."""
    paths = [SYSTEM_ADDONS]
    if own_addons(checkout):
        paths.append(str(checkout / "odoo-addons"))
    options = {
        "addons_path": ",".join(paths),
        "data_dir": data_directory,
        "db_host": host,
        "db_port": port,
        "db_user": "odoo",
        "db_name": "odoo",
        "dbfilter": "^odoo$",
        "list_db": False,
        "http_interface": "127.0.0.1",
        # One WARNING for each call of the older RPC endpoints, which odoorpc uses on purpose.
        "log_handler": ",".join([":INFO", *(f"{name}:ERROR" for name in DEPRECATED_RPC)]),
        **more,
    }
    return "[options]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


def prepare(config: Config, credentials: Credentials) -> None:
    """Write the settings that the service starts with."""
    text = configuration(
        config.checkout,
        config.state / "odoo",
        config.socket_directory,
        config.port("postgres"),
        http_port=config.port("odoo"),
        gevent_port=config.port("odoo_evented"),
        workers=2,
        max_cron_threads=1,
        proxy_mode=True,
        admin_passwd=credentials["odoo_master"],
        http_interface=config.bind,
        smtp_server=config.host("mail"),
        smtp_port=config.port("mail"),
        **({"db_password": credentials["database_odoo"]} if config.containers else {}),
    )
    write_if_changed(conf_file(config), text, 0o600)
    # Odoo shows its settings to administrators, and a command line is shown to everybody.
    amqp = f"{config.host('amqp')}:{config.port('amqp')}"
    broker = f"amqp://odoo:{credentials['amqp_odoo']}@{amqp}/%2F"
    environment = shell_variables({"CLINIC_AMQP_URL": broker}, export=True)
    write_if_changed(config.state / "odoo" / "environment", environment, 0o600)


def install(conf: Path, modules: Iterable[str], log: Path, *arguments: str) -> None:
    """Install modules and stop."""
    _odoo(conf, "-i", ",".join(modules), *arguments, log=log)


def _odoo(conf: Path, *arguments: str, log: Path) -> None:
    run(
        "odoo",
        "-c",
        conf,
        "-d",
        "odoo",
        "--stop-after-init",
        "--no-http",
        "--workers=0",
        "--max-cron-threads=0",
        *arguments,
        log=log,
    )


def shell(conf: Path, script: str, values: dict[str, object], log: Path) -> dict[str, str]:
    """Run a script of stack/odoo/ in `odoo shell`; it finds `values`, `env` and `result(…)`.

    Values travel on standard input and the result is not logged, for both hold secrets.

    Raises:
        StackError: The script failed.
    """
    preamble = (
        "import json\n"
        f"values = json.loads({json.dumps(json.dumps(values))})\n"
        "def result(**found):\n"
        f"    print({RESULT_MARK!r} + json.dumps(found))\n"
    )
    answer = run(
        "odoo",
        "shell",
        "-c",
        conf,
        "-d",
        "odoo",
        "--no-http",
        "--workers=0",
        "--max-cron-threads=0",
        log=log,
        stdin=preamble + script,
        log_output=False,
    )
    for line in answer.splitlines():
        if line.startswith(RESULT_MARK):
            found: dict[str, str] = json.loads(line.removeprefix(RESULT_MARK))
            return found
    raise StackError(f"A script in Odoo's shell ended without a result; see {log}")


def outdated_addons(config: Config) -> tuple[list[str], list[str]]:
    """This repository's addons that the database lacks, and those whose files changed since."""
    known = _known_addons(config)
    present = {name: tree_fingerprint([path]) for name, path in own_addons(config.checkout).items()}
    new = sorted(present.keys() - known.keys())
    return new, sorted(
        name for name in present.keys() & known.keys() if present[name] != known[name]
    )


def update_addons(config: Config, new: list[str], changed: list[str], log: Path) -> None:
    """Install `new` and update `changed` addons. The server must not run meanwhile."""
    addons = own_addons(config.checkout)
    fingerprints = {name: tree_fingerprint([addons[name]]) for name in new + changed}
    arguments = []
    if new:
        arguments += ["-i", ",".join(new)]
    if changed:
        arguments += ["-u", ",".join(changed)]
    _odoo(conf_file(config), *arguments, log=log)
    remember_addons(config, _known_addons(config) | fingerprints)


def _known_addons(config: Config) -> dict[str, str]:
    file = config.state / "odoo" / "addons.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    return known


def remember_addons(config: Config, fingerprints: dict[str, str]) -> None:
    """Note which files of which addons the database has: name -> fingerprint."""
    write_if_changed(
        config.state / "odoo" / "addons.json", json.dumps(fingerprints, indent=1) + "\n"
    )


def _identity(config: Config) -> dict[str, object]:
    return {
        "address": config.public_url("odoo"),
        "report_address": _report_address(config),
        "service_users": _service_logins(config),
    }


def _done_identity(config: Config) -> dict[str, object]:
    file = config.state / "odoo" / "personalised.json"
    done: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    return done


def _key_logins(config: Config) -> list[str]:
    """Whose API keys the stack keeps."""
    return ["admin", *_service_logins(config)]


def _service_logins(config: Config) -> list[str]:
    addons = own_addons(config.checkout)
    return [login for login, addon in SERVICE_USERS.items() if addon in addons]


def _report_address(config: Config) -> str:
    """Where the printer of reports finds their styles: not through the gateway, with its TLS."""
    return f"http://127.0.0.1:{config.port('odoo')}"


def needs_personalising(config: Config) -> bool:
    """Whether the database is not this installation's own yet, or its address or a key is not."""
    known = load(_credentials_file(config))
    lost = [login for login in _key_logins(config) if f"odoo_key_{login}" not in known]
    return bool(lost) or _done_identity(config) != _identity(config)


def _credentials_file(config: Config) -> Path:
    return config.state / "credentials.json"


def personalise(config: Config, credentials: Credentials, log: Path) -> None:
    """Make a copied database this installation's own: identity, password, API keys, address.

    New API keys are put into `credentials` and saved. The server must not run meanwhile.
    """
    values: dict[str, object] = {
        "new": not _done_identity(config),
        "base_url": config.public_url("odoo"),
        "report_url": _report_address(config),
        "admin_password": credentials["odoo_admin"],
        "keys": [login for login in _key_logins(config) if f"odoo_key_{login}" not in credentials],
    }
    script = (config.stack / "odoo" / "personalise.py").read_text()
    for login, key in shell(conf_file(config), script, values, log).items():
        credentials[f"odoo_key_{login}"] = key
    # Before the mark: who is killed here does it all again, and nobody is left without keys.
    save(_credentials_file(config), credentials)
    done_file = config.state / "odoo" / "personalised.json"
    write_if_changed(done_file, json.dumps(_identity(config)) + "\n")


def disown(server: Server) -> None:
    """Take passwords and keys out of a database before it goes into the cache.

    Its database.uuid and database.secret stay, for Odoo cannot install an addon without them; they
    are of no installation, because `personalise` makes new ones in every copy.
    """
    server.sql("UPDATE res_users SET password = NULL;\nDELETE FROM res_users_apikeys;\n", "odoo")
