from odoo.exceptions import ValidationError

from .common import AlertCase


class TestNotify(AlertCase):
    def test_each_administrator_gets_one_activity(self):
        self.assertEqual(self.notify(), {"activities": 2})
        self.assertEqual(self.activities().user_id, self.admin + self.ana)
        self.assertEqual(set(self.activities().mapped("summary")), {"Odoo no responde"})

    def test_told_twice_it_is_one_activity(self):
        self.notify()
        self.assertEqual(self.notify(), {"activities": 2})

    def test_an_activity_shows_text_as_text_and_a_link(self):
        self.notify()
        note = self.activities()[0].note
        self.assertIn("&lt;b&gt;1 &amp; 2&lt;/b&gt;", note)
        self.assertIn('href="https://airflow.example/dags/x"', note)

    def test_commands_stand_out_and_a_link_stands_once(self):
        self.notify(text="Run `make up`, then `<b>`: https://airflow.example/dags/x")
        note = self.activities()[0].note
        self.assertIn("<code>make up</code>", note)
        self.assertNotIn("<b>", note)
        self.assertEqual(note.count('href="https://airflow.example/dags/x"'), 1)

    def test_a_link_that_is_no_web_address_is_left_out(self):
        self.notify(link="javascript:alert(1)")
        self.assertNotIn("javascript", self.activities()[0].note)

    def test_nobody_is_mailed_of_it_by_odoo_too(self):
        before = self.env["mail.mail"].search_count([])
        self.notify()
        self.assertEqual(self.env["mail.mail"].search_count([]), before)

    def test_what_gets_worse_changes_the_activity(self):
        self.notify()
        first = self.activities()
        self.notify("worse", severity="critical", summary="Peor")
        self.assertEqual(self.activities(), first)
        self.assertEqual(set(first.mapped("summary")), {"Peor"})
        self.assertEqual(first.activity_type_id, self.env.ref("mail.mail_activity_data_warning"))

    def test_who_is_done_with_it_is_asked_again_by_a_reminder_only(self):
        self.notify()
        self.activities().filtered(lambda a: a.user_id == self.ana).action_done()
        self.assertEqual(self.notify(), {"activities": 1})
        self.assertEqual(self.notify("reminder"), {"activities": 2})

    def test_what_is_over_closes_its_activities_alone(self):
        self.notify()
        self.notify(outage="o2")
        mine = self.activities()
        self.assertEqual(self.notify("closed"), {"activities": 0})
        self.assertFalse(self.activities())
        self.assertEqual(len(self.activities("o2")), 2)
        self.assertFalse(any(mine.exists().mapped("active")))
        self.assertEqual(self.notify("closed"), {"activities": 0})

    def test_who_becomes_administrator_later_is_told_by_the_reminder(self):
        self.notify()
        self.clerk.group_ids += self.env.ref("clinic_backups.group_platform_administrator")
        self.notify("reminder")
        self.assertIn(self.clerk, self.activities().user_id)

    def test_what_is_no_alert_is_refused(self):
        for wrong in ({"kind": "other"}, {"outage": ""}, {"text": None}, {"summary": 5}):
            with self.assertRaises(ValidationError):
                self.notify(**wrong)
