{
    "name": "Clinic Patients Feed",
    "summary": "Patients in the change feed, wherever there are both patients and the feed",
    "version": "19.0.1.0.0",
    "category": "Technical",
    "author": "Clinic",
    "license": "LGPL-3",
    "depends": ["clinic_change_feed", "clinic_records"],
    "auto_install": True,
    "uninstall_hook": "uninstall_hook",
    "installable": True,
}
