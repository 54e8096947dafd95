"""A PostgreSQL cluster with a pristine Odoo database."""

from support.odoo import odoo_cluster  # noqa: F401
