"""The emulator fails closed: what it does not know is a 400, and what Drive refuses it refuses."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from drive_emulator.app import Emulator
from drive_emulator.config import Config
from drive_emulator.credentials import make
from drive_emulator.errors import DriveError
from drive_emulator.fields import FILE, FILE_LIST, apply, parse
from drive_emulator.query import compile_query
from drive_emulator.tokens import BEARER
from starlette.testclient import TestClient

URL = "https://drive.test"
FOLDER = "application/vnd.google-apps.folder"
DRIVE = "https://www.googleapis.com/auth/drive"


class Api:
    """The emulator in this process, with somebody logged in."""

    def __init__(self, folder: Path) -> None:
        make(URL, folder)
        self.folder = folder
        self.config = json.loads((folder / "config.json").read_text())
        self.key = json.loads((folder / "service_account.json").read_text())
        self.drive_id = self.config["shared_drives"][0]["id"]
        self.start()

    def start(self) -> None:
        emulator = Emulator(Config.read(self.folder / "config.json"), self.folder, browse=True)
        self.http = TestClient(emulator, base_url=URL, raise_server_exceptions=True)
        self.http.__enter__()
        self.log_in()

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        return {
            "iss": self.key["client_email"], "aud": f"{URL}/token", "iat": now, "exp": now + 3600,
            "scope": DRIVE,
        } | changes  # fmt: skip

    def token(self, claims: dict[str, Any], key: str = "", algorithm: str = "RS256") -> Any:
        assertion = jwt.encode(claims, key or self.key["private_key"], algorithm)
        return self.http.post("/token", data={"grant_type": BEARER, "assertion": assertion})

    def log_in(self, **changes: Any) -> None:
        answer = self.token(self.claims(**changes))
        assert answer.status_code == 200, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def fault(self, *rules: dict[str, Any]) -> None:
        self.http.post(
            "/_emulator/faults",
            json=list(rules),
            headers={"Authorization": f"Bearer {self.config['admin_token']}"},
        ).raise_for_status()

    def make(self, **metadata: Any) -> dict[str, Any]:
        answer = self.http.post(
            "/drive/v3/files?supportsAllDrives=true&fields=*",
            json={"parents": [self.drive_id], "mimeType": FOLDER} | metadata,
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def begin(self, length: int | None = None, **metadata: Any) -> Any:
        headers = {} if length is None else {"X-Upload-Content-Length": str(length)}
        return self.http.post(
            "/upload/drive/v3/files?uploadType=resumable&supportsAllDrives=true",
            json={"name": "a", "parents": [self.drive_id]} | metadata,
            headers=headers,
        )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    found = Api(tmp_path)
    yield found
    found.http.__exit__(None, None, None)


def refused(answer: Any, status: int, reason: str) -> str:
    """Check that it is an error in Google's format; return its message."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert error["errors"][0]["reason"] == reason
    return str(error["message"])


# Tokens


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere.test/token"},
        {"iss": "somebody@elsewhere.test"},
        {"iat": 1000, "exp": 2000},
        {"exp": int(time.time()) + 9000},
        {"scope": "https://www.googleapis.com/auth/gmail"},
        {"scope": ""},
    ],
)
def test_a_wrong_assertion_gets_no_token(api: Api, changes: dict[str, Any]) -> None:
    answer = api.token(api.claims(**changes))
    assert answer.status_code == 400
    assert answer.json()["error"] in {"invalid_grant", "invalid_scope"}


def test_a_foreign_signature_gets_no_token(api: Api, tmp_path_factory: Any) -> None:
    other = tmp_path_factory.mktemp("other")
    make(URL, other)
    key = json.loads((other / "service_account.json").read_text())["private_key"]
    assert api.token(api.claims(), key).json()["error"] == "invalid_grant"
    assert api.token(api.claims(), "x" * 40, "HS256").json()["error"] == "invalid_grant"


def test_a_refresh_token_needs_its_client(api: Api) -> None:
    form = {"grant_type": "refresh_token", **api.config["oauth"]}
    assert api.http.post("/token", data=form).status_code == 200
    assert api.http.post("/token", data=form | {"client_secret": "x"}).status_code == 401
    wrong = api.http.post("/token", data=form | {"refresh_token": "x"})
    assert wrong.json()["error"] == "invalid_grant"
    assert api.http.post("/token", data={"grant_type": "password"}).status_code == 400


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 302),
        ({"login_hint": "x"}, 400),
        ({"scope": "https://www.googleapis.com/auth/gmail"}, 400),
        ({"redirect_uri": "https://evil.example/"}, 400),
        ({"redirect_uri": "http://evil.example/"}, 400),
        ({"code_challenge_method": "plain"}, 400),
        ({"access_type": "online"}, 400),
        ({"client_id": "another"}, 401),
    ],
)
def test_consent_is_for_our_application_on_loopback_with_pkce(
    api: Api, changes: dict[str, str], status: int
) -> None:
    asked = {
        "response_type": "code", "client_id": api.config["oauth"]["client_id"],
        "redirect_uri": "http://127.0.0.1:1/", "scope": DRIVE, "state": "s",
        "access_type": "offline",
        "prompt": "consent", "code_challenge": "x", "code_challenge_method": "S256",
    }  # fmt: skip
    answer = api.http.get("/auth", params=asked | changes, follow_redirects=False)
    assert answer.status_code == status
    if status == 302:
        assert answer.headers["Location"].startswith("http://127.0.0.1:1/?state=s&code=4%2F")


def test_a_code_is_good_once_and_only_with_its_verifier(api: Api) -> None:
    verifier = "v" * 43
    digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
    client = {name: api.config["oauth"][name] for name in ("client_id", "client_secret")}
    asked = {
        "response_type": "code", "client_id": client["client_id"], "state": "s", "scope": DRIVE,
        "redirect_uri": "http://127.0.0.1:1/", "access_type": "offline", "prompt": "consent",
        "code_challenge": digest.rstrip(b"=").decode(), "code_challenge_method": "S256",
    }  # fmt: skip

    def exchange(code: str, **changes: str) -> Any:
        form = {
            "grant_type": "authorization_code", "code": code, "code_verifier": verifier,
            "redirect_uri": "http://127.0.0.1:1/",
        } | client | changes  # fmt: skip
        return api.http.post("/token", data=form).json()

    def code() -> str:
        answer = api.http.get("/auth", params=asked, follow_redirects=False)
        return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]

    assert exchange(code(), code_verifier="w" * 43)["error"] == "invalid_grant"
    assert exchange(code(), redirect_uri="http://127.0.0.1:2/")["error"] == "redirect_uri_mismatch"
    assert exchange(code(), client_secret="x")["error"] == "invalid_client"
    once = code()
    assert exchange(once)["refresh_token"] == api.config["oauth"]["refresh_token"]
    assert exchange(once)["error"] == "invalid_grant"


def test_without_a_good_token_there_is_nothing(api: Api) -> None:
    for header in ("", "Bearer x", "Basic x"):
        answer = api.http.get("/drive/v3/files", headers={"Authorization": header})
        refused(answer, 401, "authError")
    api.fault({"path": "/about", "kind": "expire_tokens"})
    refused(api.http.get("/drive/v3/about?fields=user"), 401, "authError")


def test_a_token_ends(tmp_path: Path) -> None:
    make(URL, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"token_ttl_s": 0}))
    api = Api(tmp_path)
    refused(api.http.get("/drive/v3/files"), 401, "authError")
    api.http.__exit__(None, None, None)


def test_a_reader_cannot_write(api: Api) -> None:
    api.log_in(scope=f"{DRIVE}.readonly")
    refused(api.http.post("/drive/v3/files", json={}), 403, "insufficientPermissions")


# What is unknown


@pytest.mark.parametrize(
    "address",
    [
        "/drive/v3/files?pagesize=3",
        "/drive/v3/files?pageSize=0",
        "/drive/v3/files?pageSize=1001",
        "/drive/v3/files?pageToken=x",
        "/drive/v3/files?orderBy=size",
        "/drive/v3/files?fields=files(id,nothing)",
        "/drive/v3/files?fields=files(id",
        "/drive/v3/files?fields=id",
        "/drive/v3/files?corpora=domain",
        "/drive/v3/files?corpora=drive&supportsAllDrives=true&includeItemsFromAllDrives=true",
        "/drive/v3/files?includeItemsFromAllDrives=true",
        "/drive/v3/files?supportsAllDrives=yes",
        "/drive/v3/files?spaces=photos",
        "/drive/v3/files?fields=kind&fields=kind",
        "/drive/v3/files/generateIds?count=1001",
        "/drive/v3/files/generateIds?type=shortcuts",
        "/drive/v3/files/root?alt=xml",
        "/drive/v3/about?fields=nothing",
    ],
)
def test_an_unknown_parameter_or_value_is_a_400(api: Api, address: str) -> None:
    refused(api.http.get(address), 400, "invalid")


def test_about_needs_fields(api: Api) -> None:
    refused(api.http.get("/drive/v3/about"), 400, "required")


def test_an_unknown_address_is_not_answered(api: Api) -> None:
    assert api.http.get("/drive/v2/files").status_code == 404
    assert api.http.get("/drive/v3/changes").status_code == 404
    assert api.http.put("/drive/v3/files").status_code == 405


@pytest.mark.parametrize(
    "metadata",
    [
        {"colour": "red"},
        {"name": 3},
        {"appProperties": {"a": 3}},
        {"appProperties": {"a": "x" * 124}},
        {"appProperties": {str(n): "" for n in range(31)}},
        {"id": "1chosenByMyself"},
        {"trashed": True},
        [],
    ],
)
def test_unknown_metadata_is_a_400(api: Api, metadata: Any) -> None:
    refused(api.http.post("/drive/v3/files", json=metadata), 400, "invalid")


@pytest.mark.parametrize(
    "query",
    [
        "name", "name =", "name = x", "name > 'x'", "name = 'x' and", "name = 'x' 'y'",
        "size > 3", "fullText contains 'x'", "trashed = 'false'", "trashed", "not",
        "'x' in owners", "name = 'it's'", "name = 'x", "(name = 'x'", "name = 'x')",
        "appProperties has { key='a' }", "appProperties has { value='a' and key='b' }",
        "createdTime > 'yesterday'", "name = 'a' AND name = 'b'", r"name = 'a\n'",
    ],
)  # fmt: skip
def test_what_the_query_grammar_does_not_have_is_refused(query: str) -> None:
    with pytest.raises(DriveError) as raised:
        compile_query(query, "root-id")
    assert raised.value.status == 400


@pytest.mark.parametrize(
    ("query", "matches"),
    [
        ("name = 'It\\'s a \\\\'", True),
        ("name != 'x'", True),
        ("name contains 'it'", True),
        ("name contains 't'", False),
        ("mimeType = 'application/pdf' and trashed = false", True),
        ("trashed = true or starred = false", True),
        ("not ('root' in parents)", False),
        ("'root-id' in parents", True),
        ("appProperties has { key='k' and value='v' }", True),
        ("appProperties has { key='k' and value='w' }", False),
        ("createdTime > '2026-01-01T00:00:00' and createdTime <= '2026-02-01T00:00:00Z'", True),
        ("name = 'x' or name = 'y' and trashed = false", False),
    ],
)
def test_the_query_grammar(query: str, matches: bool) -> None:
    file = {
        "name": "It's a \\", "mimeType": "application/pdf", "trashed": False, "starred": False,
        "parents": ["root-id"], "appProperties": {"k": "v"},
        "createdTime": "2026-01-15T10:00:00.000Z",
    }  # fmt: skip
    assert compile_query(query, "root-id")(file) is matches


def test_a_field_mask_takes_what_it_names() -> None:
    file = {"id": "1", "name": "n", "size": "3", "appProperties": {"a": "b", "c": "d"}}
    answer = {"kind": "k", "files": [file]}
    mask = parse("files(id,appProperties/a)", FILE_LIST)
    assert apply(answer, mask) == {"files": [{"id": "1", "appProperties": {"a": "b"}}]}
    assert apply(file, parse("*", FILE)) == file
    assert apply(answer, parse("files/size", FILE_LIST)) == {"files": [{"size": "3"}]}


# Files


def test_a_shared_drive_is_hidden_from_calls_that_do_not_support_it(api: Api) -> None:
    folder = api.make(name="x")
    refused(api.http.get(f"/drive/v3/files/{folder['id']}"), 404, "notFound")
    assert api.http.get("/drive/v3/files").json()["files"] == []
    both = "supportsAllDrives=true&includeItemsFromAllDrives=true"
    for corpora in ("", f"&corpora=drive&driveId={api.drive_id}", "&corpora=allDrives"):
        (found,) = api.http.get(f"/drive/v3/files?{both}{corpora}").json()["files"]
        assert found["id"] == folder["id"]


def test_an_id_is_used_once(api: Api) -> None:
    (one,) = api.http.get("/drive/v3/files/generateIds?count=1").json()["ids"]
    api.make(name="x", id=one)
    again = api.http.post("/drive/v3/files", json={"id": one, "mimeType": FOLDER})
    refused(again, 409, "fileIdInUse")
    refused(api.begin(5, id=one), 409, "fileIdInUse")


def test_pages_hold_everything_once(api: Api) -> None:
    made = [api.make(name=f"{n:02}")["id"] for n in range(7)]
    address = (
        "/drive/v3/files?supportsAllDrives=true&includeItemsFromAllDrives=true&orderBy=name"
        "&pageSize=3"
    )
    found, token = [], ""
    while True:
        page = api.http.get(address + (f"&pageToken={token}" if token else "")).json()
        found += [one["id"] for one in page["files"]]
        if not (token := page.get("nextPageToken", "")):
            break
    assert found == made


def test_a_folder_takes_its_content_to_the_trash_and_to_its_end(api: Api) -> None:
    outer = api.make(name="outer")
    inner = api.make(name="inner", parents=[outer["id"]])
    every = "?supportsAllDrives=true&fields=*"
    api.http.patch(f"/drive/v3/files/{outer['id']}{every}", json={"trashed": True})
    shown = api.http.get(f"/drive/v3/files/{inner['id']}{every}").json()
    assert (shown["trashed"], shown["explicitlyTrashed"]) == (True, False)
    address = f"/drive/v3/files/{inner['id']}{every}"
    moved = api.http.patch(f"{address}&addParents={api.drive_id}&removeParents={outer['id']}")
    assert moved.json()["trashed"] is False
    deeper = api.make(name="deeper", parents=[inner["id"]])
    assert api.http.delete(address.replace("&fields=*", "")).status_code == 204
    for one in (inner, deeper):
        refused(api.http.get(f"/drive/v3/files/{one['id']}{every}"), 404, "notFound")


def test_a_file_has_one_folder(api: Api) -> None:
    folder, file = api.make(name="folder"), api.make(name="file")
    address = f"/drive/v3/files/{file['id']}?supportsAllDrives=true"
    answer = api.http.patch(f"{address}&addParents={folder['id']}", json={})
    refused(answer, 403, "cannotAddParent")
    refused(api.http.patch(f"{address}&addParents=x&removeParents=y"), 400, "invalid")


# Uploads


def send(api: Api, place: str, content: bytes, header: str | None) -> Any:
    headers = {} if header is None else {"Content-Range": header}
    return api.http.put(place, content=content, headers=headers, follow_redirects=False)


STEP = 256 * 1024


def test_a_file_comes_in_chunks(api: Api) -> None:
    place = api.begin(STEP + 3).headers["Location"]
    for header in (f"bytes */{STEP + 3}", "bytes */*", f"*/{STEP + 3}"):
        answer = send(api, place, b"", header)
        assert answer.status_code == 308
        assert "Range" not in answer.headers
    answer = send(api, place, b"a" * STEP, f"bytes 0-{STEP - 1}/{STEP + 3}")
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{STEP - 1}")
    done = send(api, place, b"end", f"bytes {STEP}-{STEP + 2}/{STEP + 3}")
    assert done.status_code == 200
    assert send(api, place, b"", f"bytes */{STEP + 3}").json() == done.json()
    address = f"/drive/v3/files/{done.json()['id']}?alt=media&supportsAllDrives=true"
    assert api.http.get(address).content == b"a" * STEP + b"end"
    part = api.http.get(address, headers={"Range": f"bytes={STEP}-"})
    assert (part.status_code, part.content) == (206, b"end")
    past = api.http.get(address, headers={"Range": f"bytes={STEP + 3}-"})
    assert past.status_code == 416
    refused(api.http.get(address, headers={"Range": "bytes=-3"}), 400, "invalid")


def test_a_file_of_unknown_length_comes_in_chunks(api: Api) -> None:
    place = api.begin().headers["Location"]
    assert send(api, place, b"a" * STEP, f"bytes 0-{STEP - 1}/*").status_code == 308
    assert send(api, place, b"", f"bytes */{STEP}").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "bytes 1-3/10", "bytes 0-2/10", "bytes 0-9/11", "bytes 0-9/9", "bytes 3-1/10",
        "bytes 0-8/10", "0-9", "bytes */10",
    ],
)  # fmt: skip
def test_a_chunk_in_a_wrong_place_is_refused(api: Api, header: str) -> None:
    place = api.begin(10).headers["Location"]
    refused(send(api, place, b"a" * 10, header), 400, "invalid")
    assert send(api, place, b"a" * 10, None).status_code == 200


def test_a_chunk_that_is_not_the_last_has_whole_steps(api: Api) -> None:
    place = api.begin(10).headers["Location"]
    said = refused(send(api, place, b"a" * 9, "bytes 0-8/10"), 400, "invalid")
    assert "a multiple of 262144 bytes" in said


def test_a_small_file_comes_at_once(api: Api) -> None:
    def post(body: bytes, kind: str = "multipart/related; boundary=b") -> Any:
        return api.http.post(
            "/upload/drive/v3/files?uploadType=multipart&supportsAllDrives=true&fields=*",
            content=body,
            headers={"Content-Type": kind},
        )

    metadata = json.dumps({"parents": [api.drive_id], "name": "n"}).encode()
    body = (
        b"--b\r\nContent-Type: application/json\r\n\r\n" + metadata
        + b"\r\n--b\r\nContent-Type: application/pdf\r\n\r\nfive!\r\n--b--\r\n"
    )  # fmt: skip
    file = post(body).json()
    assert (file["size"], file["mimeType"]) == ("5", "application/pdf")
    refused(post(body, "multipart/form-data; boundary=b"), 400, "invalid")
    refused(post(body[:-6]), 400, "invalid")
    refused(post(body.replace(b"application/json", b"text/plain")), 400, "invalid")


def test_an_unknown_or_old_session_is_a_404(api: Api) -> None:
    place = api.begin(3).headers["Location"]
    refused(send(api, place + "x", b"abc", None), 404, "notFound")
    api.fault({"method": "PUT", "kind": "expire_session", "times": 1})
    refused(send(api, place, b"abc", None), 404, "notFound")
    refused(send(api, place, b"abc", None), 404, "notFound")


def test_an_unknown_way_to_upload_is_refused(api: Api) -> None:
    address = "/upload/drive/v3/files?uploadType=media"
    refused(api.http.post(address, content=b"x"), 400, "invalid")


# Space


def test_a_service_account_has_no_space_of_its_own(api: Api) -> None:
    answer = api.begin(5, parents=["root"])
    assert "Service Accounts do not have storage quota" in refused(
        answer, 403, "storageQuotaExceeded"
    )
    assert api.begin(5).status_code == 200
    quota = api.http.get("/drive/v3/about?fields=storageQuota").json()["storageQuota"]
    assert quota["limit"] == "0"


def test_space_is_counted_with_the_trash(tmp_path: Path) -> None:
    make(URL, tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quota_bytes": 10}))
    api = Api(tmp_path)
    api.log_in(sub="jefa@clinica.test")
    first = send(api, api.begin(6, parents=["root"]).headers["Location"], b"sixsix", None).json()
    refused(api.begin(6, parents=["root"]), 403, "storageQuotaExceeded")
    api.http.patch(f"/drive/v3/files/{first['id']}", json={"trashed": True})
    refused(api.begin(6, parents=["root"]), 403, "storageQuotaExceeded")
    quota = api.http.get("/drive/v3/about?fields=storageQuota").json()["storageQuota"]
    assert (quota["limit"], quota["usage"], quota["usageInDriveTrash"]) == ("10", "6", "6")
    api.http.delete(f"/drive/v3/files/{first['id']}")
    assert api.begin(6, parents=["root"]).status_code == 200
    api.http.__exit__(None, None, None)


# The rest


def test_everything_is_there_after_a_restart(api: Api) -> None:
    folder = api.make(name="x")
    place = api.begin(STEP + 1).headers["Location"]
    send(api, place, b"a" * STEP, f"bytes 0-{STEP - 1}/{STEP + 1}")
    (unused,) = api.http.get("/drive/v3/files/generateIds?count=1").json()["ids"]
    api.http.__exit__(None, None, None)
    api.start()
    assert api.http.get(f"/drive/v3/files/{folder['id']}?supportsAllDrives=true").status_code == 200
    answer = send(api, place, b"", f"bytes */{STEP + 1}")
    assert answer.headers["Range"] == f"bytes=0-{STEP - 1}"
    assert send(api, place, b"b", f"bytes {STEP}-{STEP}/{STEP + 1}").status_code == 200
    api.make(id=unused)


def test_faults_and_log_are_the_administrators(api: Api) -> None:
    for name in ("faults", "log"):
        refused(api.http.delete(f"/_emulator/{name}"), 401, "authError")


@pytest.mark.parametrize(
    "rule", [{"kind": "nonsense"}, {"colour": "red"}, {"nth": "1"}, {"kind": 3}]
)
def test_a_fault_that_is_not_known_is_refused(api: Api, rule: dict[str, Any]) -> None:
    answer = api.http.post(
        "/_emulator/faults",
        json=[rule],
        headers={"Authorization": f"Bearer {api.config['admin_token']}"},
    )
    refused(answer, 400, "invalid")


def test_a_fault_comes_when_and_as_often_as_planned(api: Api) -> None:
    api.fault(
        {
            "method": "GET", "path": "/about", "nth": 2, "times": 1, "kind": "status",
            "status": 429, "reason": "rateLimitExceeded", "retry_after": 3,
        }
    )  # fmt: skip
    answers = [api.http.get("/drive/v3/about?fields=user") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert answers[1].headers["Retry-After"] == "3"
    refused(answers[1], 429, "rateLimitExceeded")


def test_a_person_can_look_at_a_file(api: Api) -> None:
    place = api.begin(5, name="<b>.pdf", mimeType="application/pdf").headers["Location"]
    file_id = send(api, place, b"%PDF!", None).json()["id"]
    page = api.http.get("/", headers={"Authorization": ""})
    assert "&lt;b&gt;.pdf" in page.text
    shown = api.http.get(f"/file/d/{file_id}/view", headers={"Authorization": ""})
    assert shown.content == b"%PDF!"
    assert shown.headers["Content-Disposition"] == "inline"
    assert "sandbox" in shown.headers["Content-Security-Policy"]


def test_credentials_are_kept_and_private(tmp_path: Path) -> None:
    make(URL, tmp_path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    make(URL, tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    make("https://moved.test", tmp_path)
    key = json.loads((tmp_path / "service_account.json").read_text())
    assert key["token_uri"] == "https://moved.test/token"
    assert key["private_key"] == json.loads(before["service_account.json"])["private_key"]
