"""The commands of the stack on its cheaper servers: PostgreSQL and RabbitMQ."""

import base64
import fcntl
import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import psycopg
import pytest
from support.processes import wait_until
from support.stacks import CHECKOUT, Stack

HANG_S = 250
"""Longer than any command takes on a busy machine."""

WATCHED_FILES = (
    "stack.env",
    "credentials.json",
    "ports",
    "postgresql.conf",
    "definitions.json",
    "run",
    "server.crt",
)


def fingerprint(stack: Stack) -> dict[str, object]:
    """What a second `up` could change: files and processes."""
    files = [path for path in stack.state.rglob("*") if path.name in WATCHED_FILES]
    assert len(files) >= len(WATCHED_FILES)
    # PostgreSQL's own helpers come and go.
    servers = [process.pid for process in stack.processes() if process.name() != "postgres"]
    times = {str(path): path.stat().st_mtime_ns for path in files}
    return times | {"processes": sorted(servers)}


def test_a_second_up_writes_no_file_and_starts_no_server(cheap_stack: Stack) -> None:
    before = fingerprint(cheap_stack)
    for _ in range(2):
        assert "running already" in cheap_stack.up()
    assert fingerprint(cheap_stack) == before


def test_data_survives_the_death_of_every_process_at_once(cheap_stack: Stack) -> None:
    with psycopg.connect(cheap_stack.values["SHARED_DB_URL"]) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('still here')")
    processes = cheap_stack.processes()
    assert len(processes) > 10
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue  # it ended with its box
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    cheap_stack.up()
    with psycopg.connect(cheap_stack.values["SHARED_DB_URL"]) as connection:
        row = connection.execute("SELECT word FROM kept").fetchone()
        connection.execute("DROP TABLE kept")
    assert row == ("still here",)


def test_the_box_and_all_in_it_end_with_its_keeper(cheap_stack: Stack) -> None:
    keeper, *others = cheap_stack.processes()
    keeper.kill()
    _, alive = psutil.wait_procs(others, timeout=10)
    assert not alive
    cheap_stack.up()


def test_a_killed_server_comes_back_by_itself(cheap_stack: Stack) -> None:
    for name in ("postgres", "rabbitmq"):
        killed = cheap_stack.process(name)
        killed.send_signal(signal.SIGKILL)
        killed.wait(10)
        cheap_stack.wait_until_ready(name)
        assert cheap_stack.process(name).pid != killed.pid


def test_an_old_process_id_in_a_lock_file_does_not_keep_postgresql_down(folder: Path) -> None:
    stack = Stack(folder / "stale", "postgres")
    stack.up()
    stack.run("down")
    # 2 is runsvdir in every box, so a server that believes this file refuses to start.
    (stack.state / "postgres" / "postmaster.pid").write_text("2\n/nowhere\n0\n1\n\n*\n\n\n")
    stack.up()
    assert stack.row("postgres")[3] == "yes"


def test_two_stacks_run_side_by_side_without_being_told(cheap_stack: Stack, folder: Path) -> None:
    other = Stack(folder / "other")
    other.up()
    assert other.values["SHARED_DB_URL"] != cheap_stack.values["SHARED_DB_URL"]
    ports = {stack.values["AMQP_URL"].rpartition(":")[2] for stack in (cheap_stack, other)}
    assert len(ports) == 2
    for stack in (cheap_stack, other):
        assert stack.row("rabbitmq")[3] == "yes"
        with psycopg.connect(stack.values["POSTGRES_ADMIN_URL"]) as connection:
            data = connection.execute("SHOW data_directory").fetchone()
        assert data == (str(stack.state / "postgres"),)
    other.run("down")
    assert cheap_stack.row("rabbitmq")[3] == "yes"


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_changed(folder: Path) -> None:
    stack = Stack(folder / "taken")
    stack.up()
    stack.run("down")
    port = int(stack.values["RABBITMQ_MANAGEMENT_URL"].rpartition(":")[2])
    before = sorted(stack.state.rglob("*"))
    with socket.create_server(("127.0.0.1", port)):
        done = stack.run("up")
    assert done.returncode == 1
    assert f"{port} by " in done.stderr
    assert str(psutil.Process().pid) in done.stderr
    assert "CLINIC_PORTS" in done.stderr
    assert sorted(stack.state.rglob("*")) == before


def test_a_server_that_ends_again_and_again_is_given_up_with_the_end_of_its_log(
    folder: Path,
) -> None:
    stack = Stack(folder / "broken", "postgres")
    stack.up()
    stack.run("down")
    (stack.state / "postgres" / "PG_VERSION").write_text("11\n")
    done = stack.run("up")
    assert done.returncode == 1
    assert "Ends again and again: postgres" in done.stderr
    assert "PostgreSQL version 11" in done.stderr


def test_two_ups_at_once_on_a_new_state_both_succeed(folder: Path) -> None:
    stack = Stack(folder / "twice", "postgres")
    lock = stack.state / "run" / "command.lock"
    lock.parent.mkdir(parents=True)
    # Both have looked at the folder, and neither has written into it.
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        both = [stack.begin("up"), stack.begin("up")]
        wait_until(
            lambda: all(waits_for(process, lock) for process in both), "both wait", timeout_s=60
        )
    outputs = [process.communicate(timeout=HANG_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    said = sorted("running already" in output for output in outputs)
    assert said == [False, True], outputs
    assert stack.run("down").returncode == 0


def waits_for(process: subprocess.Popen[str], lock: Path) -> bool:
    """Whether a command has come as far as `flock` on that file."""
    assert process.poll() is None, process.communicate()
    return any(
        child.name() == "flock" and any(file.path == str(lock) for file in child.open_files())
        for child in psutil.Process(process.pid).children()
    )


def test_a_state_of_which_only_the_lock_was_made_can_be_cleaned_and_started(folder: Path) -> None:
    stack = Stack(folder / "interrupted", "postgres")
    for command in ("clean", "up"):
        (stack.state / "run").mkdir(parents=True)
        (stack.state / "run" / "command.lock").touch()
        done = stack.run(command)
        assert done.returncode == 0, done.stderr
    stack.run("down")


def test_clean_waits_for_an_up_that_is_at_work(folder: Path) -> None:
    stack = Stack(folder / "busy", "postgres")
    stack.up()
    stack.run("down")
    lock = stack.state / "run" / "command.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        cleaning = stack.begin("clean")
        wait_until(lambda: waits_for(cleaning, lock), "clean waits", timeout_s=60)
        assert (stack.state / "postgres").is_dir()
    assert cleaning.communicate(timeout=HANG_S)
    assert cleaning.returncode == 0
    assert not stack.state.exists()


def test_a_new_box_believes_no_session_of_an_earlier_one(folder: Path) -> None:
    stack = Stack(folder / "session", "postgres")
    stack.up()
    stack.run("down")
    # A service that is not started, so that nothing writes this file anew.
    noted = stack.state / "sv" / "odoo" / "session"
    noted.write_text("2\n")
    stack.up()
    assert not noted.exists()
    stack.run("down")


def test_clean_forgets_the_state_and_nothing_else(folder: Path) -> None:
    stack = Stack(folder / "forgotten", "postgres")
    stack.up()
    assert stack.run("clean").returncode == 0
    assert not stack.state.exists()

    precious = folder / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for command in ("clean", "up"):
        done = Stack(precious).run(command)
        assert done.returncode == 1
        assert str(precious) in done.stderr
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


def test_rabbitmq_holds_what_is_declared_behind_a_generated_password(cheap_stack: Stack) -> None:
    values = cheap_stack.values
    declared = json.loads((CHECKOUT / "rabbitmq" / "definitions.json").read_text())
    address = f"{values['RABBITMQ_MANAGEMENT_URL']}/api/definitions"

    def definitions(password: str) -> dict[str, list[dict[str, object]]]:
        login = base64.b64encode(f"{values['RABBITMQ_ADMIN']}:{password}".encode()).decode()
        request = urllib.request.Request(address, headers={"Authorization": f"Basic {login}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            loaded: dict[str, list[dict[str, object]]] = json.load(answer)
        return loaded

    loaded = definitions(values["RABBITMQ_ADMIN_PASSWORD"])
    for kind in ("queues", "exchanges", "policies", "users"):
        names = {each["name"] for each in declared[kind]}
        assert names
        assert {each["name"] for each in loaded[kind]} == names
    rights = {each["user"]: each for each in loaded["permissions"]}
    assert {each["user"]: each for each in declared["permissions"]} == rights
    assert [user for user in declared["users"] if user["password_hash"]] == []
    for guess in ("", "administrator", "guest"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            definitions(guess)
