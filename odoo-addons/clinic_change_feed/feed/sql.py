"""SQL lives in .sql files of the addon; this loads them."""

from functools import cache

from odoo.tools.misc import file_open

MODULE = "clinic_change_feed"


@cache
def load(path, module=MODULE):
    """Return the text of one of a module's SQL files.

    Args:
        path: path below the module's `sql` folder, for example `page.sql`.
        module: technical name of the module that holds it.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with file_open(f"{module}/sql/{path}", filter_ext=(".sql",)) as stream:
        return stream.read()


def run(cr, path, module=MODULE):
    """Execute a file of statements that take no parameters (a `%` in it means itself).

    Args:
        cr: database cursor.
        path: path below the module's `sql` folder.
        module: technical name of the module that holds it.
    """
    cr.execute(load(path, module))


def execute(cr, path, params, module=MODULE):
    """Execute a statement with parameters and return how many rows it touched.

    Args:
        cr: database cursor.
        path: path below the module's `sql` folder.
        params: the statement's named parameters.
        module: technical name of the module that holds it.
    """
    cr.execute(load(path, module), params)
    return cr.rowcount


def rows(cr, path, params, module=MODULE):
    """Execute a query and return its rows as dictionaries.

    Args:
        cr: database cursor.
        path: path below the module's `sql` folder.
        params: the query's named parameters.
        module: technical name of the module that holds it.
    """
    cr.execute(load(path, module), params)
    return cr.dictfetchall()
