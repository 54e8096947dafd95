"""Spanish for everyone. Run in `odoo shell`, with `values` and `result` given."""

# ruff: noqa: F821 (odoo shell gives env; clinic_stack.odoo.shell gives values and result)

language = values["language"]
env["res.lang"]._activate_lang(language)
env["ir.default"].set("res.partner", "lang", language)
partners = env["res.users"].with_context(active_test=False).search([]).partner_id
(partners | env["res.company"].search([]).partner_id).write(
    {"lang": language, "tz": "Europe/Madrid"}
)
env.cr.commit()
result()
