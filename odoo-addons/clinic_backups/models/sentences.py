"""What people read about a backup that is not as it should be, in their language."""

from datetime import timedelta

from odoo import fields
from odoo.tools import format_datetime

SLOW = timedelta(minutes=15)


def explain(backup):
    """Return the sentence for a backup's state; False where the state says it all."""
    env = backup.env
    if backup.state == "requested" and backup.attempts:
        return env._(
            "The request cannot be sent at the moment, because RabbitMQ does not answer. It is "
            "tried again by itself at %s.",
            format_datetime(env, backup.next_attempt_at, dt_format="short"),
        )
    if backup.state == "published" and fields.Datetime.now() - backup.published_at > SLOW:
        return env._(
            "Airflow was asked at %s and has not begun yet. Look there whether the DAG backup_odoo "
            "is switched on.",
            format_datetime(env, backup.published_at, dt_format="short"),
        )
    if backup.state == "failed":
        return env._(
            "This backup failed, and nothing can be restored from it. The backups before it are "
            "not touched. Why is said below and, at length, in the log of Airflow's DAG "
            "backup_odoo."
        )
    if backup.drill == "failed":
        return env._(
            "Restoring this backup as a drill failed: do not rely on it before you have looked at "
            "Airflow's DAG drill_restore."
        )
    return False
