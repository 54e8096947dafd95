"""The errors this project raises. Whoever catches one decides only: try again, or tell a person.

::

    ClinicError
    ├── TransientError   the same call may succeed later; retried, with a limit
    │   └── NotYetError  what it works on was never there: a new installation, not a fault
    └── PermanentError   the same call cannot succeed; a person has to change something
        └── RefusedError   the database refused a value: one bad row, not a broken system

Every message says what was being done, what came back, and what to do about it. No message holds
a password, a key, or the traceback that another system sent.
"""

from __future__ import annotations


class ClinicError(Exception):
    """Base class of every error raised by ``clinic``."""


class TransientError(ClinicError):
    """Trying the same thing again later could succeed."""


class NotYetError(TransientError):
    """What the call works on has never been there; it comes by itself on a new installation."""


class PermanentError(ClinicError):
    """Trying the same thing again cannot succeed; a person has to change something."""


class RefusedError(PermanentError):
    """The database refused a value. The transaction is lost up to its last savepoint."""
