"""Why a movement cannot be booked."""


class ConflictError(Exception):
    """The request does not fit what Odoo has; nothing of it is kept.

    Args:
        code: not_enough_stock, lot_expired, lot_unknown, product_unknown, product_archived,
            location_unknown, count_differs or refused.
        detail: The sentence that a person reads.
        ours: What Odoo has.
    """

    def __init__(self, code, detail, **ours):
        super().__init__(detail)
        self.code = code
        self.ours = {"detail": detail, **ours}

    def answer(self, wanted):
        """Return it as the answer of the call."""
        return {
            "state": "conflict",
            "code": self.code,
            "ours": self.ours,
            "theirs": wanted.as_dict(),
            "picking": None,
            "moves": [],
        }
