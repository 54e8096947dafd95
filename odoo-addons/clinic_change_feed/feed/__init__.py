"""The feed's rules: snapshots, cursors, entities, pages.

No ORM, no HTTP: a database cursor comes in, data go out.
"""
