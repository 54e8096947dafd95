"""GET /clinic/changes/stream: the feed, pushed."""

import odoo
from odoo import http
from odoo.exceptions import AccessError, UserError
from odoo.http import request
from odoo.tools import config

from ..feed.access import find_key
from ..stream.body import Reading, lines
from ..stream.hub import Hub
from ..stream.listener import Listener, tune

READY_S = 5
_NDJSON = [
    ("Content-Type", "application/x-ndjson"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),  # nginx would hold lines back
]


class ClinicChanges(http.Controller):
    """The stream's door."""

    @http.route(
        "/clinic/changes/stream",
        type="http",
        auth="bearer",
        methods=["GET"],
        save_session=False,
        readonly=False,
    )
    def stream(self, cursor=None, limit="1000", **_ignored):
        """Open a stream of pages, one a line.

        Args:
            cursor: where to begin; missing or empty, the only line says reset and gives a cursor.
            limit: changes a page, 1 to 10,000.

        Returns:
            200 and NDJSON; or a JSON object with `error`: 400 (cursor or limit), 401 (no API key),
            403 (not a reader), 421 (a worker that cannot hold a connection open), 503 (PostgreSQL
            does not answer).
        """
        if config["workers"] and not odoo.evented:
            # A prefork worker serves one request at a time and is killed at its time limit.
            return _refuse(
                421, f"Streams are served on the evented port ({config['gevent_port']}), not here"
            )
        scheme, _space, secret = request.httprequest.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            return _refuse(
                401, "Send an API key: Authorization: bearer KEY", [("WWW-Authenticate", "Bearer")]
            )
        changes = request.env["clinic.change"]
        try:
            changes.check_access("read")
        except AccessError:
            return _refuse(403, "This user is not a reader of the change feed")
        try:
            changes._checked_cursor(cursor or None)
            number = changes._checked_limit(
                int(limit) if limit.isdecimal() and limit.isascii() else limit
            )
        except UserError as error:
            return _refuse(400, str(error))
        key_id = find_key(request.env.cr, request.env.uid, secret.strip())
        sock = request.httprequest._HTTPRequest__environ[
            "socket"
        ]  # as Odoo's own websocket takes it
        tune(sock)
        listener = Listener(sock, key_id)
        hub = Hub.join(request.db, listener)
        if not hub.ready.wait(READY_S):
            hub.leave(listener)
            return _refuse(503, "PostgreSQL does not answer", [("Retry-After", "1")])
        group = request.env.ref("clinic_change_feed.group_reader")
        reading = Reading(cursor or None, number, changes._entities(), group.id)
        # The body is a generator: it runs after Odoo has given this request's database cursor back.
        response = http.Response(
            lines(hub, listener, reading), headers=_NDJSON, direct_passthrough=True
        )
        response.call_on_close(lambda: hub.leave(listener))  # also when the body was never begun
        return response


def _refuse(status, message, headers=()):
    return request.make_json_response(
        {"error": message}, headers=[("Cache-Control", "no-store"), *headers], status=status
    )
