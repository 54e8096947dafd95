"""The `clinic` command: where it takes addresses and secrets from."""

import sys

import pytest
from clinic.cli import main, use_the_running_stack


@pytest.fixture
def stack(tmp_path, monkeypatch):
    (tmp_path / "stack.env").write_text(
        "# a comment\nODOO_URL=http://stack\nODOO_API_KEY='a key'\n"
    )
    monkeypatch.setenv("CLINIC_STATE", str(tmp_path))
    environment: dict[str, str] = {"CLINIC_STATE": str(tmp_path)}
    monkeypatch.setattr("os.environ", environment)
    return environment


def test_where_no_server_is_named_the_running_stack_is_meant(stack):
    use_the_running_stack()
    assert stack["ODOO_URL"] == "http://stack"
    assert stack["ODOO_API_KEY"] == "a key"


def test_another_server_is_given_no_secret_of_the_stack(stack):
    stack["ODOO_URL"] = "https://odoo.clinic.example"
    use_the_running_stack()
    assert "ODOO_API_KEY" not in stack
    assert stack["ODOO_URL"] == "https://odoo.clinic.example"


def test_help_names_the_command_that_people_type(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/site/clinic/cli.py", "backup", "list", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "Usage: clinic backup list" in capsys.readouterr().out
