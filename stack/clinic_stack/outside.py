"""What the clinic uses of others, as servers of this stack: two document stores and a mail server.

Drive is an emulator (stack/drive_emulator), WebDAV and mail are real servers. Why: docs/adr/0009.
"""

import json
import os

from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import fingerprint, tree_fingerprint, write_if_changed

WEBDAV_LOGIN = "clinica"
MAIL_FROM = "documentos@clinica.example"


def prepare(config: Config, credentials: Credentials) -> None:
    """Write what the three servers start from."""
    # The Maildir is made by the mail server, with the folders that one has to have.
    for folder in ("drive", "webdav/files"):
        (config.state / folder).mkdir(parents=True, exist_ok=True)
    _prepare_drive(config)
    _prepare_webdav(config, credentials)


def drive_url(config: Config) -> str:
    """The address of Drive's API, as a client names it."""
    return f"https://127.0.0.1:{config.port('drive')}"


def webdav_url(config: Config) -> str:
    """The folder under which everything is stored, as a WebDAV client names it."""
    if config.containers:
        return f"{config.url('webdav')}/remote.php/dav/files/{WEBDAV_LOGIN}"
    return f"https://127.0.0.1:{config.port('webdav')}"


def drive_settings(config: Config) -> dict[str, object]:
    """What the emulator starts from, its administrator's token among it; empty where none runs."""
    return _read(config, "config.json")


def drive_keyfile(config: Config) -> dict[str, object]:
    """The service account's key, as Google hands one out; empty where no emulator runs."""
    return _read(config, "service_account.json")


def shared_drive_id(config: Config) -> str:
    """Where documents go; empty where no emulator runs."""
    drives = drive_settings(config).get("shared_drives")
    return str(drives[0]["id"]) if isinstance(drives, list) else ""


def _read(config: Config, name: str) -> dict[str, object]:
    file = config.state / "google" / name
    found: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _prepare_drive(config: Config) -> None:
    """Make the service account and the tokens, once for an address."""
    code = config.stack / "drive_emulator"
    folder = config.state / "google"
    if not (code / "credentials.py").exists():
        return
    key = fingerprint(tree_fingerprint([code]), drive_url(config), config.venv)
    mark = folder / "made-from"
    if mark.exists() and mark.read_text() == key:
        return
    folder.mkdir(parents=True, exist_ok=True)
    run(
        *(config.venv / "bin" / "python", "-m", "drive_emulator.credentials"),
        *("--url", drive_url(config), folder),
        log=config.state / "log" / "drive-setup.log",
        environment={"PYTHONPATH": config.stack, "PATH": os.environ["PATH"]},
    )
    mark.write_text(key)


def _prepare_webdav(config: Config, credentials: Credentials) -> None:
    tls = config.state / "tls"
    settings = {
        "server": "cheroot",
        "host": config.bind,
        "port": config.port("webdav"),
        "ssl_adapter": "builtin",
        "ssl_certificate": str(tls / "server.crt"),
        "ssl_private_key": str(tls / "server.key"),
        "provider_mapping": {"/": str(config.state / "webdav" / "files")},
        # A password travels as it is, inside TLS: as with an app password of Nextcloud.
        "http_authenticator": {
            "accept_basic": True,
            "accept_digest": False,
            "default_to_digest": False,
        },
        "simple_dc": {"user_mapping": {"*": {WEBDAV_LOGIN: {"password": credentials["webdav"]}}}},
        "dir_browser": {"enable": False},
        "lock_storage": True,
        "property_manager": True,
        "verbose": 2,
        "logging": {"enable": True},
    }
    text = json.dumps(settings, indent=1) + "\n"
    write_if_changed(config.state / "webdav" / "wsgidav.json", text, 0o600)
