{
    "name": "Clinic Change Feed",
    "summary": "A gap-free feed of stock changes, paged over JSON-2 or streamed at each commit",
    "version": "19.0.1.0.0",
    "category": "Technical",
    "author": "Clinic",
    "license": "LGPL-3",
    "depends": ["product_expiry", "rpc", "stock"],
    "data": [
        "security/groups.xml",
        "security/ir.model.access.csv",
        "data/res_users.xml",
    ],
    "uninstall_hook": "uninstall_hook",
    "installable": True,
}
