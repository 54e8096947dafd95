"""Requests to Drive, and uploads that go on where they broke off.

Used by :mod:`clinic.clients.drive` for documents. An upload of gigabytes may hand in a
:class:`Resume` and keep its address: the next process goes on where a killed one stopped.

Source: https://developers.google.com/workspace/drive/api/guides/manage-uploads
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import requests
from google.auth.exceptions import GoogleAuthError, RefreshError

from clinic.documents.reasons import WaitReason
from clinic.errors import AwayError, PermanentError, TransientError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

log = logging.getLogger(__name__)

STEP = 256 * 1024
"""All chunks but the last are a multiple of this: Drive's rule."""

_TIMEOUT_S = (10, 60)
_MAX_PAUSE_S = 64.0
_RATE_REASONS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "sharingRateLimitExceeded"}
)
_SPACE_REASONS = frozenset({"storageQuotaExceeded", "teamDriveFileLimitExceeded"})

Json = dict[str, Any]


class MissingError(TransientError):
    """Drive answered 404: the file, folder or upload is not there, or not for this account."""


class ConflictError(TransientError):
    """Drive answered 409: the id given for a new file is taken."""


class UnusableIdError(PermanentError):
    """Drive does not take the id given for a new file: it gave it to another account, or never."""


class NeedsPersonError(AwayError):
    """It can succeed once a person has changed something; waiting a minute does not help."""


@dataclass(slots=True)
class Resume:
    """Where an upload stands.

    ``session_uri`` is a secret: whoever has it can write the file, for a week. It stays out of
    ``repr`` and of logs.
    """

    session_uri: str | None = field(default=None, repr=False)
    sent_bytes: int = 0


class Patience:
    """How long one piece of work may wait in all, and how its pauses grow.

    Args:
        total_s: After so long without any progress no new pause begins.
        sleep: What waits; a test's own takes no time.
        clock: What tells the time.
    """

    def __init__(
        self,
        total_s: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total_s = total_s
        self._ends_at = clock() + total_s
        self._sleep = sleep
        self._clock = clock
        self._failures = 0

    def progress(self) -> None:
        """Note that a part is done: the next pause is short again, and the time begins anew."""
        self._failures = 0
        self._ends_at = self._clock() + self._total_s

    def pause(self, error: TransientError) -> None:
        """Wait before the next try: 1, 2, 4 … seconds and a little, or as long as Drive asks.

        Raises:
            TransientError: `error`, when there is no time left.
        """
        pause_s = min(2.0**self._failures + random.random(), _MAX_PAUSE_S)
        if error.retry_after_s is not None:
            pause_s = max(pause_s, error.retry_after_s)
        if self._clock() + pause_s > self._ends_at:
            raise error
        self._failures += 1
        log.info("trying again in %.1f s: %s", pause_s, error)
        self._sleep(pause_s)


class DriveApi:
    """Calls of Drive's API whose failures are the project's errors.

    Args:
        session: An authorised session; it refreshes its token at a 401, once.
        endpoint: The API's address.
    """

    def __init__(self, session: AuthorizedSession, endpoint: str) -> None:
        # It logs addresses, and the address of an upload is a secret. Its warnings are about
        # google-auth's own background question for a region, which nobody here needs.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self._session = session
        self._endpoint = endpoint.rstrip("/")

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()  # type: ignore[no-untyped-call]

    def url(self, path: str) -> str:
        """Return the address of a method."""
        return f"{self._endpoint}{path}"

    def call(self, doing: str, method: str, path: str, **arguments: Any) -> Json:
        """Return a method's answer; one try."""
        answer = self.request(doing, method, self.url(path), **arguments)
        return json_of(doing, answer)

    def patiently(
        self, patience: Patience, doing: str, method: str, path: str, **arguments: Any
    ) -> Json:
        """Return a method's answer; tried again while `patience` lasts.

        Only for what may be done twice.
        """
        while True:
            try:
                return self.call(doing, method, path, **arguments)
            except (MissingError, ConflictError, NeedsPersonError):
                raise
            except TransientError as error:
                patience.pause(error)

    def request(
        self,
        doing: str,
        method: str,
        url: str,
        *,
        good: Collection[int] = (200, 201, 204),
        **arguments: Any,
    ) -> requests.Response:
        """Return the answer of one request.

        Raises:
            TransientError: It may go well later; MissingError at 404, ConflictError at 409.
            PermanentError: Drive does not take the request.
        """
        try:
            answer: requests.Response = self._session.request(  # type: ignore[no-untyped-call]
                method, url, timeout=_TIMEOUT_S, allow_redirects=False, **arguments
            )
        except RefreshError as error:
            if error.retryable:
                raise AwayError(
                    WaitReason.STORE_AWAY, f"{doing}: Google's token endpoint is not well."
                ) from None
            raise NeedsPersonError(WaitReason.STORE_SIGN_IN, _refused(doing, error)) from None
        except GoogleAuthError as error:
            raise AwayError(
                WaitReason.STORE_AWAY,
                f"{doing}: no token from Google ({type(error).__name__}). Is its token endpoint "
                "reachable?",
            ) from None
        except requests.RequestException as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise NeedsPersonError(
                    WaitReason.STORE_NO_ACCESS,
                    f"{doing}: the certificate of {self._endpoint} is not trusted. Name its "
                    "authority in REQUESTS_CA_BUNDLE.",
                ) from None
            # Its text holds the address, and the address of an upload is a secret.
            raise AwayError(
                WaitReason.STORE_AWAY,
                f"{doing}: the connection to Drive broke ({type(error).__name__}).",
            ) from None
        if answer.status_code in good:
            return answer
        raise _error_of(doing, answer)


def json_of(doing: str, answer: requests.Response) -> Json:
    """Return an answer's JSON object; an empty answer is an empty object."""
    if not answer.content:
        return {}
    try:
        found: Json = answer.json()
    except ValueError:
        raise TransientError(f"{doing}: the answer is not Drive's (no JSON).") from None
    return found


def _refused(doing: str, error: RefreshError) -> str:
    said = str(error.args[0])[:200] if error.args else "no reason"
    return (
        f"{doing}: Google gives no token ({said}). Check the connection's key and delegation; a "
        "person's consent of an app in state 'testing' ends after 7 days."
    )


def _error_of(doing: str, answer: requests.Response) -> TransientError | PermanentError:
    status, reason, message, location = answer.status_code, "", "", ""
    try:
        error = answer.json()["error"]
        message = str(error["message"])[:300].rstrip(".")
        reason = str(error["errors"][0]["reason"])
        location = str(error["errors"][0].get("location"))
    except (ValueError, KeyError, IndexError, TypeError):
        pass  # not Google's format: the status says enough
    said = f"{doing}: HTTP {status}" + (f" {reason}: {message}." if reason else ".")
    after_s = _retry_after_s(answer)
    if status == 401:
        return NeedsPersonError(
            WaitReason.STORE_SIGN_IN,
            f"{said} The token was refused, a fresh one too. Check the connection's key and scope.",
        )
    if reason in _SPACE_REASONS:
        return NeedsPersonError(
            WaitReason.STORE_FULL,
            f"{said} There is no space left for this account. A service account has none of its "
            "own: name a shared drive (drive_id) or a person (delegate) in the connection; else "
            "empty the trash or buy space.",
        )
    if status == 404:
        return MissingError(f"{said} Was it deleted, or is it not shared with this account?")
    if status == 409:
        return ConflictError(f"{said} The id is in use.")
    if status == 429 or reason in _RATE_REASONS:
        said = f"{said} Trying again may help."
        return AwayError(WaitReason.STORE_BUSY, said, retry_after_s=after_s)
    if status in {408, 412} or status >= 500:
        said = f"{said} Trying again may help."
        return AwayError(WaitReason.STORE_AWAY, said, retry_after_s=after_s)
    if reason == "accessNotConfigured":
        return NeedsPersonError(
            WaitReason.STORE_NO_ACCESS,
            f"{said} The Drive API is switched off in the Google Cloud project of this account's "
            "credentials: enable it there, and wait some minutes.",
        )
    if status == 403:
        return NeedsPersonError(
            WaitReason.STORE_NO_ACCESS,
            f"{said} Give the account the right to write (Content manager of the shared drive) and "
            "the scope https://www.googleapis.com/auth/drive.",
        )
    if status == 400 and (location == "file.id" or "file id is not usable" in message.lower()):
        return UnusableIdError(f"{said} Another id is needed.")
    return PermanentError(f"{said} Trying again cannot help.")


def _retry_after_s(answer: requests.Response) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None


class ResumableUpload:
    """Brings one local file to Drive in chunks; memory holds one of them.

    On any doubt Drive is asked how much it has, and only its answer counts.

    Args:
        api: Where.
        path: The file; it must not change meanwhile.
        chunk_bytes: A multiple of 256 KiB.
    """

    def __init__(self, api: DriveApi, path: Path, *, chunk_bytes: int = 8 * 1024**2) -> None:
        if chunk_bytes <= 0 or chunk_bytes % STEP:
            raise ValueError(f"chunk_bytes must be a multiple of {STEP}, got {chunk_bytes}")
        self._api = api
        self._path = path
        self._size = path.stat().st_size
        self._chunk_bytes = chunk_bytes
        self._doing = f"Uploading {path.name} to Drive"

    def run(
        self,
        metadata: Json,
        patience: Patience,
        *,
        fields: str,
        resume: Resume | None = None,
        on_progress: Callable[[Resume], None] | None = None,
    ) -> Json:
        """Return Drive's answer for the finished file.

        Args:
            metadata: Of the new file; with an ``id`` from generateIds it can be done twice.
            patience: How long failures may be waited for.
            fields: What the answer shall hold.
            resume: Where an earlier try stood; it is kept up to date.
            on_progress: Called after each change of `resume`, to keep it.

        Raises:
            ConflictError: The file is there already.
            MissingError: The folder is not there.
        """
        state = resume if resume is not None else Resume()
        notify = on_progress or (lambda _: None)
        is_doubtful = state.session_uri is not None
        is_renewed = False
        with self._path.open("rb") as file:
            while True:
                try:
                    if state.session_uri is None:
                        state.session_uri = self._begin(metadata, fields)
                        state.sent_bytes = 0
                        is_doubtful = False
                        notify(state)
                    was_asked, is_doubtful = is_doubtful, False
                    answer = (
                        self._ask(state.session_uri)
                        if was_asked
                        else self._send(state.session_uri, file, state.sent_bytes)
                    )
                    if answer.status_code != 308:
                        state.sent_bytes = self._size
                        return json_of(self._doing, answer)
                    there, sent_before = _bytes_there(answer), state.sent_bytes
                    state.sent_bytes = there
                    if there > sent_before:
                        patience.progress()
                        notify(state)
                    elif not was_asked:
                        patience.pause(TransientError(f"{self._doing}: Drive took nothing more."))
                except MissingError as error:
                    if state.session_uri is None:
                        raise  # the folder
                    state.session_uri = None  # the session is over: anew
                    notify(state)
                    patience.pause(error)
                except (NeedsPersonError, ConflictError, UnusableIdError):
                    raise
                except PermanentError as error:
                    # 400 or 410: what is refused may be the session, whose week is over, and not
                    # the file. A new one shows which, once.
                    if state.session_uri is None or is_renewed:
                        raise
                    is_renewed = True
                    log.info("beginning anew: %s", error)
                    state.session_uri = None
                    notify(state)
                except TransientError as error:
                    patience.pause(error)
                    is_doubtful = state.session_uri is not None

    def _begin(self, metadata: Json, fields: str) -> str:
        answer = self._api.request(
            self._doing,
            "POST",
            self._api.url("/upload/drive/v3/files"),
            params={"uploadType": "resumable", "supportsAllDrives": "true", "fields": fields},
            json=metadata,
            headers={
                "X-Upload-Content-Type": metadata.get("mimeType", "application/octet-stream"),
                "X-Upload-Content-Length": str(self._size),
            },
        )
        try:
            return answer.headers["Location"]
        except KeyError:
            raise TransientError(f"{self._doing}: Drive named no place to send it to.") from None

    def _ask(self, session_uri: str) -> requests.Response:
        return self._api.request(
            self._doing,
            "PUT",
            session_uri,
            good=(200, 201, 308),
            headers={"Content-Range": f"bytes */{self._size}", "Content-Length": "0"},
        )

    def _send(self, session_uri: str, file: IO[bytes], at: int) -> requests.Response:
        if at >= self._size:  # of an empty file, or of one whose last answer is missing
            return self._ask(session_uri)
        file.seek(at)
        chunk = file.read(self._chunk_bytes)
        answer = self._api.request(
            self._doing,
            "PUT",
            session_uri,
            good=(200, 201, 308),
            data=chunk,
            headers={"Content-Range": f"bytes {at}-{at + len(chunk) - 1}/{self._size}"},
        )
        answer.request.body = None  # else two chunks are held while the next is read
        return answer


def _bytes_there(answer: requests.Response) -> int:
    """Return how much Drive has; without a Range it has nothing."""
    _, _, last = answer.headers.get("Range", "").rpartition("-")
    return int(last) + 1 if last.isdecimal() else 0
