"""The gateway: its configuration, rendered from gateway/ for this stack's ports and names."""

from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import fingerprint, tree_fingerprint

UPSTREAMS = {
    "odoo": "odoo",
    "odoo-evented": "odoo_evented",
    "airflow": "airflow",
    "keycloak": "keycloak",
    "rabbitmq": "rabbitmq_management",
    "inventory-api": "inventory_api",
}
"""Option of gateway/render.py -> name of the port."""


def prepare(config: Config, words: Credentials) -> None:
    """Render the configuration, checked by Envoy; a running gateway takes it up by itself."""
    tls = config.state / "tls"
    mark = config.state / "run" / "gateway.rendered"
    wanted = fingerprint(
        tree_fingerprint([config.checkout / "gateway", tls / "server.crt"]),
        *(config.first_port, config.domain, config.venv, config.state),
        *(secrets := _secrets(words)).values(),
    )
    if mark.exists() and mark.read_text() == wanted:
        return
    addresses = {
        option: f"{config.host(name)}:{config.port(name)}" for option, name in UPSTREAMS.items()
    } | {
        "port": str(config.port("gateway")),
        "bind": config.bind,
    }
    run(
        config.venv / "bin" / "python",
        config.checkout / "gateway" / "render.py",
        *("--out", config.state / "gateway", "--domain", config.domain),
        *("--certificate", tls / "server.crt", "--private-key", tls / "server.key"),
        *(word for option, value in addresses.items() for word in (f"--{option}", value)),
        # The Envoy of a container reads the files itself, and does not start on what it refuses.
        *(() if config.containers else ("--validate", config.venv / "bin" / "envoy")),
        environment=secrets,
        log=config.state / "log" / "gateway-setup.log",
    )
    mark.write_text(wanted)


def _secrets(words: Credentials) -> dict[str, str]:
    """What the gateway must know that no file of the repository says."""
    return {
        "KEYCLOAK_GATEWAY_SECRET": words["keycloak_client_gateway"],
        "GATEWAY_HMAC_SECRET": words["gateway_hmac"],
    }
