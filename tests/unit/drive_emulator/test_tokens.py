"""Who gets a token of the emulator, and what it is good for."""

import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from drive_emulator.credentials import make
from support.drive_here import SCOPE, URL, Drive

FILES = "/drive/v3/files"


def foreign_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_googles_own_address_is_a_good_audience_too(drive: Drive) -> None:
    answer = drive.token(drive.assertion(aud="https://oauth2.googleapis.com/token"))
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 3600


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"aud": "https://elsewhere.example/token"}, "invalid_grant"),
        ({"iss": "somebody@else.example"}, "invalid_grant"),
        ({"exp": int(time.time()) - 60}, "invalid_grant"),
        ({"exp": int(time.time()) + 7200}, "invalid_grant"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "https://www.googleapis.com/auth/everything"}, "invalid_scope"),
    ],
)
def test_a_wrong_claim_gets_no_token(drive: Drive, claims: dict[str, Any], error: str) -> None:
    answer = drive.token(drive.assertion(**claims))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_another_key_gets_no_token(drive: Drive) -> None:
    answer = drive.token(drive.assertion(foreign_key()))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("form", [{}, {"grant_type": "password"}, {"grant_type": "refresh_token"}])
def test_another_grant_gets_no_token(drive: Drive, form: dict[str, str]) -> None:
    assert drive.http.post("/token", data=form).status_code in {400, 401}


@pytest.mark.parametrize("header", ["", "Bearer ya29.unknown", "Basic YTpi"])
def test_without_a_good_token_there_is_nothing(drive: Drive, header: str) -> None:
    answer = drive.http.get(FILES, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"]["errors"][0]["reason"] == "authError"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_ends(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drive.http.get(FILES).status_code == 200
    later = time.time() + 3601
    monkeypatch.setattr("drive_emulator.tokens.time.time", lambda: later)
    assert drive.http.get(FILES).status_code == 401


def test_a_token_to_read_does_not_write(drive: Drive) -> None:
    drive.login(scope=f"{SCOPE}.readonly")
    assert drive.http.get(FILES).status_code == 200
    answer = drive.folder()
    assert answer.status_code == 403
    assert answer.json()["error"]["errors"][0]["reason"] == "insufficientPermissions"


def test_keys_are_made_once_and_only_their_owner_reads_them(files: Path) -> None:
    before = (files / "service_account.json").read_text()
    make(f"{URL}:444", files)
    after = (files / "service_account.json").read_text()
    assert after == before.replace(URL, f"{URL}:444")
    assert {path.stat().st_mode & 0o777 for path in files.iterdir()} == {0o600}
