"""What the API is told by its environment; the names are those of ``stack.env``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clinic.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses and limits. Nothing here is logged: the database's address holds a password."""

    database_url: str
    issuer: str
    jwks_url: str
    public_url: str
    dashboard_files: Path | None = None
    audience: str = "inventory-api"
    pool_size: int = 10
    statement_timeout_s: float = 5
    pool_wait_s: float = 5
    largest_body_bytes: int = 65_536
    most_listeners: int = 1_000
    heartbeat_s: float = 15

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment.

        Raises:
            PermanentError: A name is missing.
        """
        files = environment.get("DASHBOARD_FILES")
        try:
            realm = environment["KEYCLOAK_REALM"]
            return cls(
                database_url=environment["SHARED_DB_API_URL"],
                issuer=f"{environment['KEYCLOAK_PUBLIC_URL']}/realms/{realm}",
                jwks_url=(
                    f"{environment['KEYCLOAK_URL']}/realms/{realm}/protocol/openid-connect/certs"
                ),
                public_url=environment["DASHBOARD_PUBLIC_URL"],
                dashboard_files=Path(files) if files else None,
            )
        except KeyError as error:
            raise PermanentError(
                f"Starting the inventory API: {error.args[0]} is not in the environment. Start it "
                "by `make up`, or export the values of stack.env."
            ) from None
