"""Google Drive's hook: from a connection to credentials, and what the test button says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.clients.drive import DriveStore
from clinic.errors import PermanentError
from clinic_airflow.hooks.drive import DriveHook
from support.drive import SCOPE, Drive, running_drive

Define = Callable[..., DriveHook]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    with running_drive(tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture
def drive(server: Drive) -> Iterator[Drive]:
    yield server
    server.reset()


@pytest.fixture
def hook_of(monkeypatch: pytest.MonkeyPatch, drive: Drive) -> Define:
    def define(**extra: Any) -> DriveHook:
        connection = {"conn_type": "clinic_drive", "extra": {"api_endpoint": drive.url} | extra}
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(connection))
        return DriveHook("tested")

    return define


def key(drive: Drive) -> str:
    return drive.keyfile.read_text()


@pytest.mark.parametrize("how", ["text", "file"])
def test_a_service_accounts_key_opens_a_shared_drive(
    drive: Drive, hook_of: Define, how: str
) -> None:
    extra = {"keyfile_dict": key(drive)}
    if how == "file":
        extra = {"credential_config_file": str(drive.keyfile)}
    hook = hook_of(drive_id=drive.drive_id, **extra)
    assert hook.test_connection() == (
        True,
        f"Logged in as {drive.config['service_account']['client_email']}; files go to the root "
        "folder in shared drive 'Clínica'",
    )
    store = hook.get_store("Clinica/Documentos")
    assert isinstance(store, DriveStore)
    assert store.reserve()
    store.close()


def test_a_service_account_acts_for_a_person(drive: Drive, hook_of: Define) -> None:
    hook = hook_of(keyfile_dict=key(drive), delegate="jefa@clinica.example")
    is_good, said = hook.test_connection()
    assert (is_good, said) == (
        True,
        "Logged in as jefa@clinica.example; files go to the root folder in their My Drive",
    )


def test_a_person_who_consented_uses_their_own_drive(drive: Drive, hook_of: Define) -> None:
    text = (drive.directory / "authorized_user.json").read_text()
    is_good, said = hook_of(keyfile_dict=text).test_connection()
    assert is_good, said
    assert "in their My Drive" in said


def test_the_default_scope_is_drive_and_not_all_of_the_cloud(drive: Drive, hook_of: Define) -> None:
    assert hook_of(keyfile_dict=key(drive)).scopes == [SCOPE]
    hook = hook_of(keyfile_dict=key(drive), scope=f"{SCOPE}.file")
    assert hook.get_credentials().scopes == [f"{SCOPE}.file"]


def test_the_providers_own_methods_go_to_the_same_address(drive: Drive, hook_of: Define) -> None:
    assert hook_of().get_client_options().api_endpoint == drive.url


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({}, "has no key: paste"),
        ({"keyfile_dict": "{"}, "not readable"),
        ({"keyfile_dict": '{"type": "service_account"}'}, "not readable"),
        ({"keyfile_dict": "{}"}, "has no key"),
        ({"keyfile_dict": '{"type": "external_account"}'}, "of a kind that is not used here"),
        ({"keyfile_dict": '["x"]'}, "not readable"),
        ({"credential_config_file": "/nowhere.json"}, "not readable"),
    ],
)
def test_unusable_credentials_are_said(hook_of: Define, extra: dict[str, str], said: str) -> None:
    is_good, text = hook_of(**extra).test_connection()
    assert not is_good
    assert said in text


def test_a_delegate_needs_a_service_account(drive: Drive, hook_of: Define) -> None:
    text = (drive.directory / "authorized_user.json").read_text()
    with pytest.raises(PermanentError, match="only a service account can act for"):
        hook_of(keyfile_dict=text, delegate="jefa@clinica.example").get_session()


def test_a_service_account_alone_is_told_that_it_has_no_space(
    drive: Drive, hook_of: Define
) -> None:
    is_good, said = hook_of(keyfile_dict=key(drive)).test_connection()
    assert not is_good
    assert "a service account needs a shared drive (drive_id)" in said


def test_a_scope_google_does_not_give_is_said(drive: Drive, hook_of: Define) -> None:
    hook = hook_of(keyfile_dict=key(drive), scope="https://www.googleapis.com/auth/gmail")
    is_good, said = hook.test_connection()
    assert not is_good
    assert "Google gives no token (invalid_scope" in said


def test_a_shared_drive_that_is_not_there_is_said(drive: Drive, hook_of: Define) -> None:
    is_good, said = hook_of(keyfile_dict=key(drive), drive_id="0Anowhere").test_connection()
    assert not is_good
    assert "Shared drive not found: 0Anowhere" in said


def test_no_answer_holds_the_key(drive: Drive, hook_of: Define, tmp_path: Path) -> None:
    key_without_end = "-----BEGIN {} KEY-----\nSECRET".format("PRIVATE")
    broken = json.loads(key(drive)) | {"private_key": key_without_end}
    is_good, said = hook_of(keyfile_dict=json.dumps(broken)).test_connection()
    assert not is_good
    assert "SECRET" not in said
