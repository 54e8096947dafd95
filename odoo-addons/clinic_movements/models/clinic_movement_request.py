"""Movements that other systems ask for, each booked exactly once."""

import logging
import uuid
from decimal import Decimal, InvalidOperation

from odoo import api, fields, models
from odoo.exceptions import AccessError, UserError, ValidationError

from ..booking.book import book
from ..booking.conflict import ConflictError
from ..booking.wanted import Wanted

_logger = logging.getLogger(__name__)

KINDS = [
    ("in", "Receipt"),
    ("out", "Delivery"),
    ("adjustment", "Adjustment"),
    ("count", "Count"),
]


class ClinicMovementRequest(models.Model):
    """What another system asked for, and what came of it. Written by `apply` alone."""

    _name = "clinic.movement.request"
    _description = "Movement request"
    _order = "id desc"
    _rec_name = "request_id"

    request_id = fields.Char("Request", required=True, readonly=True)
    kind = fields.Selection(KINDS, readonly=True)
    product_id = fields.Many2one("product.product", "Product", readonly=True)
    location_id = fields.Many2one("stock.location", "Location", readonly=True)
    lot_name = fields.Char("Lot/Serial Number", readonly=True)
    quantity = fields.Float(digits="Product Unit", readonly=True)
    expected_quantity = fields.Float("Expected", digits="Product Unit", readonly=True)
    reason = fields.Char(readonly=True)
    reference = fields.Char(readonly=True)
    person = fields.Char("Asked by", readonly=True)
    client = fields.Char("Program", readonly=True)
    occurred_at = fields.Char("Happened at", readonly=True)
    is_forced = fields.Boolean(
        "In spite of a conflict", readonly=True, help="A person saw the conflict and decided so."
    )
    state = fields.Selection(
        [("applied", "Booked"), ("conflict", "Not booked")],
        required=True,
        readonly=True,
        default="conflict",
    )
    code = fields.Char("Why not", readonly=True)
    detail = fields.Char("Explanation", readonly=True)
    result = fields.Json(readonly=True)
    picking_id = fields.Many2one("stock.picking", "Transfer", readonly=True)
    move_ids = fields.One2many("stock.move", "clinic_request_id", "Moves", readonly=True)

    _request_id_unique = models.Constraint(
        "UNIQUE (request_id)", "A movement request with this id was taken up already."
    )

    def init(self):
        """Make the table whose rows make writers of one product take turns."""
        self.env.cr.execute(
            "CREATE TABLE IF NOT EXISTS clinic_movement_turn"
            " (product_id integer PRIMARY KEY, turn bigint NOT NULL)"
        )

    @api.model
    def apply(self, request):
        """Book a movement once, or say why it cannot be booked.

        All of it is one transaction. Asked again with an id that was booked, it answers what it
        answered then; with one that ended as a conflict, it tries again.

        Args:
            request: request_id, kind (in, out, adjustment, count), medication_id, location_id,
                lot_id or lot_name, quantity, expected_quantity, reason, reference, person, client,
                occurred_at, apply_anyway.

        Returns:
            state (applied or conflict), code, ours, theirs, picking, moves.

        Raises:
            AccessError: the user is not the service account.
            ValidationError: the request is not valid (HTTP 422).
        """
        if not self.env.user.has_group("clinic_movements.group_service"):
            raise AccessError(self.env._("Only the service account may book movements."))
        wanted = self._checked(request)
        # People read the explanations, not the account that asks.
        language = self.env.company.sudo().partner_id.lang or self.env.lang
        requests = self.sudo().with_context(lang=language)
        # The usual repetition: it was booked long ago, and nothing has to be locked to say so.
        known = requests.search(
            [("request_id", "=", wanted.request_id), ("state", "=", "applied")], limit=1
        ) or requests._take_up(wanted)
        if known.state == "applied":
            return known.result
        self._take_turn(wanted.product_id)
        try:
            with self.env.cr.savepoint():
                result = book(known.env, wanted, known)
                # Else the end of the savepoint computes what is due as the caller, who may read
                # nothing.
                known.env.flush_all()
        except ConflictError as conflict:
            result = conflict.answer(wanted)
        except AccessError:
            raise  # a fault of the installation, not of this movement
        except UserError as error:  # what Odoo itself refuses
            result = ConflictError("refused", str(error)).answer(wanted)
        known._note(wanted, result)
        _logger.info(
            "movement request %s: %s %s",
            wanted.request_id,
            result["code"] or "applied",
            result["ours"].get("detail", ""),
        )
        return result

    @api.model
    def _checked(self, request):
        try:
            wanted = Wanted.of(request)
            uuid.UUID(wanted.request_id)
        except (TypeError, ValueError, KeyError, AttributeError, InvalidOperation) as error:
            raise ValidationError(
                self.env._("The movement request is not valid: %s", error)
            ) from error
        return wanted

    @api.model
    def _take_up(self, wanted):
        """Return the row of this id, locked; make it when there is none.

        A second transaction waits here for the first. When that one commits, this one's snapshot
        is too old: PostgreSQL says so, and Odoo runs the call again, which then sees the result.
        """
        self.env.cr.execute(
            "INSERT INTO clinic_movement_request"
            " (request_id, state, create_uid, create_date, write_uid, write_date)"
            " VALUES (%s, 'conflict', %s, now() AT TIME ZONE 'UTC', %s, now() AT TIME ZONE 'UTC')"
            " ON CONFLICT (request_id) DO NOTHING",
            (wanted.request_id, self.env.uid, self.env.uid),
        )
        self.env.cr.execute(
            "SELECT id FROM clinic_movement_request WHERE request_id = %s FOR UPDATE",
            (wanted.request_id,),
        )
        return self.browse(self.env.cr.fetchone()[0])

    @api.model
    def _take_turn(self, product_id):
        """Let transactions that move one product follow one another.

        Locking the stock's rows is not enough: where there is none yet, two counts would both find
        nothing and add what they counted.
        """
        self.env.cr.execute(
            "INSERT INTO clinic_movement_turn AS mine (product_id, turn) VALUES (%s, 1)"
            " ON CONFLICT (product_id) DO UPDATE SET turn = mine.turn + 1",
            (product_id,),
        )

    def _note(self, wanted, result):
        """Keep what was asked for and what came of it, for people and for whoever asks again."""
        ours = result["ours"] or {}
        exists = self.env["product.product"].with_context(active_test=False)
        self.write(
            {
                "kind": wanted.kind,
                "product_id": exists.browse(wanted.product_id).exists().id,
                "location_id": self.env["stock.location"].browse(wanted.location_id).exists().id,
                "lot_name": ours.get("lot") or wanted.lot_name,
                "quantity": float(wanted.quantity),
                "expected_quantity": float(wanted.expected or Decimal(0)),
                "reason": wanted.reason,
                "reference": wanted.reference,
                "person": wanted.person,
                "client": wanted.client,
                "occurred_at": wanted.occurred_at,
                "is_forced": wanted.apply_anyway,
                "state": result["state"],
                "code": result["code"],
                "detail": ours.get("detail"),
                "result": result,
            }
        )
