"""What backups ask of the place that keeps them: :class:`clinic.clients.drive_vault.DriveVault`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class VaultFile:
    """A file in the vault. ``sha256`` is what the vault itself counted; None where it does not."""

    file_id: str
    name: str
    url: str
    size_bytes: int
    sha256: str | None
    created_at: datetime
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Space:
    """How full the vault is; ``limit_bytes`` is None where there is no limit to be known."""

    used_bytes: int
    limit_bytes: int | None


class Vault(Protocol):
    """A place that keeps backups. Errors as for document stores: transient or permanent."""

    @property
    def name(self) -> str:
        """What people are told: ``drive``."""
        ...

    def reserve(self) -> str:
        """Return an id to upload one file under, so that a repeat makes no second file."""
        ...

    def upload(
        self,
        path: Path,
        *,
        name: str,
        folders: Sequence[str],
        sha256: str,
        content_type: str,
        properties: Mapping[str, str],
        reserved_id: str,
        session_uri: str | None = None,
        on_progress: Callable[[str | None, int], None] | None = None,
    ) -> VaultFile:
        """Upload a file and compare what arrived; done again with one id, it is there once.

        Args:
            path: The file; it does not change meanwhile.
            name: What it is called there.
            folders: Below the vault's root, outermost first; made where they are missing.
            sha256: Of its content.
            content_type: Its media type.
            properties: Kept with it, and found again by :meth:`files`.
            reserved_id: From :meth:`reserve`.
            session_uri: Where an earlier process's upload of this file stood. A secret.
            on_progress: Told the session's address, to keep it, and the bytes that are there.

        Raises:
            TransientError: Trying again may help; what arrived damaged is in the trash by then.
            PermanentError: Another file has this id.
        """
        ...

    def download(
        self,
        file_id: str,
        sink: Path,
        *,
        size_bytes: int,
        sha256: str,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        """Download a file, going on after the bytes that ``sink`` has; compare its sum.

        Raises:
            TransientError: The connection stayed broken. ``sink`` has what came.
            PermanentError: The file is gone, or its bytes are not those of ``sha256``; ``sink`` is
                removed then.
        """
        ...

    def read(self, file_id: str, max_bytes: int) -> bytes:
        """Return a small file's content."""
        ...

    def files(self) -> Sequence[VaultFile]:
        """Return every backup's files below the root, what is in the trash left out."""
        ...

    def get(self, file_id: str) -> VaultFile | None:
        """Return a file; None where it is gone, or in the trash."""
        ...

    def trash(self, file_id: str) -> None:
        """Put a file into the trash, from where a person can take it back. Gone is fine."""
        ...

    def space(self) -> Space:
        """Return how full it is."""
        ...

    def check(self) -> str:
        """Log in, and say who is logged in and where."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
