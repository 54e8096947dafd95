"""A notifier that is killed while the mail server takes a mail: nobody gets that mail twice."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from support.mail_server import mail_server
from support.notifying import run
from support.parcels import notification
from support.processes import wait_until
from support.shared_db import Database
from support.stack_env import ROOT
from support.vhost import virtual_host

COUNT = 10


@pytest.mark.parametrize("killed_at", [1, 4, COUNT])
def test_no_mail_twice_and_none_forgotten(database: Database, killed_at: int) -> None:
    with virtual_host() as broker, mail_server() as server:
        parcels = [notification(number) for number in range(COUNT)]
        for parcel in parcels:
            broker.publish(
                "documents_exchange",
                "notification.send",
                parcel.body,
                message_id=parcel.message_id,
            )
        arguments = (broker.url, database.sync_url, server.controller.port)
        victim = subprocess.Popen(
            [sys.executable, "-m", "support.notifying", *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": f"{ROOT / 'include'}:{ROOT / 'tests'}"},
        )

        def kill_in_time() -> None:
            if len(server.mails) == killed_at:
                victim.kill()
                victim.wait(10)

        server.when_taken = kill_in_time
        assert victim.wait(60) == -9
        wait_until(lambda: broker.depth("notification_queue") > 0, "the rest is back")
        wait_until(lambda: is_free(database), "the dead one's lock is free")
        summary = run(*arguments)

        assert broker.depth("notification_queue") == 0
        assert summary.mails_uncertain == 1
        got = Counter(to for to, _ in server.mails)
        assert got == Counter(f"{parcel.message_id}@clinica.example" for parcel in parcels)
        assert states(database) == {"sent": COUNT - 1, "uncertain": 1}
        (told,) = database.query(
            "SELECT detail FROM document_events WHERE state = 'mail_uncertain'"
        )
        assert "may have arrived" in json.dumps(told["detail"])


def is_free(database: Database) -> bool:
    locks = "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
    return bool(
        database.value(f"{locks} WHERE locktype = 'advisory' AND datname = %s", database.name) == 0
    )


def states(database: Database) -> dict[str, int]:
    rows = database.query("SELECT state, count(*) AS mails FROM document_mails GROUP BY state")
    return {row["state"]: row["mails"] for row in rows}
