"""``clinic drive``: a person's consent, and what is wrong with an access, against the emulator."""

import json
import stat
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests
from clinic.clients.drive_check import check_drive
from clinic.clients.drive_consent import authorize
from clinic.clients.drive_login import DriveLogin
from clinic.drive_commands import app
from clinic.errors import PermanentError, TransientError
from support.drive import SCOPE, Drive, running_drive
from typer.testing import CliRunner

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture
def drive(server: Drive) -> Iterator[Drive]:
    yield server
    server.reset()


# Consent


class Browser:
    """Opens the address that it is shown, as a person's browser does, and follows it back."""

    def __init__(self, ca_file: Path, change: Any = lambda url: url) -> None:
        self._ca_file, self._change = ca_file, change
        self.addresses: list[str] = []
        self.shown = ""
        self._threads: list[threading.Thread] = []

    def open(self, url: str) -> None:
        self.addresses.append(url)
        thread = threading.Thread(target=self._go, args=[self._change(url)])
        thread.start()
        self._threads.append(thread)

    def _go(self, url: str) -> None:
        first = requests.get(url, verify=self._ca_file, timeout=20, allow_redirects=False)
        if "Location" in first.headers:
            back = requests.get(first.headers["Location"], timeout=20)
            self.shown = back.text

    def close(self) -> None:
        for thread in self._threads:
            thread.join(20)


@pytest.fixture
def browser(drive: Drive) -> Iterator[Browser]:
    browser = Browser(drive.ca_file)
    yield browser
    browser.close()


def test_a_persons_consent_becomes_a_key_that_logs_in(
    drive: Drive, browser: Browser, tmp_path: Path
) -> None:
    sink = tmp_path / "key.json"
    sink.write_text("an older one")
    sink.chmod(0o644)
    assert authorize(drive.directory / "client.json", sink, browser.open) is None
    browser.close()
    assert "ya puede cerrar" in browser.shown
    assert stat.S_IMODE(sink.stat().st_mode) == 0o600
    (address,) = browser.addresses
    assert "code_challenge_method=S256" in address
    assert "client_secret" not in address
    assert drive.config["oauth"]["client_secret"] not in address
    login = DriveLogin.from_key_file(sink, None, drive.url)
    found = list(check_drive(login, "Copias"))
    assert [(one.about, one.is_good) for one in found] == [
        ("clock", True), ("key", True), ("login", True), ("space", True), ("folder", True),
    ]  # fmt: skip
    assert found[1].text == "a person's consent, 0 days old; no end is known"


def test_a_consent_of_an_app_in_testing_says_when_it_ends(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    with running_drive(tmp_path / "server", consent_ttl_s=7 * 24 * 3600 - 60) as drive:
        browser = Browser(drive.ca_file)
        sink = tmp_path / "key.json"
        ends_at = authorize(drive.directory / "client.json", sink, browser.open)
        browser.close()
        assert ends_at
        assert timedelta(days=6.9) < ends_at - datetime.now(UTC) < timedelta(days=7)
        login = DriveLogin.from_key_file(sink, None, drive.url)
        found = {one.about: one for one in check_drive(login, "Copias")}
        assert not found["key"].is_good
        assert "publish it" in found["key"].text
        assert found["folder"].is_good


def test_an_answer_to_another_question_is_refused(drive: Drive, tmp_path: Path) -> None:
    forged = Browser(drive.ca_file, lambda url: url.replace("&state=", "&state=forged"))
    with pytest.raises(PermanentError, match="mismatching_state"):
        authorize(drive.directory / "client.json", tmp_path / "key.json", forged.open)
    forged.close()
    assert not (tmp_path / "key.json").exists()


def test_a_stolen_code_is_worth_nothing_without_the_verifier(drive: Drive, tmp_path: Path) -> None:
    other = Browser(
        drive.ca_file, lambda url: url.replace("&code_challenge=", "&code_challenge=AAAA")
    )
    with pytest.raises(PermanentError, match="invalid_grant"):
        authorize(drive.directory / "client.json", tmp_path / "key.json", other.open)
    other.close()


def test_a_person_who_agrees_to_less_is_told(drive: Drive, tmp_path: Path) -> None:
    less = Browser(drive.ca_file, lambda url: url.replace("auth%2Fdrive", "auth%2Fdrive.readonly"))
    with pytest.raises(PermanentError, match="less was agreed to than was asked for"):
        authorize(drive.directory / "client.json", tmp_path / "key.json", less.open)
    less.close()


def test_nobody_agrees(drive: Drive, tmp_path: Path) -> None:
    shown: list[str] = []
    with pytest.raises(TransientError, match="nobody agreed within 1 s"):
        authorize(drive.directory / "client.json", tmp_path / "key.json", shown.append, timeout_s=1)
    assert len(shown) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"web": {}}', '{"installed": {"client_id": "x"}}'])
def test_another_kind_of_client_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "client.json"
    file.write_text(content)
    with pytest.raises(PermanentError, match="of type 'Desktop app'"):
        authorize(file, tmp_path / "key.json", print)


def test_the_command_prints_the_address_and_no_secret(
    drive: Drive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, sink = drive.directory / "client.json", tmp_path / "key.json"
    result = CliRunner().invoke(app, ["authorize", str(client), str(sink), "--wait-s=1"])
    assert f"\n{drive.url}/auth?response_type=code&client_id=" in result.output
    assert isinstance(result.exception, TransientError)
    assert drive.config["oauth"]["client_secret"] not in result.output


# Check


def login(drive: Drive, **changes: Any) -> DriveLogin:
    key = json.loads(drive.keyfile.read_text())
    return DriveLogin(**({"key": key, "drive_id": drive.drive_id, "endpoint": drive.url} | changes))


def bad(login: DriveLogin, now: datetime | None = None) -> dict[str, str]:
    return {one.about: one.text for one in check_drive(login, "Copias", now) if not one.is_good}


def test_all_is_well_and_nothing_is_left_behind(drive: Drive) -> None:
    assert bad(login(drive)) == {}
    vault = login(drive).vault("Copias")
    assert vault.files() == []
    vault.close()


@pytest.mark.parametrize(("minutes", "said"), [(9, "9 min ahead of"), (-9, "9 min behind")])
def test_a_clock_that_is_wrong_is_said(drive: Drive, minutes: int, said: str) -> None:
    found = bad(login(drive), datetime.now(UTC) + timedelta(minutes=minutes))
    assert said in found.pop("clock")
    assert found == {}


def test_a_stand_in_is_trusted_by_the_file_of_its_authority_from_the_first_question(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in the private Debian, where this variable names the public authorities
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    monkeypatch.setenv("CA_FILE", str(drive.ca_file))
    assert bad(login(drive)) == {}


def test_a_service_account_without_a_shared_drive_has_no_space(drive: Drive) -> None:
    (text,) = bad(login(drive, drive_id=None)).values()
    assert "has no space of its own" in text


def test_a_shared_drive_that_is_not_there(drive: Drive) -> None:
    found = bad(login(drive, drive_id="0Anowhere"))
    assert "Shared drive not found" in found["login"]


def test_a_scope_that_only_reads(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinic.clients.drive_login.SCOPE", f"{SCOPE}.readonly")
    found = bad(login(drive))
    assert "Give the account the right to write" in found["folder"]
    assert f"the scope {SCOPE}" in found["folder"]


def test_a_consent_that_was_taken_back(drive: Drive) -> None:
    key = json.loads((drive.directory / "authorized_user.json").read_text())
    ended = (NOW - timedelta(days=1)).isoformat()
    found = bad(login(drive, key=key | {"refresh_token": "1//x", "consent_ends_at": ended}))
    assert "Google gives no token (invalid_grant" in found["login"]
    assert "publish it" in found["key"]


def test_a_full_drive(drive: Drive) -> None:
    drive.fault(path="/upload", times=9, kind="status", status=403, reason="storageQuotaExceeded")
    assert "no space left" in bad(login(drive))["folder"]


def test_a_person_who_took_the_consent_back_is_asked_again(drive: Drive) -> None:
    key = json.loads((drive.directory / "authorized_user.json").read_text())
    gone = bad(login(drive, key=key | {"refresh_token": "1//x"}, drive_id=None))
    assert "`clinic drive authorize`" in gone["login"]


def test_the_space_of_a_shared_drive_is_called_unknown(drive: Drive) -> None:
    found = {one.about: one.text for one in check_drive(login(drive), "Copias")}
    assert "how much is left is not known" in found["space"]


def test_a_folder_that_somebody_put_into_the_trash_is_not_made_in_silence(drive: Drive) -> None:
    def said() -> str:
        found = {one.about: one for one in check_drive(login(drive), "Perdida")}
        assert found["folder"].is_good
        return found["folder"].text

    assert "was not there" in said()
    assert "was not there" not in said()
    with drive.session() as session:
        files = f"{drive.url}/drive/v3/files"
        shared = {"supportsAllDrives": "true"}
        query = {
            "q": "name = 'Perdida' and trashed = false",
            "includeItemsFromAllDrives": "true",
        }
        (folder,) = session.get(files, params=shared | query).json()["files"]
        trashed = session.patch(f"{files}/{folder['id']}", params=shared, json={"trashed": True})
        trashed.raise_for_status()
    assert "take the old one out of Drive's trash" in said()


@pytest.mark.parametrize(
    "folder",
    ["1ZaabDAiF8214CGEByP1OwYJKJWJxA49V", "https://drive.google.com/drive/folders/1ZaabDAiF82"],
)
def test_the_id_of_a_folder_does_not_become_a_folder_s_name(drive: Drive, folder: str) -> None:
    found = [one for one in check_drive(login(drive), folder) if not one.is_good]
    assert [one.about for one in found] == ["folder"]
    assert "Give the names of the folders" in found[0].text


def test_a_byte_that_is_read_back_wrong(drive: Drive) -> None:
    drive.fault(method="GET", path="alt=media", kind="corrupt")
    assert set(bad(login(drive))) == {"folder"}


def test_nothing_listens(drive: Drive) -> None:
    found = bad(login(drive, endpoint="https://127.0.0.1:9"))
    assert "says no time" in found["clock"]
    assert "The clock alone can be the reason" in found["login"]


def env_of(drive: Drive) -> dict[str, str]:
    return {
        "CA_FILE": str(drive.ca_file), "REQUESTS_CA_BUNDLE": str(drive.ca_file),
        "DRIVE_SHARED_DRIVE_ID": "", "DRIVE_KEYFILE": "", "DRIVE_API_URL": "",
    }  # fmt: skip


def test_the_command_marks_what_is_wrong(drive: Drive) -> None:
    options = ["check", f"--key-file={drive.keyfile}", f"--api={drive.url}"]
    env = env_of(drive)
    good = CliRunner(env=env).invoke(app, [*options, f"--drive-id={drive.drive_id}"])
    assert good.exit_code == 0, good.output
    assert good.output.count("ok ") == 5
    wrong = CliRunner(env=env).invoke(app, options)
    assert "NO login" in wrong.output
    assert isinstance(wrong.exception, PermanentError)
    delegated = CliRunner(env=env).invoke(app, [*options, "--delegate=jefa@clinica.example"])
    assert "on behalf of jefa@clinica.example" in delegated.output
    assert delegated.exit_code == 0


def test_the_command_takes_an_airflow_connection(drive: Drive) -> None:
    extra = {
        "keyfile_dict": drive.keyfile.read_text(), "drive_id": drive.drive_id,
        "api_endpoint": drive.url,
    }  # fmt: skip
    connection = json.dumps({"conn_type": "clinic_drive", "extra": extra})
    result = CliRunner().invoke(
        app, ["check"], env=env_of(drive) | {"AIRFLOW_CONN_GOOGLE_CLOUD_DRIVE": connection}
    )
    assert result.exit_code == 0, result.output
    assert "PRIVATE KEY" not in result.output
