"""Stacks of these tests' own, each in a folder with a short path, for it holds sockets."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stacks import Stack


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for state folders; what runs in it is stopped at the end, its ports freed."""
    path = Path(tempfile.mkdtemp(prefix="stack"))
    yield path
    for state in path.iterdir():
        if (state / "ports").exists():
            Stack(state).run("clean")
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def cheap_stack(folder: Path) -> Stack:
    """PostgreSQL and RabbitMQ, started."""
    stack = Stack(folder / "cheap")
    stack.up()
    return stack
