"""What people read about a document: one sentence for each reason, in the reader's language."""

from datetime import datetime

import pytz
from odoo.tools import format_datetime, format_time
from odoo.tools.translate import LazyTranslate

_lt = LazyTranslate(__name__)

# By the codes of docs/reference/messages/notification.schema.json, and those of this module.
_WHY = {
    # Of the store's side, which tries again
    "not_now": _lt("The document store does not take the document at the moment."),
    # Of the store's side, which gave up
    "gave_up": _lt("The document store did not take the document for a whole day."),
    "store_refused": _lt("The document store refused the document."),
    "gone_in_odoo": _lt("The document was not found in Odoo any more."),
    "wrong_size": _lt("The file did not arrive whole."),
    "wrong_hash": _lt("The file did not arrive as it was sent."),
    "wrong_type": _lt("What arrived is not a PDF."),
    "broken_pdf": _lt("The PDF does not open."),
    "other_content": _lt("The document was stored before, with another content."),
    "too_costly": _lt("Storing the document took too long each time."),
    "killed_the_worker": _lt("Storing the document was interrupted again and again."),
    # Of this module
    "broker": _lt("The document cannot be sent to the document store at the moment."),
    "not_final": _lt("The document waits until its invoice is posted again."),
    "not_rendered": _lt("The PDF of the document could not be made."),
    "source_deleted": _lt("What the document shows was deleted."),
    "superseded": _lt("A newer revision has taken the place of this one."),
    "copy": _lt("This database is a copy: the document is the original's to send."),
}
# Of a message that is not as it should be: not_json, schema, bad_path and their like.
_OTHERWISE = _lt(
    "Something is wrong with how the document was sent, which a technician must look at."
)

_STORES = {"drive": "Google Drive", "webdav": "Nextcloud (WebDAV)"}


def why(env, reason):
    """Return the sentence for a reason's code."""
    return env._(_WHY.get(reason, _OTHERWISE))


def again_at(env, at):
    """Return the sentence that says when something is tried again, in the context's time zone."""
    zone = env.tz
    local = pytz.utc.localize(at).astimezone(zone)
    if local.date() == datetime.now(zone).date():
        moment = format_time(env, local.time(), time_format="short")
        return env._("It is tried again by itself at %s.", moment)
    moment = format_datetime(env, at, tz=zone.zone, dt_format="short")
    return env._("It is tried again by itself on %s.", moment)


def store_name(code):
    """Return what people call a store."""
    return _STORES.get(code, code)
