"""What is left behind when the addon goes: nothing."""


def uninstall_hook(env):
    """Take the triggers away, which would write changes of an entity nobody knows."""
    env.cr.execute("SELECT clinic_change_unwatch('patient')")
