{
    "name": "Clinic Alerts",
    "summary": "What is wrong on the platform, as activities of its administrators",
    "version": "19.0.1.0.0",
    "category": "Services/Clinic",
    "author": "Clinic",
    "license": "LGPL-3",
    "depends": ["mail", "clinic_backups"],
    "data": ["security/groups.xml", "data/res_users.xml"],
    "installable": True,
}
