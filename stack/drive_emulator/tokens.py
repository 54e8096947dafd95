"""The token endpoint: a service account's signed JWT, or a person's refresh token.

Source: https://developers.google.com/identity/protocols/oauth2/service-account
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse

from drive_emulator.config import Config
from drive_emulator.errors import DriveError, unauthorized

# google-auth always names Google's own endpoint here, whatever the key file's token_uri is.
GOOGLE = "https://oauth2.googleapis.com/token"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DRIVE = "https://www.googleapis.com/auth/drive"
MAY_WRITE = frozenset({DRIVE, f"{DRIVE}.file"})
SCOPES = MAY_WRITE | {f"{DRIVE}.readonly"}
PERSON = "clinica@clinic-emulated.example"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token was given to."""

    email: str
    is_service_account: bool  # acting as itself, on nobody's behalf
    scopes: frozenset[str]

    @property
    def root_id(self) -> str:
        """The root folder of the caller's My Drive."""
        return f"0AM-{self.email}"


class RefusedGrantError(Exception):
    """A grant that is not given: RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class Tokens:
    """Issues access tokens and knows whose they are. They do not outlive the process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._given: dict[str, tuple[float, Caller]] = {}

    def revoke_all(self) -> None:
        """Let every token be expired."""
        self._given.clear()

    def caller(self, request: Request) -> Caller:
        """Return who asks.

        Raises:
            DriveError: 401.
        """
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        expires_at, caller = self._given.get(token, (0.0, None))
        if kind != "Bearer" or caller is None or time.time() >= expires_at:
            raise unauthorized()
        if request.method not in {"GET", "HEAD"} and not caller.scopes & MAY_WRITE:
            raise DriveError(
                403, "insufficientPermissions", "Request had insufficient authentication scopes."
            )
        return caller

    async def endpoint(self, request: Request) -> JSONResponse:
        """Answer ``POST /token``."""
        try:
            form = dict(parse_qsl((await request.body()).decode(), strict_parsing=True))
            caller = self.grant(form)
        except (ValueError, UnicodeDecodeError):
            return JSONResponse({"error": "invalid_request"}, 400)
        except RefusedGrantError as error:
            body = {"error": error.error, "error_description": error.description}
            return JSONResponse(body, 401 if error.error == "invalid_client" else 400)
        token = f"ya29.{secrets.token_urlsafe(32)}"
        now = time.time()
        self._given = {key: value for key, value in self._given.items() if value[0] > now}
        self._given[token] = (now + self._config.token_ttl_s, caller)
        return JSONResponse(
            {
                "access_token": token,
                "expires_in": self._config.token_ttl_s,
                "token_type": "Bearer",
                "scope": " ".join(sorted(caller.scopes)),
            }
        )

    def grant(self, form: dict[str, str]) -> Caller:
        """Return whom the form proves to be.

        Raises:
            RefusedGrantError: It proves nobody.
        """
        match form.get("grant_type"):
            case str(kind) if kind == BEARER:
                return self._by_assertion(form.get("assertion", ""))
            case "refresh_token":
                return self._by_refresh_token(form)
        raise RefusedGrantError("unsupported_grant_type", "Invalid grant_type")

    def _by_assertion(self, assertion: str) -> Caller:
        try:
            claims = jwt.decode(
                assertion,
                self._config.public_key_pem,
                algorithms=["RS256"],
                audience=[GOOGLE, f"{self._config.url}/token"],
                issuer=self._config.client_email,
                options={"require": ["iss", "aud", "exp", "iat"]},
            )
        except jwt.PyJWTError as error:
            raise RefusedGrantError("invalid_grant", f"Invalid JWT: {error}") from error
        if claims["exp"] - claims["iat"] > 3600:
            raise RefusedGrantError("invalid_grant", "Invalid JWT: it must be short-lived")
        email = claims.get("sub") or self._config.client_email
        scopes = _scopes(claims.get("scope", ""))
        return Caller(email, email == self._config.client_email, scopes)

    def _by_refresh_token(self, form: dict[str, str]) -> Caller:
        for name in ("client_id", "client_secret"):
            if not hmac.compare_digest(form.get(name, ""), getattr(self._config, name)):
                raise RefusedGrantError("invalid_client", "The OAuth client was not found.")
        if not hmac.compare_digest(form.get("refresh_token", ""), self._config.refresh_token):
            raise RefusedGrantError("invalid_grant", "Token has been expired or revoked.")
        return Caller(PERSON, False, _scopes(form.get("scope", DRIVE)))


def _scopes(text: str) -> frozenset[str]:
    scopes = frozenset(text.split())
    if not scopes or not scopes <= SCOPES:
        raise RefusedGrantError("invalid_scope", f"Some requested scopes were invalid: {text}")
    return scopes
