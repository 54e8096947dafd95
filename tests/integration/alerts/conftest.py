"""Alerts between real databases, a real mail server and a real receiver of webhooks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.airflow_db import airflow_db  # noqa: F401
from support.alerting import House
from support.mail_server import MailServer, mail_server
from support.shared_db import Database, created, migrated
from support.webhook_receiver import Receiver, webhook_receiver


@pytest.fixture(scope="session")
def template() -> Iterator[Database]:
    with migrated() as database:
        yield database


@pytest.fixture
def database(template: Database) -> Iterator[Database]:
    with created(template.name) as database:
        yield database


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def house(
    database: Database,
    airflow_db: str,  # noqa: F811
    mails: MailServer,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> House:
    return House.furnish(database, airflow_db, mails, receiver, tmp_path, monkeypatch)
