"""The cursor: how far a reader has come.

Opaque to readers, safe in a URL, and it knows when it was damaged. It is a snapshot: the reader has
seen every change of the transactions that had ended when it was taken. Between two pages of one
reading it also holds the snapshot read up to (`until`) and the last outbox row handed out.
"""

import base64
import binascii
import hashlib
import re
import zlib
from typing import NamedTuple

from .snapshot import XID_LIMIT, Snapshot

_VERSION = "1"
_MAX_LENGTH = 32_768  # characters; 1,500 transactions under way would need as much
_ALPHABET = re.compile(r"[A-Za-z0-9_-]+")
_EPOCH = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"\d{1,20}")


class CursorError(ValueError):
    """The text is not a cursor that this feed gave out."""


class Cursor(NamedTuple):
    """How far a reader has come.

    Attributes:
        epoch: which life of the database the transaction ids belong to (see `epoch_of`).
        since: everything this snapshot sees was handed out.
        until: set between two pages of one reading: what the reading goes up to.
        xid: with `until`: transaction id of the last outbox row handed out, else 0.
        row_id: with `until`: id of that row, else 0.
    """

    epoch: str
    since: Snapshot
    until: Snapshot | None = None
    xid: int = 0
    row_id: int = 0

    def encode(self):
        """Return the cursor as text: letters, digits, `-` and `_`."""
        parts = [_VERSION, self.epoch, str(self.since)]
        if self.until is not None:
            parts += [str(self.until), str(self.xid), str(self.row_id)]
        payload = "|".join(parts).encode()
        # Half a list of transaction ids is a list too: without a checksum a cut cursor would skip
        # changes.
        checksum = zlib.crc32(payload).to_bytes(4, "big")
        return base64.urlsafe_b64encode(checksum + payload).decode().rstrip("=")

    @classmethod
    def decode(cls, text):
        """Read what `encode` wrote.

        Raises:
            CursorError: the text is anything else.
        """
        if not isinstance(text, str) or len(text) > _MAX_LENGTH or not _ALPHABET.fullmatch(text):
            raise CursorError("not a cursor of this feed")
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            checksum, payload = raw[:4], raw[4:]
            if base64.urlsafe_b64encode(raw).decode().rstrip("=") != text:
                raise CursorError("the cursor is damaged")  # in bits that decoding leaves out
            if zlib.crc32(payload).to_bytes(4, "big") != checksum:
                raise CursorError("the cursor is damaged")
            version, epoch, since, *reading = payload.decode("ascii").split("|")
            if version != _VERSION or not _EPOCH.fullmatch(epoch) or len(reading) not in {0, 3}:
                raise CursorError("not a cursor of this feed")
            if not reading:
                return cls(epoch, Snapshot.parse(since))
            if not (_NUMBER.fullmatch(reading[1]) and _NUMBER.fullmatch(reading[2])):
                raise CursorError("not a cursor of this feed")
            xid, row_id = int(reading[1]), int(reading[2])
            if xid >= XID_LIMIT or row_id >= 2**63:
                raise CursorError("not a cursor of this feed")
            return cls(epoch, Snapshot.parse(since), Snapshot.parse(reading[0]), xid, row_id)
        except CursorError:
            raise
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise CursorError("not a cursor of this feed") from error


def epoch_of(identity):
    """Shorten what identifies a database's life (uuid, cluster, ...) to 16 hexadecimal digits."""
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
