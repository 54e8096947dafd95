"""The inventory's use cases, wired to Airflow's connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException
from clinic.clients.movements_db import MovementsDb
from clinic.clients.odoo_movements import OdooMovements
from clinic.errors import NotYetError, PermanentError
from clinic.inventory.mirror import InventoryMirror
from clinic.inventory.movements import MovementWriter
from clinic.inventory.reconcile import reconcile

from clinic_airflow.hooks.odoo import OdooHook
from clinic_airflow.hooks.shared_db import SharedDbHook

# One HTTP request a line, at level INFO, would drown what the task itself has to say.
logging.getLogger("httpx").setLevel(logging.WARNING)

log = logging.getLogger(__name__)

BRAKE_S: Final = 60
MOVEMENTS_CONNECTION: Final = "odoo_movements"


def mirror_inventory(seconds: float) -> dict[str, Any]:
    """Mirror Odoo's stock for so many seconds and return what was done.

    Raises:
        TransientError: Odoo or the shared database stayed away.
        PermanentError: A person has to change something; raised ``BRAKE_S`` after it was logged.
    """
    try:
        database = SharedDbHook()
        with closing(OdooHook().get_feed()) as feed, _movements(database):
            mirror = InventoryMirror(feed, database.get_conn(), database.get_conn())
            return mirror.follow(time.monotonic() + seconds).as_dict()
    except PermanentError as error:
        # @continuous starts the next run as soon as this one has failed, and knows no pause. With a
        # revoked key that would be a failed run, a log file and a process each second, until
        # somebody looks. A signal to the task ends the sleep, as its handler raises.
        log.warning(
            "failing in %d s, so that runs do not fail one after another: %s", BRAKE_S, error
        )
        time.sleep(BRAKE_S)
        raise


@contextmanager
def _movements(database: SharedDbHook) -> Iterator[None]:
    """Book in Odoo what other systems ask for, beside the mirror and without delaying it.

    An installation without this connection mirrors as before, and says what it does not do.
    """
    with ExitStack() as stack:
        try:
            odoo = stack.enter_context(closing(OdooHook(MOVEMENTS_CONNECTION).get_conn()))
        except (AirflowNotFoundException, PermanentError) as error:
            log.warning("movements of other systems are not booked in Odoo: %s", error)
        else:
            writer = MovementWriter(MovementsDb(database.conninfo()), OdooMovements(odoo))
            stack.enter_context(writer.running())
        yield


def reconcile_inventory(threshold: int, *, dry_run: bool) -> dict[str, Any]:
    """Compare the mirror with Odoo, report and heal what differs, and return what was found.

    Raises:
        AirflowSkipException: Nothing was ever mirrored: there is nothing to compare. Airflow starts
            the last night's run as soon as a new installation is up.
    """
    hook = OdooHook()
    with (
        closing(hook.get_feed()) as feed,
        closing(hook.get_conn()) as odoo,
        closing(SharedDbHook().get_conn(is_durable=True)) as store,
    ):
        try:
            return reconcile(odoo, feed, store, threshold=threshold, dry_run=dry_run).as_dict()
        except NotYetError as error:
            raise AirflowSkipException(str(error)) from error


def prune_history() -> int:
    """Delete events older than a week and drift reports older than a year; return how many."""
    with closing(SharedDbHook().get_conn()) as store:
        pruned = store.prune(events_days=7, drift_days=365)
    log.info("pruned: rows=%d", pruned)
    return pruned
