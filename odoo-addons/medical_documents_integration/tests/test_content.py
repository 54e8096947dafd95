import hashlib

from odoo.tests import HttpCase, tagged

from .common import PDF, DocumentCase


@tagged("post_install", "-at_install")
class TestContent(DocumentCase, HttpCase):
    def setUp(self):
        super().setUp()
        self.document = self.rendered(self.signed())
        self.path = f"/clinic/documents/{self.document.document_id}/1/content"

    def get(self, path, user=None, **headers):
        key = self.env["res.users.apikeys"].with_user(user or self.service).sudo()
        key = key._generate("rpc", "test", None)
        return self.url_open(path, headers={"Authorization": f"Bearer {key}", **headers})

    def test_the_service_account_gets_the_bytes(self):
        answer = self.get(self.path)
        self.assertEqual((answer.status_code, answer.content), (200, PDF))
        self.assertEqual(answer.headers["Content-Type"], "application/pdf")
        self.assertEqual(answer.headers["Content-Length"], str(len(PDF)))
        self.assertIn(hashlib.sha1(PDF).hexdigest(), answer.headers["ETag"])

    def test_a_range_of_it(self):
        answer = self.get(self.path, Range="bytes=5-8")
        self.assertEqual((answer.status_code, answer.content), (206, PDF[5:9]))

    def test_what_is_not_there_is_said_in_json(self):
        for path in (
            self.path.replace("/1/", "/2/"),
            "/clinic/documents/00000000-0000-0000-0000-000000000000/1/content",
        ):
            answer = self.get(path)
            self.assertEqual(answer.status_code, 404)
            self.assertIn("error", answer.json())

    def test_others_are_refused(self):
        for user in (self.clerk, self.doctor, self.manager, self.nobody):
            answer = self.get(self.path, user)
            self.assertEqual(answer.status_code, 403, user.login)
            self.assertIn("error", answer.json())
        self.assertEqual(self.url_open(self.path).status_code, 401)

    def test_people_see_it_if_they_may_read_the_record(self):
        path = f"/clinic/documents/{self.document.id}/view"
        for user, expected in ((self.doctor, 200), (self.manager, 403), (self.clerk, 403)):
            self.authenticate(user.login, user.login)
            with self.subTest(user=user.login):
                self.assertEqual(self.url_open(path).status_code, expected)

    def test_the_service_account_notifies_over_json_2(self):
        key = self.env["res.users.apikeys"].with_user(self.service).sudo()
        key = key._generate("rpc", "test", None)
        answer = self.url_open(
            "/json/2/clinic.document/notify",
            json={"notifications": [self.told(self.document)]},
            headers={"Authorization": f"Bearer {key}"},
        )
        self.assertEqual(answer.status_code, 200, answer.text)
        self.assertEqual(answer.json()[0]["status"], "applied")
