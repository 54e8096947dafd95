"""Backups of Odoo: taken, verified, encrypted, kept by a rule, and restored for real."""
