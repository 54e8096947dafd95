"""Which store each type of document goes to."""

import json

import pytest
from clinic.documents.settings import DEFAULT, parse_settings
from clinic.errors import PermanentError


@pytest.mark.parametrize("text", [None, "", "{}"])
def test_what_is_not_set_goes_where_it_does_by_default(text: str | None) -> None:
    assert parse_settings(text) == DEFAULT


def test_one_type_can_be_sent_elsewhere() -> None:
    text = json.dumps({"invoice": {"conn_id": "nextcloud_default", "folder": "/Facturas/Clinica/"}})
    settings = parse_settings(text)
    assert settings["invoice"].conn_id == "nextcloud_default"
    assert settings["invoice"].folder == "Facturas/Clinica"
    assert settings["medical_record"] == DEFAULT["medical_record"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Clinica", "the whole: Invalid JSON"),
        ('{"invoice": "google_cloud_drive"}', "invoice: "),
        ('{"invoice": {"conn_id": "drive"}}', "invoice.folder: Field required"),
        ('{"invoice": {"conn_id": "", "folder": "F"}}', "invoice.conn_id: "),
        ('{"invoice": {"conn_id": "drive", "folder": "F", "key": "k"}}', "invoice.key: Extra"),
        ('{"invoice": {"conn_id": "drive", "folder": "../F"}}', "name a folder below"),
        ('{"invoice": {"conn_id": "drive", "folder": "/"}}', "name a folder below"),
        ('{"x_ray": {"conn_id": "drive", "folder": "F"}}', "names x_ray; document types are"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(PermanentError) as caught:
        parse_settings(text)
    assert "clinic_document_stores" in str(caught.value)
    assert said in str(caught.value)
