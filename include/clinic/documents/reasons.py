"""Why a message waits or was parked: the codes in ``x-park-reason`` and in what Odoo is told."""

from __future__ import annotations

from enum import StrEnum


class WaitReason(StrEnum):
    """One code for each thing that a person, or time, mends: the message comes again by itself."""

    STORE_AWAY = "store_away"
    STORE_BUSY = "store_busy"
    STORE_FULL = "store_full"
    STORE_SIGN_IN = "store_sign_in"
    STORE_NO_ACCESS = "store_no_access"
    ODOO_AWAY = "odoo_away"
    ODOO_SIGN_IN = "odoo_sign_in"
    NO_ROOM = "no_room"
    TOO_SLOW = "too_slow"
    NOT_NOW = "not_now"


class ParkReason(StrEnum):
    """One code for each thing that trying again cannot mend."""

    NOT_JSON = "not_json"
    SCHEMA = "schema"
    TOO_LARGE = "too_large"
    BAD_PATH = "bad_path"
    FOREIGN_HOST = "foreign_host"
    UNKNOWN_TYPE = "unknown_type"
    GONE_IN_ODOO = "gone_in_odoo"
    WRONG_SIZE = "wrong_size"
    WRONG_HASH = "wrong_hash"
    WRONG_TYPE = "wrong_type"
    BROKEN_PDF = "broken_pdf"
    OTHER_CONTENT = "other_content"
    STORE_REFUSED = "store_refused"
    GAVE_UP = "gave_up"
    TOO_COSTLY = "too_costly"
    KILLED_THE_WORKER = "killed_the_worker"
