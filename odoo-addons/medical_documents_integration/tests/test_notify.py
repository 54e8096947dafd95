from odoo.exceptions import AccessError, UserError
from odoo.tests import freeze_time, tagged

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

    @freeze_time("2026-03-01 10:00:30")
    def test_retrying_shows_why_and_when(self):
        self.notify(self.told(self.document, "retrying"))
        self.assertEqual((self.document.state, self.document.reason), ("retrying", "not_now"))
        self.assertEqual(str(self.document.next_attempt_at), "2026-03-01 10:01:00")
        document = self.document.with_user(self.clerk).with_context(tz="Asia/Tokyo")
        self.assertEqual(
            document.error,
            "The document store does not take the document at the moment."
            " It is tried again by itself at 7:01\N{NARROW NO-BREAK SPACE}PM.",
        )
        with self.assertRaises(AccessError):
            document.read(["detail"])
        self.assertEqual(
            document.with_user(self.manager).read(["detail"])[0]["detail"], "Drive: HTTP 503."
        )

    @freeze_time("2026-03-01 10:00:30")
    def test_another_day_is_named(self):
        told = self.told(self.document, "retrying", next_attempt_at="2026-03-01T23:30:00+00:00")
        self.notify(told)
        document = self.document.with_user(self.clerk).with_context(tz="Europe/Madrid")
        self.assertIn("by itself on 3/2/26, 12:30", document.error)

    def test_each_attempt_updates_the_document_and_only_the_first_is_said(self):
        before = len(self.move.message_ids)
        for attempt in range(1, 5):
            self.notify(
                self.told(
                    self.document, "retrying", number=attempt, attempt=attempt,
                    next_attempt_at=f"2026-03-01T1{attempt}:00:00+00:00",
                )
            )  # fmt: skip
            self.assertEqual(str(self.document.next_attempt_at), f"2026-03-01 1{attempt}:00:00")
        self.assertEqual(len(self.move.message_ids), before + 1)
        self.assertIn("not stored yet", self.move.message_ids[0].body)
        self.notify(self.told(self.document, number=5))
        self.assertEqual(len(self.move.message_ids), before + 2)
        self.assertIn("is stored", self.move.message_ids[0].body)

    def test_what_is_out_of_date_is_not_said(self):
        self.notify(self.told(self.document, number=5))
        messages = len(self.move.message_ids)
        self.notify(
            self.told(self.document, "retrying", number=3),
            self.told(self.document, "parked", number=4),
        )
        self.assertEqual(len(self.move.message_ids), messages)

    def test_everyone_reads_their_own_language_and_discussions_the_clinic_s(self):
        self.speak_spanish(self.env.company.partner_id, self.clerk.partner_id)
        record = self.signed()
        spanish = self.rendered(record)
        self.assertEqual(spanish.title, f"Consulta {record.number}")
        self.notify(self.told(spanish, "parked"))
        message = record.message_ids[0]
        self.assertIn(f"El documento {record.number} no se pudo archivar.", message.body)
        self.assertIn("El PDF no se abre.", message.body)
        self.assertEqual(message.author_id, self.env.ref("base.partner_root"))
        self.notify(self.told(self.document, "parked"))
        activity = self.document.activity_ids.filtered(lambda a: a.user_id == self.manager)
        self.assertEqual(activity.summary, f"The document {self.move.name} could not be stored.")
        inbox = self.env["mail.notification"].search(
            [("res_partner_id", "=", self.clerk.partner_id.id)], order="id desc", limit=1
        )
        self.assertIn("El PDF no se abre.", inbox.mail_message_id.body)
        for user, sentence in ((self.clerk, "El PDF no se abre."), (self.manager, "does not open")):
            document = self.document.with_user(user).with_context(lang=user.lang)
            self.assertIn(sentence, document.error)
            self.assertIn(sentence, document.notification_ids.sentence)

    def test_no_code_is_without_a_sentence(self):
        for reason in ("gave_up", "schema", "what nobody knows yet"):
            self.document.write({"state": "parked", "reason": reason})
            self.assertRegex(self.document.error, r"^[A-Z].{20,}\.$")

    def test_parked_rings_and_gives_managers_an_activity_that_storing_ends(self):
        self.notify(self.told(self.document, "parked"))
        self.assertIn("The PDF does not open.", self.document.error)
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
        self.speak_spanish(self.clerk.partner_id)
        self.clerk.clinic_document_email = "always"
        (answer,) = self.notify(self.told(self.document))
        (mail,) = answer["emails"]
        self.assertEqual(
            (mail["to"], mail["name"], mail["lang"]),
            (self.clerk.email, self.clerk.name, "es_ES"),
        )
        self.assertEqual(mail["subject"], f"El documento {self.move.name} está archivado.")
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
