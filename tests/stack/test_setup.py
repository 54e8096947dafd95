"""What is fetched and built into the cache, and what an interruption leaves of it."""

import fcntl
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.processes import wait_until
from support.stacks import CHECKOUT, Stack, command_lines

# As root, who needs no range of user ids to build a tree; and heeding an interruption, which tests
# that run in the background of a shell ignore, and hand on so.
AS_ROOT = ("env", "--default-signal=INT", "unshare", "--user", "--map-root-user", "--mount")


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


def test_who_removes_snapshots_waits_for_who_copies_one(folder: Path) -> None:
    stack = Stack(folder / "copying", "postgres")
    lock = Path(os.environ["CLINIC_CACHE"]) / "databases.lock"

    def waits(process: subprocess.Popen[str]) -> bool:
        assert process.poll() is None, process.communicate()
        for each in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if str(lock) in {file.path for file in each.open_files()}:
                    return True
        return False

    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        starting = stack.begin("up")
        wait_until(lambda: waits(starting), "up waits for the snapshots", timeout_s=60)
        time.sleep(1)
        assert waits(starting)
        assert not (stack.state / "initialised").exists()
    output, _ = starting.communicate(timeout=250)
    assert starting.returncode == 0, output
    stack.run("down")


def test_an_index_password_in_pips_settings_reaches_uv_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT / "stack"))
    from clinic_stack.fetch import _registry_settings

    settings = tmp_path / "pip.conf"
    address = "https://user:the-password@index.invalid/simple"
    settings.write_text(f"[global]\nindex-url = {address}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("UV_DEFAULT_INDEX", raising=False)
    log = tmp_path / "python.log"
    pip = next(Path(os.environ["CLINIC_CACHE"]).glob("uv-*/bin/pip"))
    assert _registry_settings(pip, log)["UV_DEFAULT_INDEX"] == address
    assert "the-password" not in log.read_text()


def test_an_authority_whose_making_was_interrupted_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(CHECKOUT / "stack"))
    from clinic_stack import tls
    from clinic_stack.config import Config

    def config(domain: str) -> Config:
        here = tmp_path
        return Config(here, here, here, here, here, domain, 20000, ())

    def names() -> str:
        command = ["openssl", "x509", "-noout", "-text", "-in", tmp_path / "tls" / "ca.crt"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    tls.prepare(config("old.localhost"))
    assert "old.localhost" in names()

    def killed(*command: object, **_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tls, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            tls.prepare(config("new.localhost"))
    tls.prepare(config("new.localhost"))
    assert "new.localhost" in names()
    assert "old.localhost" not in names()


def test_what_nobody_used_for_two_weeks_leaves_the_cache(tmp_path: Path) -> None:
    warm, cache = Path(os.environ["CLINIC_CACHE"]), tmp_path / "cache"
    cache.mkdir()
    (cache / Path(os.environ["CLINIC_ROOT"]).name).symlink_to(os.environ["CLINIC_ROOT"])
    wanted = cache / Path(os.environ["CLINIC_VENV"]).name
    running, unused = cache / "keycloak-running", cache / "root-unused"
    recent = cache / "venv-recent"
    for folder in (wanted, running, unused, recent):
        (folder / "bin").mkdir(parents=True)
    for home in warm.glob("keycloak-*[0-9a-f]"):
        (cache / home.name).mkdir()
    for home in warm.glob("dashboard-*[0-9a-f]"):
        (cache / home.name).mkdir()
        (cache / home.name / ".complete").touch()
    (wanted / ".complete").touch()
    (unused / "bin").chmod(0)
    days = {wanted: 20, running: 20, unused: 20, recent: 13}
    for folder, age in days.items():
        os.utime(folder, times=2 * (time.time() - age * 24 * 3600,))
    environment = {"KEYCLOAK_HOME": str(running)}
    with subprocess.Popen(["/usr/bin/sleep", "600"], env=environment) as server:
        try:
            done = Stack(tmp_path / "state", CLINIC_CACHE=str(cache)).run("setup", "cache")
        finally:
            server.kill()
    assert done.returncode == 0, done.stderr
    assert {folder.name for folder in days if folder.exists()} == {
        wanted.name,
        running.name,
        recent.name,
    }
