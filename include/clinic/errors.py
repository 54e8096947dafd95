"""The errors this project raises. Whoever catches one decides only: try again, or tell a person.

::

    ClinicError
    ├── TransientError   the same call may succeed later; retried, with a limit
    │   ├── NotYetError  what it works on was never there: a new installation, not a fault
    │   └── AwayError    what it needs serves nobody just now: another call would fare no better
    └── PermanentError   the same call cannot succeed; a person has to change something
        ├── RefusedError   the database refused a value: one bad row, not a broken system
        └── ParkError      one message cannot be processed; it is set aside, the queue goes on

Every message says what was being done, what came back, and what to do about it. No message holds
a password, a key, or the traceback that another system sent.
"""

from __future__ import annotations


class ClinicError(Exception):
    """Base class of every error raised by ``clinic``."""


class TransientError(ClinicError):
    """Trying the same thing again later could succeed.

    Args:
        message: What was being done, what came back, what to do.
        retry_after_s: How long the other side asked us to wait; None when it did not say.
    """

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotYetError(TransientError):
    """What the call works on has never been there; it comes by itself on a new installation."""


class AwayError(TransientError):
    """The other side serves nobody just now: down, full, or it refuses our login.

    Args:
        reason: A code of :class:`clinic.documents.reasons.WaitReason`.
        message: What was being done, what came back, what to do.
        retry_after_s: How long the other side asked us to wait; None when it did not say.
    """

    def __init__(self, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.reason = reason


class PermanentError(ClinicError):
    """Trying the same thing again cannot succeed; a person has to change something."""


class RefusedError(PermanentError):
    """The database refused a value. The transaction is lost up to its last savepoint."""


class ParkError(PermanentError):
    """One message cannot be processed, however often it is tried.

    Args:
        reason: A code of :class:`clinic.documents.reasons.ParkReason`.
        message: The sentence that a person reads.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
