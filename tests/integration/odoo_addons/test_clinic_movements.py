"""The tests of the addon clinic_movements, run by a real Odoo."""

from support.odoo import OdooCluster
from support.odoo_suite import run_addon_suite

LEAST = 22


def test_odoo_runs_the_tests_of_clinic_movements(odoo_cluster: OdooCluster) -> None:
    run_addon_suite(odoo_cluster, "clinic_movements", LEAST)
