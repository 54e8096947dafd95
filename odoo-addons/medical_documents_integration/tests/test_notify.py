from odoo.exceptions import AccessError, UserError
from odoo.tests import tagged

from .common import DocumentCase


@tagged("post_install", "-at_install")
class TestNotify(DocumentCase):
    def setUp(self):
        super().setUp()
        self.move = self.posted()
        self.document = self.rendered(self.move)

    def notify(self, *notifications):
        answers = self.documents.with_user(self.service).notify(list(notifications))
        self.env.invalidate_all()
        return answers

    def test_stored_sets_the_address_and_writes_into_the_chatter(self):
        told = self.told(self.document)
        (answer,) = self.notify(told)
        self.assertEqual(
            answer,
            {"notification_id": told["notification_id"], "status": "applied", "emails": []},
        )
        self.assertEqual(self.document.state, "stored")
        self.assertEqual(self.document.url, "https://drive.example/1")
        self.assertIn("is stored", self.move.message_ids[0].body)

    def test_the_same_notification_is_applied_once(self):
        told = self.told(self.document, "parked")
        self.notify(told)
        messages = len(self.move.message_ids)
        first, second = self.notify(told, told)
        self.assertEqual(first["status"], "duplicate")
        self.assertEqual(second["status"], "duplicate")
        self.assertEqual(len(self.move.message_ids), messages)

    def test_a_duplicate_answers_the_same_mails_again(self):
        self.clerk.clinic_document_email = "always"
        told = self.told(self.document)
        (first,) = self.notify(told)
        self.assertTrue(first["emails"])
        self.clerk.clinic_document_email = "never"
        (second,) = self.notify(told)
        self.assertEqual((second["status"], second["emails"]), ("duplicate", first["emails"]))

    def test_a_stored_document_that_is_sent_again_ends_as_stored(self):
        told = self.told(self.document, number=3)
        self.notify(told, self.told(self.document, "retrying", number=4))
        self.document.with_user(self.manager).action_send_again()
        self.document.state = "published"
        messages = len(self.move.message_ids)
        (answer,) = self.notify(told)
        self.assertEqual((answer["status"], self.document.state), ("duplicate", "stored"))
        self.assertEqual(len(self.move.message_ids), messages)

    def test_a_duplicate_sets_aside_again_but_tells_nobody_twice(self):
        told = self.told(self.document, "parked")
        self.notify(told)
        self.document.with_user(self.manager).action_send_again()
        activities = self.document.activity_ids
        self.notify(told)
        self.assertEqual(self.document.state, "pending", "what was not sent is still to be sent")
        self.document.state = "published"
        self.notify(told)
        self.assertEqual(self.document.state, "parked")
        self.assertEqual(self.document.activity_ids, activities)

    def test_an_older_notification_changes_no_state(self):
        self.notify(self.told(self.document, "stored", number=5))
        (answer,) = self.notify(self.told(self.document, "parked", number=4))
        self.assertEqual((answer["status"], answer["emails"]), ("applied", []))
        self.assertEqual(self.document.state, "stored")
        self.assertFalse(self.document.activity_ids)

    def test_an_unknown_document_or_revision_is_said_to_be_so(self):
        (answer,) = self.notify(self.told(self.document, revision=7))
        self.assertEqual(answer["status"], "unknown_document")
        self.assertEqual(self.document.state, "published")

    def test_retrying_shows_why_and_when(self):
        self.notify(self.told(self.document, "retrying"))
        self.assertEqual((self.document.state, self.document.error), ("retrying", "store_refused"))
        self.assertEqual(str(self.document.next_attempt_at), "2026-03-01 10:01:00")

    def test_parked_rings_and_gives_managers_an_activity_that_storing_ends(self):
        self.notify(self.told(self.document, "parked"))
        self.assertEqual(self.document.error, "The PDF does not open.")
        self.assertIn(self.manager, self.document.activity_ids.user_id)
        inbox = self.env["mail.notification"].search(
            [("res_partner_id", "=", self.clerk.partner_id.id), ("notification_type", "=", "inbox")]
        )
        self.assertTrue(inbox)
        self.notify(self.told(self.document, "stored", number=2))
        self.assertFalse(self.document.activity_ids)

    def test_mail_goes_to_whom_wants_it(self):
        def mailed(event, number):
            (answer,) = self.notify(self.told(self.document, event, number=number))
            return {mail["to"] for mail in answer["emails"]} & {
                self.clerk.email,
                self.manager.email,
            }

        self.assertEqual(mailed("stored", 1), set())
        self.assertEqual(mailed("parked", 2), {self.clerk.email, self.manager.email})
        self.clerk.clinic_document_email = "never"
        self.assertEqual(mailed("parked", 3), {self.manager.email})
        self.clerk.clinic_document_email = "always"
        self.assertEqual(mailed("stored", 4), {self.clerk.email})
        self.assertEqual(mailed("retrying", 5), set())

    def test_a_mail_says_what_happened_in_the_users_language(self):
        self.env["res.lang"]._activate_lang("es_ES")
        self.clerk.write({"lang": "es_ES", "clinic_document_email": "always"})
        (answer,) = self.notify(self.told(self.document))
        (mail,) = answer["emails"]
        self.assertEqual(
            (mail["to"], mail["name"], mail["lang"]),
            (self.clerk.email, self.clerk.name, "es_ES"),
        )
        self.assertIn(self.move.name, mail["subject"])
        self.assertIn("https://drive.example/1", mail["body_text"])

    def test_one_that_is_not_valid_refuses_all(self):
        good = self.told(self.document)
        for bad in (
            "no object",
            {**good, "event": "lost"},
            {**good, "number": "1"},
            {**good, "at": "yesterday"},
            {**good, "at": "2026-03-01T10:00:00"},
            {**good, "url": "javascript:alert(1)"},
            {**good, "notification_id": "1"},
        ):
            with self.subTest(bad=bad), self.assertRaises(UserError), self.env.cr.savepoint():
                self.notify(bad)

    def test_only_the_service_account_notifies(self):
        for user in (self.clerk, self.doctor, self.manager, self.env.ref("base.user_admin")):
            with self.subTest(user=user.login), self.assertRaises(AccessError):
                self.documents.with_user(user).notify([])
