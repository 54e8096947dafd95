from odoo.tests import tagged

from ..feed.cursor import Cursor
from ..feed.snapshot import Snapshot
from .common import FeedCase


@tagged("post_install", "-at_install")
class TestPrune(FeedCase):
    def setUp(self):
        super().setUp()
        self.env.cr.execute("DELETE FROM clinic_change")
        self.env.cr.execute("DELETE FROM clinic_change_mark")
        self.let_ids_be_chosen()

    def mark(self, days, ended_below):
        self.env.cr.execute(
            "INSERT INTO clinic_change_mark (at, ended_below)"
            " VALUES (now() - make_interval(mins => %s), %s::text::xid8)",
            (round(24 * 60 * days), ended_below),
        )

    def outbox(self, *xids):
        # Old by their own time, all of them: `at` must not count.
        self.env.cr.execute(
            """
            INSERT INTO clinic_change (xid, entity, res_id, op, at)
            SELECT x::text::xid8, 'product', 1, 'U', now() - interval '30 days' FROM unnest(%s) AS x
            """,
            (list(xids),),
        )

    def left(self):
        self.env.cr.execute("SELECT xid::text::bigint FROM clinic_change ORDER BY xid")
        return [row[0] for row in self.env.cr.fetchall()]

    def reason(self, xmin):
        now = Cursor.decode(self.env["clinic.change"].feed()["cursor"])
        cursor = Cursor(now.epoch, Snapshot(xmin, now.since.xmax, (xmin,)))
        return self.env["clinic.change"].feed(cursor.encode())["reason"]

    def test_nothing_goes_without_an_old_mark(self):
        self.outbox(5, 6)
        self.mark(6.9, 6)
        self.assertEqual(self.env["clinic.change"]._gc_changes(), (0, False))
        self.assertEqual(self.left(), [5, 6])
        self.assertIsNone(self.reason(5))

    def test_what_had_ended_before_an_old_mark_goes(self):
        self.outbox(5, 9, 10, 19, 20, 30)
        self.mark(9, 10)
        self.mark(7.1, 20)
        self.mark(1, 30)
        self.assertEqual(self.env["clinic.change"]._gc_changes(), (4, False))
        self.assertEqual(self.left(), [20, 30])

    def test_a_cursor_from_before_the_mark_is_told_and_a_later_one_is_not(self):
        self.mark(8, 20)
        self.env["clinic.change"]._gc_changes()
        self.assertEqual(self.reason(19), "pruned")
        self.assertIsNone(self.reason(20))
        self.assertIsNone(self.reason(21))

    def test_a_transaction_that_stays_open_holds_the_floor_and_no_new_cursor_is_too_old(self):
        """Transaction 10 is open for weeks. Each mark says 10, so what it writes is there when it
        commits."""
        for days in (20, 15, 8):
            self.mark(days, 10)
        self.outbox(10, 11)
        self.env["clinic.change"]._gc_changes()
        self.assertEqual(self.left(), [10, 11])
        self.assertIsNone(self.reason(10))

    def test_each_run_leaves_a_mark_and_old_ones_go(self):
        for days in (20, 9, 8, 3):
            self.mark(days, 5)
        self.env["clinic.change"]._gc_changes()
        self.env["clinic.change"]._gc_changes()
        self.env.cr.execute("SELECT ended_below::text, pruned FROM clinic_change_mark ORDER BY at")
        marks = self.env.cr.fetchall()
        self.env.cr.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        self.assertEqual(marks, [("5", True), ("5", False), (self.env.cr.fetchone()[0], False)])

    def test_a_large_outbox_goes_by_batches(self):
        self.outbox(*range(1, 11))
        self.mark(8, 9)
        self.patch(type(self.env["clinic.change"]), "_prune_batch", 3)
        changes = self.env["clinic.change"]
        self.assertEqual(changes._gc_changes(), (3, True))
        self.assertEqual(self.left(), [4, 5, 6, 7, 8, 9, 10])
        self.assertEqual(changes._gc_changes(), (3, True))
        self.assertEqual(changes._gc_changes(), (2, False))
        self.assertEqual(self.left(), [9, 10])

    def test_the_vacuum_of_odoo_calls_it(self):
        self.assertTrue(self.env["clinic.change"]._gc_changes._autovacuum)
