"""What the feed shows. Another addon adds its own by extending `clinic.change._entities`."""

import json
import re
from typing import NamedTuple

from .sql import MODULE, rows

_ID = re.compile(r"\d{1,10}")
_INT_LIMIT = 2**31


class Entity(NamedTuple):
    """One kind of thing whose newest state the feed hands out.

    Its changes reach the outbox by `clinic_change_watch(...)` (sql/watch.sql). Its state comes from
    the module's file `sql/state/<name>.sql`: a query whose column `id` is the entity's id and whose
    other columns are its values, with the parameters `limit` (integer or null), `after` and, for a
    single record `ids`, for a composite key `keys`. `ids` is an array of integers, `keys` a jsonb
    array of arrays of integers; null asks for all rows whose key is greater than `after` (an
    integer, or an array of integers), in the key's order.

    Attributes:
        name: what changes are called.
        module: the addon that holds the query.
        width: how many integers make the key; 1 for a record's id.
    """

    name: str
    module: str = MODULE
    width: int = 1

    def public_id(self, key):
        """Return the id as readers see it: an integer, or integers joined by colons.

        Args:
            key: the integers, as many as `width`.
        """
        return key[0] if self.width == 1 else ":".join(map(str, key))

    def parse_after(self, after):
        """Read an `after` that `load` gave out.

        Raises:
            ValueError: the text is not a key of this entity.
        """
        parts = after.split(":")
        if len(parts) != self.width or not all(_ID.fullmatch(part) for part in parts):
            raise ValueError("not a key of this entity")
        key = [int(part) for part in parts]
        if any(part >= _INT_LIMIT for part in key):
            raise ValueError("not a key of this entity")
        return key

    def load(self, cr, keys=None, after=None, limit=None):
        """Return the state of some keys, or of all after one, as {public id: values}, in the key's
        order.

        Args:
            cr: database cursor.
            keys: the keys asked for, each a sequence of `width` integers; None for all.
            after: only keys greater than this one, as `parse_after` returns it.
            limit: at most so many.
        """
        after = after or [0] * self.width
        if self.width == 1:
            asked = {"ids": keys and [key[0] for key in keys], "after": after[0]}
        else:
            asked = {"keys": keys and json.dumps(keys), "after": after}
        found = rows(cr, f"state/{self.name}.sql", {"limit": limit, **asked}, self.module)
        return {row.pop("id"): row for row in found}


# In the order in which they stand in a page, and in which a reader loads them: what is referred to
# comes first.
ENTITIES = (
    Entity("location"),
    Entity("product"),
    Entity("lot"),
    Entity("reorder_rule"),
    Entity("stock_level", width=3),
    Entity("movement"),
)
