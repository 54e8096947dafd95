"""A mirror that kills itself (SIGKILL) before its Nth call to the database.

Run as a program: ``broken_mirror.py ODOO_URL SHARED_DB_URL N SECONDS``.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.shared_db import SharedDb
from clinic.inventory.mirror import InventoryMirror, Settings


class KilledDb(SharedDb):
    """Counts calls of every connection of this process together."""

    calls_left = 0
    counting = threading.Lock()

    @contextlib.contextmanager
    def _doing(self, doing: str) -> Iterator[Any]:
        with self.counting:
            KilledDb.calls_left -= 1
            if KilledDb.calls_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        with super()._doing(doing) as connection:
            yield connection


def main(odoo_url: str, shared_db_url: str, calls: str, seconds: str) -> None:
    KilledDb.calls_left = int(calls)
    feed = OdooFeed.connect(odoo_url, odoo_url, database="test", api_key="none")
    mirror = InventoryMirror(
        feed,
        KilledDb(shared_db_url),
        KilledDb(shared_db_url),
        Settings(page_changes=3, load_page_changes=3),
    )
    mirror.follow(time.monotonic() + float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
