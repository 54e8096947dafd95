"""The addon's own tests, run by Odoo, on a database of their own."""

import re
import subprocess

from support.odoo import OdooCluster, OdooServer

LEAST = 90  # tests; fewer means that some are no longer found


def test_odoo_runs_the_addon_s_tests(odoo_cluster: OdooCluster) -> None:
    database = odoo_cluster.new_database()
    odoo = OdooServer(odoo_cluster, database, odoo_cluster.folder / database, workers=0)
    try:
        done = subprocess.run(
            [
                *odoo.command(), "--update", "clinic_change_feed", "--stop-after-init",
                "--test-enable", "--test-tags", "/clinic_change_feed",
            ],
            capture_output=True, text=True, check=False, env=odoo.environment, timeout=280,
        )  # fmt: skip
    finally:
        odoo_cluster.drop_database(database)
    problems = [line for line in done.stderr.splitlines() if "FAIL:" in line or "ERROR:" in line]
    assert done.returncode == 0, "\n".join(problems) or done.stderr[-3000:]
    verdict = re.search(r"0 failed, 0 error\(s\) of (\d+) tests", done.stderr)
    assert verdict, done.stderr[-3000:]
    assert int(verdict[1]) >= LEAST
