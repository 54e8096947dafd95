"""Old events and drift reports go, a limited number of rows a statement."""

import pytest
from clinic.clients.shared_db import SharedDb
from support.shared_db import Database

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("batch", [3, 5, 10_000])
def test_what_is_old_goes_in_batches_and_what_is_young_stays(
    database: Database, batch: int
) -> None:
    database.query(
        "INSERT INTO change_events (kind, payload, at)"
        " SELECT 'inventory.changed', '{}', now() - n * interval '1 day'"
        " FROM generate_series(1, 17) AS n"
    )
    database.query(
        "INSERT INTO drift_reports (run_id, entity, record_id, probable_cause, healed, found_at)"
        " SELECT gen_random_uuid(), 'lot', n, 'x', true, now() - n * interval '100 days'"
        " FROM generate_series(1, 9) AS n"
    )
    store = SharedDb(database.sync_url)
    statements = _counted(store)
    assert store.prune(events_days=7, drift_days=365, batch=batch) == 11 + 6
    store.close()
    assert database.value("SELECT count(*) FROM change_events") == 6
    assert database.value("SELECT count(*) FROM drift_reports") == 3
    assert max(statements) <= batch


def _counted(store: SharedDb) -> list[int]:
    """Return a list to which each pruning statement adds the number of rows it deleted."""
    deleted: list[int] = []
    for name in ("prune_events", "prune_drift_reports"):
        query = getattr(store._queries, name)

        def counting(*args: object, query=query, **named: object) -> int:  # type: ignore[no-untyped-def]
            deleted.append(query(*args, **named))
            return deleted[-1]

        setattr(store._queries, name, counting)
    return deleted
