"""Find out what is wrong with the access to Google Drive, one question after the other."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import requests

from clinic.clients.drive_login import DriveLogin
from clinic.clients.drive_upload import NeedsPersonError
from clinic.clients.drive_vault import DriveVault
from clinic.documents.reasons import WaitReason
from clinic.errors import ClinicError

CLOCK_MAY_DIFFER: Final = timedelta(minutes=2)
"""Google takes a service account's signed request only within some minutes of its time."""
TEST_CONSENT: Final = timedelta(days=7)
_NAME: Final = "clinic-drive-check.txt"
_LIKE_AN_ID: Final = re.compile(r"://|^(?=.*\d)[\w-]{25,}$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question."""

    about: str
    is_good: bool
    text: str


def check_drive(login: DriveLogin, folder: str, now: datetime | None = None) -> Iterator[Finding]:
    """Ask one question after the other; what needs an earlier answer is not asked without it.

    A small file is stored in `folder`, read back and put into the trash: no other question tells
    for certain whether the account may write there.

    Args:
        login: Who logs in.
        folder: Where files go; it is made if it is not there.
        now: This machine's time; None is now.
    """
    now = now or datetime.now(UTC)
    clock = _clock(login, now)
    yield clock
    yield _age(login, now)
    try:
        vault = login.vault(folder)
    except ClinicError as error:
        yield Finding("key", False, str(error))
        return
    with closing(vault):
        try:
            yield Finding("login", True, vault.check())
        except ClinicError as error:
            late = "" if clock.is_good else " The clock alone can be the reason."
            yield Finding("login", False, f"{error}{_consent_advice(login, error)}{late}")
            return
        if _LIKE_AN_ID.search(folder):
            yield Finding(
                "folder",
                False,
                f"{folder} looks like the address or the id of a folder, and would become its "
                "name. Give the names of the folders on the way, for example Clinica/Copias.",
            )
            return
        for about, question in (("space", _space), ("folder", _write)):
            try:
                yield question(vault, folder)
            except ClinicError as error:
                yield Finding(about, False, str(error))


def _consent_advice(login: DriveLogin, error: ClinicError) -> str:
    is_refused = isinstance(error, NeedsPersonError) and error.reason == WaitReason.STORE_SIGN_IN
    if not is_refused or login.key.get("type") != "authorized_user":
        return ""
    return " Let the person agree again: `clinic drive authorize`."


def _clock(login: DriveLogin, now: datetime) -> Finding:
    try:
        answer = requests.get(
            login.endpoint, timeout=(10, 30), allow_redirects=False, verify=login.ca_file or True
        )
        theirs = parsedate_to_datetime(answer.headers["Date"])
    except (requests.RequestException, KeyError, ValueError, TypeError) as error:
        return Finding(
            "clock",
            False,
            f"{login.endpoint} says no time ({type(error).__name__}). Is it reachable from here, "
            "and its certificate trusted (REQUESTS_CA_BUNDLE)?",
        )
    apart = now - theirs
    if abs(apart) <= CLOCK_MAY_DIFFER:
        return Finding("clock", True, f"{abs(apart).total_seconds():.0f} s from Drive's")
    which = "ahead of" if apart > timedelta(0) else "behind"
    return Finding(
        "clock",
        False,
        f"this machine's clock is {abs(apart).total_seconds() / 60:.0f} min {which} Drive's. "
        "Google refuses keys that are signed so, and backups get wrong names: turn time "
        "synchronisation on (`timedatectl set-ntp true`).",
    )


def _age(login: DriveLogin, now: datetime) -> Finding:
    """Say whose key it is, how old, and when it ends, as far as the key file tells."""
    kind = login.key.get("type")
    if kind == "service_account":
        whose = login.key.get("client_email", "?")
        for_whom = f", on behalf of {login.delegate}" if login.delegate else ""
        return Finding("key", True, f"of the service account {whose}{for_whom}; it does not end")
    if kind != "authorized_user":
        return Finding("key", False, "it is neither a service account's nor an authorised user's")
    since, until = login.key.get("consent_at"), login.key.get("consent_ends_at")
    if until and (ends_at := datetime.fromisoformat(until)) - now < TEST_CONSENT:
        return Finding(
            "key",
            False,
            f"the person's consent ends at {ends_at:%Y-%m-%d %H:%M} UTC, for the app is in state "
            "'testing': publish it (Google console, OAuth consent screen), then `clinic drive "
            "authorize` again",
        )
    if not since:
        return Finding("key", True, "a person's consent; the file does not say how old it is")
    days = (now - datetime.fromisoformat(since)) / timedelta(days=1)
    return Finding("key", True, f"a person's consent, {days:.0f} days old; no end is known")


def _space(vault: DriveVault, _folder: str) -> Finding:
    space = vault.space()
    used = f"{space.used_bytes / 1000**3:.2f} GB used"
    if vault.is_shared_drive:
        return Finding(
            "space",
            True,
            f"{used} by what lies in this folder; how much is left is not known, for Google tells "
            "it of no shared drive. Workspace's administrators see it (Admin console, Storage)",
        )
    if space.limit_bytes is None:
        return Finding("space", True, f"{used}; Drive names no limit for this account")
    left = space.limit_bytes - space.used_bytes
    text = f"{used}, {left / 1000**3:.2f} GB left of {space.limit_bytes / 1000**3:.2f} GB"
    return Finding("space", left > 0, text)


def _write(vault: DriveVault, folder: str) -> Finding:
    was_there = vault.has_root()
    content = f"clinic drive check, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / _NAME
        path.write_bytes(content)
        stored = vault.upload(
            path,
            name=_NAME,
            folders=(),
            sha256=hashlib.sha256(content).hexdigest(),
            content_type="text/plain",
            properties={},
            reserved_id=vault.reserve(),
        )
    try:
        is_same = vault.read(stored.file_id, 1000) == content
    finally:
        vault.trash(stored.file_id)
    made = (
        ""
        if was_there
        else ". The folder was not there, and is made. If anything was kept in it, take the old "
        "one out of Drive's trash, where it lies for 30 days, and remove the new one"
    )
    if not is_same:
        return Finding(
            "folder",
            False,
            f"a small file was stored in {folder}, and other bytes were read back. Is something "
            "between here and Google that changes answers?",
        )
    return Finding(
        "folder", True, f"a small file was stored in {folder}, read back, put into the trash{made}"
    )
