"""The gateway: its configuration, rendered from gateway/ for this stack's ports and names."""

from clinic_stack.commands import run
from clinic_stack.config import Config


def prepare(config: Config) -> None:
    """Render the configuration, checked by Envoy; a running gateway takes it up by itself."""
    upstreams = {
        "odoo": "odoo",
        "odoo-evented": "odoo_evented",
        "airflow": "airflow",
        "keycloak": "keycloak",
        "rabbitmq": "rabbitmq_management",
    }
    tls = config.state / "tls"
    run(
        config.venv / "bin" / "python",
        config.checkout / "gateway" / "render.py",
        "--out",
        config.state / "gateway",
        "--domain",
        config.domain,
        "--port",
        str(config.port("gateway")),
        "--certificate",
        tls / "server.crt",
        "--private-key",
        tls / "server.key",
        *(
            argument
            for option, name in upstreams.items()
            for argument in (f"--{option}", f"127.0.0.1:{config.port(name)}")
        ),
        "--validate",
        config.venv / "bin" / "envoy",
        log=config.state / "log" / "gateway-setup.log",
    )
