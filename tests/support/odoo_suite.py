"""The tests inside an addon of ours, run by a real Odoo."""

import re
import subprocess

from support.odoo import OdooCluster, OdooServer


def run_addon_suite(odoo_cluster: OdooCluster, addon: str, least: int) -> None:
    """Run an addon's own tests on a database of their own, where it is installed or updated.

    Args:
        odoo_cluster: of the fixture of that name.
        addon: technical name.
        least: tests; fewer means that some are no longer found.
    """
    database = odoo_cluster.new_database()
    odoo = OdooServer(odoo_cluster, database, odoo_cluster.folder / database, workers=0)
    try:
        done = subprocess.run(
            [
                *odoo.command(), "--init", addon, "--update", addon, "--stop-after-init",
                "--test-enable", "--test-tags", f"/{addon}",
            ],
            capture_output=True, text=True, check=False, env=odoo.environment, timeout=290,
        )  # fmt: skip
    finally:
        odoo.http.close()
        odoo_cluster.drop_database(database)
    problems = [line for line in done.stderr.splitlines() if "FAIL:" in line or "ERROR:" in line]
    assert done.returncode == 0, "\n".join(problems) or done.stderr[-3000:]
    verdict = re.search(r"0 failed, 0 error\(s\) of (\d+) tests", done.stderr)
    assert verdict, done.stderr[-3000:]
    assert int(verdict[1]) >= least
