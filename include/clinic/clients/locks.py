"""The advisory locks of the shared database: one number for each piece of work that one does alone.

All of them stand here, so that a new one is not given a number that another has. (Restores lock on
Odoo's server by the target's name, see :mod:`clinic.clients.odoo_restore`.)
"""

from __future__ import annotations

from typing import Final

_CLINIC: Final = 0x636C_696E_6963_0000  # "clinic", and two bytes for which

MIGRATION_LOCK: Final = _CLINIC + 1
MIRROR_LOCK: Final = _CLINIC + 2
NOTIFIER_LOCK: Final = _CLINIC + 16
DRAIN_LOCKS: Final = {"invoice_queue": _CLINIC + 32, "medical_records_queue": _CLINIC + 33}
BACKUP_LOCK: Final = _CLINIC + 48
SENDER_LOCK: Final = _CLINIC + 64
