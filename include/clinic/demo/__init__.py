"""A clinic's pharmacy to look at: the WHO essential medicines, and days that happen to them.

``catalogue`` reads the medicines, ``clinic`` invents around them what a published list has not
(prices, lots, suppliers), ``load`` puts both into Odoo, ``day`` plans and runs a day of work, and
``show`` follows one change from Odoo to the shared database.
"""
