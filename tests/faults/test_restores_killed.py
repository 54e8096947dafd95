"""kill -9 at each step of a restore or drill, and in the moment in which a name is taken."""

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.backups.compare import Comparison, compare_files
from support.restoring import Rig, manifest_of, take
from support.shared_db import created, migrated
from support.stack_env import ROOT

STEPS = ["downloading", "decrypting", "loading", "putting", "comparing", "neutralising", "giving"]
TARGET = "prueba_muerta"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with migrated() as template, created(template.name) as database:
        rig = Rig(take(database, tmp_path), tmp_path)
        rig.made.add(TARGET)
        yield rig
        rig.close()


def run(rig: Rig, restore_id: uuid.UUID, **moment: Any) -> subprocess.CompletedProcess[str]:
    told = {
        "restore_id": str(restore_id),
        "spool": str(rig.spool),
        "filestore": str(rig.filestore),
        "folder": rig.stored.folder,
        "name": rig.stored.name,
        "identity": rig.stored.identity,
        "target": TARGET,
    } | moment
    return subprocess.run(
        [sys.executable, "-m", "support.killed_restore", json.dumps(told)],
        env={**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.timeout(900)
def test_a_restore_killed_at_each_step_ends_as_one_that_was_not(rig: Rig) -> None:
    rig.databases.create(TARGET)
    rig.databases._admit(TARGET)
    rig.sql(TARGET, "CREATE TABLE of_today (x int)")
    (rig.filestore / TARGET).mkdir()
    (rig.filestore / TARGET / "of_today").write_text("x")
    restore_id = uuid.uuid4()
    for step in STEPS:
        done = run(rig, restore_id, step=step)
        assert done.returncode == -9, step + done.stdout + done.stderr
        assert rig.sql(TARGET, "SELECT count(*) FROM of_today") == [(0,)], step
    killed = 0
    while (done := run(rig, restore_id, call=1 + killed % 4)).returncode == -9:
        killed += 1
        assert killed < 20
    assert killed >= 3
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["compared"]["differences"] == []
    before = report["set_aside_as"]
    assert rig.names() >= {TARGET, before}
    assert not [name for name in rig.names() if name.startswith(f"{TARGET}_restoring")]
    assert rig.sql(before, "SELECT count(*) FROM of_today") == [(0,)]
    assert (rig.filestore / before / "of_today").exists()
    assert sorted(path.name for path in rig.filestore.iterdir()) == sorted([TARGET, before])
    manifest = manifest_of(rig)
    found = Comparison()
    compare_files(manifest.filestore, rig.filestore / TARGET, found)
    assert found.differences == []
    assert rig.databases.still_alive(TARGET) == []
    # Once more, as a task whose success was not heard of: nothing is done again.
    again = run(rig, restore_id)
    assert json.loads(again.stdout.splitlines()[-1]) == report


def downloaded(done: subprocess.CompletedProcess[str]) -> list[int]:
    lines = [line.split() for line in done.stdout.splitlines()]
    return [int(words[1]) for words in lines if words[0] == "downloaded" and len(words) == 2]


def test_a_download_that_was_killed_goes_on_where_it_stopped(rig: Rig) -> None:
    restore_id = uuid.uuid4()
    size_bytes = manifest_of(rig).encrypted_size_bytes
    done = run(rig, restore_id, downloaded=size_bytes // 2)
    assert done.returncode == -9, done.stdout + done.stderr
    there = (rig.spool / str(restore_id) / "archive.tar.age").stat().st_size
    assert size_bytes // 2 <= there < size_bytes
    done = run(rig, restore_id)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *_, last = downloaded(done)
    assert there < first
    assert last == size_bytes
    assert json.loads(done.stdout.splitlines()[-1])["compared"]["differences"] == []


def alive(scratch: str) -> list[str]:
    """Return the programs that work on a database."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if scratch.encode() in (command := file.read_bytes()):
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", ["loading", "comparing", "starting Odoo", "printing"])
def test_of_a_drill_that_was_killed_the_next_leaves_nothing(rig: Rig, step: str) -> None:
    dead, next_one = uuid.uuid4(), uuid.uuid4()
    scratch = f"drill_{dead.hex[:8]}"
    rig.made |= {scratch, f"drill_{next_one.hex[:8]}"}
    done = run(rig, dead, drill=True, target=scratch, step=step)
    assert done.returncode == -9, done.stdout + done.stderr
    assert (scratch in rig.names()) == (step != "loading")
    assert (rig.spool / str(dead)).exists()
    done = run(rig, next_one, drill=True, target=f"drill_{next_one.hex[:8]}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["passed"], done.stdout
    assert not [name for name in rig.names() if name.startswith("drill_")]
    assert list(rig.spool.iterdir()) == []
    assert alive(scratch) == []
