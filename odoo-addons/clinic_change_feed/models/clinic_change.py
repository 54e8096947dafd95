"""The outbox as a model, and the two calls by which JSON-2 reads it."""

import logging

from odoo import api, fields, models
from odoo.exceptions import UserError
from odoo.http import request

from ..feed.cursor import Cursor, CursorError
from ..feed.entities import ENTITIES
from ..feed.page import MAX_LIMIT, read_page, read_state
from ..feed.sql import execute, run
from ..stream.listener import tune

_logger = logging.getLogger(__name__)

KEEP_DAYS = 7


class ClinicChange(models.Model):
    """What changed, as SQL triggers saw it. Nothing is written through the ORM."""

    _name = "clinic.change"
    _description = "Clinic change feed"
    _auto = False  # xid8, "char" and jsonb are no types of the ORM: sql/outbox.sql makes the table
    _log_access = False
    _order = "id"

    _prune_batch = 20_000

    entity = fields.Char(readonly=True)
    res_id = fields.Integer("Record", readonly=True)
    at = fields.Datetime("Changed on", readonly=True)

    def init(self):
        """Make the tables and triggers; run at install and at each update of the addon."""
        for path in ("outbox.sql", "watch.sql", "entities.sql", "access.sql"):
            run(self.env.cr, path)

    @api.model
    def _entities(self):
        """Return the entities of the feed, in their order. Extend it to register another."""
        return ENTITIES

    @api.model
    def entities(self):
        """Return the names of the feed's entities, what is referred to first.

        Raises:
            AccessError: the user is not a reader of the feed.
        """
        self.check_access("read")
        return [entity.name for entity in self._entities()]

    @api.model
    def feed(self, cursor=None, limit=1000):
        """Return the next page of changes after a cursor.

        Args:
            cursor: the cursor of the page before; None to begin.
            limit: 1 to 10,000 changes.

        Raises:
            AccessError: the user is not a reader of the feed.
            UserError: the cursor or the limit is not valid (HTTP 422).
        """
        self.check_access("read")
        if request:
            tune(request.httprequest._HTTPRequest__environ.get("socket"))
        return read_page(
            self.env.cr, self._entities(), self._checked_cursor(cursor), self._checked_limit(limit)
        )

    @api.model
    def state(self, entity, after=None, limit=1000):
        """Return one stretch of the full state of an entity.

        Args:
            entity: its name.
            after: the `after` of the stretch before; None to begin.
            limit: 1 to 10,000 rows.

        Raises:
            AccessError: the user is not a reader of the feed.
            UserError: no such entity, or `after` or the limit is not valid (HTTP 422).
        """
        self.check_access("read")
        found = next((known for known in self._entities() if known.name == entity), None)
        if found is None:
            names = ", ".join(self.entities())
            raise UserError(
                self.env._(
                    "There is no entity %(name)r. There are: %(names)s", name=entity, names=names
                )
            )
        if after is not None and not isinstance(after, str):
            raise UserError(self.env._("`after` is the text that the answer before gave, or null"))
        try:
            return read_state(self.env.cr, found, after, self._checked_limit(limit))
        except ValueError as error:
            raise UserError(
                self.env._(
                    "`after` is not a key of %(entity)s: %(after).40r", entity=entity, after=after
                )
            ) from error

    @api.model
    def _checked_cursor(self, cursor):
        if cursor is None:
            return None
        try:
            return Cursor.decode(cursor)
        except CursorError as error:
            raise UserError(
                self.env._(
                    "The cursor cannot be read (%s). Pass back exactly what the last page gave, "
                    "or null to begin anew.",
                    error,
                )
            ) from error

    @api.model
    def _checked_limit(self, limit):
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_LIMIT:
            raise UserError(self.env._("`limit` is a whole number from 1 to %s", MAX_LIMIT))
        return limit

    @api.autovacuum
    def _gc_changes(self):
        """Delete changes that every cursor of the last seven days has seen, a batch a call.

        By their own time (`at`) this could not be right: a transaction may stay open for days and
        commit a row that is at once too old, or hold an id lower than what was pruned long ago, and
        then every new cursor, whose snapshot still names that transaction, would be told that it is
        too old, for ever.

        So each run leaves a mark: below `ended_below`, all transactions had ended. Of the marks
        that are seven days old the newest is the floor, and rows below it go. A snapshot's xmin
        never falls, so every cursor taken since that mark has xmin >= floor and misses nothing; one
        with a lower xmin is told to start anew. A transaction that stays open holds xmin, and with
        it the floor, where it is: the outbox grows until it ends, as PostgreSQL's own tables do,
        and its rows are kept for seven days after it.

        Returns:
            (rows deleted, whether more remain), which Odoo's vacuum understands as: call again.
        """
        cr = self.env.cr
        execute(cr, "prune/floor.sql", {"keep_days": KEEP_DAYS})
        execute(cr, "prune/mark.sql", {})
        deleted = execute(cr, "prune/rows.sql", {"batch": self._prune_batch})
        execute(cr, "prune/marks.sql", {})
        _logger.info("clinic_change: %d rows pruned", deleted)
        return deleted, deleted == self._prune_batch
