from odoo.exceptions import UserError
from odoo.tests import tagged

from ..feed.cursor import Cursor
from ..feed.page import read_between, read_page
from ..feed.snapshot import Snapshot
from .common import FeedCase


@tagged("post_install", "-at_install")
class TestPage(FeedCase):
    def entities(self):
        return self.env["clinic.change"]._entities()

    def read_all(self, limit):
        cursor, until = self.ahead()
        pages = []
        while True:
            page = read_between(self.env.cr, self.entities(), cursor, cursor.until or until, limit)
            pages.append(page)
            cursor = Cursor.decode(page["cursor"])
            if not page["more"]:
                self.assertIsNone(cursor.until)
                self.assertEqual(cursor.since, until)
                return pages

    def test_entities_stand_in_their_order_and_each_once(self):
        changes = self.page()["changes"]
        names = [entity.name for entity in self.entities()]
        order = [(names.index(change["entity"]), change["id"]) for change in changes]
        self.assertEqual([entity for entity, _id in order], sorted(entity for entity, _id in order))
        self.assertEqual(len(order), len(set(order)))
        self.assertLessEqual(
            {"location", "product", "lot", "stock_level"}, {c["entity"] for c in changes}
        )

    def test_a_change_says_when(self):
        change = self.shown("product", self.product.id)
        self.assertRegex(change["changed_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")

    def test_small_pages_hand_out_every_row_once(self):
        whole = self.page()
        first_row = self.env.cr
        first_row.execute("SELECT count(*) FROM clinic_change WHERE xid = pg_current_xact_id()")
        row_count = first_row.fetchone()[0]
        self.assertGreater(row_count, 5)
        ones = self.read_all(1)
        self.assertEqual(len(ones), row_count + 1)
        self.assertTrue(all(len(page["changes"]) == 1 for page in ones[:-1]))
        for limit in (2, 3, 7):
            pages = self.read_all(limit)
            seen = {(c["entity"], c["id"]): c["values"] for page in pages for c in page["changes"]}
            self.assertEqual(seen, {(c["entity"], c["id"]): c["values"] for c in whole["changes"]})
            self.assertTrue(all(len(page["changes"]) <= limit for page in pages))

    def test_rows_are_read_in_the_number_s_order_not_the_text_s(self):
        """As texts, 99999999999 stands behind 100000000000."""
        base = 10**11
        self.let_ids_be_chosen()
        self.env.cr.execute(
            """
            INSERT INTO clinic_change (xid, entity, res_id, op)
            SELECT x::text::xid8, 'product', x - %(first)s, 'U'
              FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS x
            """,
            {"first": base - 3, "last": base + 3},
        )
        for limit in (1, 2, 3):
            cursor = Cursor("0" * 16, Snapshot(base - 3, base - 3, ()))
            until = Snapshot(base + 4, base + 4, ())
            ids = []
            while len(ids) < 20:
                page = read_between(
                    self.env.cr, self.entities(), cursor, cursor.until or until, limit
                )
                ids += [change["id"] for change in page["changes"]]
                cursor = Cursor.decode(page["cursor"])
                if not page["more"]:
                    break
            self.assertEqual(ids, [0, 1, 2, 3, 4, 5, 6])

    def test_a_transaction_that_was_under_way_comes_when_it_has_ended(self):
        base = 10**11
        self.let_ids_be_chosen()
        self.env.cr.execute(
            """
            INSERT INTO clinic_change (xid, entity, res_id, op)
            SELECT x::text::xid8, 'product', x - %s, 'U' FROM generate_series(%s::bigint,
            %s::bigint) AS x """,
            (base, base, base + 9),
        )

        def ids(since, until, limit=100):
            page = read_between(
                self.env.cr,
                self.entities(),
                Cursor("0" * 16, Snapshot.parse(since)),
                Snapshot.parse(until),
                limit,
            )
            return [change["id"] for change in page["changes"]]

        b = base
        self.assertEqual(ids(f"{b}:{b}:", f"{b + 2}:{b + 5}:{b + 2},{b + 4}"), [0, 1, 3])
        self.assertEqual(
            ids(f"{b + 2}:{b + 5}:{b + 2},{b + 4}", f"{b + 4}:{b + 7}:{b + 4}"), [2, 5, 6]
        )
        self.assertEqual(ids(f"{b + 4}:{b + 7}:{b + 4}", f"{b + 10}:{b + 10}:"), [4, 7, 8, 9])

    def test_no_cursor_and_a_strange_one_say_reset(self):
        first = self.env["clinic.change"].feed()
        self.assertEqual((first["changes"], first["reset"], first["reason"]), ([], True, "first"))
        cursor = Cursor.decode(first["cursor"])
        again = self.env["clinic.change"].feed(first["cursor"])
        self.assertEqual((again["reset"], again["reason"], again["more"]), (False, None, False))
        other = self.env["clinic.change"].feed(cursor._replace(epoch="f" * 16).encode())
        self.assertEqual(
            (other["changes"], other["reset"], other["reason"]), ([], True, "restored")
        )
        ahead = Snapshot(cursor.since.xmax + 10**6, cursor.since.xmax + 10**6, ())
        for future in (
            Cursor(cursor.epoch, ahead),
            Cursor(cursor.epoch, cursor.since, ahead, 1, 1),
        ):
            page = self.env["clinic.change"].feed(future.encode())
            self.assertEqual((page["reset"], page["reason"]), (True, "restored"))

    def test_a_reading_ends_at_the_snapshot_it_is_given(self):
        cursor = Cursor.decode(self.env["clinic.change"].feed()["cursor"])
        page = read_page(self.env.cr, self.entities(), cursor, 10, until=cursor.since)
        self.assertEqual(Cursor.decode(page["cursor"]), cursor)

    def test_what_cannot_be_read_is_refused_clearly(self):
        feed = self.env["clinic.change"].feed
        for cursor in ("", "nonsense", "AAAA", 7, ["x"]):
            with self.assertRaisesRegex(UserError, "cursor cannot be read"):
                feed(cursor)
        good = feed()["cursor"]
        for limit in (0, -1, 10_001, "5", 1.5, None, True):
            with self.assertRaisesRegex(UserError, "`limit`"):
                feed(good, limit)

    def test_state_goes_through_an_entity_by_its_key(self):
        self.env["stock.quant"]._update_available_quantity(self.product, self.shelf, 1)
        self.env.flush_all()
        for entity in self.entities():
            everything = self.env["clinic.change"].state(entity.name, limit=10_000)
            self.assertIsNone(everything["after"])
            stretches, after = [], None
            while True:
                stretch = self.env["clinic.change"].state(entity.name, after, 2)
                stretches += stretch["changes"]
                after = stretch["after"]
                if after is None:
                    break
                self.assertIsInstance(after, str)
            self.assertEqual(stretches, everything["changes"])
        levels = self.env["clinic.change"].state("stock_level", limit=10_000)["changes"]
        mine = [level for level in levels if level["values"]["product_id"] == self.product.id]
        self.assertEqual([level["id"].split(":")[2] for level in mine], ["0", str(self.lot.id)])
        self.assertTrue(
            all(level["op"] == "upsert" and level["changed_at"] is None for level in mine)
        )
        self.assertIsNone(mine[0]["values"]["lot_id"])

    def test_state_refuses_what_it_does_not_know(self):
        state = self.env["clinic.change"].state
        with self.assertRaisesRegex(UserError, "no entity 'appointment'.*location, product"):
            state("appointment")
        for entity, after in (
            ("product", "1:2:3"),
            ("stock_level", "7"),
            ("lot", "x"),
            ("lot", "99999999999"),
            ("lot", 3),
        ):
            with self.assertRaisesRegex(UserError, "`after`"):
                state(entity, after)
