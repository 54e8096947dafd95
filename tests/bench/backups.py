"""How long a backup takes and how much memory, beside the shell script that one would write.

Writes build/bench/backups.json. Both dump the same database with two jobs, the same compression and
no fsync, pack the same files, encrypt with the same library and upload to the same Drive emulator,
in turns, each in processes of its own. What differs: a backup starts Python and logs in within its
time; it dumps an exported snapshot, and encrypts for a second key, the drill's. The script checks
nothing: a backup also counts every table's rows, reads the dump back, compares each file with its
hash, counts both sums, and compares what arrived. Drive takes no upload of unknown size, so that
the script writes a file, too, and cannot be one pipe.

On a busy machine wall times say little: the seconds of the processors, of all programs that either
started, stand beside them. Memory is that of the task with all its children, looked at every 20 ms.
Last, one backup goes past a Drive that answers 5xx, breaks connections and stalls.
"""

import argparse
import itertools
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from clinic.clients import pg_tools  # noqa: E402
from clinic.clients.drive_vault import CHUNK  # noqa: E402
from support.backups import BackupRig, backup_rig, fill_filestore, odoo_copy  # noqa: E402
from support.drive import Drive, running_drive  # noqa: E402
from support.shared_db import created, migrated  # noqa: E402

MIB = 1024**2
FILE_BYTES = MIB // 4
ROW_BYTES = 240
ENCRYPT = """\
import pyrage, sys
key = pyrage.x25519.Recipient.from_str(sys.argv[1])
pyrage.encrypt_io(sys.stdin.buffer, sys.stdout.buffer, [key])
"""
SCRIPT = """\
set -euo pipefail
step() { echo "$1 $EPOCHREALTIME" >>"$WORK/steps"; }
step begin
pg_dump --format=directory --jobs=2 --compress=zstd:3 --no-sync --lock-wait-timeout=60s \\
    --file="$WORK/database"
step dump
tar --create --directory "$WORK" database --directory "$FILESTORE" . |
    "$PYTHON" -c "$ENCRYPT" "$RECIPIENT" >"$WORK/archive"
step encrypt
session=$(curl --silent --fail --cacert "$CA" --output /dev/null --write-out '%header{location}' \\
    --header "Authorization: Bearer $TOKEN" --header 'Content-Type: application/json' \\
    --data "{\\"name\\": \\"plain\\", \\"parents\\": [\\"$DRIVE_ID\\"]}" \\
    "$DRIVE/upload/drive/v3/files?uploadType=resumable&supportsAllDrives=true")
curl --silent --fail --cacert "$CA" --output /dev/null --upload-file "$WORK/archive" "$session"
step upload
"""


def fill(rig: BackupRig, table_mib: int, files_mib: int) -> None:
    """Add a table of so many MiB that compress like names and numbers do, and scans that do not."""
    with psycopg.connect(rig.odoo_url) as odoo:
        odoo.execute(
            "CREATE TABLE bench_lines AS SELECT n AS id, md5(n::text) AS reference,"
            " repeat('Paracetamol 500 mg ' || (n %% 977), 6) AS name, n * 1.21 AS price,"
            " now() - n * interval '1 second' AS at FROM generate_series(1, %s) AS n",
            [table_mib * MIB // ROW_BYTES],
        )
    rng = random.Random(1)
    for _ in range(files_mib * MIB // FILE_BYTES // 100):
        contents = [rng.randbytes(FILE_BYTES) for _ in range(100)]
        fill_filestore(rig.odoo_url, Path(rig.filestore), contents)


class Memory(threading.Thread):
    """Looks at what a process and its children hold in memory, until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.peak_bytes = 0

    def run(self) -> None:
        while held := sum(_rss_bytes(pid) for pid in _family(self._pid)):
            self.peak_bytes = max(self.peak_bytes, held)
            time.sleep(0.02)


def _family(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it ended
        return [pid]
    return [pid, *(one for child in children for one in _family(child))]


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (FileNotFoundError, ProcessLookupError):
        return 0


def cpu_s() -> float:
    """Return what the programs that ended by now took of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(rig: BackupRig) -> dict[str, Any]:
    """Take a backup in a process of its own."""
    rig = rig.new()
    cpu_before_s, started = cpu_s(), time.monotonic()
    process = rig.start()
    memory = Memory(process.pid)
    memory.start()
    said, _ = process.communicate(timeout=1800)
    took_s = time.monotonic() - started
    told: dict[str, Any] = json.loads(said)
    if process.returncode:
        raise RuntimeError(said)
    memory.join()
    return {
        "wall_s": took_s,
        "cpu_s": cpu_s() - cpu_before_s,
        "peak_rss_bytes": memory.peak_bytes,
        "bytes": told["size_bytes"],
        "steps": told["took_s"],
    }


def plain(rig: BackupRig, drive: Drive, folder: Path) -> dict[str, Any]:
    """Run the script."""
    credentials = drive.service_account()
    with closing(drive.session(credentials)) as session:
        session.get(f"{drive.url}/drive/v3/about?fields=user", timeout=30).raise_for_status()
    work = Path(tempfile.mkdtemp(dir=folder))
    environment = pg_tools.environment(rig.odoo_url) | {
        "WORK": str(work),
        "FILESTORE": rig.filestore,
        "PYTHON": sys.executable,
        "ENCRYPT": ENCRYPT,
        "RECIPIENT": rig.recipient,
        "CA": str(drive.ca_file),
        "TOKEN": credentials.token,
        "DRIVE": drive.url,
        "DRIVE_ID": drive.drive_id,
    }
    cpu_before_s, started = cpu_s(), time.monotonic()
    subprocess.run(["bash", "-c", SCRIPT], env=environment, check=True, timeout=1800)
    took_s = time.monotonic() - started
    size_bytes = (work / "archive").stat().st_size
    lines = [line.split() for line in (work / "steps").read_text().splitlines()]
    steps = {
        name: float(at) - float(before) for (_, before), (name, at) in itertools.pairwise(lines)
    }
    shutil.rmtree(work)
    used_s = cpu_s() - cpu_before_s
    return {"wall_s": took_s, "cpu_s": used_s, "bytes": size_bytes, "steps": steps}


def disturbed(rig: BackupRig, drive: Drive) -> dict[str, Any]:
    """Take a backup past a Drive that fails at every few chunks; all of it has to arrive."""
    drive.reset()
    put = {"method": "PUT", "path": "upload_id="}
    drive.fault(**put, nth=2, status=503, times=2)
    drive.fault(**put, nth=5, kind="reset", after_bytes=10 * MIB)
    drive.fault(**put, nth=8, kind="delay", delay_s=75)  # longer than a request is waited for
    drive.fault(**put, nth=11, status=500)
    drive.fault(**put, nth=14, kind="partial", keep_bytes=MIB)
    drive.fault(**put, nth=17, kind="lost_reply")
    found = ours(rig)
    asked = [one for one in drive.log() if one["method"] == "PUT" and one["content_range"]]
    sent = [one["content_range"].removeprefix("bytes ").split("/")[0] for one in asked]
    spans = [tuple(int(end) for end in one.split("-")) for one in sent if one != "*"]
    drive.reset()
    return {
        "wall_s": round(found["wall_s"], 1),
        "peak_rss_mib": round(found["peak_rss_bytes"] / MIB, 1),
        "faults": sum(one["fault"] is not None for one in asked),
        "offered_to_archive": round(
            sum(last - first + 1 for first, last in spans) / found["bytes"], 3
        ),
    }


def empty(rig: BackupRig, drive: Drive) -> None:
    """Have room for the next."""
    with closing(drive.session()) as session:
        arguments = {"supportsAllDrives": "true", "includeItemsFromAllDrives": "true"}
        query = arguments | {"q": "mimeType != 'application/vnd.google-apps.folder'"}
        found = session.get(f"{drive.url}/drive/v3/files", params=query, timeout=60)
        found.raise_for_status()
        for file in found.json()["files"]:
            session.delete(
                f"{drive.url}/drive/v3/files/{file['id']}",
                params={"supportsAllDrives": "true"},
                timeout=60,
            ).raise_for_status()


def spread(values: list[float]) -> dict[str, float]:
    """Return what repeated runs came to."""
    return {
        "median": round(statistics.median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what repeated runs came to, the steps by their medians."""
    return {
        "wall_s": spread([one["wall_s"] for one in runs]),
        "cpu_s": spread([one["cpu_s"] for one in runs]),
        "steps_s": {
            name: round(statistics.median(one["steps"][name] for one in runs), 2)
            for name in runs[0]["steps"]
        },
    }


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table-mib", type=int, default=1024)
    parser.add_argument("--files-mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    state = Path(os.environ["CLINIC_STATE"])
    with (
        tempfile.TemporaryDirectory(dir=state, prefix="bench-backups-") as name,
        migrated() as database,
        created(database.name) as shared,
    ):
        folder = Path(name)
        (folder / "drive").mkdir()
        with (
            running_drive(folder / "drive") as drive,
            odoo_copy(folder) as odoo,
            backup_rig(folder, odoo, drive, shared.sync_url) as found,
        ):
            rig = replace(found, chunk_bytes=CHUNK, patience_s=300)  # as in Airflow
            fill(rig, chosen.table_mib, chosen.files_mib)
            with psycopg.connect(rig.odoo_url) as connection:
                sizes = connection.execute("SELECT pg_database_size('odoo')").fetchone()
            plains, owns = [], []
            for _ in range(chosen.runs):
                plains.append(plain(rig, drive, folder))
                empty(rig, drive)
                owns.append(ours(rig))
                empty(rig, drive)
            past_faults = disturbed(rig, drive)

    def ratio(figure: str) -> dict[str, float]:
        both = zip(owns, plains, strict=True)
        return spread([own[figure] / other[figure] for own, other in both])

    result = {
        "cores": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
        "database_bytes": sizes[0] if sizes else None,
        "filestore_bytes": chosen.files_mib * MIB,
        "archive_bytes": owns[0]["bytes"],
        "script": summary(plains),
        "backup": summary(owns)
        | {"peak_rss_mib": round(max(one["peak_rss_bytes"] for one in owns) / MIB, 1)},
        "ratio": ratio("wall_s"),
        "cpu_ratio": ratio("cpu_s"),
        "past_faults": past_faults,
    }
    out = ROOT / "build" / "bench" / "backups.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
