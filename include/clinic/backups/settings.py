"""How backups are made and kept: a setting that a data engineer changes in Airflow."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from clinic.errors import PermanentError

VARIABLE: Final = "clinic_backup_settings"
_EXAMPLE: Final = '{"recipients": ["age1…"], "folder": "Clinica/Copias"}'

type Recipient = Annotated[str, StringConstraints(pattern=r"^age1[02-9ac-hj-np-z]{58}$")]


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
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'the whole'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_input=False)[:3]
        )
        raise PermanentError(
            f"The Airflow Variable {VARIABLE} cannot be read: {problems}. Write it as {_EXAMPLE}"
        ) from error
