"""Keys (age) of archives: new pairs, and those that only the weekly drill uses.

The private key of a person is never on a server. So that the drill can open the newest full backup
all the same, each is also encrypted for a key made for it alone, which is forgotten as soon as a
newer one is stored: who breaks into the server can read no more than the live database has.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from uuid import UUID

import pyrage

from clinic.errors import PermanentError

_SUFFIX = ".key"


def new_pair() -> tuple[str, str]:
    """Return a new private key (``AGE-SECRET-KEY-…``) and its public key (``age1…``)."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def public_key(identity: str) -> str:
    """Return the public key that belongs to a private key.

    Raises:
        PermanentError: It is no private key; the error does not quote it.
    """
    try:
        return str(pyrage.x25519.Identity.from_str(identity.strip()).to_public())
    except pyrage.IdentityError:
        raise PermanentError(
            "Reading a private key: it is not one of age's (AGE-SECRET-KEY-…). Take the whole line "
            "of the file that `clinic backup new-key` wrote."
        ) from None


class DrillKeys:
    """The keys that drills use, one file each, readable for their owner alone.

    Args:
        folder: Where they lie; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, backup_id: UUID) -> str:
        """Make a key for a backup and return its public key; asked again, it is the same key."""
        if known := self.identity(backup_id):
            return public_key(known)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity, recipient = new_pair()
        whole = self._file(backup_id)
        half = whole.with_suffix(".new")
        half.unlink(missing_ok=True)
        with os.fdopen(os.open(half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{identity}\n")
            file.flush()
            os.fsync(file.fileno())
        half.replace(whole)
        return recipient

    def identity(self, backup_id: UUID) -> str | None:
        """Return the private key made for a backup; None where it is forgotten."""
        try:
            return self._file(backup_id).read_text().strip()
        except FileNotFoundError:
            return None

    def keep_only(self, backup_ids: Collection[UUID]) -> None:
        """Forget every other key."""
        kept = {self._file(backup_id).name for backup_id in backup_ids}
        for file in self._folder.glob("*"):
            if file.suffix in {_SUFFIX, ".new"} and file.name not in kept:
                file.unlink(missing_ok=True)

    def _file(self, backup_id: UUID) -> Path:
        return self._folder / f"{backup_id}{_SUFFIX}"
