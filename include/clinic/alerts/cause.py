"""What is behind a failed task, as its exception tells: failures of one cause are one outage.

Our errors' texts begin with what was being done, and to which system; see :mod:`clinic.errors`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

# Ours only, and not the other side's: these texts say what is known of themselves.
_OURS: Final = ("clinic.", "clinic_airflow.", "rabbitmq_provider.", "airflow.")

# What one process alone is told, although the system answers.
_ANSWERED: Final = re.compile(
    r"another (?:process|writer|notifier|drain)|refused a value|surrogate"
    r"|nothing was mirrored|connection that drained"
    r"|HTTP (?:400|404|409|410|413|415|422)\b"
    r"|other content|was stored and is gone|did not come back"
)

# In this order: a text about the mail server may name Odoo, where its addresses are put right.
_SYSTEMS: Final = (
    ("airflow", re.compile(r"\bAirflow's API server did not\b")),
    ("shared_db", re.compile(r"^Shared database\b")),
    ("mail", re.compile(r"^E-mail |\bmail server\b|\bsmtp_default\b")),
    ("broker", re.compile(r"RabbitMQ|\bbroker\b|rabbitmq_default")),
    ("drive", re.compile(r"\b(?:in|to|from|of) (?:Google )?Drive\b|\bDrive's\b|\bfrom Google\b")),
    ("nextcloud", re.compile(r"Nextcloud|WebDAV|is the server up, and its certificate good")),
    ("keycloak", re.compile(r"Keycloak|/admin/realms")),
    ("odoo", re.compile(r"^Odoo\b|\b(?:in|to|from) Odoo\b|\bOdoo's change feed\b|is Odoo up")),
)
_SYSTEM_TYPES: Final = (("broker", re.compile(r"^rabbitmq_provider\.|^(?:pika|aiormq)\.")),)

# Airflow's own server, which hands out connections and keeps the states of tasks.
_AIRFLOW: Final = re.compile(
    r"AirflowRuntimeError|ServerResponseError|API_SERVER_ERROR|GENERIC_ERROR"
)

_CHANGING: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+|\b[0-9a-f]{12,}\b|\d+")

KILLED: Final = "killed"
"""The process is gone and left no word: killed, out of memory, or its machine was switched off."""

DAG_FILE: Final = "dag_file"
"""Airflow cannot read a file of DAGs: whatever breaks one often breaks more."""


def cause_of(type_name: str, text: str) -> str:
    """Return the system that failed, else a name that the same error always has.

    >>> cause_of("clinic.errors.TransientError", "Odoo res.users.context_get: HTTP 502.")
    'odoo'

    Args:
        type_name: Of the exception, with its module.
        text: Of the exception.
    """
    is_ours = type_name.startswith(_OURS)
    if not _ANSWERED.search(text):
        for system, names in _SYSTEM_TYPES:
            if names.search(type_name) and not type_name.endswith("SettingsError"):
                return system
        for system, words in _SYSTEMS:
            if is_ours and words.search(text):
                return system
    if _AIRFLOW.search(f"{type_name} {text}"):
        return "airflow"
    same = _CHANGING.sub("#", text.lower())
    digest = hashlib.sha256(f"{type_name}\n{same}".encode()).hexdigest()[:8]
    return f"error/{type_name.rpartition('.')[2]}/{digest}"


def may_be_shown(type_name: str) -> bool:
    """Say whether the text of such an exception is ours, and so holds nothing of a patient.

    A library's text may quote the value it stumbled over.
    """
    return type_name.startswith(_OURS)
