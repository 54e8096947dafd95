"""Which store each type of document goes to: a setting that a data engineer changes in Airflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from clinic.documents.message import TYPE_OF_KEY
from clinic.errors import PermanentError


class Place(BaseModel):
    """A store, by its Airflow connection, and the folder in it that documents go below."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conn_id: str = Field(min_length=1)
    folder: str = Field(min_length=1, max_length=200)

    @field_validator("folder")
    @classmethod
    def _is_below_the_root(cls, folder: str) -> str:
        parts = PurePosixPath(folder.strip("/")).parts
        if not parts or any(part in {".", ".."} or part != part.strip() for part in parts):
            raise ValueError("name a folder below the store's root, such as Clinica/Documentos")
        return "/".join(parts)


DEFAULT: Final[Mapping[str, Place]] = {
    "invoice": Place(conn_id="google_cloud_drive", folder="Clinica/Documentos"),
    "medical_record": Place(conn_id="nextcloud_default", folder="Clinica/Documentos"),
}
TYPE_OF_QUEUE: Final[Mapping[str, str]] = {
    "invoice_queue": "invoice",
    "medical_records_queue": "medical_record",
}
"""Queue -> the document type that comes in it."""

_SETTINGS: Final = TypeAdapter(dict[str, Place])


def parse_settings(text: str | None) -> dict[str, Place]:
    """Read the Variable ``clinic_document_stores``; what it does not name goes where it does now.

    Raises:
        PermanentError: It is not such a setting; the error says what is wrong.
    """
    try:
        chosen = _SETTINGS.validate_json(text) if text else {}
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:3]
        )
        example = json.dumps({name: place.model_dump() for name, place in DEFAULT.items()})
        raise PermanentError(
            f"The Airflow Variable clinic_document_stores cannot be read: {problems}. Write it as "
            f"{example}"
        ) from error
    if unknown := sorted(chosen.keys() - set(TYPE_OF_KEY.values())):
        raise PermanentError(
            f"The Airflow Variable clinic_document_stores names {', '.join(unknown)}; document "
            f"types are {', '.join(sorted(TYPE_OF_KEY.values()))}."
        )
    return {**DEFAULT, **chosen}
