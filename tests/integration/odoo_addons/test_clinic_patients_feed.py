"""The tests of the addon clinic_patients_feed, run by a real Odoo."""

from support.odoo import OdooCluster
from support.odoo_suite import run_addon_suite

LEAST = 8


def test_odoo_runs_the_tests_of_clinic_patients_feed(odoo_cluster: OdooCluster) -> None:
    run_addon_suite(odoo_cluster, "clinic_patients_feed", LEAST)
