"""Whatever is killed while stock changes, afterwards every sum is equal."""

import random
import time

import pytest
from clinic.clients.odoo import OdooClient
from clinic.clients.odoo_feed import OdooFeed
from clinic.clients.shared_db import SharedDb
from clinic.inventory.reconcile import reconcile
from support.odoo import OdooServer
from support.processes import wait_until

from .conftest import Clinic, MirrorProcess, SharedCluster, assert_becomes_equal, mirrored_sums

pytestmark = [pytest.mark.stack, pytest.mark.timeout(280)]


def has_loaded(shared: SharedCluster) -> bool:
    return bool(shared.rows("SELECT 1 FROM sync_cursors WHERE loaded_at IS NOT NULL"))


def reconciled_drift(odoo: OdooServer, shared: SharedCluster) -> int:
    """Compare by Odoo's ORM, as the DAG does, and return how many records differed."""
    key = odoo.headers()["Authorization"].removeprefix("bearer ")
    client = OdooClient.connect(odoo.url, database=odoo.database, api_key=key)
    feed = OdooFeed.connect(odoo.url, odoo.evented_url, database=odoo.database, api_key=key)
    store = SharedDb(shared.url("clinica_sync"))
    try:
        return reconcile(client, feed, store, threshold=10_000).drift
    finally:
        store.close()
        feed.close()
        client.close()


def test_random_traffic(clinic: Clinic, shared: SharedCluster, mirror: MirrorProcess) -> None:
    wait_until(lambda: has_loaded(shared), "the first load")
    with clinic.traffic(seed=1):
        time.sleep(6)
        assert reconciled_drift(clinic.odoo, shared) == 0  # in the midst of it
    assert_becomes_equal(clinic, shared, timeout_s=10)
    mirror.assert_alive()
    assert reconciled_drift(clinic.odoo, shared) == 0


def test_the_mirror_is_killed(clinic: Clinic, shared: SharedCluster, mirror: MirrorProcess) -> None:
    choose = random.Random(2)
    with clinic.traffic(seed=2):
        for _ in range(6):
            time.sleep(0.4 + choose.random())
            mirror.kill()
            mirror.start()
    assert_becomes_equal(clinic, shared)


def test_odoo_is_killed(clinic: Clinic, shared: SharedCluster, mirror: MirrorProcess) -> None:
    wait_until(lambda: has_loaded(shared), "the first load")
    with clinic.traffic(seed=3):
        for _ in range(2):
            time.sleep(1.5)
            clinic.odoo.kill()
            time.sleep(0.5)
            clinic.odoo.start()
    assert_becomes_equal(clinic, shared)
    mirror.assert_alive()
    assert "trying again" in mirror.log.read_text()


def test_the_shared_postgresql_is_killed(
    clinic: Clinic, shared: SharedCluster, mirror: MirrorProcess
) -> None:
    wait_until(lambda: has_loaded(shared), "the first load")
    with clinic.traffic(seed=4):
        for _ in range(3):
            time.sleep(1.5)
            shared.cluster.kill()
            time.sleep(0.5)
            shared.cluster.start()
    assert_becomes_equal(clinic, shared)
    mirror.assert_alive()


def test_odoo_is_restored_from_a_copy(
    clinic: Clinic, shared: SharedCluster, mirror: MirrorProcess
) -> None:
    odoo = clinic.odoo
    wait_until(lambda: has_loaded(shared), "the first load")
    odoo.stop()
    odoo.cluster.create_database("the_backup", odoo.database)
    odoo.start()
    with clinic.traffic(seed=5):
        time.sleep(3)
    assert_becomes_equal(clinic, shared)
    before = clinic.sums()
    odoo.kill()
    odoo.cluster.drop_database(odoo.database)
    odoo.cluster.create_database(odoo.database, "the_backup")
    odoo.cluster.drop_database("the_backup")
    # What Odoo does when it restores a database as a copy.
    odoo.sql(
        "UPDATE ir_config_parameter SET value = gen_random_uuid()::text WHERE key = 'database.uuid'"
    )
    assert clinic.sums() != before
    odoo.start()
    wait_until(lambda: mirrored_sums(shared) == clinic.sums(), "loaded anew", 60)
    assert_becomes_equal(clinic, shared)
    assert shared.rows("SELECT generation, load_reason FROM sync_cursors") == [(2, "restored")]
    mirror.assert_alive()
