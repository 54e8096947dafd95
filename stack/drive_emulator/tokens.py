"""The token endpoint: a service account's signed JWT, a person's consent or refresh token.

The emulated person agrees to whatever an installed application asks for.

Sources: https://developers.google.com/identity/protocols/oauth2/service-account and
https://developers.google.com/identity/protocols/oauth2/native-app
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from drive_emulator.config import Config
from drive_emulator.errors import DriveError, invalid, unauthorized

# google-auth always names Google's own endpoint here, whatever the key file's token_uri is.
GOOGLE = "https://oauth2.googleapis.com/token"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DRIVE = "https://www.googleapis.com/auth/drive"
MAY_WRITE = frozenset({DRIVE, f"{DRIVE}.file"})
SCOPES = MAY_WRITE | {f"{DRIVE}.readonly"}
PERSON = "clinica@clinic-emulated.example"
FIXED = {
    "response_type": "code", "code_challenge_method": "S256", "access_type": "offline",
    "prompt": "consent",
}  # fmt: skip
ASKED = FIXED.keys() | {"client_id", "redirect_uri", "scope", "state", "code_challenge"}


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
        self._codes: dict[str, dict[str, str]] = {}

    async def consent(self, request: Request) -> Response:
        """Answer ``GET /auth``: the person agrees, and the browser goes back with a code."""
        asked = dict(request.query_params)
        place = urlsplit(asked.get("redirect_uri", ""))
        if asked.keys() != ASKED:
            raise invalid(f"Exactly these are expected: {sorted(ASKED)}")
        if asked["client_id"] != self._config.client_id:
            raise DriveError(401, "invalid_client", "The OAuth client was not found.")
        if place.scheme != "http" or place.hostname not in {"127.0.0.1", "localhost"}:
            raise invalid("redirect_uri_mismatch: an installed application listens on loopback")
        for name, value in FIXED.items():
            if asked[name] != value:
                raise invalid(f"Invalid value for {name}: {value}")
        try:
            _scopes(asked["scope"])
        except RefusedGrantError as error:
            raise DriveError(400, error.error, error.description) from error
        code = f"4/{secrets.token_urlsafe(32)}"
        self._codes[code] = asked
        answer = {"state": asked["state"], "code": code, "scope": asked["scope"]}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", 302)

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
            form |= _client_of(request)
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
        answer = {
            "access_token": token,
            "expires_in": self._config.token_ttl_s,
            "token_type": "Bearer",
            "scope": " ".join(sorted(caller.scopes)),
        }
        if form["grant_type"] == "authorization_code":
            answer["refresh_token"] = self._config.refresh_token
            if self._config.consent_ttl_s:
                answer["refresh_token_expires_in"] = self._config.consent_ttl_s
        return JSONResponse(answer)

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
            case "authorization_code":
                return self._by_code(form)
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

    def _by_code(self, form: dict[str, str]) -> Caller:
        self._check_client(form)
        asked = self._codes.pop(form.get("code", ""), None)  # it is good once
        if asked is None:
            raise RefusedGrantError("invalid_grant", "Malformed auth code.")
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not hmac.compare_digest(challenge, asked["code_challenge"]):
            raise RefusedGrantError("invalid_grant", "Invalid code verifier.")
        if form.get("redirect_uri") != asked["redirect_uri"]:
            raise RefusedGrantError("redirect_uri_mismatch", "Bad Request")
        return Caller(PERSON, False, _scopes(asked["scope"]))

    def _check_client(self, form: dict[str, str]) -> None:
        for name in ("client_id", "client_secret"):
            if not hmac.compare_digest(form.get(name, ""), getattr(self._config, name)):
                raise RefusedGrantError("invalid_client", "The OAuth client was not found.")

    def _by_refresh_token(self, form: dict[str, str]) -> Caller:
        self._check_client(form)
        if not hmac.compare_digest(form.get("refresh_token", ""), self._config.refresh_token):
            raise RefusedGrantError("invalid_grant", "Token has been expired or revoked.")
        return Caller(PERSON, False, _scopes(form.get("scope", DRIVE)))


def _client_of(request: Request) -> dict[str, str]:
    """Return the client that logs in by HTTP Basic, if any: RFC 6749 section 2.3.1."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind != "Basic":
        return {}
    client_id, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    return {"client_id": client_id, "client_secret": secret}


def _scopes(text: str) -> frozenset[str]:
    scopes = frozenset(text.split())
    if not scopes or not scopes <= SCOPES:
        raise RefusedGrantError("invalid_scope", f"Some requested scopes were invalid: {text}")
    return scopes
