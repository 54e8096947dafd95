{
    "name": "Clinic Backups",
    "summary": "The list of Odoo's backups, and the button that asks for one",
    "version": "19.0.1.0.0",
    "category": "Services/Clinic",
    "author": "Clinic",
    "license": "LGPL-3",
    "depends": ["clinic_broker", "mail", "rpc"],
    "data": [
        "security/groups.xml",
        "security/ir.model.access.csv",
        "data/res_users.xml",
        "data/ir_cron.xml",
        "wizard/clinic_backup_request_views.xml",
        "views/clinic_backup_views.xml",
    ],
    "installable": True,
}
