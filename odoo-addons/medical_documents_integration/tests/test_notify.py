from odoo.addons.mail.tests.common import MailCase
from odoo.exceptions import AccessError, UserError
from odoo.tests import freeze_time, tagged

from .common import DocumentCase


@tagged("post_install", "-at_install")
class TestNotify(DocumentCase, MailCase):
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
            told = document.notification_ids.filtered("reason")
            self.assertIn(sentence, told.sentence)

    def test_no_code_is_without_a_sentence(self):
        for reason in ("gave_up", "schema", "what nobody knows yet"):
            self.document.write({"state": "parked", "reason": reason})
            self.assertRegex(self.document.error, r"^[A-Z].{20,}\.$")

    def test_who_manages_documents_reads_what_to_do_and_others_that_it_is_seen_to(self):
        self.speak_spanish(self.clerk.partner_id, self.manager.partner_id)
        (answer,) = self.notify(self.told(self.document, "parked", reason="store_refused"))
        mails = {mail["to"]: mail["body_text"] for mail in answer["emails"]}
        told, to_do = "ya están avisados", "mire allí"
        for user, sentence, other in ((self.clerk, told, to_do), (self.manager, to_do, told)):
            document = self.document.with_user(user).with_context(lang="es_ES")
            inbox = self.env["mail.notification"].search(
                [("res_partner_id", "=", user.partner_id.id)], order="id desc", limit=1
            )
            for said in (mails[user.email], document.error, inbox.mail_message_id.body):
                self.assertIn("El archivo de documentos rechazó el documento.", said)
                self.assertIn(sentence, said)
                self.assertNotIn(other, said)
        activity = self.document.activity_ids.filtered(lambda a: a.user_id == self.manager)
        self.assertIn(to_do, activity.note)

    def test_managers_get_no_second_mail_of_odoo_s_own_for_their_activity(self):
        self.manager.notification_type = "email"
        before = self.env["mail.mail"].search([])
        with self.mock_mail_gateway():
            self.notify(self.told(self.document, "parked"))
        self.assertTrue(self.document.activity_ids)
        sent = self.env["mail.mail"].search([]) - before
        self.assertFalse(sent.mapped("subject"))
        self.assertNotIn(
            self.manager.partner_id, self._new_mails.recipient_ids | self._new_mails.partner_ids
        )

    def test_each_reason_to_wait_says_what_is_away(self):
        self.speak_spanish(self.clerk.partner_id)
        document = self.document.with_user(self.clerk).with_context(lang="es_ES")
        for number, (reason, sentence) in enumerate(
            {
                "store_away": "El archivo de documentos no responde.",
                "store_full": "El archivo de documentos no tiene espacio libre.",
                "store_sign_in": "El archivo de documentos rechaza el acceso de la clínica.",
                "odoo_away": "Odoo no entregó el documento.",
                "no_room": "El equipo que archiva los documentos no tiene espacio libre.",
            }.items(),
            1,
        ):
            self.notify(self.told(self.document, "retrying", number=number, reason=reason))
            self.assertIn(sentence, document.error)

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
