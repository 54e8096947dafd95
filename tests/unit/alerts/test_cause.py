"""Failures of one system are one cause; the texts are those of the real clients."""

from collections.abc import Callable

import httpx
import psycopg
import pytest
from clinic.alerts.cause import cause_of
from clinic.alerts.report import describe
from clinic.clients import odoo
from clinic.clients.shared_db import translated
from clinic.errors import ClinicError, PermanentError, TransientError
from pika.exceptions import AMQPConnectionError
from rabbitmq_provider.errors import explain
from rabbitmq_provider.settings import ConnectionSettings

REQUEST = httpx.Request("POST", "https://odoo.example/json/2/x/y")


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(ClinicError) as caught:
        call()
    return caught.value


def odoo_answered(status: int) -> Exception:
    response = httpx.Response(status, request=REQUEST, json={"message": "No."})
    return raised(lambda: odoo.read_answer("Odoo clinic.document.notify", response))


def broker_away() -> Exception:
    settings = ConnectionSettings(
        "rabbitmq_default", host="rabbitmq.example", port=5672, login="airflow", password="x"
    )
    return explain(AMQPConnectionError(), settings, "Asking for queue 'invoice_queue'")


def shared_db_away() -> Exception:
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")
    return translated("Shared database, reading the cursor", caught.value)


# The errors that the clients themselves make of what went wrong.
MADE = {
    "odoo is down": ("odoo", lambda: odoo.out_of_reach(
        "Reading a page of Odoo's change feed", httpx.ConnectError("Connection refused"))),
    "odoo is slow": ("odoo", lambda: odoo.out_of_reach(
        "Streaming Odoo's change feed", httpx.ReadTimeout("", request=REQUEST))),
    "odoo is broken": ("odoo", lambda: odoo_answered(502)),
    "odoo knows the key no more": ("odoo", lambda: odoo_answered(401)),
    "the broker is down": ("broker", broker_away),
    "the shared database is down": ("shared_db", shared_db_away),
}  # fmt: skip

# Texts that are made deep inside a client, as they stand there.
QUOTED = {
    "Uploading I-1.pdf to Drive: the connection to Drive broke (ReadTimeout).": "drive",
    "Uploading I-1.pdf to Drive: no token from Google (TransportError). Is its token endpoint "
    "reachable?": "drive",
    "Storing I-1.pdf in Drive: the place for it is not there, or disappears again and again. "
    "HTTP 503": "drive",
    "Logging in to Keycloak at https://auth.example: no answer (ConnectError). Is Keycloak "
    "running?": "keycloak",
    "GET /admin/realms/clinica-realm/users: Keycloak answers 503 no": "keycloak",
    "Sending I-1.pdf: [Errno 111] Connection refused. Trying again may help; is the server up, "
    "and its certificate good?": "nextcloud",
    "E-mail about notification 1 to a@b.example: [Errno 111] Connection refused. It was not sent; "
    "trying again may help. Is the mail server up, and is the connection smtp_default right?":
    "mail",
    "Acknowledging in invoice_queue: (0, ''). Trying again may help; is RabbitMQ up?": "broker",
    "Downloading /clinic/documents/1/content from Odoo: no answer in time (ReadTimeout). Trying "
    "again may help; is Odoo up?": "odoo",
    "Logging admin in to Odoo: Odoo cannot be reached ([Errno 111]). Is it running?": "odoo",
}  # fmt: skip


@pytest.mark.parametrize(("cause", "make"), MADE.values(), ids=MADE.keys())
def test_a_system_that_fails_is_the_cause(cause: str, make: Callable[[], Exception]) -> None:
    assert describe(make())[0] == cause


@pytest.mark.parametrize(
    ("text", "cause"), QUOTED.items(), ids=[v + k[:20] for k, v in QUOTED.items()]
)
def test_texts_of_clients_lead_to_their_system(text: str, cause: str) -> None:
    assert cause_of("clinic.errors.TransientError", text) == cause


@pytest.mark.parametrize(
    "error",
    [
        TransientError("Shared database: another process mirrors into it (advisory lock 7)."),
        odoo_answered(404),
        odoo_answered(422),
        PermanentError("limit must be at least 1, got 0"),
        KeyError("broker"),
    ],
    ids=lambda error: str(error)[:30],
)  # fmt: skip
def test_what_a_system_answered_is_no_outage_of_it(error: Exception) -> None:
    assert describe(error)[0].startswith("error/")


def test_the_same_error_in_two_dags_is_one_cause() -> None:
    one = cause_of("builtins.ImportError", "cannot import name 'x' from 'y' (/opt/1/y.py, 0xfe12)")
    two = cause_of("builtins.ImportError", "cannot import name 'x' from 'y' (/opt/22/y.py, 0xab)")
    other = cause_of(
        "builtins.ImportError", "cannot import name 'z' from 'y' (/opt/1/y.py, 0xfe12)"
    )
    assert one == two != other


def test_a_librarys_words_are_not_repeated() -> None:
    cause, detail = describe(ValueError("Key (name)=(María Pérez) already exists"))
    assert detail == "ValueError"
    assert cause.startswith("error/ValueError/")


def test_a_process_that_is_gone_is_killed() -> None:
    assert describe(None) == ("killed", "")
    assert describe("Task did not emit heartbeat within time limit")[0] == "killed"
