"""Google Drive as a vault for backups: files of gigabytes, compared at both ends.

An upload goes on where a killed process stopped, and so does a download; memory holds one chunk.

Source: https://developers.google.com/workspace/drive/api/guides/manage-downloads
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

from clinic.backups.vault import Space, VaultFile
from clinic.clients.drive_files import (
    FILE_FIELDS,
    FOLDER,
    GOOGLE,
    DriveFiles,
    has_properties,
    is_equal,
    quoted,
)
from clinic.clients.drive_upload import (
    ConflictError,
    DriveApi,
    Json,
    MissingError,
    NeedsPersonError,
    Patience,
    ResumableUpload,
    Resume,
)
from clinic.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

CHUNK: Final = 16 * 1024**2  # twice of it is held while a failed one waits to be sent again
_BLOCK: Final = 128 * 1024  # what is lost when a connection breaks
_FOLDERS_A_QUERY: Final = 20


class DriveVault:
    """Keeps backups in one account's Drive, or in a shared drive.

    Args:
        session: An authorised session.
        root_folder: The folder below which everything goes, ``Clinica/Copias``; made if needed.
        drive_id: The shared drive; None is the account's own.
        endpoint: The API's address.
        patience_s: How long it waits for Drive without any progress.
        chunk_bytes: How much is sent, and held in memory, at once.
        sleep: What waits; for tests.
    """

    name = "drive"

    def __init__(
        self,
        session: AuthorizedSession,
        root_folder: str,
        *,
        drive_id: str | None = None,
        endpoint: str = GOOGLE,
        patience_s: float = 300,
        chunk_bytes: int = CHUNK,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = DriveApi(session, endpoint)
        self._files = DriveFiles(self._api, root_folder, drive_id)
        self._patience_s = patience_s
        self._chunk_bytes = chunk_bytes
        self._sleep = sleep

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def reserve(self) -> str:
        """Return an id to upload one file under, so that a repeat makes no second file."""
        return self._files.new_id(self._patience())

    def check(self) -> str:
        """Log in; say who and where, or what is missing."""
        return self._files.check()

    # Upload

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
        """Upload a file and compare what arrived; see :class:`clinic.backups.vault.Vault`.

        The file's id is another than `reserved_id` where that one was spent: by a person who
        deleted the file, or by a damaged arrival that is in the trash.
        """
        patience, trouble = self._patience(), ""
        size_bytes = path.stat().st_size
        resume = Resume(session_uri)
        notify = on_progress or (lambda _uri, _sent: None)
        metadata: Json = {
            "id": reserved_id,
            "name": name,
            "mimeType": content_type,
            "appProperties": dict(properties),
        }
        for _ in range(3):
            try:
                metadata["parents"] = [self._files.folder(folders, patience)]
                file = ResumableUpload(self._api, path, chunk_bytes=self._chunk_bytes).run(
                    metadata,
                    patience,
                    fields=FILE_FIELDS,
                    resume=resume,
                    on_progress=lambda state: notify(state.session_uri, state.sent_bytes),
                )
                is_good = is_equal(file, path, size_bytes, sha256)
                if is_good and file["trashed"]:  # with the folder that it was sent to
                    self._files.forget(folders)
                    file = self._files.move(file, folders, patience)
                if is_good and not file["trashed"]:
                    return _as_vault_file(file)
                resume.session_uri, resume.sent_bytes = None, 0
                notify(None, 0)
                if not is_good and not file["trashed"]:
                    self._files.trash(file["id"], patience, "a damaged file")
                    raise TransientError(
                        f"Uploading {name} to Drive: what arrived is not what was sent (checksum). "
                        "It is in Drive's trash now, and is sent again at the next try."
                    )
                metadata["id"] = self._files.new_id(patience)
            except ConflictError:
                if found := self._uploaded(metadata, path, size_bytes, sha256, patience):
                    return found
                metadata["id"] = self._files.new_id(patience)
            except MissingError as error:
                trouble = str(error)
                self._files.forget(folders)
                patience.pause(error)
            resume.session_uri, resume.sent_bytes = None, 0
        raise TransientError(
            f"Uploading {name} to Drive: the place for it is not there, or disappears again and "
            f"again. {trouble}"
        )

    def _uploaded(
        self, metadata: Json, path: Path, size_bytes: int, sha256: str, patience: Patience
    ) -> VaultFile | None:
        """Return the file that has the id already, or that an earlier try sent under another."""
        found = self._files.get(metadata["id"], patience)
        if found and not found["trashed"]:
            if is_equal(found, path, size_bytes, sha256):
                return _as_vault_file(found)
            raise PermanentError(
                f"Uploading {metadata['name']} to Drive: file {found['id']} "
                f"({found['name']}) has its id, with other content. Nothing was overwritten: look "
                "at both, remove the wrong one, and take the backup again."
            )
        # A person deleted it, or we did because it was damaged: the id is spent.
        query = (
            f"name = {quoted(metadata['name'])} and {has_properties(metadata['appProperties'])} "
            "and trashed = false"
        )
        for other in self._files.find(query, FILE_FIELDS, patience):
            if is_equal(other, path, size_bytes, sha256):
                return _as_vault_file(other)
        return None

    # Download

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
        patience = self._patience()
        notify = on_progress or (lambda _there: None)
        try:
            for _ in range(2):
                self._compare(file_id, size_bytes, sha256, patience)
                self._fetch(file_id, sink, size_bytes, patience, notify)
                with sink.open("rb") as content:
                    if hashlib.file_digest(content, "sha256").hexdigest() == sha256:
                        return
                # Drive's own sum is right: damaged on the way, or by who was killed. Once more.
                sink.unlink()
        except PermanentError:
            sink.unlink(missing_ok=True)
            raise
        raise PermanentError(
            f"Downloading file {file_id} from Drive: twice what came is not what was stored "
            "(checksum), though Drive's own sum is right. Is this machine's disk or memory sound? "
            "Try on another, or restore another backup."
        )

    def _compare(self, file_id: str, size_bytes: int, sha256: str, patience: Patience) -> None:
        """Compare what Drive says about a file, before anything is downloaded."""
        file = self._files.get(file_id, patience)
        if file is None:
            raise PermanentError(_gone(file_id))
        there = file.get("sha256Checksum", sha256)
        if file.get("size") != str(size_bytes) or there != sha256:
            raise PermanentError(
                f"Downloading {file['name']} from Drive: it is damaged, or somebody replaced it. "
                f"It has {file.get('size')} bytes and the sum {there}; {size_bytes} bytes and "
                f"{sha256} were stored. Restore another backup, and look in Drive whether it has "
                "an earlier version of this file ('Manage versions')."
            )

    def _fetch(
        self,
        file_id: str,
        sink: Path,
        size_bytes: int,
        patience: Patience,
        notify: Callable[[int], None],
    ) -> None:
        """Bring the rest of a file; whatever `sink` has is taken for its beginning."""
        with sink.open("ab") as file:
            if file.tell() > size_bytes:
                file.truncate(0)
            while (there := file.seek(0, 2)) < size_bytes:
                try:
                    with self._media(file_id, there) as answer:
                        said = answer.headers.get("Content-Range", "")
                        if there and answer.status_code != 206:  # all of it: Range was not heeded
                            file.truncate(0)
                            file.seek(0)
                        elif there and not said.endswith(f"/{size_bytes}"):
                            raise PermanentError(
                                f"Downloading file {file_id} from Drive: it was replaced while it "
                                "was downloaded. Restore another backup."
                            )
                        for block in answer.iter_content(_BLOCK):
                            file.write(block)
                            patience.progress()
                            notify(file.tell())
                        if file.tell() == there:
                            raise TransientError(
                                f"Downloading file {file_id} from Drive: nothing came."
                            )
                except requests.RequestException as error:
                    patience.pause(
                        TransientError(
                            f"Downloading file {file_id} from Drive: the connection broke "
                            f"({type(error).__name__}); {file.tell()} of {size_bytes} bytes are "
                            "here, and the next try goes on after them."
                        )
                    )
                except MissingError:
                    raise PermanentError(_gone(file_id)) from None
                except NeedsPersonError:
                    raise
                except TransientError as error:
                    patience.pause(error)

    @contextlib.contextmanager
    def _media(self, file_id: str, begin: int) -> Iterator[requests.Response]:
        answer = self._api.request(
            f"Downloading file {file_id} from Drive",
            "GET",
            self._api.url(f"/drive/v3/files/{file_id}"),
            good=(200, 206),
            params={"alt": "media", "supportsAllDrives": "true"},
            headers={"Accept-Encoding": "identity"}
            | ({"Range": f"bytes={begin}-"} if begin else {}),
            stream=True,
        )
        with contextlib.closing(answer):
            yield answer

    def read(self, file_id: str, max_bytes: int) -> bytes:
        """Return a small file's content.

        Raises:
            TransientError: Drive, or the way there, failed for now.
            PermanentError: It is gone, or is not small.
        """
        patience = self._patience()
        while True:
            found = bytearray()
            try:
                with self._media(file_id, 0) as answer:
                    for block in answer.iter_content(64 * 1024):
                        found += block
                        if len(found) > max_bytes:
                            raise PermanentError(
                                f"Reading file {file_id} from Drive: it has more than {max_bytes} "
                                "bytes, so that it is not what it should be."
                            )
                return bytes(found)
            except requests.RequestException as error:
                patience.pause(
                    TransientError(
                        f"Reading file {file_id} from Drive: the connection broke "
                        f"({type(error).__name__})."
                    )
                )
            except MissingError:
                raise PermanentError(_gone(file_id)) from None
            except NeedsPersonError:
                raise
            except TransientError as error:
                patience.pause(error)

    # What is there

    def files(self) -> Sequence[VaultFile]:
        """Return every file below the root, folders and what is in the trash left out.

        What is not a backup's has no properties of ours: a person put it there.
        """
        patience = self._patience()
        root_id = self._files.find_folder(patience)
        found: list[VaultFile] = []
        seen: set[str] = set()
        folders = [root_id] if root_id else []
        while folders:
            some, folders = folders[:_FOLDERS_A_QUERY], folders[_FOLDERS_A_QUERY:]
            seen.update(some)
            parents = " or ".join(f"{quoted(one)} in parents" for one in some)
            fields = f"{FILE_FIELDS},mimeType"
            for one in self._files.find(f"({parents}) and trashed = false", fields, patience):
                if one["mimeType"] != FOLDER:
                    found.append(_as_vault_file(one))
                elif one["id"] not in seen:
                    folders.append(one["id"])
            patience.progress()
        return found

    def get(self, file_id: str) -> VaultFile | None:
        """Return a file; None where it is gone, or in the trash."""
        found = self._files.get(file_id, self._patience())
        return None if found is None or found["trashed"] else _as_vault_file(found)

    def trash(self, file_id: str) -> None:
        """Put a file into the trash, from where a person can take it back. Gone is fine."""
        with contextlib.suppress(MissingError):
            self._files.trash(file_id, self._patience(), "a backup's file")

    @property
    def is_shared_drive(self) -> bool:
        """Whether it lies in a shared drive, of which Google tells nobody the space."""
        return self._files.drive_id is not None

    def has_root(self) -> bool:
        """Whether the folder below which everything goes is there, and not in the trash."""
        return self._files.find_folder(self._patience()) is not None

    def space(self) -> Space:
        """Return how full it is. Of a shared drive only our own files can be counted."""
        if self._files.drive_id:
            return Space(sum(file.size_bytes for file in self.files()), None)
        quota = self._api.patiently(
            self._patience(),
            "Asking Drive for the space that is left",
            "GET",
            "/drive/v3/about",
            params={"fields": "storageQuota(limit,usage)"},
        )["storageQuota"]
        limit = quota.get("limit")
        return Space(int(quota["usage"]), None if limit is None else int(limit))

    def _patience(self) -> Patience:
        return Patience(self._patience_s, self._sleep)


def _gone(file_id: str) -> str:
    return (
        f"Downloading file {file_id} from Drive: it is not there any more, or not for this "
        "account. Look in Drive's trash; else restore another backup."
    )


def _as_vault_file(file: Json) -> VaultFile:
    return VaultFile(
        file_id=file["id"],
        name=file["name"],
        url=file["webViewLink"],
        size_bytes=int(file.get("size", 0)),  # what is Google's own format has none
        sha256=file.get("sha256Checksum"),
        created_at=datetime.fromisoformat(file["createdTime"]),
        properties=file.get("appProperties", {}),
    )
