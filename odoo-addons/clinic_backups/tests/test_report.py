from odoo import fields
from odoo.exceptions import UserError
from odoo.tests import tagged
from odoo.tools import file_open

from .common import BackupCase


@tagged("post_install", "-at_install")
class TestReport(BackupCase):
    def test_a_nightly_backup_appears(self):
        report = self.told()
        self.assertEqual(
            self.report(report), [{"backup_id": report["backup_id"], "status": "applied"}]
        )
        backup = self.of(report)
        self.assertEqual(backup.state, "stored")
        self.assertEqual(backup.taken_at, fields.Datetime.to_datetime("2026-11-24 01:00:00"))
        self.assertEqual(backup.moment, backup.taken_at)
        self.assertEqual(int(backup.size_bytes), 5_234_567_890)
        self.assertEqual(backup.size, "5.2 GB")
        self.assertEqual(backup.requester, "By itself, each night")
        self.assertEqual(backup.display_name, report["name"])
        self.assertFalse(backup.explanation)
        self.assertEqual(backup.action_open_url()["url"], report["url"])

    def test_who_asked_is_told_as_people_say_it(self):
        for told, shown in (
            (self.platform.login, self.platform.name),
            ("service-account-airflow-ci", "A program (airflow-ci)"),
            ("ana", "ana"),  # whom Airflow knows, and Odoo does not
        ):
            report = self.told(requested_by=told)
            self.report(report)
            self.assertEqual(self.of(report).requester, shown)

    def test_the_same_report_twice_changes_nothing(self):
        report = self.told()
        self.report(report)
        before = self.of(report).read()
        self.assertEqual(self.report(report)[0]["status"], "applied")
        ignored = {"write_date", "__last_update"}
        after = self.of(report).read()
        for name in before[0].keys() - ignored:
            self.assertEqual(after[0][name], before[0][name], name)

    def test_an_older_report_does_not_undo_a_newer_one(self):
        report = self.told()
        self.report(report)
        running = {**report, "state": "running", "updated_at": "2026-11-24T01:01:59+00:00"}
        self.assertEqual(self.report(running)[0]["status"], "older")
        self.assertEqual(self.of(report).state, "stored")

    def test_a_request_becomes_its_backup(self):
        request = self.ask(note="before the upgrade")
        request.state = "published"
        report = self.told(
            request_id=request.request_id, state="running", taken_at=None, name=None, url=None,
            size_bytes=None, verified_at=None, requested_by="backups_platform",
        )  # fmt: skip
        self.report(report)
        self.assertEqual(self.of(report), request)
        self.assertEqual((request.state, request.user_id), ("running", self.platform))
        later = self.told(backup_id=report["backup_id"], updated_at="2026-11-24T01:09:00+00:00")
        self.report(later)
        self.assertEqual(request.state, "stored")
        self.assertEqual(request.requester, self.platform.name)
        self.assertEqual(len(self.backups.search([])), 1)

    def test_two_backups_of_one_request_are_two_rows(self):
        request = self.ask()
        first = self.told(request_id=request.request_id)
        second = self.told(request_id=request.request_id)
        self.report(first, second)
        self.assertEqual(self.of(first), request)
        self.assertTrue(self.of(second) and self.of(second) != request)

    def test_an_older_request_ends_with_the_one_that_stands_for_it(self):
        older = self.ask()
        older.state = "running"  # so that another is let through
        newer = self.ask()
        (older | newer).state = "published"
        self.report(self.told(request_id=newer.request_id))
        self.assertEqual((older.state, newer.state), ("failed", "stored"))

    def test_a_failure_is_explained_and_nothing_else_is_touched(self):
        stored = self.told()
        failed = self.told(
            state="failed", error="pg_dump: HTTP 500.", url=None, name=None, taken_at=None,
            size_bytes=None, verified_at=None,
        )  # fmt: skip
        self.report(stored, failed)
        backup = self.of(failed)
        self.assertEqual(backup.error, "pg_dump: HTTP 500.")
        self.assertIn("nothing can be restored from it", backup.explanation)
        self.assertFalse(backup.size)
        with self.assertRaises(UserError):
            backup.action_open_url()
        self.assertEqual(self.of(stored).state, "stored")

    def test_a_drill_that_failed_warns_and_one_that_passed_does_not(self):
        report = self.told(drilled_at="2026-11-29T04:10:00+00:00", drill_passed=False)
        self.report(report)
        self.assertEqual(self.of(report).drill, "failed")
        self.assertIn("do not rely on it", self.of(report).explanation)
        self.report({**report, "drill_passed": True})
        self.assertEqual(self.of(report).drill, "passed")
        self.assertFalse(self.of(report).explanation)

    def test_an_expired_backup_says_when(self):
        report = self.told(state="expired", expired_at="2026-12-24T03:30:00+00:00")
        self.report(report)
        self.assertEqual(
            self.of(report).expired_at, fields.Datetime.to_datetime("2026-12-24 03:30:00")
        )

    def test_of_reports_with_one_that_is_not_valid_none_is_applied(self):
        for wrong in (
            {"state": "done"},
            {"kind": "all"},
            {"backup_id": "7"},
            {"database": ""},
            {"url": "javascript:alert(1)"},
            {"taken_at": "2026-11-24T01:00:00"},
            {"size_bytes": "many"},
            {"drill_passed": "yes"},
        ):
            with self.subTest(wrong=wrong), self.assertRaisesRegex(UserError, next(iter(wrong))):
                self.report(self.told(), self.told(**wrong))
        with self.assertRaises(UserError):
            self.backups.with_user(self.service).report({})
        self.assertFalse(self.backups.search([]))

    def test_who_asked_hears_of_the_end(self):
        request = self.ask()
        self.env["bus.bus"].search([]).unlink()
        self.report(self.told(request_id=request.request_id))
        self.env.cr.precommit.run()
        (message,) = self.env["bus.bus"].search([])
        self.assertIn("The backup is stored", message.message)

    def test_a_neutralised_copy_has_no_request_and_no_key_left(self):
        request = self.ask()
        keys = self.env["res.users.apikeys"]
        keys.with_user(self.service).sudo()._generate("rpc", "test", None)
        self.env.flush_all()
        with file_open("clinic_backups/data/neutralize.sql") as file:
            self.env.cr.execute(file.read())
        self.env.invalidate_all()
        self.assertEqual(request.state, "failed")
        self.assertFalse(keys.search([("user_id", "=", self.service.id)]))
