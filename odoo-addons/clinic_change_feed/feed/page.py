"""Reading the feed: one page of changes after a cursor."""

from .cursor import Cursor, epoch_of
from .snapshot import Snapshot
from .sql import rows

MAX_LIMIT = 10_000


def read_page(cr, entities, cursor, limit, until=None):
    """Return the next page after a cursor.

    The transaction must be REPEATABLE READ, as all of Odoo's are: the snapshot read up to and the
    state of the changed records are then the same moment. A later page of the same reading may show
    a state newer than its `until`; the change that made it so comes again with the next reading.

    Args:
        cr: database cursor whose transaction has written nothing.
        entities: the entities to show, in the order of the page.
        cursor: a `Cursor`, or None to begin.
        limit: at most so many outbox rows are read, so a page holds at most so many changes.
        until: read up to this snapshot, taken before this transaction began, instead of the present
            one. Readers that are given the same one end at the same cursor, and can share the next
            page.

    Returns:
        A page: {"cursor", "changes", "more", "reset", "reason"}.
    """
    moment = rows(cr, "moment.sql", None)[0]
    _secure(cr, moment["unflushed"])
    now = Snapshot.parse(moment["snapshot"])
    epoch = epoch_of(moment["epoch"])
    reason = _reset_reason(cursor, epoch, now, int(moment["floor"] or 0))
    if reason:
        return _page(Cursor(epoch, now), reason=reason)
    return read_between(cr, entities, cursor, cursor.until or until or now, limit)


def read_between(cr, entities, cursor, until, limit):
    """Return the page of what one snapshot sees and the cursor's does not.

    Args:
        cr: database cursor.
        entities: the entities to show, in the order of the page.
        cursor: a `Cursor` of this database's life.
        until: the `Snapshot` to read up to; the cursor's own, if it has one.
        limit: at most so many outbox rows.
    """
    since = cursor.since
    position = (cursor.xid, cursor.row_id) if cursor.until else (0, -1)
    new_position = max(position, (since.xmax, -1))
    found = rows(
        cr,
        "page.sql",
        {
            "returned": [str(xid) for xid in since.under_way if until.sees(xid)],
            "xid": str(position[0]),
            "id": position[1],
            "new_xid": str(new_position[0]),
            "new_id": new_position[1],
            "until": str(until),
            "limit": limit,
        },
    )
    changes = _newest_state(cr, entities, found)
    if found and found[0]["rows_read"] == limit:
        last = found[0]
        following = Cursor(cursor.epoch, since, until, int(last["last_xid"]), last["last_id"])
        return _page(following, changes, more=True)
    return _page(Cursor(cursor.epoch, until), changes)


def read_state(cr, entity, after, limit):
    """Return one stretch of the full state of an entity, by keyset.

    Args:
        cr: database cursor.
        entity: the `Entity`.
        after: the `after` of the stretch before, or None to begin.
        limit: at most so many.

    Returns:
        {"changes": [...], "after": str or None}; None says that this was the last stretch.

    Raises:
        ValueError: `after` is not a key of this entity.
    """
    found = entity.load(cr, after=after and entity.parse_after(after), limit=limit)
    changes = [_change(entity, key, values, None) for key, values in found.items()]
    return {"changes": changes, "after": str(changes[-1]["id"]) if len(changes) == limit else None}


def _page(cursor, changes=(), more=False, reason=None):
    return {
        "cursor": cursor.encode(),
        "changes": list(changes),
        "more": more,
        "reset": reason is not None,
        "reason": reason,
    }


def _change(entity, public_id, values, changed_at):
    return {
        "entity": entity.name,
        "id": public_id,
        "op": "delete" if values is None else "upsert",
        "values": values,
        "changed_at": changed_at,
    }


def _reset_reason(cursor, epoch, now, floor):
    """Say why a reader has to load everything anew, or None."""
    if cursor is None:
        return "first"
    # A cursor from the future: the files of the cluster were put back, which changes nothing in the
    # epoch.
    newest = max(cursor.since.xmax, cursor.until.xmax if cursor.until else 0)
    if cursor.epoch != epoch or newest > now.xmax:
        return "restored"
    if cursor.since.xmin < floor:
        return "pruned"
    return None


def _secure(cr, unflushed):
    """Let no cursor know of transaction ids that a crash could hand out again.

    A rolled-back transaction's id is not flushed to disk. A cursor would call it seen; after a
    crash of PostgreSQL another transaction could get the same id, and its changes would be skipped.
    Whatever ended before our snapshot has its record in the log before the present end of it, so
    flushing the log so far is enough. Commits flush by themselves, so there is seldom anything to
    do.

    https://www.postgresql.org/docs/17/functions-admin.html (pg_logical_emit_message, `flush` since
    17)
    """
    if unflushed:
        cr.execute("SELECT pg_logical_emit_message(false, 'clinic_change', '', true)")


def _newest_state(cr, entities, found):
    """Turn outbox rows into changes that show the state now, by entity and key."""
    touched = {}
    for row in found:
        key = row["keys"] or [row["res_id"]]
        touched.setdefault(row["entity"], {})[tuple(key)] = row["changed_at"]
    for entity in entities:
        if times := touched.get(entity.name):
            keys = sorted(times)
            state = entity.load(cr, keys=keys)
            for key in keys:
                public_id = entity.public_id(key)
                yield _change(entity, public_id, state.get(public_id), times[key])
