"""Every runbook that an alert may name begins with what to do first, in both languages."""

import re

import pytest
from clinic.alerts import cause, runbooks
from support.stack_env import ROOT

DAGS = sorted(path.stem for path in (ROOT / "dags").glob("*.py"))
BREACHES = sorted(
    set(re.findall(r'"(backups/[a-z-]+)"', (ROOT / "include/clinic/backups/check.py").read_text()))
)
LONGEST_SUBJECT = 60


def rows(runbook: str, name: str = "") -> dict[str, tuple[str, str]]:
    return runbooks._sections(runbooks.RUNBOOKS_DIR / runbook).get(name, {})


@pytest.mark.parametrize("dag_id", DAGS)
def test_each_dag_has_a_first_step(dag_id: str) -> None:
    assert rows(f"{dag_id}.md").keys() == {"what", "works", "do"}
    assert all(len(text) <= LONGEST_SUBJECT for text in rows(f"{dag_id}.md")["what"])


def test_each_system_has_a_first_step() -> None:
    causes = {name for name, _ in cause._SYSTEMS} | {cause.KILLED, cause.DAG_FILE, "webhook"}
    sections = runbooks._sections(runbooks.RUNBOOKS_DIR / runbooks.OUTAGES)
    assert sections.keys() == causes
    for name in sections:
        assert sections[name].keys() == {"what", "works", "do"}, name
        assert all(len(text) <= LONGEST_SUBJECT for text in sections[name]["what"])


def test_each_breach_has_a_first_step_of_its_own() -> None:
    assert len(BREACHES) >= 10
    named = [
        name for path in runbooks.RUNBOOKS_DIR.glob("*.md") for name in runbooks._sections(path)
    ]
    # The drill's own first step is what to do about a drill that failed.
    assert set(BREACHES) - set(named) == {"backups/drill-failed"}


def test_the_two_languages_are_two() -> None:
    found = [
        texts
        for path in runbooks.RUNBOOKS_DIR.glob("*.md")
        for section in runbooks._sections(path).values()
        for texts in section.values()
    ]
    assert len(found) > 60
    assert [texts for texts in found if texts[0] == texts[1]] == []


def test_a_runbook_that_is_not_there_still_leaves_a_first_step() -> None:
    step = runbooks.of_alert("a_dag_of_somebodys_own.md")
    assert "registro" in step.do[0]
    assert "log" in step.do[1]
    assert step.place == "a_dag_of_somebodys_own.md"
