"""Time a done stock move in two databases by turns. Run by `odoo shell`, not imported.

`CLINIC_BENCH` holds JSON: {"databases": {"with": NAME, "without": NAME}, "rounds": N, "warm_up": N,
"lines": N}. Prints one line `RESULT {"with": [s, ...], "without": [s, ...]}`; the two lists pair by
position.
"""

import gc
import json
import os
import time

from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

settings = json.loads(os.environ["CLINIC_BENCH"])


def prepare(environment):
    """Make the product and lot that the moves move, and return (product, lot, source,
    destination)."""
    product = environment["product.product"].create(
        {
            "name": "Bench",
            "type": "consu",
            "is_storable": True,
            "tracking": "lot",
        }
    )
    lot = environment["stock.lot"].create({"name": "bench", "product_id": product.id})
    stock = environment["stock.warehouse"].search([], limit=1).lot_stock_id
    customers = environment["stock.location"].search([("usage", "=", "customer")], limit=1)
    environment["stock.quant"]._update_available_quantity(product, stock, 1_000_000, lot_id=lot)
    environment.cr.commit()
    return product, lot, stock, customers


def one_move(environment, things):
    """Dispense one unit: a move made, confirmed, reserved and done, in one transaction."""
    product, _lot, stock, customers = (record.with_env(environment) for record in things)
    move = environment["stock.move"].create(
        {
            "product_id": product.id,
            "product_uom": product.uom_id.id,
            "product_uom_qty": 1,
            "location_id": stock.id,
            "location_dest_id": customers.id,
        }
    )
    move._action_confirm()
    move._action_assign()
    move.picked = True
    move._action_done()
    environment.cr.commit()


def timed(registry, things):
    """Return the seconds that one move takes, in an environment of its own."""
    with registry.cursor() as cr:
        environment = api.Environment(cr, SUPERUSER_ID, {})
        environment.user.has_group("base.group_user")  # the same warm caches for both
        start = time.perf_counter()
        one_move(environment, things)
        return time.perf_counter() - start


sides = {}
for side, name in settings["databases"].items():
    registry = Registry(name)
    with registry.cursor() as cr:
        sides[side] = registry, prepare(api.Environment(cr, SUPERUSER_ID, {}))

times = {side: [] for side in sides}
for number in range(settings["warm_up"] + settings["rounds"]):
    # ABBA: neither side always follows the other
    order = list(sides) if number % 2 else list(reversed(sides))
    gc.collect()
    gc.disable()
    for side in order:
        seconds = timed(*sides[side])
        if number >= settings["warm_up"]:
            times[side].append(seconds)
    gc.enable()
print("RESULT", json.dumps(times))
