"""What people read about a document: one sentence for each reason, in the reader's language."""

from datetime import datetime

import pytz
from odoo.tools import format_datetime, format_time
from odoo.tools.translate import LazyTranslate

_lt = LazyTranslate(__name__)

# By the codes of docs/reference/messages/notification.schema.json, and those of this module.
_WHY = {
    # Of the store's side, which tries again
    "store_away": _lt("The document store does not answer."),
    "store_busy": _lt("The document store asks for fewer documents at a time."),
    "store_full": _lt("The document store has no space left."),
    "store_sign_in": _lt("The document store refuses the clinic's sign-in."),
    "store_no_access": _lt("The document store does not let the clinic write into its folder."),
    "odoo_away": _lt("Odoo did not hand out the document."),
    "odoo_sign_in": _lt("Odoo refuses the sign-in of whoever stores the documents."),
    "no_room": _lt("The machine that stores the documents has no room left."),
    "too_slow": _lt("Storing the document took too long."),
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

# What managers are to do about it; without an entry, nothing but wait.
_ADVICE = {
    "store_away": _lt("If it lasts, tell whoever looks after the store that it is down."),
    "store_full": _lt("Free space in the store's account, or buy some; empty its trash too."),
    "store_sign_in": _lt("A technician renews the key of the store's connection in Airflow."),
    "store_no_access": _lt(
        "Give the clinic's account the right to write into its folder in the store; a technician"
        " checks the address in the store's connection."
    ),
    "odoo_sign_in": _lt("A technician renews the key of the connection odoo_documents in Airflow."),
    "no_room": _lt("A technician makes room on its disk."),
    "too_slow": _lt("If it lasts, a technician looks whether Odoo and the store are well."),
    "gave_up": _lt(
        "Under Technical is what the last attempt met: have it put right, then send the document"
        " again."
    ),
    "store_refused": _lt(
        "Most often another file lies in the document's place: look there, move it away if it does"
        " not belong there, then send the document again. Nothing was overwritten."
    ),
    "gone_in_odoo": _lt("If it is still wanted, send it again."),
    "wrong_size": _lt("Send it again; if it fails again, a technician looks at Odoo's files."),
    "wrong_hash": _lt("Send it again; if it fails again, a technician looks at Odoo's files."),
    "wrong_type": _lt("A technician looks at the report that makes the PDF; then send it again."),
    "broken_pdf": _lt("A technician looks at the report that makes the PDF; then send it again."),
    "other_content": _lt(
        "Compare the PDF in Odoo with the stored one; if Odoo's is right, issue a new revision."
    ),
    "too_costly": _lt("A technician looks at the file and at the store; then send it again."),
    "killed_the_worker": _lt("A technician looks at the drain's log before you send it again."),
    "not_rendered": _lt("A technician looks at the report; then send the document again."),
}

_STORES = {"drive": "Google Drive", "webdav": "Nextcloud (WebDAV)"}


def why(env, reason):
    """Return the sentence for a reason's code."""
    return env._(_WHY.get(reason, _OTHERWISE))


def advice(env, reason):
    """Return the sentence that says what managers do about it; None when nothing."""
    sentence = _ADVICE.get(reason)
    return sentence and env._(sentence)


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
