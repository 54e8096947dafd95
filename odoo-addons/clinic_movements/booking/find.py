"""Finds what a request names, or says what of it is not there."""

from .conflict import ConflictError


def find_product(env, wanted):
    """Return the product."""
    product = env["product.product"].with_context(active_test=False).browse(wanted.product_id)
    product = product.exists().with_env(env)
    if not product:
        raise ConflictError("product_unknown", env._("Odoo has no product %s.", wanted.product_id))
    if not product.active and not wanted.apply_anyway:
        raise ConflictError(
            "product_archived",
            env._("%s is archived in Odoo.", product.display_name),
            medication=product.display_name,
        )
    if not product.is_storable:
        raise ConflictError(
            "refused",
            env._("Odoo keeps no stock of %s.", product.display_name),
            medication=product.display_name,
        )
    return product


def find_location(env, wanted):
    """Return the location: one that holds stock of the clinic's own."""
    location = env["stock.location"].browse(wanted.location_id).exists()
    if not location or not location.active or location.usage not in ("internal", "transit"):
        raise ConflictError(
            "location_unknown",
            env._("Odoo has no location %s that holds stock.", wanted.location_id),
            location=location.complete_name or None,
        )
    return location


def find_lot(env, wanted, product, company):
    """Return the lot, none where the product has none; make the one that is received."""
    lots = env["stock.lot"]
    named = wanted.lot_id is not None or wanted.lot_name is not None
    if named != (product.tracking != "none"):
        raise ConflictError(
            "lot_unknown",
            env._("Odoo keeps no lots of this product.")
            if named
            else env._("Odoo keeps this product by lots; the request names none."),
            tracking=product.tracking,
        )
    if not named:
        return lots
    if wanted.lot_id is not None:
        lot = lots.browse(wanted.lot_id).exists().filtered(lambda lot: lot.product_id == product)
    else:
        lot = lots.search(
            [
                ("product_id", "=", product.id),
                ("name", "=", wanted.lot_name),
                ("company_id", "in", (False, company.id)),
            ],
            limit=1,
        )
    if lot:
        return lot
    may_be_new = wanted.lot_id is None and (wanted.kind == "in" or wanted.apply_anyway)
    if may_be_new:
        return lots.create({"product_id": product.id, "name": wanted.lot_name})
    raise ConflictError(
        "lot_unknown",
        env._("Odoo has no lot %s of this product.", wanted.lot_name or wanted.lot_id),
        tracking=product.tracking,
    )
