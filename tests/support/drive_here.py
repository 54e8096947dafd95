"""The Drive emulator in this process, and a client that may do everything."""

import time
from dataclasses import dataclass
from typing import Any

import jwt
from starlette.testclient import TestClient

URL = "https://drive.test"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPE = "https://www.googleapis.com/auth/drive"


@dataclass
class Drive:
    """A client of the emulator, with the service account's key at hand."""

    http: TestClient
    config: dict[str, Any]
    keyfile: dict[str, Any]

    @property
    def drive_id(self) -> str:
        return str(self.config["shared_drives"][0]["id"])

    def assertion(self, key: str | None = None, **claims: Any) -> str:
        now = int(time.time())
        content = {
            "iss": self.keyfile["client_email"], "aud": f"{URL}/token", "iat": now,
            "exp": now + 3600, "scope": SCOPE,
        } | claims  # fmt: skip
        return jwt.encode(content, key or self.keyfile["private_key"], "RS256")

    def token(self, assertion: str | None = None) -> Any:
        form = {"grant_type": BEARER, "assertion": assertion or self.assertion()}
        return self.http.post("/token", data=form)

    def login(self, **claims: Any) -> None:
        answer = self.token(self.assertion(**claims))
        assert answer.status_code == 200, answer.text
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def generated_id(self) -> str:
        return str(self.http.get("/drive/v3/files/generateIds?count=1").json()["ids"][0])

    def folder(self, name: str = "folder", **metadata: Any) -> Any:
        return self.http.post(
            "/drive/v3/files?supportsAllDrives=true",
            json={
                "name": name, "mimeType": "application/vnd.google-apps.folder",
                "parents": [self.drive_id],
            } | metadata,
        )  # fmt: skip

    def begin(self, **metadata: Any) -> Any:
        return self.http.post(
            "/upload/drive/v3/files?uploadType=resumable&supportsAllDrives=true&fields=id,size",
            json={"name": "a.pdf", "parents": [self.drive_id]} | metadata,
        )

    def store(self, content: bytes, **metadata: Any) -> Any:
        return self.http.put(self.begin(**metadata).headers["Location"], content=content)
