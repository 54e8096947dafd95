"""RabbitMQ: its settings, and the declared topology with this installation's passwords put in."""

import base64
import hashlib
import json

from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import shell_variables, write_if_changed


def prepare(config: Config, credentials: Credentials) -> None:
    """Write what the server reads at its start."""
    home = config.state / "rabbitmq"
    home.mkdir(parents=True, exist_ok=True)
    settings = {
        "listeners.tcp.default": f"{config.bind}:{config.port('amqp')}",
        "management.tcp.ip": config.bind,
        "management.tcp.port": config.port("rabbitmq_management"),
        "load_definitions": home / "definitions.json",
        "log.console": "true",
        "log.console.level": "info",
        "log.file": "false",
        "cluster_name": "clinic",
    }
    text = "".join(f"{name} = {value}\n" for name, value in settings.items())
    write_if_changed(home / "rabbitmq.conf", text)
    write_if_changed(home / "enabled_plugins", "[rabbitmq_management].\n")
    environment = {
        "HOME": home,  # where Erlang keeps its cookie
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_NODENAME": "clinic@localhost",
        "RABBITMQ_CONFIG_FILE": home / "rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": home / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": home / "data",
        "RABBITMQ_LOG_BASE": home / "log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": home / "pid",
        "RABBITMQ_DIST_PORT": config.port("rabbitmq_distribution"),
        "ERL_EPMD_PORT": config.port("epmd"),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # The start script becomes the server itself, so signals reach it.
        "RABBITMQ_ALLOW_INPUT": 1,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-noinput -kernel inet_dist_use_interface {127,0,0,1}"
        ),
    }
    write_if_changed(home / "environment", shell_variables(environment, export=True))
    # Erlang takes the cookie from its home folder and insists on this mode.
    if not (home / ".erlang.cookie").exists():
        write_if_changed(home / ".erlang.cookie", credentials["erlang_cookie"], 0o400)
    definitions = json.loads((config.checkout / "rabbitmq" / "definitions.json").read_text())
    for user in definitions["users"]:
        user["password_hash"] = password_hash(user["name"], credentials[f"amqp_{user['name']}"])
    write_if_changed(home / "definitions.json", json.dumps(definitions, indent=1) + "\n", 0o600)


def password_hash(name: str, password: str) -> str:
    """RabbitMQ's salted SHA-256, https://www.rabbitmq.com/docs/passwords#computing-password-hash.

    The salt comes from the name and the password, so the same pair always gives the same file and
    nothing is imported anew without need. A password is 192 random bits: no table helps against it.
    """
    salt = hashlib.sha256(f"{name}\0{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
