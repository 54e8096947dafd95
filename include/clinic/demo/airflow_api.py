"""Airflow, as a program calls it: docs/how-to/call-airflow-from-a-program.md."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import httpx
import stamina

from clinic.errors import PermanentError, TransientError

_NEEDED: Final = (
    "KEYCLOAK_PUBLIC_URL",
    "KEYCLOAK_REALM",
    "AIRFLOW_PUBLIC_URL",
    "AIRFLOW_CI_CLIENT_ID",
    "AIRFLOW_CI_CLIENT_SECRET",
    "CA_FILE",
)
_EVERY_S: Final = 1.0


class AirflowApi:
    """Starts runs and follows them, through the gateway and as the client ``airflow-ci``.

    Args:
        environment: Addresses and credentials, as in ``stack.env``.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        if missing := [name for name in _NEEDED if not environment.get(name)]:
            raise PermanentError(
                f"No {' and no '.join(missing)} in the environment. Run `make up`, which writes it."
            )
        self._environment = environment
        trust = ssl.create_default_context(cafile=environment["CA_FILE"])
        self._http = httpx.Client(verify=trust, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Let go of connections."""
        self._http.close()

    def start(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run and return its id. Not tried again: it might then be started twice."""
        answer = self._ask(
            "POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf)}
        )
        return str(answer["dag_run_id"])

    def follow(
        self, dag_id: str, run_id: str, timeout_s: float, on_state: Callable[[str], None]
    ) -> None:
        """Return once a run has succeeded.

        Raises:
            PermanentError: It failed.
            TransientError: It has not ended in time, or Airflow is out of reach.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            state = self._state(dag_id, run_id)
            on_state(state)
            if state == "success":
                return
            page = f"{self._environment['AIRFLOW_PUBLIC_URL']}/dags/{dag_id}/runs/{run_id}"
            if state == "failed":
                raise PermanentError(f"The run {run_id} of {dag_id} failed. Why: {page}")
            if time.monotonic() > deadline:
                raise TransientError(
                    f"The run {run_id} of {dag_id} is {state} after {timeout_s:.0f} s: {page}"
                )
            time.sleep(_EVERY_S)

    @stamina.retry(on=TransientError, attempts=4, timeout=60)
    def _state(self, dag_id: str, run_id: str) -> str:
        return str(self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        url = self._environment["AIRFLOW_PUBLIC_URL"] + path
        for attempt in (1, 2):
            if "Authorization" not in self._http.headers:
                self._log_in()
            answer = self._send(method, url, json=body)
            if answer.status_code not in {401, 403} or attempt == 2:
                break
            del self._http.headers["Authorization"]  # it ends after minutes, and nothing renews it
        if answer.is_server_error:
            raise TransientError(f"Airflow: {method} {path}: HTTP {answer.status_code}.")
        if answer.is_error:
            raise PermanentError(
                f"Airflow: {method} {path}: HTTP {answer.status_code}. May the client "
                "`airflow-ci` do that, and is there such a DAG?"
            )
        return answer.json()

    def _log_in(self) -> None:
        env = self._environment
        tokens = (
            f"{env['KEYCLOAK_PUBLIC_URL']}/realms/{env['KEYCLOAK_REALM']}"
            "/protocol/openid-connect/token"
        )
        assertion = self._token(
            tokens,
            data={
                "grant_type": "client_credentials",
                "scope": "openid",
                "client_id": env["AIRFLOW_CI_CLIENT_ID"],
                "client_secret": env["AIRFLOW_CI_CLIENT_SECRET"],
            },
        )
        token = self._token(
            f"{env['AIRFLOW_PUBLIC_URL']}/auth/token",
            json={
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": assertion,
            },
        )
        self._http.headers["Authorization"] = f"Bearer {token}"

    def _token(self, url: str, **body: Any) -> str:
        answer = self._send("POST", url, **body)
        if answer.is_server_error:
            raise TransientError(f"Asking {url} for a token: HTTP {answer.status_code}.")
        if answer.is_error:
            raise PermanentError(
                f"Asking {url} for a token: HTTP {answer.status_code}. Run `make up`, which brings "
                "Keycloak's clients up to date."
            )
        return str(answer.json()["access_token"])

    def _send(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            raise TransientError(
                f"Airflow: {method} {url}: {type(error).__name__}. Does it run? See `make status`."
            ) from error
