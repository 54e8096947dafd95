from odoo.tests import tagged

from ..feed import entities, sql
from ..feed.entities import Entity
from ..hooks import uninstall_hook
from .common import FeedCase


@tagged("post_install", "-at_install")
class TestWatch(FeedCase):
    def triggers(self):
        self.env.cr.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'clinic_change_%'")
        return self.env.cr.fetchone()[0]

    def test_an_update_of_the_addon_changes_nothing(self):
        before = self.triggers()
        self.assertGreater(before, 20)
        self.env["clinic.change"].init()
        self.assertEqual(self.triggers(), before)

    def test_an_update_leaves_nothing_of_an_older_version(self):
        before = self.triggers()
        self.env.cr.execute(
            """
            CREATE FUNCTION clinic_change_watch(
                watched regclass, entity text, shown text [], gone int DEFAULT 0)
            RETURNS void LANGUAGE sql AS 'SELECT';
            SELECT clinic_change_watch(
                'res_partner', 'gone', '{name}', events => '{INSERT,UPDATE,DELETE}');
            """
        )
        self.assertEqual(self.triggers(), before + 3)
        self.env["clinic.change"].init()
        self.assertEqual(self.triggers(), before)

    def test_uninstalling_leaves_nothing_that_writes(self):
        uninstall_hook(self.env)
        self.assertEqual(self.triggers(), 0)
        self.env.cr.execute("SELECT count(*) FROM pg_proc WHERE proname LIKE 'clinic_change%'")
        self.assertEqual(self.env.cr.fetchone()[0], 0)
        self.env.cr.execute("UPDATE stock_quant SET quantity = quantity + 1")

    def test_another_addon_can_register_an_entity(self):
        self.env.cr.execute(
            "SELECT clinic_change_watch('res_partner', 'partner', shown => '{name}')"
        )
        partner = self.env["res.partner"].create({"name": "Ana"})
        with self.assertWrites(("partner", partner.id)):
            partner.name = "Eva"
        with self.assertWrites():
            partner.comment = "not shown"
        state = """
            SELECT id, name FROM res_partner
             WHERE (%(ids)s::integer[] IS NULL OR id = ANY(%(ids)s::integer[])) AND id > %(after)s
             ORDER BY id LIMIT %(limit)s
        """
        self.patch(
            entities,
            "rows",
            lambda cr, path, params, module: (cr.execute(state, params), cr.dictfetchall())[1],
        )
        self.patch(
            type(self.env["clinic.change"]),
            "_entities",
            lambda _self: (Entity("partner", module="other"),),
        )
        self.assertEqual(self.shown("partner", partner.id)["values"], {"name": "Eva"})
        listed = self.env["clinic.change"].state("partner", limit=10_000)["changes"]
        self.assertIn(partner.id, [change["id"] for change in listed])
        self.env.cr.execute("SELECT clinic_change_unwatch('partner')")
        with self.assertWrites():
            partner.name = "Leo"

    def test_an_entity_nobody_knows_any_more_is_left_out(self):
        self.env.cr.execute(
            "INSERT INTO clinic_change (entity, res_id, op) VALUES ('gone', 1, 'U')"
        )
        self.assertNotIn("gone", {change["entity"] for change in self.page()["changes"]})

    def test_long_names_do_not_meet(self):
        self.env.cr.execute(
            "SELECT clinic_change_watch_name(%(long)s || 'a', 'x'),"
            " clinic_change_watch_name(%(long)s || 'b', 'x')",
            {"long": "t" * 62},
        )
        one, other = self.env.cr.fetchone()
        self.assertNotEqual(one, other)
        self.assertLess(len(one), 60)

    def test_a_large_statement_after_a_small_one_is_not_quadratic(self):
        """PL/pgSQL keeps the first plan. Compared by a nested loop, 20,000 rows would take
        minutes."""
        self.env.cr.execute("CREATE TABLE clinic_many (id integer PRIMARY KEY, value integer)")
        self.env.cr.execute("SELECT clinic_change_watch('clinic_many', 'many', shown => '{value}')")
        self.env.cr.execute("INSERT INTO clinic_many VALUES (0, 0)")
        for _ in range(6):
            self.env.cr.execute("UPDATE clinic_many SET value = value + 1")
        self.env.cr.execute(
            "INSERT INTO clinic_many SELECT n, n FROM generate_series(1, 20000) AS n"
        )
        self.env.cr.execute("SET LOCAL statement_timeout = '20s'")
        before = self.last_row()
        self.env.cr.execute("UPDATE clinic_many SET value = value + 1")
        self.assertEqual(len(self.rows_after(before)), 20_001)

    def test_sql_files_are_read_from_the_addon(self):
        self.assertIn("clinic_change", sql.load("outbox.sql"))
        with self.assertRaises(FileNotFoundError):
            sql.load("no_such.sql")
