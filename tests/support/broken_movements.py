"""A writer of movements that kills itself (SIGKILL) at its Nth step.

Run as a program: ``broken_movements.py ODOO_URL ODOO_DB SHARED_DB_URL STEP``, the API key in
$ODOO_MOVEMENTS_API_KEY. Steps are: before and after each call of the database, before a call of
Odoo, in the midst of it, and after it. With step 0 it lives, and ends when nothing is due.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from clinic.clients.movements_db import MovementsDb
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_movements import OdooMovements
from clinic.inventory.movements import MovementWriter, Settings

steps_left = 0


def step() -> None:
    """Die if this is the one."""
    global steps_left
    steps_left -= 1
    if steps_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


class KilledDb(MovementsDb):
    """Dies before or after a statement, the latter being committed then."""

    @contextlib.contextmanager
    def _doing(self, doing: str) -> Iterator[Any]:
        step()
        with super()._doing(doing) as connection:
            yield connection
        step()


class KilledOdoo(OdooMovements):
    """Dies before, during or after a call."""

    def apply(self, request: Mapping[str, Any]) -> Any:
        step()
        call = threading.Thread(target=super().apply, args=(request,))
        if steps_left == 1:
            call.start()
            time.sleep(0.03)  # it is on its way; whether Odoo commits it is left to chance
            step()
        step()
        answer = super().apply(request)
        step()
        return answer


def main(odoo_url: str, odoo_db: str, shared_db_url: str, at_step: str) -> None:
    global steps_left
    steps_left = int(at_step)
    key = os.environ["ODOO_MOVEMENTS_API_KEY"]
    odoo = KilledOdoo(OdooClient.connect(odoo_url, database=odoo_db, api_key=key))
    # Not a real lease: whoever goes on must not have to wait a minute for the killed one's.
    writer = MovementWriter(KilledDb(shared_db_url), odoo, Settings(lease_s=0))
    while writer.step():
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
