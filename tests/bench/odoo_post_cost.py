"""Time the posting of ten invoices in two databases by turns. Run by `odoo shell`, not imported.

`CLINIC_BENCH` holds JSON: {"databases": {"with": NAME, "without": NAME}, "rounds": N,
"warm_up": N}.
Prints one line `RESULT {"with": [s, ...], "without": [s, ...]}`; the two lists pair by position.
"""

import gc
import json
import os
import time

from odoo import SUPERUSER_ID, api
from odoo.modules.registry import Registry

INVOICES = 10
settings = json.loads(os.environ["CLINIC_BENCH"])


def post(registry):
    """Return the seconds from the call to the end of the commit; making drafts is not counted."""
    with registry.cursor() as cr:
        environment = api.Environment(cr, SUPERUSER_ID, {"lang": "es_ES"})
        partner = environment["res.partner"].search([("name", "=", "Bench")], limit=1)
        if not partner:
            partner = environment["res.partner"].create({"name": "Bench"})
        line = (0, 0, {"name": "Visit", "quantity": 1, "price_unit": 50})
        invoice = {
            "move_type": "out_invoice",
            "partner_id": partner.id,
            "invoice_date": "2026-03-01",
            "invoice_line_ids": [line],
        }
        drafts = environment["account.move"].create([dict(invoice) for _ in range(INVOICES)])
        cr.commit()
    with registry.cursor() as cr:
        environment = api.Environment(cr, SUPERUSER_ID, {"lang": "es_ES"})
        environment.user.has_group("base.group_user")  # the same warm caches for both
        drafts = drafts.with_env(environment)
        start = time.perf_counter()
        drafts.action_post()
        cr.commit()
        return time.perf_counter() - start


sides = {side: Registry(name) for side, name in settings["databases"].items()}
times = {side: [] for side in sides}
for number in range(settings["warm_up"] + settings["rounds"]):
    # ABBA: neither side always follows the other
    order = list(sides) if number % 2 else list(reversed(sides))
    gc.collect()
    gc.disable()
    for side in order:
        seconds = post(sides[side])
        if number >= settings["warm_up"]:
            times[side].append(seconds)
    gc.enable()
print("RESULT", json.dumps(times))
