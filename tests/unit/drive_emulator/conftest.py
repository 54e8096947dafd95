import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from drive_emulator.app import Emulator
from drive_emulator.config import Config
from drive_emulator.credentials import make
from starlette.testclient import TestClient
from support.drive_here import URL, Drive


@pytest.fixture
def files(tmp_path: Path) -> Path:
    make(URL, tmp_path / "google")
    return tmp_path / "google"


@pytest.fixture
def drive(tmp_path: Path, files: Path) -> Iterator[Drive]:
    app = Emulator(Config.read(files / "config.json"), tmp_path / "data")
    with TestClient(app, base_url=URL, raise_server_exceptions=False) as http:
        names = ("config.json", "service_account.json")
        found = Drive(http, *(json.loads((files / name).read_text()) for name in names))
        found.login()
        yield found
