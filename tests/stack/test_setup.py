"""What is fetched and built into the cache, and what an interruption leaves of it."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from support.processes import wait_until
from support.stacks import Stack, command_lines

# As root, who needs no range of user ids to build a tree.
AS_ROOT = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture
def endless(tmp_path: Path) -> Stack:
    """A stack with an empty cache, whose `mmdebstrap` never comes to its end."""
    tool = tmp_path / "bin" / "mmdebstrap"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nprintf x\nsleep 600\n")
    tool.chmod(0o755)
    return Stack(
        tmp_path / "state",
        CLINIC_CACHE=str(tmp_path / "cache"),
        CLINIC_DEBIAN_MIRROR="file:/none",
        CLINIC_INSTALL_TOOLS="no",
        PATH=f"{tool.parent}:{os.environ['PATH']}",
    )


def builders(setup: subprocess.Popen[str]) -> list[psutil.Process]:
    """What builds the tree, once all of it has started."""
    assert setup.poll() is None, setup.communicate()
    children = psutil.Process(setup.pid).children(recursive=True)
    lines = command_lines(children).values()
    at_work = all(any(word in text for text in lines) for word in ("sleep 600", "tar --extract"))
    return children if at_work else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_set_up_leaves_nothing_running(
    endless: Stack, number: signal.Signals
) -> None:
    setup = endless.begin("setup", wrapper=AS_ROOT)
    wait_until(lambda: builders(setup), "the tree is being built", timeout_s=60)
    children = builders(setup)
    os.kill(setup.pid, number)
    setup.communicate(timeout=60)
    assert setup.returncode == 130
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_builder_that_outlives_its_set_up_keeps_the_next_one_waiting(endless: Stack) -> None:
    first = endless.begin("setup", wrapper=AS_ROOT)
    wait_until(lambda: builders(first), "the tree is being built", timeout_s=60)
    left = builders(first)
    first.kill()
    first.wait(10)
    second = endless.begin("setup", wrapper=AS_ROOT)
    try:
        assert second.stdout
        assert second.stdout.readline().startswith("Another set-up is at work")
    finally:
        for each in [*left, psutil.Process(second.pid), *psutil.Process(second.pid).children()]:
            if each.is_running():
                each.kill()
        for process in (first, second):
            process.communicate(timeout=60)
