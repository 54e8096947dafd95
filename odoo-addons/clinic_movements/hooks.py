"""What Odoo's own uninstall does not undo."""


def uninstall_hook(env):
    """Drop the table that the ORM does not know of.

    Args:
        env: the environment of the uninstall.
    """
    env.cr.execute("DROP TABLE IF EXISTS clinic_movement_turn")
