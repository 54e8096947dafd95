{
    "name": "Clinic Movements",
    "summary": "Stock movements of other systems, each booked exactly once",
    "version": "19.0.1.0.0",
    "category": "Services/Clinic",
    "author": "Clinic",
    "license": "LGPL-3",
    "depends": ["product_expiry", "rpc", "stock"],
    "data": [
        "security/groups.xml",
        "security/ir.model.access.csv",
        "data/res_users.xml",
        "views/clinic_movement_request_views.xml",
        "views/stock_views.xml",
    ],
    "uninstall_hook": "uninstall_hook",
    "installable": True,
}
