"""Advisory locks of the shared database: who holds one keeps nobody else waiting."""

from collections import Counter

from clinic.clients import alerts_db, backups_db, documents_db, notifications_db, shared_db
from clinic.shared_db_commands import MIGRATION_LOCK


def test_no_two_have_the_same_lock() -> None:
    locks = [
        MIGRATION_LOCK,
        shared_db.MIRROR_LOCK,
        notifications_db.NOTIFIER_LOCK,
        alerts_db.SENDER_LOCK,
        backups_db.BACKUP_LOCK,
        *documents_db._LOCKS.values(),
    ]
    assert [lock for lock, count in Counter(locks).items() if count > 1] == []
