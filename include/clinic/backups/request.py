"""Who asked for a backup, and for which: by the button in Odoo, by hand in Airflow, or nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from clinic.backups.model import BackupKind
from clinic.errors import PermanentError

SCHEDULE: Final = "schedule"


class Request(BaseModel):
    """What is asked for. Its JSON is the message in ``backup_requests_queue``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: UUID | None = None
    """What Odoo calls the request; None where nobody asked there."""
    kind: BackupKind = BackupKind.FULL
    note: Annotated[str, StringConstraints(max_length=200)] = ""
    requested_by: str = Field(SCHEDULE, min_length=1, max_length=200)


def read_messages(payloads: Iterable[Mapping[str, Any]]) -> Request:
    """Return what the messages of one run ask for, oldest first: one backup stands for them all.

    Args:
        payloads: As the provider ``rabbitmq`` gives them: ``body`` is the message's text.

    Raises:
        PermanentError: None of them is a request.
    """
    requests, problem = [], "there is none"
    for payload in payloads:
        try:
            requests.append(Request.model_validate_json(payload.get("body") or ""))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            problem = f"{'.'.join(map(str, found['loc'])) or 'the whole'}: {found['msg']}"
    if not requests:
        raise PermanentError(
            f"Reading who asked for this backup: the message is no request ({problem}). Nothing "
            "was backed up. Ask again in Odoo; should that end like this too, Odoo's addon "
            "clinic_backups is of another version than this one."
        )
    newest = requests[-1]
    if len({each.kind for each in requests}) == 1:
        return newest
    return newest.model_copy(update={"kind": BackupKind.FULL})
