"""Google Drive as a document store: ``<root>/<year>/<month>/<type>/<file>``.

What it does so that a repeat stores nothing twice: the file is created under an id that Drive gave
out beforehand (``files.generateIds``), so that a second create answers 409, and the file carries
its document's id and revision in ``appProperties``, by which it is found when that id is spent.

Source: https://developers.google.com/workspace/drive/api/reference/rest/v3/files
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from clinic.clients.drive_files import (
    FILE_FIELDS,
    GOOGLE,
    DriveFiles,
    has_properties,
    is_equal,
)
from clinic.clients.drive_upload import (
    ConflictError,
    DriveApi,
    Json,
    MissingError,
    Patience,
    ResumableUpload,
    Resume,
    UnusableIdError,
)
from clinic.documents.reasons import ParkReason, WaitReason
from clinic.documents.store import Stored, Upload
from clinic.errors import AwayError, ParkError, PermanentError, TransientError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession


class DriveStore:
    """Stores documents in one account's Drive, or in a shared drive. Two threads may share it.

    Args:
        session: An authorised session.
        root_folder: The folder below which everything goes, ``Clinica/Documentos``; made if needed.
        drive_id: The shared drive; None is the account's own.
        endpoint: The API's address.
        account: Whatever tells this account from another, such as its connection's name.
        patience_s: How long one document may wait for Drive before it is left for later.
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
        account: str = "",
        patience_s: float = 60,
        chunk_bytes: int = 8 * 1024**2,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = DriveApi(session, endpoint)
        self._files = DriveFiles(self._api, root_folder, drive_id)
        self._place = " ".join(filter(None, (endpoint, drive_id, account)))
        self._patience_s = patience_s
        self._chunk_bytes = chunk_bytes
        self._sleep = sleep

    @property
    def place(self) -> str:
        """Address, shared drive and account."""
        return self._place

    def close(self) -> None:
        """Let go of the connections."""
        self._api.close()

    def reserve(self) -> str:
        """Return an id to create one file with."""
        return self._files.new_id(self._patience())

    def put(self, upload: Upload, resume: Resume | None = None) -> Stored:
        """Store a document; a repeat finds it.

        Args:
            upload: The document. Without a ``reserved_id`` it is still found by its properties.
            resume: Where a broken upload stood, kept up to date for a later process.

        Raises:
            TransientError: Drive, its folders or its space failed for now.
            ParkError: Another file is in its place, or Drive does not take the request.
        """
        try:
            return self._put(upload, self._patience(), resume)
        except ParkError:
            raise
        except PermanentError as error:
            raise ParkError(ParkReason.STORE_REFUSED, str(error)) from error

    def _put(self, upload: Upload, patience: Patience, resume: Resume | None) -> Stored:
        file_id = upload.reserved_id
        if file_id is None:
            if found := self._find(upload, patience):
                return self._as_stored(upload, found, created=False)
            file_id = self._files.new_id(patience)
        trouble = ""
        for _ in range(3):
            try:
                return self._create(upload, file_id, patience, resume)
            except ConflictError:
                found = self._files.get(file_id, patience)
                if found and not found["trashed"]:
                    return self._as_stored(upload, found, created=False)
                # A person deleted it, or we did because it was damaged: the id is spent.
                if found := self._find(upload, patience):
                    return self._as_stored(upload, found, created=False)
                file_id = self._files.new_id(patience)
            except UnusableIdError as error:  # of another account, or older than Drive remembers
                trouble = str(error)
                if found := self._find(upload, patience):
                    return self._as_stored(upload, found, created=False)
                file_id = self._files.new_id(patience)
            except MissingError as error:
                trouble = str(error)
                self._files.forget(upload.folders)
                patience.pause(error)
            if resume is not None:
                resume.session_uri, resume.sent_bytes = None, 0
        raise AwayError(
            WaitReason.STORE_NO_ACCESS,
            f"Storing {upload.stored_name} in Drive: the place for it is not there, or disappears "
            f"again and again. {trouble}",
        )

    def check(self) -> str:
        """Log in; say who and where, or what is missing.

        Raises:
            TransientError: There is no token, no space, no shared drive.
        """
        return self._files.check()

    # One file

    def _create(
        self, upload: Upload, file_id: str, patience: Patience, resume: Resume | None
    ) -> Stored:
        metadata: Json = {
            "id": file_id,
            "name": upload.stored_name,
            "mimeType": upload.content_type,
            "parents": [self._files.folder(upload.folders, patience)],
            "appProperties": _properties(upload),
        }
        transfer = ResumableUpload(self._api, upload.path, chunk_bytes=self._chunk_bytes)
        answer = transfer.run(metadata, patience, fields=FILE_FIELDS, resume=resume)
        if not is_equal(answer, upload.path, upload.size_bytes, upload.sha256):
            self._files.trash(answer["id"], patience, "a damaged file")
            raise TransientError(
                f"Storing {upload.stored_name} in Drive: what arrived is not what was sent "
                "(checksum). It is in Drive's trash now, and is sent again."
            )
        if answer["trashed"]:  # the folder is in the trash, and what goes into it with it
            self._files.forget(upload.folders)
            answer = self._files.move(answer, upload.folders, patience)
        return self._as_stored(upload, answer, created=True)

    def _as_stored(self, upload: Upload, file: Json, *, created: bool) -> Stored:
        if not is_equal(file, upload.path, upload.size_bytes, upload.sha256):
            raise ParkError(
                ParkReason.STORE_REFUSED,
                f"Storing {upload.stored_name} in Drive: file {file['id']} is in its place, with "
                "other content. Nothing was overwritten: look at both, and remove the wrong one.",
            )
        return Stored(
            store=self.name,
            file_id=file["id"],
            url=file["webViewLink"],
            size_bytes=int(file["size"]),
            sha256=upload.sha256,
            created=created,
        )

    def _find(self, upload: Upload, patience: Patience) -> Json | None:
        """Return the document's file by its properties; the oldest, should there be several."""
        known = {key: value for key, value in _properties(upload).items() if key != "clinic_sha256"}
        query = f"{has_properties(known)} and trashed = false"
        found = self._files.find(query, FILE_FIELDS, patience)
        return found[0] if found else None

    def _patience(self) -> Patience:
        return Patience(self._patience_s, self._sleep)


def _properties(upload: Upload) -> dict[str, str]:
    return {
        "clinic_document": upload.document_id,
        "clinic_revision": str(upload.revision),
        "clinic_sha256": upload.sha256,
    }
