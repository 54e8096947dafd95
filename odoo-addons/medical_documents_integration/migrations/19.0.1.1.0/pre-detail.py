"""What was the error is now the technical detail beside a reason's code."""


def migrate(cr, version):
    """Keep the texts."""
    cr.execute("ALTER TABLE clinic_document RENAME COLUMN error TO detail")
