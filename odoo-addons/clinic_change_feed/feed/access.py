"""Who may go on reading a stream that was opened with an API key."""

from odoo.addons.base.models.res_users import INDEX_SIZE, KEY_CRYPT_CONTEXT

from .sql import rows


def find_key(cr, uid, secret):
    """Return the id of the API key that a request was let in with, or None.

    Args:
        cr: database cursor.
        uid: the user that Odoo found for the key.
        secret: the key as it was sent.
    """
    cr.execute(
        "SELECT id, key FROM res_users_apikeys WHERE user_id = %s AND index = %s",
        (uid, secret[:INDEX_SIZE]),
    )
    return next(
        (key_id for key_id, hashed in cr.fetchall() if KEY_CRYPT_CONTEXT.verify(secret, hashed)),
        None,
    )


def valid_keys(cr, key_ids, group_id):
    """Return those API keys that still open the feed, as a set of ids.

    Args:
        cr: database cursor.
        key_ids: ids of `res.users.apikeys`.
        group_id: id of the readers' group.
    """
    return {
        row["id"]
        for row in rows(cr, "keys.sql", {"key_ids": sorted(key_ids), "group_id": group_id})
    }
