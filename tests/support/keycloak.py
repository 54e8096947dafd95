"""Keycloak's admin API for tests: what a person with the console could do."""

import time
from collections.abc import Generator, Mapping

import httpx

TIMEOUT_S = 30
RENEW_AFTER_S = 30  # an administrator's token lives for a minute


def admin_token(stack_env: Mapping[str, str], login: str, password: str) -> str | None:
    """Return an administrator's token, or None when the login is refused."""
    answer = httpx.post(
        f"{stack_env['KEYCLOAK_URL']}/realms/master/protocol/openid-connect/token",
        data={
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": login,
            "password": password,
        },
        timeout=TIMEOUT_S,
    )
    return answer.json()["access_token"] if answer.status_code == 200 else None


class _Administrator(httpx.Auth):
    """Logs in again in time, however long a test takes."""

    def __init__(self, stack_env: Mapping[str, str]) -> None:
        self._env = stack_env
        self._token: str | None = None
        self._since = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        if self._token is None or time.monotonic() - self._since > RENEW_AFTER_S:
            login, password = self._env["KEYCLOAK_ADMIN"], self._env["KEYCLOAK_ADMIN_PASSWORD"]
            self._token = admin_token(self._env, login, password)
            self._since = time.monotonic()
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def admin_api(stack_env: Mapping[str, str], path: str = "") -> httpx.Client:
    """Return a client whose paths begin below ``/admin/realms``."""
    return httpx.Client(
        base_url=f"{stack_env['KEYCLOAK_URL']}/admin/realms{path}",
        auth=_Administrator(stack_env),
        timeout=TIMEOUT_S,
    )
