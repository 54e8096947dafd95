"""When people are told of an outage, and what they read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from clinic.alerts.message import Renderer
from clinic.alerts.model import Severity
from clinic.alerts.outage import (
    LONGEST_QUIET,
    QUIET,
    REMIND_AFTER,
    Kind,
    Outage,
    Part,
    is_over,
    messages,
    next_message,
)
from clinic.alerts.runbooks import of_alert, of_cause
from clinic.alerts.settings import Settings

NOW = datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def part(
    name: str = "drain_invoices",
    *,
    severity: Severity = Severity.WARNING,
    resolved_at: datetime | None = None,
) -> Part:
    return Part(
        f"dag/{name}/drain", "tasks", severity, f"{name}.drain", "Odoo x.y: HTTP 502.",
        f"{name}.md", name, "drain", "scheduled__2026-07-01T10:00:00+00:00", -1, 3, NOW, NOW,
        resolved_at,
    )  # fmt: skip


def outage(
    *parts: Part,
    cause: str = "odoo",
    told_at: datetime | None = None,
    told: Severity = Severity.WARNING,
    closed_lately: int = 0,
) -> Outage:
    return Outage("0f", cause, NOW, None, parts, told_at, told if told_at else None, closed_lately)


def test_a_new_outage_is_told_at_once() -> None:
    assert next_message(outage(part()), NOW) is Kind.OPENED


def test_what_was_told_is_not_told_again_for_a_day() -> None:
    told = outage(part(), part("sync_inventory"), told_at=NOW)
    assert next_message(told, NOW + REMIND_AFTER - MINUTE) is None
    assert next_message(told, NOW + REMIND_AFTER) is Kind.REMINDER


def test_what_gets_worse_is_told_at_once() -> None:
    worse = outage(part(severity=Severity.CRITICAL), part(), told_at=NOW)
    assert next_message(worse, NOW + MINUTE) is Kind.WORSE


def test_what_was_told_as_critical_does_not_get_worse() -> None:
    known = outage(part(severity=Severity.CRITICAL), told_at=NOW, told=Severity.CRITICAL)
    assert next_message(known, NOW + MINUTE) is None


def test_it_is_over_when_everything_has_been_quiet_for_a_while() -> None:
    half = outage(part(resolved_at=NOW), part("sync_inventory"), told_at=NOW)
    whole = outage(part(resolved_at=NOW), part(resolved_at=NOW + MINUTE), told_at=NOW)
    assert next_message(half, NOW + QUIET + MINUTE) is None
    assert next_message(whole, NOW + QUIET) is None
    assert next_message(whole, NOW + QUIET + MINUTE) is Kind.CLOSED


def test_what_nobody_was_told_of_ends_without_a_word() -> None:
    brief = outage(part(resolved_at=NOW))
    assert next_message(brief, NOW + QUIET) is None
    assert is_over(brief, NOW + QUIET)


def test_what_comes_and_goes_has_to_be_quiet_for_longer_and_longer() -> None:
    waits = []
    for closed_lately in range(8):
        flapping = outage(part(resolved_at=NOW), told_at=NOW, closed_lately=closed_lately)
        wait = timedelta()
        while not is_over(flapping, NOW + wait):
            wait += MINUTE
        waits.append(wait)
    assert waits[:3] == [QUIET, 2 * QUIET, 4 * QUIET]
    assert waits[-1] == LONGEST_QUIET


def told_within_a_day(up: timedelta) -> int:
    """Let a system be down for a minute, up for a while, and so on; return how often it is told."""
    told, closed_at, told_at = 0, list[datetime](), None
    now, current = NOW, None
    while now < NOW + REMIND_AFTER:
        is_down = (now - NOW) % (up + MINUTE) < MINUTE
        if is_down:
            current = part()
        elif current and current.resolved_at is None:
            current = replace(current, resolved_at=now)
        if current:
            kind = next_message(outage(current, told_at=told_at, closed_lately=len(closed_at)), now)
            told += kind is not None
            told_at = now if kind is Kind.OPENED else told_at
            if kind is Kind.CLOSED:
                closed_at.append(now)
                current = told_at = None
        now += MINUTE
    return told


def test_a_system_that_comes_and_goes_all_day_is_not_told_all_day() -> None:
    often = {
        minutes: told_within_a_day(timedelta(minutes=minutes)) for minutes in range(5, 720, 10)
    }
    assert often[5] == 1  # it never was up for long enough
    assert often[15] == 3
    assert max(often.values()) <= 12


def test_the_worst_comes_first() -> None:
    both = [outage(part()), outage(part(severity=Severity.CRITICAL), cause="broker")]
    assert [each.cause for each, _ in messages(both, NOW)] == ["broker", "odoo"]


RENDERER = Renderer(
    Settings(runbook_url="https://git.example/docs/runbooks/"), "https://airflow.example/"
)


def test_a_message_says_what_to_do_first_in_two_languages() -> None:
    message = RENDERER.render(
        outage(part(), part("sync_inventory", severity=Severity.CRITICAL)), Kind.OPENED, NOW
    )
    assert message.subject == "[Clínica] CRÍTICO: Odoo no responde (2 DAG)"
    spanish, english = message.text.split("\n--\n")
    step = of_cause("odoo")
    assert step is not None
    for words in (f"Sigue funcionando: {step.works[0]}", f"Primer paso: {step.do[0]}",
                  "Desde: 2026-07-01 12:00 CEST", "Veces: 6", "DAG afectados: drain_inv",
                  "Tarea drain de drain_invoices", "Detalle técnico: Odoo x.y"):  # fmt: skip
        assert words in spanish
    for words in ("WARNING", "CRITICAL", "Since", "Technical", "Runbook", step.do[1]):
        assert words not in spanish
    for words in ("CRITICAL: Odoo does not answer", f"Still works: {step.works[1]}",
                  f"First step: {step.do[1]}", "Since: 2026-07-01 12:00 CEST", "Times: 6",
                  "DAGs affected: drain_invoices, sync_inventory",
                  "https://git.example/docs/runbooks/outages.md#odoo"):  # fmt: skip
        assert words in english
    run = "drain_invoices/runs/scheduled__2026-07-01T10%3A00%3A00%2B00%3A00"
    assert message.link == f"https://airflow.example/dags/{run}/tasks/drain"
    assert message.link in spanish
    data = message.payload["data"]
    assert data["dags"] == ["drain_invoices", "sync_inventory"]
    assert data["first_steps"][0]["do"] == {"es": step.do[0], "en": step.do[1]}


def test_what_to_do_comes_before_the_details() -> None:
    text = RENDERER.render(outage(part()), Kind.OPENED, NOW).text
    heads = ["AVISO:", "Desde:", "Sigue funcionando:", "Primer paso:", "Guía:", "Detalle técnico:"]
    assert [text.index(head) for head in heads] == sorted(text.index(head) for head in heads)


def test_an_error_of_one_dag_says_what_does_not_work() -> None:
    one = RENDERER.render(outage(part(), cause="error/KeyError/1"), Kind.OPENED, NOW)
    assert one.subject == "[Clínica] AVISO: No se archivan las facturas (drain_invoices.drain)"
    assert of_alert("drain_invoices.md").do[0] in one.text
    killed = RENDERER.render(outage(part(), cause="killed"), Kind.OPENED, NOW)
    assert killed.subject.endswith("sin decir por qué (drain_invoices.drain)")


def test_a_checks_sentence_is_told_in_each_half_in_its_language() -> None:
    found = replace(
        part(severity=Severity.CRITICAL), key="backups/rpo", dag_id=None, task_id=None,
        title="La copia es antigua / The backup is old", detail="Tiene 30 h. / It is 30 h old.",
        runbook="backup_odoo.md",
    )  # fmt: skip
    message = RENDERER.render(outage(found, cause="backups/rpo"), Kind.OPENED, NOW)
    assert message.subject == "[Clínica] CRÍTICO: La copia es antigua"
    spanish, english = message.text.split("\n--\n")
    assert spanish.index("Tiene 30 h.") < spanish.index("Primer paso")
    assert "It is" not in spanish
    assert "It is 30 h old." in english
    assert "Tiene" not in english
    assert of_alert("backup_odoo.md", "backups/rpo").do[0] in spanish


def test_forty_dags_are_one_short_message() -> None:
    many = outage(*(part(f"dag_{number:02}") for number in range(40)))
    text = Renderer(Settings(), "").render(many, Kind.OPENED, NOW).text
    assert all(f"dag_{number:02}" in text for number in range(40))
    assert "y 20 más" in text
    assert len(text) < 10_000


def test_a_closing_message_asks_for_nothing() -> None:
    over = outage(part(resolved_at=NOW + 5 * MINUTE), told_at=NOW)
    message = Renderer(Settings(), "").render(over, Kind.CLOSED, NOW)
    assert message.subject == "[Clínica] RESUELTO: Odoo no responde"
    assert "Hasta: 2026-07-01 12:05 CEST" in message.text
    assert "no hace falta hacer nada" in message.text
    assert "docs/runbooks" not in message.text
    assert "AVISO" not in message.text
