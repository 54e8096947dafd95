"""What a message says of an error: short, and without what nobody else may know."""

import pytest
from clinic.alerts.words import LONGEST, error_in, shortened

SECRETS = {
    "a login in an address": "GET postgresql://clinica:s3cret@db.example/x failed",
    "a password": "Login failed: password='s3cret', host=db",
    "a JSON password": '{"password": "s3cret"}',
    "a query": "GET https://x.example/?api_key=s3cret&y=1",
    "a bearer": "Authorization: Bearer s3cret_s3cret",
    "a token": "access_token=s3cret",
    "a token after a blank": "Token s3crets3cret is over",
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
    asks = "Logging in to Drive: no token from Google. Is its token endpoint reachable?"
    assert shortened(asks) == asks


def test_a_long_text_is_cut_and_a_line() -> None:
    said = shortened("word\n" * 10_000)
    assert len(said) == LONGEST
    assert said.startswith("word word")
    assert said.endswith("…")


# As Airflow 3.3 kept them of files with these faults.
TRACES = {
    "import": (
        """Traceback (most recent call last):
  File "<frozen importlib._bootstrap>", line 488, in _call_with_frames_removed
  File "/opt/dags/bad.py", line 1, in <module>
    from clinic.backups.take import Takes
ImportError: cannot import name 'T' from 'clinic.backups.take' (/o/take.py)
""",
        "bad.py:1: ImportError: cannot import name 'T' from 'clinic.backups.take' (/o/take.py)",
    ),
    "several lines": (
        """Traceback (most recent call last):
  File "/opt/dags/bad.py", line 3, in f
    import nothing_there
ModuleNotFoundError: No module named 'nothing_there'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/opt/dags/bad.py", line 6, in <module>
    f()
    ~^^
  File "/opt/include/other.py", line 5, in f
    raise ValueError("First line of it.\\nHint: do this") from e
ValueError: First line of it.
Hint: do this
""",
        "bad.py:6: ValueError: First line of it. Hint: do this",
    ),
    "syntax": (
        """Traceback (most recent call last):
  File "<frozen importlib._bootstrap_external>", line 1090, in source_to_code
  File "/opt/dags/bad.py", line 1
    def x(:
          ^
SyntaxError: invalid syntax
""",
        "bad.py:1: SyntaxError: invalid syntax",
    ),
    "no frames": (
        "AirflowTimetableInvalid: Exactly 5, 6 or 7 columns has to be specified.",
        "AirflowTimetableInvalid: Exactly 5, 6 or 7 columns has to be specified.",
    ),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("trace", "said"), TRACES.values(), ids=TRACES.keys())
def test_a_traceback_says_where_what_and_why(trace: str, said: str) -> None:
    assert error_in(trace, "bad.py") == said
