import random

from odoo.tests import BaseCase, tagged

from ..feed.cursor import Cursor, CursorError
from ..feed.snapshot import Snapshot

EPOCH = "0123456789abcdef"


@tagged("post_install", "-at_install")
class TestCursor(BaseCase):
    def cursors(self):
        chance = random.Random(4)
        for _ in range(200):
            xmin = chance.randrange(1, 2**40)
            under_way = (
                xmin,
                *sorted(chance.sample(range(xmin + 1, xmin + 100), chance.randrange(5))),
            )
            since = Snapshot(xmin, xmin + 100, under_way)
            yield Cursor(EPOCH, since)
            yield Cursor(
                EPOCH, since, Snapshot(xmin + 50, xmin + 150, ()), xmin + 3, chance.randrange(2**50)
            )

    def test_a_cursor_comes_back_as_it_went(self):
        for cursor in self.cursors():
            text = cursor.encode()
            self.assertRegex(text, r"^[A-Za-z0-9_-]+$")
            self.assertEqual(Cursor.decode(text), cursor)

    def test_a_cut_or_changed_cursor_is_refused(self):
        for cursor in self.cursors():
            text = cursor.encode()
            with self.assertRaises(CursorError):
                Cursor.decode(text[:-2])
            changed = text[:10] + ("A" if text[10] != "A" else "B") + text[11:]
            with self.assertRaises(CursorError):
                Cursor.decode(changed)

    def test_garbage_is_refused(self):
        for text in (
            "",
            "a",
            "null",
            "0",
            "é",
            "%00",
            "A" * 40_000,
            "../../etc",
            "\x00",
            " ",
            None,
            7,
            [],
            {},
        ):
            with self.assertRaises(CursorError):
                Cursor.decode(text)

    def test_what_no_server_gave_is_refused_though_its_checksum_is_right(self):
        good = Snapshot(5, 9, (5, 7))
        for since in (
            Snapshot(0, 0, ()),
            Snapshot(9, 5, ()),
            Snapshot(5, 9, (7, 5)),
            Snapshot(5, 9, (9,)),
            Snapshot(5, 2**64, ()),
        ):
            with self.assertRaises(CursorError):
                Cursor.decode(Cursor(EPOCH, since).encode())
        for cursor in (
            Cursor("xyz", good),
            Cursor(EPOCH, good, good, 2**64, 1),
            Cursor(EPOCH, good, good, 1, 2**63),
            Cursor(EPOCH, good, good, -1, 1),
        ):
            with self.assertRaises(CursorError):
                Cursor.decode(cursor.encode())

    def test_a_snapshot_sees_what_had_ended(self):
        snapshot = Snapshot.parse("5:9:5,7")
        self.assertEqual([xid for xid in range(1, 12) if snapshot.sees(xid)], [1, 2, 3, 4, 6, 8])
        self.assertEqual(str(snapshot), "5:9:5,7")
        self.assertEqual(str(Snapshot.parse("5:5:")), "5:5:")

    def test_a_later_snapshot_covers_an_earlier_one(self):
        early, late = Snapshot.parse("5:9:5,7"), Snapshot.parse("7:12:7,10")
        self.assertTrue(late.covers(early))
        self.assertTrue(early.covers(early))
        self.assertFalse(early.covers(late))
        self.assertFalse(
            Snapshot.parse("6:12:6").covers(early)
        )  # 6 had ended for the one, not for the other
