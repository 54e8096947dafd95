"""Stock: mirroring Odoo into the shared database, and checking the mirror."""
