"""Make an installation's own keys: ``python -m drive_emulator.credentials --url URL DIRECTORY``.

Writes ``config.json`` for the emulator, and what Google would hand a person:
``service_account.json``, ``authorized_user.json``, and ``client.json`` of an application. Run
again, it keeps all secrets and changes only the address.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

EMAIL = "airflow@clinic-emulated.iam.gserviceaccount.com"
GIB = 1024**3


def make(url: str, directory: Path) -> None:
    """Write the four files."""
    url = url.rstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    config_file, key_file = directory / "config.json", directory / "service_account.json"
    if config_file.exists() and key_file.exists():
        config, keyfile = json.loads(config_file.read_text()), json.loads(key_file.read_text())
    else:
        config, keyfile = _new()
    config["url"] = url
    keyfile["token_uri"] = f"{url}/token"
    person = {
        "type": "authorized_user",
        "client_id": config["oauth"]["client_id"],
        "client_secret": config["oauth"]["client_secret"],
        "refresh_token": config["oauth"]["refresh_token"],
        "token_uri": f"{url}/token",
    }
    installed = {
        "client_id": config["oauth"]["client_id"],
        "client_secret": config["oauth"]["client_secret"],
        "auth_uri": f"{url}/auth",
        "token_uri": f"{url}/token",
        "redirect_uris": ["http://localhost"],
    }
    _write(key_file, keyfile)
    _write(directory / "client.json", {"installed": installed})
    _write(directory / "authorized_user.json", person)
    _write(config_file, config)


def _new() -> tuple[dict[str, Any], dict[str, Any]]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key_id = secrets.token_hex(20)
    config = {
        "admin_token": secrets.token_urlsafe(24),
        "service_account": {
            "client_email": EMAIL,
            "private_key_id": key_id,
            "public_key_pem": public.decode(),
        },
        "oauth": {
            "client_id": f"{secrets.randbelow(10**12)}.apps.googleusercontent.com",
            "client_secret": f"GOCSPX-{secrets.token_urlsafe(20)}",
            "refresh_token": f"1//{secrets.token_urlsafe(40)}",
        },
        "quota_bytes": 15 * GIB,
        "shared_drives": [{"id": f"0A{secrets.token_hex(8)}Uk9PVA", "name": "Clínica"}],
    }
    keyfile = {
        "type": "service_account",
        "project_id": "clinic-emulated",
        "private_key_id": key_id,
        "private_key": private,
        "client_email": EMAIL,
        "client_id": str(secrets.randbelow(10**20)),
    }
    return config, keyfile


def _write(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
    partial.rename(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make keys for the Drive emulator")
    parser.add_argument("--url", required=True)
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    make(arguments.url, arguments.directory)
