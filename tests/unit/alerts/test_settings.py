"""The Variable clinic_alert_settings."""

import pytest
from clinic.alerts.settings import Settings, parse_settings
from clinic.errors import PermanentError


def test_without_one_nobody_is_written_to() -> None:
    assert parse_settings(None) == Settings()
    assert parse_settings(" ").emails == ()


def test_addresses_are_each_written_to_once() -> None:
    said = parse_settings('{"emails": ["It@clinic.example", "it@clinic.example", "b@c.example"]}')
    assert said.emails == ("it@clinic.example", "b@c.example")


def test_a_runbook_is_named_as_in_the_repository_where_no_address_is_known() -> None:
    assert parse_settings("{}").runbook("a.md") == "docs/runbooks/a.md"


@pytest.mark.parametrize(
    "text",
    ["[]", "{", '{"email": []}', '{"emails": "a@b.c"}', '{"emails": ["a"]}',
     '{"emails": ["a@b.example\\nBcc: c@d.example"]}', '{"runbook_url": "javascript:x"}'],
)  # fmt: skip
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(PermanentError, match="clinic_alert_settings"):
        parse_settings(text)
