"""A restore as a process that kills itself, as `kill -9` does, at a chosen moment.

Arguments: a JSON object with where everything is, and `step` (the beginning of a step's sentence),
`call` (the number of the call to the server while the name is taken) or `downloaded` (a number of
bytes) to die at. `drill` makes it a drill; `peak` is a file for the most memory that it took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from clinic.backups import restore as use_case
from clinic.backups.drill import run_drill
from clinic.backups.restore import Restore, Tell, Wish
from clinic.backups.unpack import parse_identity
from clinic.clients.odoo_process import OdooProgram
from clinic.clients.odoo_restore import OdooRestore
from support.restoring import vault_of
from support.stack_env import needed


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(OdooRestore):
    """Dies at a call while a name is taken, after it was done."""

    left: int | None = None
    is_taking = False

    def take_name(self, scratch: str, target: str, before: str) -> bool:
        self.is_taking = True
        return super().take_name(scratch, target, before)

    def _end_connections(self, server: Any, database: str) -> None:
        super()._end_connections(server, database)
        self._count()  # here the old database takes no connections

    def _move_files(self, scratch: str, target: str, before: str) -> None:
        super()._move_files(scratch, target, before)
        self._count()

    def _rename(self, name: str, new: str) -> None:
        self._count()
        super()._rename(name, new)
        self._count()

    def _count(self) -> None:
        if self.is_taking and self.left is not None:
            self.left -= 1
            if self.left <= 0:
                die()


def main() -> None:
    told = json.loads(sys.argv[1])

    def step(sentence: str) -> None:
        print(sentence, flush=True)
        if told.get("step") and sentence.startswith(told["step"]):
            die()

    def progress(what: str, done: int, _total: int) -> None:
        if what == "downloaded":
            print(f"downloaded {done}", flush=True)
            if done >= told.get("downloaded", done + 1):
                die()

    restore_id = uuid.UUID(told["restore_id"])
    spool = Path(told["spool"])
    odoo = OdooProgram(["odoo", "-c", needed("ODOO_CONF")], spool / str(restore_id) / "odoo")
    is_drill = told.get("drill", False)
    filestore = odoo.filestores if is_drill else Path(told["filestore"])
    databases = Dying(needed("ODOO_DB_URL"), filestore)
    databases.left = told.get("call")
    with vault_of(told["folder"]) as vault:
        job = Restore(
            use_case.find(vault, told["name"]),
            vault,
            parse_identity(told["identity"]),
            Wish(restore_id, told["target"], may_replace=True),
            databases,
            odoo,
            spool,
            tell=Tell(step, progress),
            scratch=told["target"] if is_drill else None,
        )
        print(json.dumps(run_drill(job, databases, odoo).as_json() if is_drill else job.run()))
    if told.get("peak"):
        status = Path("/proc/self/status").read_text()
        Path(told["peak"]).write_text(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
