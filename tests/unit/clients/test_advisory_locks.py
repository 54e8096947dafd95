"""Advisory locks of the shared database: who holds one keeps nobody else waiting."""

import re
from collections import Counter

from clinic.clients import locks
from support.stack_env import ROOT

FOLDERS = ("include", "plugins", "dags")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]


def test_no_two_have_the_same_lock() -> None:
    named = [value for name, value in vars(locks).items() if name.endswith("_LOCK")]
    every = [*named, *locks.DRAIN_LOCKS.values()]
    assert len(every) >= 7
    assert [lock for lock, count in Counter(every).items() if count > 1] == []


def test_every_lock_stands_in_the_one_place() -> None:
    others = [path for path in SOURCES if path.name != "locks.py"]
    assert len(others) > 100
    elsewhere = re.compile(r"636c_?696e|\block_id=\d|advisory_lock\(\d", re.I)
    assert [str(path) for path in others if elsewhere.search(path.read_text())] == []
    queries = "\n".join(path.read_text() for path in (ROOT / "sql").rglob("*.sql"))
    taken = re.findall(r"advisory\w*lock\(([^)]*)\)", queries)
    assert len(taken) >= 5
    assert set(taken) == {":lock_id"}
