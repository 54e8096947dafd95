"""What the emulator starts from: ``config.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Config:
    """Who may log in, how much fits, which shared drives there are."""

    url: str
    admin_token: str
    client_email: str
    public_key_pem: str
    client_id: str
    client_secret: str
    refresh_token: str
    quota_bytes: int
    shared_drives: dict[str, str]  # id -> name
    token_ttl_s: int = 3600
    session_ttl_s: int = 7 * 24 * 3600
    consent_ttl_s: int = 0  # a person's consent does not end

    @classmethod
    def read(cls, path: Path) -> Config:
        """Return what the file says; a missing key is an error."""
        data = json.loads(path.read_text())
        return cls(
            url=data["url"].rstrip("/"),
            admin_token=data["admin_token"],
            client_email=data["service_account"]["client_email"],
            public_key_pem=data["service_account"]["public_key_pem"],
            client_id=data["oauth"]["client_id"],
            client_secret=data["oauth"]["client_secret"],
            refresh_token=data["oauth"]["refresh_token"],
            quota_bytes=int(data["quota_bytes"]),
            shared_drives={drive["id"]: drive["name"] for drive in data["shared_drives"]},
            token_ttl_s=int(data.get("token_ttl_s", 3600)),
            session_ttl_s=int(data.get("session_ttl_s", 7 * 24 * 3600)),
            consent_ttl_s=int(data.get("consent_ttl_s", 0)),
        )
