"""A real Odoo whose database manager may be used, on a copy of the stack's Odoo."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.odoo import OdooServer
from support.postgres import PostgresCluster


class ManagedOdoo(OdooServer):
    """An Odoo whose database manager may be used."""

    def manage(self, master_password: str, *, list_db: bool = True) -> None:
        conf = self._conf.read_text()
        conf = conf.replace("list_db = False", f"list_db = {list_db}")
        self._conf.write_text(f"{conf}admin_passwd = {master_password}\nlimit_time_real = 600\n")


@contextmanager
def managed_odoo(
    odoo: tuple[PostgresCluster, str, Path], folder: Path, master_password: str
) -> Iterator[ManagedOdoo]:
    """Run one on what :func:`support.backups.odoo_copy` yields."""
    cluster, name, filestore = odoo
    server = ManagedOdoo(cluster, name, folder, workers=0)
    (folder / "data" / "filestore").mkdir(parents=True)
    (folder / "data" / "filestore" / name).symlink_to(filestore)
    server.manage(master_password)
    server.start()
    try:
        yield server
    finally:
        server.stop()
