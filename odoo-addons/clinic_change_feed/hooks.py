"""What Odoo's own uninstall does not undo."""

from .feed.sql import run


def uninstall_hook(env):
    """Drop the triggers before Odoo drops the table they write to.

    Args:
        env: the environment of the uninstall.
    """
    run(env.cr, "drop.sql")
