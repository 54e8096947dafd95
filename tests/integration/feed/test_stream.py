"""The feed pushed: what a stream survives, and what ends it."""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from support.feed_mirror import Mirror, mirrored_sums, sums_of_quants
from support.odoo import ADMIN, OUTSIDER, READER, OdooCluster, OdooServer
from support.processes import wait_until

from .conftest import Stock

LISTENING = "clinic_change listen"


def change_quant(server: OdooServer, stock: Stock, number: int = 0) -> float:
    """Commit a change and return the time just before its commit ended."""
    server.sql(
        "UPDATE stock_quant SET quantity = quantity + 1 WHERE product_id = %s",
        stock.products[number],
    )
    return time.monotonic()


class Reader(threading.Thread):
    """Reads one stream to its end into a queue.

    Attributes:
        pages: (when, page), as they came; None at the end.
        cursor: of the last page.
    """

    def __init__(self, server: OdooServer, cursor: str | None, key: str = READER) -> None:
        super().__init__(daemon=True)
        self.server, self.cursor, self.key = server, cursor, key
        self.pages: queue.Queue[tuple[float, dict[str, Any]] | None] = queue.Queue()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.server.stream(self.cursor, key=self.key, read_s=60) as pages:
                for page in pages:
                    self.cursor = page["cursor"]
                    self.pages.put((time.monotonic(), page))
        except httpx.HTTPError as error:
            self.error = error
        self.pages.put(None)

    def next(self, timeout_s: float = 15) -> dict[str, Any]:
        entry = self.pages.get(timeout=timeout_s)
        assert entry is not None, f"the stream ended: {self.error}"
        return entry[1]

    def next_change(self, timeout_s: float = 15) -> dict[str, Any]:
        ends_at = time.monotonic() + timeout_s
        while True:
            page = self.next(ends_at - time.monotonic())
            if page["changes"]:
                return page

    def wait_end(self, timeout_s: float) -> None:
        ends_at = time.monotonic() + timeout_s
        while self.pages.get(timeout=max(0.01, ends_at - time.monotonic())) is not None:
            pass


def sessions(server: OdooServer) -> list[tuple[str, str]]:
    """Return (application, state) of PostgreSQL's sessions on the server's database, ours apart."""
    return server.sql(
        """
        SELECT application_name, state FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
        """
    )  # type: ignore[return-value]


def test_a_commit_is_pushed_at_once(odoo_server: OdooServer, stock: Stock, mirror: Mirror) -> None:
    reader = Reader(odoo_server, mirror.cursor)
    assert reader.next()["changes"] == [], "the first line comes at once"
    for number in range(4):
        began = time.monotonic()
        change_quant(odoo_server, stock, number)
        page = reader.next()
        assert time.monotonic() - began < 15, "it came with the heartbeat"
        mirror.apply(page)
        assert [c["id"] for c in page["changes"]] == [
            f"{stock.products[number]}:{stock.shelf}:{stock.lots[number]}"
        ]
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


def test_what_was_committed_before_the_stream_opened_comes_first(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    change_quant(odoo_server, stock)
    assert len(Reader(odoo_server, mirror.cursor).next()["changes"]) == 1


def test_a_long_answer_comes_in_pages_without_a_wait(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    for number in range(6):
        change_quant(odoo_server, stock, number)
    with odoo_server.stream(mirror.cursor, limit=1, read_s=5) as pages:
        for _ in range(6):
            page = next(pages)
            assert page["more"] is True
            mirror.apply(page, 1)
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


def test_what_commits_while_a_long_answer_is_read_comes_right_after_it(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    """The long answer ends at the snapshot it began with: the stream must not take that for now."""
    odoo_server.sql(
        """
        INSERT INTO stock_lot (name, product_id, company_id)
        SELECT 'Long ' || n, %s, 1 FROM generate_series(1, 400) AS n
        """,
        stock.products[0],
    )
    with odoo_server.stream(mirror.cursor, limit=1, read_s=15) as pages:
        first = next(pages)
        assert first["more"], "the long answer is too short to commit in the middle of it"
        change_quant(odoo_server, stock, 1)
        level = f"{stock.products[1]}:{stock.shelf}:{stock.lots[1]}"
        for page in pages:
            if any(change["id"] == level for change in page["changes"]):
                break
        else:
            pytest.fail("the stream ended without it")


def test_without_a_cursor_the_only_line_says_reset(odoo_server: OdooServer) -> None:
    with odoo_server.stream(None) as pages:
        (page,) = pages
    assert (page["reset"], page["reason"], page["changes"]) == (True, "first", [])


def test_an_idle_stream_says_every_twenty_seconds_that_it_lives(
    odoo_server: OdooServer, mirror: Mirror
) -> None:
    reader = Reader(odoo_server, mirror.cursor)
    reader.next()
    began = time.monotonic()
    page = reader.next(25)
    assert page["changes"] == []
    assert 18 < time.monotonic() - began < 38


def test_no_session_of_postgresql_is_held_in_a_transaction_while_idle(
    odoo_server: OdooServer, mirror: Mirror
) -> None:
    reader = Reader(odoo_server, mirror.cursor)
    reader.next()
    time.sleep(0.3)
    states = [state for _application, state in sessions(odoo_server)]
    assert states
    assert set(states) == {"idle"}


def test_fifty_streams_share_one_listen_connection_and_all_hear(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    readers = []
    for _ in range(50):  # one after another: a request has a session of its own while it is let in
        readers.append(Reader(odoo_server, mirror.cursor))
        readers[-1].next()
    began = time.monotonic()
    change_quant(odoo_server, stock, 2)
    for reader in readers:
        page = reader.next()
        assert [c["values"]["product_id"] for c in page["changes"]] == [stock.products[2]]
    print(f"50 streams heard within {time.monotonic() - began:.3f} s")
    applications = [application for application, _state in sessions(odoo_server)]
    assert applications.count(LISTENING) == 1
    # 2 workers and the evented process keep a few pooled sessions, whatever the number of streams
    assert len(applications) <= 12


def test_a_stream_does_not_fall_back_behind_the_cursor_it_was_given(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    """Streams read up to the same snapshot to share pages, but not up to one that is too old."""
    first = Reader(odoo_server, mirror.cursor)
    first.next()
    change_quant(odoo_server, stock)
    shared = first.next_change()["cursor"]
    odoo_server.sql(
        "UPDATE res_partner SET color = 1 - color WHERE id = 1"
    )  # no change of the feed
    mirror.catch_up()
    assert mirror.cursor != shared
    assert Reader(odoo_server, mirror.cursor).next()["cursor"] != shared


def test_what_vanished_clients_held_is_freed(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    evented = odoo_server.evented_process()
    Reader(odoo_server, mirror.cursor).next()  # the hub and its connection stand
    before = settled(evented)
    clients = [raw_stream(odoo_server, mirror.cursor) for _ in range(30)]
    assert evented.num_fds() >= before + 60  # a socket and a bell each
    for client in clients:
        client.close()
    wait_until(lambda: evented.num_fds() <= before + 1, "the sockets are closed", 5)


def settled(process: psutil.Process) -> int:
    """Return how many files a process has open, once the number rests: older streams have ended."""
    last, since = process.num_fds(), time.monotonic()
    while time.monotonic() - since < 1:
        time.sleep(0.1)
        if (now := process.num_fds()) != last:
            last, since = now, time.monotonic()
    return last


def raw_stream(server: OdooServer, cursor: str, receive_buffer: int | None = None) -> socket.socket:
    """Open a stream by hand and read its first line."""
    address = urlsplit(server.evented_url)
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(30)
    client.connect((address.hostname, address.port))
    headers = "".join(f"{name}: {value}\r\n" for name, value in server.headers().items())
    client.sendall(
        f"GET /clinic/changes/stream?cursor={cursor} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()
    )
    received = b""
    while b'"reason"' not in received:
        received += client.recv(65536)
    assert received.startswith(b"HTTP/1.1 200")
    return client


def test_a_client_that_reads_nothing_holds_up_nobody(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    stuck = raw_stream(odoo_server, mirror.cursor, receive_buffer=2048)
    reader = Reader(odoo_server, mirror.cursor)
    reader.next()
    with contextlib.closing(stuck):
        slowest = 0.0
        for _ in range(15):
            # Long names: several megabytes in all, more than the sockets' buffers hold
            odoo_server.sql(
                """
                UPDATE product_template
                   SET name = jsonb_build_object('en_US', repeat(md5(random()::text), 8000))
                 WHERE id IN (SELECT product_tmpl_id FROM product_product WHERE id = ANY(%s))
                """,
                list(stock.products),
            )
            began = time.monotonic()
            assert reader.next()["changes"]
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 5
    odoo_server.sql('UPDATE product_template SET name = \'{"en_US": "x"}\'')


@pytest.mark.parametrize(
    ("taken", "given"),
    [
        (
            "UPDATE res_users SET active = false WHERE id = %s",
            "UPDATE res_users SET active = true WHERE id = %s",
        ),
        (
            "DELETE FROM res_groups_users_rel WHERE uid = %s",
            """
            INSERT INTO res_groups_users_rel (uid, gid)
            SELECT %s, d.res_id FROM ir_model_data d
             WHERE (d.module, d.name) IN
                   (('base', 'group_user'), ('clinic_change_feed', 'group_reader'))
            """,
        ),
        ("DELETE FROM res_users_apikeys WHERE user_id = %s", None),
    ],
    ids=["user-archived", "group-lost", "key-revoked"],
)
def test_a_stream_ends_with_its_access(
    odoo_cluster: OdooCluster,
    odoo_server: OdooServer,
    stock: Stock,
    mirror: Mirror,
    taken: str,
    given: str | None,
) -> None:
    user = odoo_server.sql("SELECT id FROM res_users WHERE login = %s", READER)[0][0]
    keys = odoo_server.sql("SELECT * FROM res_users_apikeys WHERE user_id = %s", user)
    reader = Reader(odoo_server, mirror.cursor)
    other = Reader(odoo_server, mirror.cursor, ADMIN)
    reader.next()
    other.next()
    began = time.monotonic()
    odoo_server.sql(taken, user)
    reader.wait_end(10)
    print(f"ended after {time.monotonic() - began:.3f} s")
    assert time.monotonic() - began < 15, "it ended with the heartbeat"
    change_quant(odoo_server, stock)
    assert other.next_change()["changes"], "somebody else's stream goes on"
    if given:
        odoo_server.sql(given, user)
    for key in keys if given is None else ():
        odoo_server.sql(
            "INSERT INTO res_users_apikeys VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", *key
        )
    assert reader.error is None, "it ended in order"


def test_doors_that_stay_shut(odoo_server: OdooServer, mirror: Mirror) -> None:
    def get(base: str, key: str = READER, **params: str) -> httpx.Response:
        return odoo_server.http.get(
            f"{base}/clinic/changes/stream", params=params, headers=odoo_server.headers(key)
        )

    wrong_port = get(odoo_server.url, cursor=mirror.cursor)
    assert wrong_port.status_code == 421
    assert urlsplit(odoo_server.evented_url).netloc.split(":")[1] in wrong_port.json()["error"]
    assert get(odoo_server.evented_url, OUTSIDER).status_code == 403
    assert get(odoo_server.evented_url, "0" * 40).status_code == 401
    for params in ({"cursor": "nonsense"}, {"cursor": "a" * 5000}, {"limit": "0"}, {"limit": "x"}):
        answer = get(odoo_server.evented_url, **params)
        assert answer.status_code == 400, params
        assert answer.json()["error"]


def test_a_stream_survives_postgresql_s_restart(
    odoo_cluster: OdooCluster, odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    reader = Reader(odoo_server, mirror.cursor)
    mirror.apply(reader.next())
    for ending in (odoo_cluster.stop, odoo_cluster.kill):
        ending()
        time.sleep(1)
        odoo_cluster.start()
        change_quant(odoo_server, stock, 1)  # before the hub listens again
        mirror.apply(reader.next_change(30))
        assert mirrored_sums(mirror) == sums_of_quants(odoo_server)
        change_quant(odoo_server, stock, 2)
        mirror.apply(reader.next_change(30))
        assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


def test_a_client_goes_on_where_it_was_when_the_evented_process_dies(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    reader = Reader(odoo_server, mirror.cursor)
    reader.next()
    change_quant(odoo_server, stock, 3)
    mirror.apply(reader.next_change())
    odoo_server.evented_process().kill()
    reader.wait_end(10)
    assert reader.error is not None
    change_quant(odoo_server, stock, 4)
    odoo_server.wait_ready()
    again = Reader(odoo_server, mirror.cursor)
    mirror.apply(again.next_change())
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


@pytest.fixture
def threaded_server(odoo_cluster: OdooCluster, odoo_server: OdooServer) -> Iterator[OdooServer]:
    folder = odoo_cluster.folder / "threaded"
    server = OdooServer(odoo_cluster, odoo_server.database, folder, workers=0)
    server.start()
    yield server
    server.stop()
    server.http.close()


def test_the_threaded_server_streams_too(
    odoo_server: OdooServer, threaded_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    readers = [Reader(threaded_server, mirror.cursor) for _ in range(3)]
    for reader in readers:
        reader.next()
    change_quant(odoo_server, stock, 5)
    for reader in readers:
        page = reader.next()
        assert [c["values"]["product_id"] for c in page["changes"]] == [stock.products[5]]
    began = time.monotonic()
    threaded_server.stop()
    for reader in readers:
        reader.wait_end(10)
    assert time.monotonic() - began < 15


def test_lines_are_whole_json_in_utf8(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    odoo_server.sql("UPDATE stock_lot SET name = %s WHERE id = %s", 'L "1"\n\\ 💊 ñ', stock.lots[0])
    with (
        httpx.Client(timeout=20, trust_env=False) as client,
        client.stream(
            "GET",
            f"{odoo_server.evented_url}/clinic/changes/stream",
            params={"cursor": mirror.cursor},
            headers=odoo_server.headers(),
        ) as answer,
    ):
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.headers["cache-control"] == "no-store"
        line = next(answer.iter_lines())
    assert "💊" in line
    assert json.loads(line)["changes"][0]["values"]["name"] == 'L "1"\n\\ 💊 ñ'
