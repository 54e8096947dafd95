"""The addon carries copies of the message schemas, for Odoo has no other way to our docs."""

import json

import pytest
from support.stack_env import ROOT

SOURCE = ROOT / "docs" / "reference" / "messages"
COPIES = ROOT / "odoo-addons" / "medical_documents_integration" / "schemas"
NAMES = sorted(path.name for path in SOURCE.glob("*.schema.json"))


def test_the_addon_carries_every_schema_and_no_other() -> None:
    assert NAMES == ["document.schema.json", "notification.schema.json"]
    assert sorted(path.name for path in COPIES.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_copy_is_the_same(name: str) -> None:
    assert json.loads((COPIES / name).read_text()) == json.loads((SOURCE / name).read_text()), (
        f"copy docs/reference/messages/{name} to {COPIES.relative_to(ROOT)}"
    )
