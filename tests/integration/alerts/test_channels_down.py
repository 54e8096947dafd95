"""A channel that is down, a sender that is killed, a ledger that is not there: who is told what."""

import json
from collections import Counter
from datetime import timedelta

import psycopg
import pytest
from clinic.clients.locks import SENDER_LOCK
from clinic.errors import PermanentError, TransientError
from clinic_airflow import failures
from support.alerting import EMAILS, House
from support.processes import free_port, wait_until

ODOO_DOWN = TransientError(
    "Odoo clinic.document.notify: HTTP 502. Trying again may help; is Odoo up?"
)


def deliveries(house: House) -> Counter[tuple[str, str]]:
    rows = house.database.query("SELECT channel, state FROM alert_deliveries")
    return Counter((row["channel"], row["state"]) for row in rows)


def is_free(house: House) -> bool:
    locks = "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
    where = "WHERE locktype = 'advisory' AND datname = %s"
    return bool(house.database.value(f"{locks} {where}", house.database.name) == 0)


def test_a_receiver_that_is_down_is_tried_again_and_stops_nobody(house: House) -> None:
    house.receiver.statuses = [503, 503]
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    assert house.subjects() == ["[Clínica] AVISO: Odoo no responde"]
    house.send()  # not due yet
    assert house.receiver.requests == 1
    for _ in range(2):
        house.let_pass(timedelta(minutes=3))
        house.send()
    assert house.kinds() == ["alert.opened"]
    assert house.receiver.requests == 3
    assert len(house.subjects()) == 1


def test_a_channel_that_stays_down_is_an_alert_on_the_others(house: House) -> None:
    house.receiver.statuses = [500] * 4
    house.fail("sync_inventory", ODOO_DOWN)
    for _ in range(4):
        house.send()
        house.let_pass(timedelta(minutes=10))
    assert house.subjects() == [
        "[Clínica] AVISO: Odoo no responde",
        "[Clínica] AVISO: El webhook de alertas no responde",
    ]
    house.let_pass(timedelta(hours=1))
    house.send()  # it is up again: it hears of both
    assert house.kinds() == ["alert.opened", "alert.opened"]
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.kinds()[2:] == ["alert.closed"]


def test_a_receiver_says_how_long_to_wait(house: House) -> None:
    house.receiver.statuses = [429]
    house.receiver.headers = {"Retry-After": "1200"}
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    waits = house.database.value(
        "SELECT extract(epoch FROM next_at - now()) FROM alert_deliveries WHERE channel = 'webhook'"
    )
    assert 1100 < waits <= 1200


def test_nobody_is_told_what_is_over_before_they_could_be(house: House) -> None:
    house.receiver.statuses = [503] * 2
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    house.task("sync_inventory", "success", ago_s=1)
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.kinds() == ["alert.closed"]  # the newest word stands for those before it
    assert len(house.subjects()) == 2


def test_a_mail_server_that_is_down_holds_up_no_webhook(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads(house.environment["AIRFLOW_CONN_SMTP_DEFAULT"])
    house.set(
        monkeypatch, "AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(settings | {"port": free_port()})
    )
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    assert house.kinds() == ["alert.opened"]
    assert house.mails.mails == []
    house.set(monkeypatch, "AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(settings))
    house.let_pass(timedelta(minutes=5))
    house.send()
    assert len(house.subjects()) == 1
    assert house.kinds() == ["alert.opened"]


def test_one_address_that_is_refused_does_not_stop_the_other(house: House) -> None:
    house.mails.replies_to_recipient = {EMAILS[0]: "550 No such person"}
    house.fail("sync_inventory", ODOO_DOWN)
    house.send()
    assert [to for to, _ in house.mails.mails] == [EMAILS[1]]
    house.send()  # the trouble itself is told to those who can be reached
    alerts = house.database.query("SELECT key, detail FROM alerts")
    (said,) = [row["detail"] for row in alerts if row["key"] == "alerts/email"]
    assert "correct the address in the Airflow Variable clinic_alert_settings" in said


@pytest.mark.parametrize("when", ["claimed", "mail", "webhook"])
def test_a_sender_killed_between_claim_and_word_is_followed_by_one_that_sends(
    house: House, when: str
) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    victim = None

    def kill() -> None:
        assert victim is not None
        victim.kill()
        victim.wait(10)

    if when == "claimed":  # before the mail server has taken anything
        house.mails.when_asked = kill
    elif when == "mail":  # it has taken it, and nobody noted so
        house.mails.when_taken = kill
    else:  # the receiver has it, and nobody noted so
        house.receiver.when_taken = kill
    victim = house.start_sending()
    assert victim.wait(60) == -9
    assert any(state == "claimed" for _, state in deliveries(house))
    house.mails.when_asked = house.mails.when_taken = lambda: None
    house.receiver.when_taken = lambda: None
    wait_until(lambda: is_free(house), "the dead one's lock is free")
    house.send()
    house.send()
    assert len(house.mails.mails) == len(EMAILS) + (when == "mail")
    # What comes twice is the same mail to the last letter: servers and programs know it by its id.
    assert len({(to, mail.as_bytes()) for to, mail in house.mails.mails}) == len(EMAILS)
    assert len({str(mail["Message-ID"]) for _, mail in house.mails.mails}) == len(EMAILS)
    ids = [message_id for message_id, _ in house.receiver.calls]
    assert len(set(ids)) == 1  # by its id a receiver knows a message that comes twice
    assert deliveries(house) == {("email", "sent"): 2, ("webhook", "sent"): 1}


def test_a_shared_database_that_is_down_is_mailed_once_a_day_and_taken_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = house.environment["AIRFLOW_CONN_SHARED_DB"]
    away = json.dumps(json.loads(here) | {"port": free_port()})
    house.set(monkeypatch, "AIRFLOW_CONN_SHARED_DB", away)
    with pytest.raises(TransientError) as down:
        house.send()
    for dag_id in ("sync_inventory", "drain_invoices"):
        house.fail(dag_id, down.value)
    for _ in range(3):
        with pytest.raises(TransientError, match="Shared database"):
            house.send()
    assert house.subjects() == ["[Clínica] CRÍTICO: La base de datos compartida no responde"]
    assert len(list(failures.folder().iterdir())) == 2  # nothing is lost meanwhile

    house.set(monkeypatch, "AIRFLOW_CONN_SHARED_DB", here)
    house.send()
    house.send()
    assert len(house.mails.mails) == len(EMAILS)  # who was mailed directly is not told again
    assert deliveries(house) == {("email", "sent"): 2, ("webhook", "sent"): 1}
    ((_, payload),) = house.receiver.calls
    assert payload["data"]["cause"] == "shared_db"
    for dag_id in ("sync_inventory", "drain_invoices"):
        house.task(dag_id, "success", ago_s=1)
    house.send()
    house.let_pass(timedelta(hours=1))
    house.send()
    assert house.kinds()[-1] == "alert.closed"
    assert house.subjects()[1:] == ["[Clínica] RESUELTO: La base de datos compartida no responde"]


def test_without_airflows_tables_what_was_reported_is_still_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    away = json.loads(house.environment["AIRFLOW_CONN_AIRFLOW_METADATA"]) | {"port": free_port()}
    house.set(monkeypatch, "AIRFLOW_CONN_AIRFLOW_METADATA", json.dumps(away))
    with pytest.raises(TransientError, match="Reading Airflow's database"):
        house.send()
    assert house.kinds() == ["alert.opened"]
    assert len(house.subjects()) == 1


def test_settings_that_cannot_be_read_are_said_and_stop_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    house.set(monkeypatch, "AIRFLOW_VAR_CLINIC_ALERT_SETTINGS", "{")
    with pytest.raises(PermanentError, match="clinic_alert_settings"):
        house.send()
    assert house.kinds() == ["alert.opened"]


def test_a_second_sender_does_not_send_beside_the_first(house: House) -> None:
    house.fail("sync_inventory", ODOO_DOWN)
    with psycopg.connect(house.database.sync_url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (SENDER_LOCK,))
        with pytest.raises(TransientError, match="another process sends alerts"):
            house.send()
    assert house.mails.mails == []
    house.send()
    assert len(house.subjects()) == 1
