"""How backups are made and kept: a setting that a data engineer changes in Airflow."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import pyrage
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from clinic.errors import PermanentError

VARIABLE: Final = "clinic_backup_settings"
_EXAMPLE: Final = '{"recipients": ["age1…"], "folder": "Clinica/Copias"}'


def _public_key(text: str) -> str:
    """Return it if it is one: encrypted for a mistyped one, nobody could open a backup."""
    try:
        pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        # Not shown: it may be the private key.
        raise ValueError(
            "it is no public key of age. Copy it from the line `# public key: age1…` of the key's "
            "file, or from what `clinic backup new-key` printed"
        ) from None
    return text


type Recipient = Annotated[str, AfterValidator(_public_key)]


class Retention(BaseModel):
    """How many are kept of each age: grandfather, father, son. Zero keeps none for that reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    last: int = Field(3, ge=1)
    """The newest so many, whatever their age."""
    daily: int = Field(14, ge=0)
    weekly: int = Field(8, ge=0)
    monthly: int = Field(12, ge=0)
    yearly: int = Field(3, ge=0)


class BackupSettings(BaseModel):
    """What ``clinic_backup_settings`` may say; what it leaves out is as it is here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipients: tuple[Recipient, ...] = Field(min_length=1)
    """Public keys (age) that archives are encrypted for. Their private keys are kept elsewhere."""
    source: Literal["postgres", "http"] = "postgres"
    vault_conn_id: str = Field("google_cloud_drive", min_length=1)
    folder: str = Field("Clinica/Copias", pattern=r"^[^/.]+(/[^/.]+)*$")
    retention: Retention = Retention()
    rpo_h: float = Field(26, gt=0)
    """The last good full backup is not older than this (recovery point objective)."""
    rto_h: float = Field(4, gt=0)
    """A restore takes no longer than this (recovery time objective)."""
    drill_max_age_d: float = Field(8, gt=0)
    """The last drill that went well is not older than this."""


def parse_settings(text: str | None) -> BackupSettings:
    """Read the Variable.

    Raises:
        PermanentError: It is not there, or is not such a setting; the error says what is wrong.
    """
    if not text:
        raise PermanentError(
            f"There is no Airflow Variable {VARIABLE}, so that nobody could open a backup. Set it "
            f"to at least {_EXAMPLE}; `clinic backup new-key` makes a pair of keys."
        )
    try:
        return BackupSettings.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        # That too few are left is no news where one was refused.
        found = [one for one in found if one["type"] != "too_short"] or found
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: "
            + problem["msg"].removeprefix("Value error, ")
            for problem in found[:3]
        )
        raise PermanentError(
            f"The Airflow Variable {VARIABLE} cannot be read: {problems}. Write it as {_EXAMPLE}"
        ) from error
