"""Where everything lies and listens: read once from the environment that `stack/box` sets."""

import os
from dataclasses import dataclass
from pathlib import Path

SERVICES = (
    "postgres",
    "epmd",
    "rabbitmq",
    "gateway",
    "drive",
    "webdav",
    "mail",
    "keycloak",
    "inventory-api",
    "odoo",
    "airflow-api",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
)
"""In the order they are started; the reverse is the order they are stopped."""

# What listens on which port of the block. The public address comes first: it is the one people see.
PORT_OFFSETS = {
    "gateway": 0,
    "postgres": 2,
    "amqp": 3,
    "rabbitmq_management": 4,
    "rabbitmq_distribution": 5,
    "epmd": 6,
    "odoo": 7,
    "odoo_evented": 8,
    "keycloak": 9,
    "keycloak_management": 10,
    "airflow": 11,
    "inventory_api": 12,
    "dashboard": 13,
    "drive": 14,
    "webdav": 15,
    "mail": 16,
}

# In docker-compose.yaml each system has a host of its own; what is not here, nobody else asks.
CONTAINERS = {
    "postgres": ("postgres", 5432),
    "amqp": ("rabbitmq", 5672),
    "rabbitmq_management": ("rabbitmq", 15672),
    "odoo": ("odoo", 8069),
    "odoo_evented": ("odoo", 8072),
    "keycloak": ("keycloak", 8080),
    "keycloak_management": ("keycloak", 9000),
    "airflow": ("airflow-api", 8081),
    "inventory_api": ("inventory-api", 8090),
    "webdav": ("nextcloud", 80),
    "mail": ("mail", 1025),
}
"""Name of PORT_OFFSETS -> compose service and the port inside."""

PRIVATE_NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
"""Where container networks lie, RFC 1918."""

LONGEST_SOCKET_PATH = 107
"""In bytes, https://man7.org/linux/man-pages/man7/unix.7.html (sun_path)."""


class StackError(Exception):
    """Something a person has to know: the message is shown without a traceback."""


@dataclass(frozen=True)
class Config:
    """One stack: a checkout, its state and the cache it shares with other checkouts."""

    checkout: Path
    state: Path
    cache: Path
    root: Path
    venv: Path
    domain: str
    first_port: int
    services: tuple[str, ...]
    containers: bool = False

    @classmethod
    def from_environment(cls) -> "Config":
        """Read what `stack/box` set.

        Raises:
            StackError: CLINIC_SERVICES names a service that does not exist.
        """
        state = Path(os.environ["CLINIC_STATE"])
        remembered = state / "ports"
        port = os.environ.get("CLINIC_PORTS") or (
            remembered.read_text().strip() if remembered.exists() else "0"
        )
        emulated = Path(
            os.environ["CLINIC_CHECKOUT"], "stack/drive_emulator/credentials.py"
        ).exists()
        wanted = os.environ.get("CLINIC_SERVICES", "").split() or [
            name for name in SERVICES if emulated or name != "drive"
        ]
        if unknown := sorted(set(wanted) - set(SERVICES)):
            raise StackError(
                f"CLINIC_SERVICES names {', '.join(unknown)}; there are: {' '.join(SERVICES)}"
            )
        return cls(
            checkout=Path(os.environ["CLINIC_CHECKOUT"]),
            state=state,
            cache=Path(os.environ["CLINIC_CACHE"]),
            root=Path(os.environ["CLINIC_ROOT"]),
            venv=Path(os.environ["CLINIC_VENV"]),
            domain=os.environ["CLINIC_DOMAIN"],
            first_port=int(port),
            services=tuple(name for name in SERVICES if name in wanted),
            containers=bool(os.environ.get("CLINIC_CONTAINERS")),
        )

    def port(self, name: str) -> int:
        """The port that `name` of PORT_OFFSETS listens on."""
        if self.containers and name in CONTAINERS:
            return CONTAINERS[name][1]
        return self.first_port + PORT_OFFSETS[name]

    def host(self, name: str) -> str:
        """Where `name` of PORT_OFFSETS is reached: on loopback, or by its container's name."""
        if self.containers and name in CONTAINERS:
            return CONTAINERS[name][0]
        return "127.0.0.1"

    @property
    def bind(self) -> str:
        """The address that servers listen on; a container's network is its own."""
        return "0.0.0.0" if self.containers else "127.0.0.1"

    @property
    def gateway_networks(self) -> str:
        """Whose word about the client's address servers believe: the gateway's."""
        return PRIVATE_NETWORKS if self.containers else "127.0.0.1"

    def url(self, name: str) -> str:
        """A system's own address, past the gateway."""
        return f"http://{self.host(name)}:{self.port(name)}"

    def public_url(self, name: str) -> str:
        """A system's address through the gateway, as people use it."""
        return f"https://{name}.{self.domain}:{self.port('gateway')}"

    @property
    def stack(self) -> Path:
        """The folder of the stack's own files."""
        return self.checkout / "stack"

    @property
    def service_directory(self) -> Path:
        """Where runit looks for services."""
        return self.state / "sv"

    @property
    def socket_directory(self) -> Path:
        """The folder of PostgreSQL's socket: in the state, unless its path is too long for one.

        Between containers it is the server's name instead: libpq takes either for a host.
        """
        if self.containers:
            return Path(self.host("postgres"))
        wanted = self.state / "run"
        longest = wanted / f".s.PGSQL.{self.port('postgres')}.lock"
        if len(os.fsencode(longest)) <= LONGEST_SOCKET_PATH:
            return wanted
        return self.cache / "run" / str(self.first_port)

    @property
    def ca_bundle(self) -> Path:
        """The certificates this machine trusts and the stack's own."""
        return self.state / "tls" / "bundle.crt"
