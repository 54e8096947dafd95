import json
import socket
import time
from unittest.mock import create_autospec

import psycopg2
from odoo.tests import BaseCase, tagged
from odoo.tools import mute_logger

from ..stream import body, hub
from ..stream.body import Reading, lines
from ..stream.hub import Hub, SharedPage
from ..stream.listener import Heard, Listener

LOGGER = "odoo.addons.clinic_change_feed.stream.body"


def page(cursor, *changes, more=False, reset=False):
    line = json.dumps({"cursor": cursor, "changes": changes}).encode() + b"\n"
    return SharedPage(
        line=line,
        cursor=cursor,
        empty=not changes,
        more=more,
        reset=reset,
        generation=1,
        read_at=time.monotonic(),
    )


@tagged("post_install", "-at_install")
class TestListener(BaseCase):
    def setUp(self):
        super().setUp()
        self.ours, self.theirs = socket.socketpair()
        self.listener = Listener(self.ours, 1)
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        self.addCleanup(self.listener.close)

    def test_a_wait_ends_with_the_time_a_ring_or_the_client(self):
        self.assertIs(self.listener.wait(0.01), Heard.NOTHING)
        self.listener.ring()
        self.listener.ring()
        self.assertIs(self.listener.wait(5), Heard.WAKE)
        self.assertIs(self.listener.wait(0.01), Heard.NOTHING)
        self.theirs.close()
        self.assertIs(self.listener.wait(5), Heard.GONE)

    def test_a_client_that_talks_is_not_gone_and_does_not_wake_for_ever(self):
        self.theirs.send(b"GET /")
        self.assertIs(self.listener.wait(5), Heard.NOTHING)
        began = time.monotonic()
        self.assertIs(self.listener.wait(0.1), Heard.NOTHING)
        self.assertGreater(time.monotonic() - began, 0.05)
        self.assertEqual(self.ours.recv(5), b"GET /")

    def test_a_client_that_takes_nothing_is_found_out(self):
        self.assertTrue(self.listener.can_write(0.1))
        self.ours.setblocking(False)
        try:
            while True:
                self.ours.send(b"x" * 65536)
        except BlockingIOError:
            pass
        self.assertFalse(self.listener.can_write(0.1))
        self.listener.hang_up()
        self.listener.hang_up()

    def test_closing_twice_and_ringing_after_is_harmless(self):
        self.listener.close()
        self.listener.close()
        self.listener.ring()


@tagged("post_install", "-at_install")
class TestLines(BaseCase):
    def setUp(self):
        super().setUp()
        self.hub = create_autospec(Hub, instance=True)
        self.listener = create_autospec(Listener, instance=True)
        self.listener.can_write.return_value = True
        self.listener.wait.return_value = Heard.WAKE
        self.clock = 1000.0
        self.patch(body.time, "monotonic", lambda: self.clock)

    def lines(self, *pages, cursor="c0"):
        self.hub.next_page.side_effect = pages
        return lines(self.hub, self.listener, Reading(cursor, 10, (), 1))

    def asked(self):
        return [call.args[1] for call in self.hub.next_page.call_args_list]

    def passes(self, seconds):
        def wait(timeout_s):
            self.clock += min(seconds, timeout_s)
            return Heard.NOTHING if timeout_s <= seconds else Heard.WAKE

        self.listener.wait.side_effect = wait

    def test_the_first_page_comes_at_once_even_when_empty(self):
        self.assertEqual(json.loads(next(self.lines(page("c1"))))["cursor"], "c1")

    def test_it_reads_on_from_the_cursor_of_each_page(self):
        stream = self.lines(page("c1", "a"), page("c2", "b"), page("c3", "c"))
        self.assertEqual([json.loads(next(stream))["cursor"] for _ in range(3)], ["c1", "c2", "c3"])
        self.assertEqual(self.asked(), ["c0", "c1", "c2"])

    def test_a_page_that_has_more_is_followed_at_once(self):
        stream = self.lines(page("c1", "a", more=True), page("c2", "b", more=True), page("c3", "c"))
        for _ in range(3):
            next(stream)
        self.listener.wait.assert_not_called()

    def test_an_empty_page_goes_out_each_twenty_seconds_and_moves_the_cursor(self):
        self.passes(60)
        stream = self.lines(page("c1"), page("c2"), page("c3"))
        times = []
        for _ in range(3):
            next(stream)
            times.append(self.clock)
        self.assertEqual(times, [1000, 1020, 1040])

    def test_an_empty_page_is_not_sent_sooner_but_its_cursor_counts(self):
        self.passes(3)
        stream = self.lines(page("c1"), *(page(f"e{n}") for n in range(20)))
        next(stream)
        next(stream)
        self.assertEqual(self.clock, 1020)
        self.assertEqual(self.asked()[:3], ["c0", "c1", "e0"])

    def test_it_ends_after_ten_minutes(self):
        self.passes(60)
        stream = self.lines(*(page(f"c{n}") for n in range(100)))
        self.assertEqual(len(list(stream)), 30)
        self.assertEqual(self.clock, 1600)
        self.hub.leave.assert_called_with(self.listener)

    def test_it_ends_when_the_client_hangs_up(self):
        self.listener.wait.return_value = Heard.GONE
        self.assertEqual(len(list(self.lines(page("c1")))), 1)
        self.hub.leave.assert_called_with(self.listener)

    def test_it_ends_when_the_key_no_longer_opens_the_feed(self):
        logger = create_autospec(body._logger, instance=True)
        self.patch(body, "_logger", logger)
        self.assertEqual(len(list(self.lines(page("c1"), None))), 1)
        self.assertIn("no longer opens", logger.info.call_args.args[0])
        self.hub.leave.assert_called_with(self.listener)

    def test_it_ends_after_a_reset(self):
        self.assertEqual(len(list(self.lines(page("c1", reset=True), page("c2", "x")))), 1)

    def test_a_client_that_takes_nothing_is_dropped(self):
        self.listener.can_write.side_effect = [True, False]
        self.assertEqual(len(list(self.lines(page("c1", "a"), page("c2", "b")))), 1)
        self.listener.hang_up.assert_called_once_with()

    def test_while_postgresql_is_away_it_waits_and_reads_on(self):
        gone = psycopg2.OperationalError("gone")
        stream = self.lines(page("c1", "a"), gone, gone, page("c2", "b"))
        self.assertEqual([json.loads(next(stream))["cursor"] for _ in range(2)], ["c1", "c2"])
        self.assertEqual(self.asked(), ["c0", "c1", "c1", "c1"])

    def test_while_postgresql_is_away_the_client_still_hears(self):
        self.passes(60)
        stream = self.lines(page("c1", "a"), *[psycopg2.InterfaceError("gone")] * 21, page("c2"))
        next(stream)
        beat = json.loads(next(stream))
        self.assertEqual((beat["cursor"], beat["changes"], beat["reset"]), ("c1", [], False))
        self.assertTrue(beat["more"], "who cannot look must not say that there is nothing")
        self.assertEqual(self.clock, 1020)

    def test_it_ends_when_postgresql_stays_away(self):
        self.passes(60)
        stream = self.lines(page("c1", "a"), *[psycopg2.OperationalError("gone")] * 100)
        with mute_logger(LOGGER):
            list(stream)
        self.assertLess(self.clock, 1000 + 20 + body.PATIENCE_S + 5)

    def test_any_other_error_ends_it_and_frees_what_it_held(self):
        stream = self.lines(page("c1", "a"), psycopg2.ProgrammingError("bug"))
        next(stream)
        with self.assertRaises(psycopg2.ProgrammingError):
            next(stream)
        self.hub.leave.assert_called_with(self.listener)

    def test_the_server_s_stop_ends_it(self):
        stream = self.lines(page("c1"), page("c2"))
        next(stream)
        self.patch(hub.Hub, "stopping", True)
        self.assertEqual(list(stream), [])
