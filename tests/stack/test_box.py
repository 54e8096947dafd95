"""The box that every command runs in."""

import secrets
import subprocess
from pathlib import Path

import psutil
from support.stacks import CHECKOUT, command_lines

BOX = CHECKOUT / "stack" / "box"


def test_a_value_passed_into_the_box_is_on_no_command_line(folder: Path) -> None:
    word = secrets.token_urlsafe(24)
    script = 'printf "%s\\n" "$CLINIC_TEST_WORD" "$PIP_EXTRA_INDEX_URL"; read answer'
    with subprocess.Popen(
        [str(BOX), "sh", "-c", script],
        env=psutil.Process().environ()
        | {
            "CLINIC_STATE": str(folder / "box"),
            "CLINIC_BOX_PASS": "CLINIC_TEST_WORD",
            "CLINIC_TEST_WORD": word,
            "PIP_EXTRA_INDEX_URL": f"https://user:{word}@index.invalid/simple",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == f"{word}\n"
        assert word in process.stdout.readline()
        found = [name for name, text in command_lines().items() if word in text]
        process.communicate("\n", timeout=30)
    assert process.returncode == 0
    assert found == []


def test_a_box_with_process_ids_of_its_own_ends_as_a_whole(folder: Path) -> None:
    script = "sleep 611 & echo started; wait"
    with subprocess.Popen(
        [str(BOX), "sh", "-c", script],
        env=psutil.Process().environ()
        | {"CLINIC_STATE": str(folder / "box"), "CLINIC_BOX_OWN_PIDS": "yes"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        for each in alive:
            each.kill()
    assert len(children) > 1
    assert alive == []
