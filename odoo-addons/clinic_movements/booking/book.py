"""Books a movement as Odoo's own documents, inside the caller's savepoint."""

from decimal import Decimal

from odoo import fields

from .conflict import ConflictError
from .find import find_location, find_lot, find_product


def book(env, wanted, request):
    """Book what is wanted and return the answer of the call.

    Args:
        env: the superuser's environment.
        wanted: what is asked for.
        request: the `clinic.movement.request` that the documents name.

    Raises:
        ConflictError: It does not fit what Odoo has.
        UserError: Odoo refuses it.
    """
    product = find_product(env, wanted)
    location = find_location(env, wanted)
    company = location.company_id or product.company_id or env.company
    env = env(context={**env.context, "allowed_company_ids": company.ids})
    product, location = product.with_env(env), location.with_env(env)
    lot = find_lot(env, wanted, product, company)
    _check_expiry(wanted, lot)
    on_hand, free = _stock(env, product, location, lot)
    known = {
        "quantity": _plain(product, on_hand),
        "available": _plain(product, free),
        "lot": lot.name or None,
        "medication": product.display_name,
        "unit": product.uom_id.name,
    }
    delta = _delta(wanted, product, on_hand)
    if (
        wanted.expected is not None
        and not wanted.apply_anyway
        and product.uom_id.compare(on_hand, float(wanted.expected))
    ):
        raise ConflictError(
            "count_differs",
            env._(
                "Odoo has %(ours)s, and who counted was shown %(theirs)s.",
                ours=known["quantity"],
                theirs=wanted.as_dict()["expected_quantity"],
            ),
            **known,
        )
    if wanted.kind in ("out", "adjustment") and delta < 0 and not wanted.apply_anyway:
        # What is promised to other moves may not be handed out, but it may be found missing.
        there = free if wanted.kind == "out" else on_hand
        if product.uom_id.compare(there, -delta) < 0:
            raise ConflictError(
                "not_enough_stock",
                env._("There is not enough: %(there)s.", there=_plain(product, there)),
                **known,
            )
    if wanted.kind in ("in", "out"):
        picking = _transfer(env, wanted, request, product, location, lot, company)
        moves = picking.move_ids
    else:
        picking = env["stock.picking"]
        moves = _adjust(env, wanted, request, product, location, lot, company, delta)
    if set(moves.mapped("state")) - {"done"}:
        raise ConflictError("refused", env._("Odoo did not finish the movement."), **known)
    request.picking_id = picking
    on_hand, free = _stock(env, product, location, lot)
    return {
        "state": "applied",
        "code": None,
        "ours": {
            **known,
            "quantity": _plain(product, on_hand),
            "available": _plain(product, free),
        },
        "theirs": wanted.as_dict(),
        "picking": picking.name or None,
        "moves": moves.ids,
    }


def _check_expiry(wanted, lot):
    """Refuse what comes or goes of an expired lot; to correct its stock is right."""
    expires_at = lot.expiration_date
    moves_goods = wanted.kind in ("in", "out") and not wanted.apply_anyway
    if moves_goods and expires_at and expires_at <= fields.Datetime.now():
        raise ConflictError(
            "lot_expired",
            lot.env._("Lot %(lot)s expired on %(day)s.", lot=lot.name, day=expires_at.date()),
            lot=lot.name,
            expires_at=expires_at.isoformat() + "Z",
        )


def _stock(env, product, location, lot):
    """Return what is on hand and what of it is free, and lock its rows until the end.

    Who changed one of them since this transaction began makes PostgreSQL refuse the lock, and Odoo
    runs the call again.
    """
    env["stock.quant"].flush_model()
    env.cr.execute(
        "SELECT quantity, reserved_quantity, package_id IS NULL AND owner_id IS NULL"
        " FROM stock_quant WHERE product_id = %s AND location_id = %s"
        " AND lot_id IS NOT DISTINCT FROM %s ORDER BY id FOR NO KEY UPDATE",
        (product.id, location.id, lot.id or None),
    )
    rows = [(float(have or 0), float(kept or 0), loose) for have, kept, loose in env.cr.fetchall()]
    return sum(row[0] for row in rows), sum(have - kept for have, kept, loose in rows if loose)


def _delta(wanted, product, on_hand):
    """Return by how much the stock of the location changes."""
    if wanted.kind == "count":
        return product.uom_id.round(float(wanted.quantity) - on_hand)
    return float(-wanted.quantity if wanted.kind == "out" else wanted.quantity)


def _move(wanted, request, product, lot, company, source, target, quantity):
    """Return the values of a move with its one line, done as it is written."""
    # One line for people: Odoo's own history shows it beside the movement.
    origin = " · ".join(text for text in (wanted.reference, wanted.reason, wanted.person) if text)[
        :200
    ]
    line = {
        "product_id": product.id,
        "product_uom_id": product.uom_id.id,
        "quantity": quantity,
        "location_id": source.id,
        "location_dest_id": target.id,
        "company_id": company.id,
        "lot_id": lot.id,
        "picked": True,
    }
    return {
        "product_id": product.id,
        "product_uom": product.uom_id.id,
        "product_uom_qty": quantity,
        "company_id": company.id,
        "location_id": source.id,
        "location_dest_id": target.id,
        "origin": origin or wanted.request_id,
        "clinic_request_id": request.id,
        "picked": True,
        "move_line_ids": [fields.Command.create(line)],
    }


def _transfer(env, wanted, request, product, location, lot, company):
    """Receive or deliver by a transfer of its own."""
    incoming = wanted.kind == "in"
    code, usage = ("incoming", "supplier") if incoming else ("outgoing", "customer")
    warehouse = location.warehouse_id
    kind = (warehouse.in_type_id if incoming else warehouse.out_type_id) or env[
        "stock.picking.type"
    ].search([("code", "=", code), ("company_id", "=", company.id)], limit=1)
    if not kind:
        raise ConflictError("refused", env._("There is no operation type for it in Odoo."))
    outside = env["stock.location"].search(
        [("usage", "=", usage), ("company_id", "in", (False, company.id))], order="id", limit=1
    )
    source, target = (outside, location) if incoming else (location, outside)
    values = _move(wanted, request, product, lot, company, source, target, float(wanted.quantity))
    picking = env["stock.picking"].create(
        {
            "picking_type_id": kind.id,
            "location_id": source.id,
            "location_dest_id": target.id,
            "company_id": company.id,
            "origin": values["origin"],
            "clinic_request_id": request.id,
            "move_ids": [fields.Command.create(values)],
        }
    )
    picking.with_context(cancel_backorder=True)._action_done()
    return picking


def _adjust(env, wanted, request, product, location, lot, company, delta):
    """Correct the stock by an inventory adjustment, as Odoo's own counting does."""
    if product.uom_id.is_zero(delta):
        return env["stock.move"]  # a count that found what Odoo has
    other = product.with_company(company).property_stock_inventory
    source, target = (other, location) if delta > 0 else (location, other)
    values = _move(wanted, request, product, lot, company, source, target, abs(delta))
    moves = env["stock.move"].create(
        {
            **values,
            "state": "confirmed",
            "is_inventory": True,
            "inventory_name": values["origin"],
        }
    )
    moves._action_done()
    moves._trigger_assign()
    return moves


def _plain(product, quantity):
    """Return a quantity as decimal text, without the noise of binary fractions."""
    rounded = Decimal(repr(round(product.uom_id.round(quantity), 9)))
    return format(rounded.normalize() if rounded else Decimal(0), "f")
