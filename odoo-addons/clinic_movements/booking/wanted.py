"""What another system asks for, checked."""

from dataclasses import dataclass
from decimal import Decimal

KINDS = ("in", "out", "adjustment", "count")
LIMIT = Decimal(10) ** 12


@dataclass(frozen=True)
class Wanted:
    """A movement that is asked for; see `clinic.movement.request.apply`."""

    request_id: str
    kind: str
    product_id: int
    location_id: int
    quantity: Decimal
    lot_id: int | None = None
    lot_name: str | None = None
    expected: Decimal | None = None
    reason: str | None = None
    reference: str | None = None
    person: str | None = None
    client: str | None = None
    occurred_at: str | None = None
    apply_anyway: bool = False

    @classmethod
    def of(cls, request):
        """Read what came by JSON.

        Raises:
            ValueError: A value cannot be what it is for (so do other errors of Python's).
        """
        wanted = cls(
            request_id=_text(request, "request_id"),
            kind=_text(request, "kind"),
            product_id=_number(request["medication_id"]),
            location_id=_number(request["location_id"]),
            quantity=_quantity(request["quantity"]),
            lot_id=None if request.get("lot_id") is None else _number(request["lot_id"]),
            lot_name=_text(request, "lot_name"),
            expected=None
            if request.get("expected_quantity") is None
            else _quantity(request["expected_quantity"]),
            reason=_text(request, "reason"),
            reference=_text(request, "reference"),
            person=_text(request, "person"),
            client=_text(request, "client"),
            occurred_at=_text(request, "occurred_at"),
            apply_anyway=request.get("apply_anyway") is True,
        )
        if wanted.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")
        if wanted.expected is not None and wanted.kind != "count":
            raise ValueError("expected_quantity is for counts")
        bad = {
            "count": wanted.quantity < 0,
            "adjustment": wanted.quantity == 0,
        }.get(wanted.kind, wanted.quantity <= 0)
        if bad:
            raise ValueError(f"{wanted.quantity} is no quantity of kind {wanted.kind}")
        return wanted

    def as_dict(self):
        """Return what the other side is shown as its own."""
        return {
            "kind": self.kind,
            "medication_id": self.product_id,
            "location_id": self.location_id,
            "lot_id": self.lot_id,
            "lot": self.lot_name,
            "quantity": _plain(self.quantity),
            "expected_quantity": None if self.expected is None else _plain(self.expected),
        }


def _text(request, name):
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is a text")
    return value or None


def _number(value):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**31:
        raise ValueError(f"{value!r} is no id")
    return value


def _quantity(value):
    if isinstance(value, bool | float) or not isinstance(value, int | str):
        raise TypeError("a quantity is a text, so that it keeps its digits")
    quantity = Decimal(value)
    if not quantity.is_finite() or abs(quantity) > LIMIT:
        raise ValueError(f"{value!r} is no quantity")
    return quantity


def _plain(quantity):
    return format(quantity.normalize() if quantity else Decimal(0), "f")
