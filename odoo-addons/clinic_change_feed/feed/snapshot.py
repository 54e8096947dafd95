"""PostgreSQL's `pg_snapshot` in Python: which transactions had ended when it was taken.

https://www.postgresql.org/docs/17/functions-info.html#FUNCTIONS-PG-SNAPSHOT-PARTS
"""

import re
from itertools import pairwise
from typing import NamedTuple

_TEXT = re.compile(r"(\d{1,20}):(\d{1,20}):((?:\d{1,20},)*\d{1,20})?")
XID_LIMIT = 2**64


class Snapshot(NamedTuple):
    """A snapshot `xmin:xmax:xip`.

    Attributes:
        xmin: lowest transaction id that was still under way; all below had ended.
        xmax: first id that was not yet given out (to anything that had ended).
        under_way: ids in [xmin, xmax) that had not ended, ascending.
    """

    xmin: int
    xmax: int
    under_way: tuple[int, ...]

    @classmethod
    def parse(cls, text):
        """Read PostgreSQL's text form.

        Raises:
            ValueError: the text is not a snapshot that PostgreSQL could have given.
        """
        match = _TEXT.fullmatch(text)
        if not match:
            raise ValueError("not a snapshot")
        xmin, xmax = int(match[1]), int(match[2])
        under_way = tuple(int(xid) for xid in match[3].split(",")) if match[3] else ()
        ascending = all(a < b for a, b in pairwise(under_way))
        inside = all(xmin <= xid < xmax for xid in under_way)
        if not (0 < xmin <= xmax < XID_LIMIT and ascending and inside):
            raise ValueError("not a snapshot")
        return cls(xmin, xmax, under_way)

    def __str__(self):
        """Return PostgreSQL's text form."""
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.under_way))}"

    def sees(self, xid):
        """Tell whether the transaction had ended when the snapshot was taken."""
        return xid < self.xmax and xid not in self.under_way

    def covers(self, other):
        """Tell whether this one sees everything that another of the same database sees."""
        return self.xmax >= other.xmax and all(
            xid in other.under_way for xid in self.under_way if xid < other.xmax
        )
