"""What a message says of an error: short, and without what nobody else may know."""

import pytest
from clinic.alerts.words import LONGEST, shortened

SECRETS = {
    "a login in an address": "GET postgresql://clinica:s3cret@db.example/x failed",
    "a password": "Login failed: password='s3cret', host=db",
    "a JSON password": '{"password": "s3cret"}',
    "a query": "GET https://x.example/?api_key=s3cret&y=1",
    "a bearer": "Authorization: Bearer s3cret_s3cret",
    "a token": "access_token=s3cret",
    "a webhook's secret": "whsec_s3crets3cret refused",
    "a backup's key": "AGE-SECRET-KEY-S3CRET1 does not fit".replace("S3CRET", "s3cret"),
    "a signed token": "eyJhbGciOi.s3cret.xx is over",
    "an address of somebody": "E-mail to s3cret@clinic.example refused",
    "a private key": "-----BEGIN {} KEY-----\ns3cret\n".format("PRIVATE"),
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS.keys())
def test_secrets_are_masked(text: str) -> None:
    assert "s3cret" in text
    assert "s3cret" not in shortened(text)


@pytest.mark.parametrize("number", ["12345678Z", "X1234567L", "612 345 678", "+34 612345678"])
def test_what_tells_who_a_patient_is_is_masked(number: str) -> None:
    assert number not in shortened(f"Patient with {number} is not there")


def test_what_helps_stays() -> None:
    text = (
        "Odoo clinic.document.notify: HTTP 502 at 127.0.0.1:8069, document "
        "9787eee5-d936-4132-b93e-9e67b17d2c56, 2026-11-24T15:22:45."
    )
    assert shortened(text) == text


def test_a_long_text_is_cut_and_a_line() -> None:
    said = shortened("word\n" * 10_000)
    assert len(said) == LONGEST
    assert said.startswith("word word")
    assert said.endswith("…")
