"""The feed by JSON-2, against a real Odoo and PostgreSQL."""

import base64
import subprocess
import threading
from decimal import Decimal
from pathlib import Path

import httpx
import hypothesis
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.feed_mirror import Mirror, full_state, mirrored_sums, sums_of_quants
from support.odoo import ADMIN, OUTSIDER, OdooServer
from support.postgres import PostgresCluster, copy_database

from .conftest import Stock


def change_quant(server: OdooServer, stock: Stock, number: int, by: object = 1) -> None:
    server.sql(
        "UPDATE stock_quant SET quantity = quantity + %s::numeric WHERE product_id = %s",
        str(by),
        stock.products[number],
    )


def level(stock: Stock, number: int) -> tuple[str, str]:
    return "stock_level", f"{stock.products[number]}:{stock.shelf}:{stock.lots[number]}"


def test_a_page_has_what_was_committed_and_nothing_twice(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    change_quant(odoo_server, stock, 0, "0.25")
    change_quant(odoo_server, stock, 0, "0.25")
    change_quant(odoo_server, stock, 1)
    page = mirror.poll()
    assert [(c["entity"], c["id"]) for c in page["changes"]] == [level(stock, 0), level(stock, 1)]
    assert page["more"] is False
    assert mirror.poll()["changes"] == []
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


def test_what_was_rolled_back_is_never_shown(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    with odoo_server.cluster.connect(odoo_server.database) as connection:
        connection.autocommit = False
        connection.execute("UPDATE stock_quant SET quantity = quantity + 1")
        connection.rollback()
    assert mirror.poll()["changes"] == []


def test_a_long_transaction_delays_its_own_changes_only(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    with odoo_server.cluster.connect(odoo_server.database) as connection:
        connection.autocommit = False
        connection.execute(
            "UPDATE stock_quant SET quantity = 5 WHERE product_id = %s", (stock.products[0],)
        )
        for number in (1, 2):
            change_quant(odoo_server, stock, number)
            page = mirror.poll()
            assert [c["id"] for c in page["changes"]] == [level(stock, number)[1]]
        connection.commit()
    page = mirror.poll()
    assert [c["id"] for c in page["changes"]] == [level(stock, 0)[1]]
    assert mirror.poll()["changes"] == []
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


def test_a_transaction_that_ends_between_two_pages_comes_with_the_next_reading(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    with odoo_server.cluster.connect(odoo_server.database) as connection:
        connection.autocommit = False
        connection.execute(
            "UPDATE stock_quant SET quantity = 7 WHERE product_id = %s", (stock.products[0],)
        )
        for number in (1, 2, 3):
            change_quant(odoo_server, stock, number)
        assert mirror.poll(limit=2)["more"] is True
        connection.commit()
        change_quant(odoo_server, stock, 4)
    second = mirror.poll(limit=2)
    assert [c["id"] for c in second["changes"]] == [level(stock, 3)[1]]
    assert second["more"] is False
    third = mirror.poll()
    assert [c["id"] for c in third["changes"]] == [level(stock, 0)[1], level(stock, 4)[1]]
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


def test_a_page_shows_the_newest_state_whatever_it_was_at_the_commit(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    for quantity in ("1", "2", "3.125"):
        odoo_server.sql(
            "UPDATE stock_quant SET quantity = %s::numeric WHERE product_id = %s",
            quantity,
            stock.products[0],
        )
    (change,) = mirror.poll()["changes"]
    assert change["values"]["quantity"] == "3.125"
    assert change["values"]["lot_id"] == stock.lots[0]


def test_changes_through_odoo_itself_arrive(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    odoo_server.call(
        "product.product",
        "write",
        ADMIN,
        ids=[stock.products[5]],
        vals={"name": "💊 " + "ñ" * 2000, "list_price": 9.99, "barcode": "8400000000017"},
    )
    odoo_server.call(
        "stock.lot",
        "write",
        ADMIN,
        ids=[stock.lots[5]],
        vals={"expiration_date": "2030-01-02 03:04:05"},
    )
    mirror.catch_up()
    product = mirror.rows["product", stock.products[5]]
    assert product["name"]["en_US"] == "💊 " + "ñ" * 2000
    assert product["list_price"] == "9.99"
    lot = mirror.rows["lot", stock.lots[5]]
    assert lot["expires_at"] == "2030-01-02T03:04:05+00:00"
    assert mirror.rows == full_state(odoo_server)


@pytest.mark.parametrize("quantity", ["NaN", "0.000000001", "1000000000", "1e15", "-3.50"])
def test_strange_quantities_pass_exactly(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror, quantity: str
) -> None:
    odoo_server.sql(
        "UPDATE stock_quant SET quantity = %s::numeric WHERE product_id = %s",
        quantity,
        stock.products[3],
    )
    mirror.catch_up()
    shown = mirror.rows[level(stock, 3)]["quantity"]
    assert shown == ("1000000000000000" if quantity == "1e15" else quantity)
    assert shown == "NaN" or Decimal(shown) == Decimal(quantity)
    odoo_server.sql(
        "UPDATE stock_quant SET quantity = 100 WHERE product_id = %s", stock.products[3]
    )


def test_transaction_ids_that_grow_a_digit_lose_nothing(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    border = 10 ** len(str(next_xid(odoo_server)))
    burn(odoo_server, border - 4)
    for _ in range(2):
        for number in range(6):
            change_quant(odoo_server, stock, number)
    assert next_xid(odoo_server) > border
    for _ in range(30):
        if not mirror.poll(limit=2)["more"]:
            break
    else:
        pytest.fail("the reading turns in circles")
    assert mirrored_sums(mirror) == sums_of_quants(odoo_server)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
        st.integers(),
        st.lists(st.integers(), max_size=3),
        st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
        st.booleans(),
    )
)
def test_garbage_cursors_are_refused_with_a_clear_message(
    odoo_server: OdooServer, cursor: object
) -> None:
    answer = odoo_server.post("clinic.change", "feed", cursor=cursor)
    assert answer.status_code == 422
    assert "cursor cannot be read" in answer.json()["message"]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_cursor_is_refused(
    odoo_server: OdooServer, mirror: Mirror, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(mirror.cursor) - 1))
    letter = data.draw(st.sampled_from("ABCabc019-_"))
    damaged = data.draw(
        st.sampled_from(
            [
                mirror.cursor[:place],
                mirror.cursor[:place] + letter + mirror.cursor[place + 1 :],
                mirror.cursor + letter,
            ]
        )
    )
    hypothesis.assume(damaged != mirror.cursor)
    answer = odoo_server.post("clinic.change", "feed", cursor=damaged)
    assert answer.status_code == 422, damaged


@pytest.mark.parametrize("limit", [0, -1, 10_001, "5", 1.5, None, True])
def test_limits_that_are_none_are_refused(
    odoo_server: OdooServer, mirror: Mirror, limit: object
) -> None:
    answer = odoo_server.post("clinic.change", "feed", cursor=mirror.cursor, limit=limit)
    assert answer.status_code == 422
    assert "`limit`" in answer.json()["message"]


def test_who_is_no_reader_gets_403_and_a_wrong_key_401(odoo_server: OdooServer) -> None:
    for method, params in (("feed", {}), ("state", {"entity": "lot"})):
        assert odoo_server.post("clinic.change", method, OUTSIDER, **params).status_code == 403
        assert odoo_server.post("clinic.change", method, "0" * 40, **params).status_code == 401
    assert odoo_server.post("clinic.change", "feed", ADMIN).status_code == 200


def test_the_reader_reads_odoo_s_own_sums_and_changes_nothing(
    odoo_server: OdooServer, stock: Stock
) -> None:
    groups = odoo_server.call(
        "stock.quant",
        "formatted_read_group",
        domain=[("location_id", "=", stock.shelf)],
        groupby=["product_id"],
        aggregates=["quantity:sum"],
    )
    assert len(groups) == len(stock.products)
    answer = odoo_server.post(
        "product.product", "write", ids=[stock.products[0]], vals={"name": "x"}
    )
    assert answer.status_code == 403


def test_a_cursor_of_another_life_of_the_database_is_told_to_start_anew(
    odoo_server: OdooServer, mirror: Mirror
) -> None:
    """A restored backup keeps database.uuid at times; the database's oid is new in any case."""
    copy = odoo_server.cluster.new_database()  # type: ignore[attr-defined]
    try:
        other = OdooServer(odoo_server.cluster, copy, odoo_server.log.parent / "other", workers=0)
        other.start()
        try:
            page = other.call("clinic.change", "feed", cursor=mirror.cursor)
            assert (page["reset"], page["reason"], page["changes"]) == (True, "restored", [])
            again = other.call("clinic.change", "feed", cursor=page["cursor"])
            assert again["reset"] is False
        finally:
            other.stop()
            other.http.close()
    finally:
        odoo_server.cluster.drop_database(copy)


def test_pruning_resets_old_cursors_and_only_those(
    odoo_server: OdooServer, stock: Stock, mirror: Mirror
) -> None:
    old = mirror.cursor
    change_quant(odoo_server, stock, 0)
    held = threading.Event()
    release = threading.Event()

    def long_transaction() -> None:
        with psycopg.connect(odoo_server.cluster.url(odoo_server.database)) as connection:
            connection.execute(
                "UPDATE stock_quant SET quantity = 50 WHERE product_id = %s", (stock.products[1],)
            )
            held.set()
            release.wait(60)

    thread = threading.Thread(target=long_transaction)
    thread.start()
    assert held.wait(10)
    mirror.catch_up()  # a cursor that names the open transaction
    during = mirror.cursor
    # A mark as the vacuum leaves it, made eight days old: the open transaction holds it back.
    odoo_server.sql("INSERT INTO clinic_change_mark (at) VALUES (now() - make_interval(days => 8))")
    odoo_server.sql("UPDATE clinic_change SET at = at - make_interval(days => 30)")
    release.set()
    thread.join()
    vacuum(odoo_server)
    assert odoo_server.call("clinic.change", "feed", cursor=old)["reason"] == "pruned"
    page = odoo_server.call("clinic.change", "feed", cursor=during)
    assert page["reset"] is False
    assert [c["id"] for c in page["changes"]] == [level(stock, 1)[1]], "the late commit is lost"


def vacuum(server: OdooServer) -> None:
    """Run the addon's part of Odoo's daily vacuum."""
    subprocess.run(
        [*server.command("shell"), "--no-http", "--workers=0"],
        input="env['clinic.change']._gc_changes(); env.cr.commit()",
        text=True,
        check=True,
        capture_output=True,
        env=server.environment,
    )


def test_the_state_of_an_unknown_entity_is_refused(odoo_server: OdooServer) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="no entity 'appointment'"):
        odoo_server.call("clinic.change", "state", entity="appointment")


def next_xid(server: OdooServer) -> int:
    """Return the transaction id that is given out next."""
    return int(server.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")[0][0])


def burn(server: OdooServer, up_to: int) -> None:
    """Use transaction ids up."""
    with server.cluster.connect(server.database, "postgres") as connection:
        connection.execute(
            """
            CREATE OR REPLACE PROCEDURE burn(up_to bigint) LANGUAGE plpgsql AS $$
            BEGIN
                WHILE pg_current_xact_id()::text::bigint < up_to LOOP COMMIT; END LOOP;
            END $$
            """
        )
        connection.execute("SET synchronous_commit = off")
        connection.execute(f"CALL burn({up_to})")


def test_a_dump_loaded_into_another_cluster_brings_no_transaction_ids_along(
    odoo_server: OdooServer, stock: Stock, tmp_path: Path
) -> None:
    """Loaded by hand, as Odoo's own database manager does it: nobody of ours cleans up."""
    burn(odoo_server, next_xid(odoo_server) + 100_000)  # more than loading it takes
    change_quant(odoo_server, stock, 0)
    odoo_server.sql("DELETE FROM clinic_change_mark")
    odoo_server.sql(
        "INSERT INTO clinic_change_mark (at, pruned)"
        " VALUES (now() - make_interval(days => 8), true)"
    )
    theirs = odoo_server.call("clinic.change", "feed", cursor=None)["cursor"]
    cluster = PostgresCluster(tmp_path / "cluster")
    cluster.start()
    try:
        with cluster.connect("postgres") as connection:
            connection.execute("CREATE ROLE odoo LOGIN CREATEDB")
            connection.execute(f"ALTER ROLE odoo PASSWORD '{cluster.password}'")
        source = odoo_server.cluster.url(odoo_server.database, "postgres")
        copy_database(source, cluster, "moved", tmp_path)
        moved = OdooServer(cluster, "moved", tmp_path / "moved", workers=0)
        moved.keys = odoo_server.keys
        moved.start()
        try:
            assert next_xid(moved) < next_xid(odoo_server)
            page = moved.call("clinic.change", "feed", cursor=theirs)
            assert page["reason"] == "restored"
            mirror = Mirror(moved)
            assert mirror.poll()["changes"] == []
            burn(moved, next_xid(odoo_server) + 10)
            assert mirror.poll()["changes"] == [], "the other cluster's rows are served as new"
            change_quant(moved, stock, 0)
            assert [c["id"] for c in mirror.poll()["changes"]] == [level(stock, 0)[1]]
        finally:
            moved.stop()
            moved.http.close()
    finally:
        cluster.stop()
