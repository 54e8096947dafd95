"""The lines of one stream."""

import json
import logging
import time
from typing import NamedTuple

import psycopg2
from odoo.sql_db import PoolError

from .hub import Hub
from .listener import Heard

_logger = logging.getLogger(__name__)

HEARTBEAT_S = 20  # an empty page, when there was no other for so long
LIFE_S = 600
PATIENCE_S = 60  # how long the database may be away
RETRY_S = 1


class Reading(NamedTuple):
    """What one stream reads.

    Attributes:
        cursor: where it begins, as text; None to be told to load everything.
        limit: rows a page.
        entities: the feed's entities.
        group_id: id of the readers' group.
    """

    cursor: str | None
    limit: int
    entities: tuple
    group_id: int


def lines(hub, listener, reading):
    """Yield pages as they come, a line each.

    Ends after ten minutes, at the client's end, with the access of its key, after a page that says
    reset, or when the database stays away. No database cursor is held between two pages. After
    PostgreSQL's restart the hub wakes the stream, which reads on from where it was.

    Args:
        hub: the database's `Hub`, which the listener has joined: a commit after that rings, so
            nothing falls between the first page and the wait.
        listener: the stream's `Listener`; closed at the end.
        reading: what to read.
    """
    cursor = reading.cursor
    ends_at = time.monotonic() + LIFE_S
    beat_at = (
        time.monotonic()
    )  # the first page goes out even when it is empty: the client sees that it is heard
    away_since = None
    try:
        while not Hub.stopping and time.monotonic() < ends_at:
            page = None
            try:
                page = hub.next_page(
                    listener, cursor, reading.limit, reading.entities, reading.group_id
                )
                if page is None:
                    _logger.info(
                        "clinic_change: a stream ends, its API key no longer opens the feed"
                    )
                    return
                away_since = None
                cursor = page.cursor
            except (psycopg2.OperationalError, psycopg2.InterfaceError, PoolError) as error:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    _logger.warning(
                        "clinic_change: a stream ends, the database stays away (%s)", error
                    )
                    return
            now = time.monotonic()
            if page is not None and (not page.empty or page.reset or now >= beat_at):
                line = page.line
            elif now >= beat_at and cursor:
                line = _still_there(cursor)
            else:
                line = None
            if line:
                if not listener.can_write():
                    _logger.info("clinic_change: a stream ends, its client takes nothing")
                    listener.hang_up()
                    return
                yield line
                beat_at = time.monotonic() + HEARTBEAT_S
            if page is not None and page.reset:
                return
            if page is not None and page.more:
                continue
            timeout_s = RETRY_S if page is None else beat_at - time.monotonic()
            if listener.wait(min(timeout_s, ends_at - time.monotonic())) is Heard.GONE:
                return
    finally:
        hub.leave(listener)


def _still_there(cursor):
    # Nothing could be read: there may be more, and who reads this must not call itself up to date.
    page = {"cursor": cursor, "changes": [], "more": True, "reset": False, "reason": None}
    return json.dumps(page, separators=(",", ":")).encode() + b"\n"
