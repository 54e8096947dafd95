"""What the API answers and takes. Quantities are decimal strings, times are RFC 3339 in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)


def plain(value: Decimal) -> str:
    """Return a decimal without exponent and without zeros at its end."""
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


Quantity = Annotated[
    Decimal,
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": ["120"]}),
]

Time = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


class StockState(StrEnum):
    """What a medication can be found by; one may be in several."""

    OK = "ok"
    LOW = "low"
    OUT = "out"
    NEGATIVE = "negative"
    EXPIRED = "expired"
    EXPIRING = "expiring"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Page(_Answer):
    """What every list has beside its items."""

    next: str | None = Field(description="`after` of the next page; null on the last.")
    as_of: Time | None = Field(
        description="When the mirror last confirmed that it had all of Odoo; null before that."
    )


class Medication(_Answer):
    """A row of the list."""

    id: int = Field(examples=[42])
    sku: str | None = Field(examples=["MED-0042"])
    barcode: str | None
    name_es: str = Field(examples=["Paracetamol 500 mg, comprimido"])
    name_en: str = Field(examples=["Paracetamol 500 mg, tablet"])
    category: str | None
    uom: str = Field(description="The unit of every quantity here.", examples=["Units"])
    tracking: str = Field(description="none, lot or serial.")
    stock_quantity: Quantity
    reserved_quantity: Quantity
    min_stock_level: Quantity | None
    max_stock_level: Quantity | None
    unit_cost: Quantity | None
    currency: str | None
    states: list[StockState] = Field(
        description="All that is the matter, the gravest first; `ok` alone when nothing is.",
        examples=[["low", "expiring"]],
    )
    expired_quantity: Quantity
    next_expiry_at: Time | None = Field(description="Of what is in stock and not expired yet.")
    synced_at: Time = Field(description="When the row last changed in the mirror.")


class Medications(Page):
    """A page of medications by name."""

    items: list[Medication]


class Level(_Answer):
    """Stock of one location and lot."""

    location_id: int
    location: str | None
    lot_id: int | None
    lot: str | None
    expires_at: Time | None
    removal_at: Time | None
    quantity: Quantity
    reserved_quantity: Quantity


class Rule(_Answer):
    """A reorder rule of Odoo."""

    id: int
    location_id: int
    location: str | None
    min_quantity: Quantity
    max_quantity: Quantity


class Consumption(_Answer):
    """What its use so far says of the time to come."""

    window_days: int = Field(description="Over how many days it was averaged.")
    consumed: Quantity
    monthly_average: Quantity | None = Field(
        description="In 30 days; null when too little is known."
    )
    months_of_cover: Quantity | None
    stock_out_on: date | None = Field(description="The day on which the usable stock is used up.")
    reasoning_es: str
    reasoning_en: str
    suggested_order: Quantity = Field(
        description="In whole packs, or whole units without a pack size."
    )
    pack_size: Quantity | None = Field(
        description="Units in a pack; null while Odoo's packs are not mirrored."
    )


class MedicationDetail(Medication):
    """All of one medication."""

    active: bool
    levels: list[Level]
    rules: list[Rule]
    consumption: Consumption
    as_of: Time | None


class HistoryDay(_Answer):
    """The stock at the end of a day."""

    day: date
    quantity: Quantity


class History(_Answer):
    """The stock of the past days, worked out backwards from today's by the movements."""

    items: list[HistoryDay]
    as_of: Time | None


class Location(_Answer):
    """Where stock lies."""

    id: int
    name: str
    usage: str
    warehouse_id: int | None
    warehouse: str | None


class Locations(Page):
    """A page of locations."""

    items: list[Location]


class Alert(_Answer):
    """A reorder rule that is not met."""

    rule_id: int
    medication_id: int
    sku: str | None
    name_es: str | None
    name_en: str | None
    uom: str | None
    location_id: int
    location: str | None
    quantity: Quantity
    reserved_quantity: Quantity
    min_quantity: Quantity
    max_quantity: Quantity
    missing_quantity: Quantity


class Alerts(Page):
    """A page of alerts."""

    items: list[Alert]


class Summary(_Answer):
    """The dashboard's tiles: how many medications each list has."""

    medications: int
    out_of_stock: int
    below_minimum: int
    expiring_30: int
    expiring_90: int
    expired: int
    negative: int
    conflicts: int
    as_of: Time | None


class Movement(_Answer):
    """A finished movement of Odoo."""

    id: int
    medication_id: int
    name_es: str | None
    name_en: str | None
    sku: str | None
    uom: str | None
    lot_id: int | None
    lot: str | None
    from_location_id: int
    from_location: str | None
    to_location_id: int
    to_location: str | None
    quantity: Quantity
    reference: str | None
    origin: str | None
    is_inventory: bool = Field(description="The correction that a count made.")
    done_at: Time
    done_by: str | None


class Movements(Page):
    """A page of movements, the newest first."""

    items: list[Movement]


class ReportRow(_Answer):
    """Movements of a medication under one heading."""

    label: str | None = Field(description="What `group_by` asks for.")
    medication_id: int
    sku: str | None
    name_es: str
    name_en: str
    uom: str
    entered: Quantity
    left_stock: Quantity
    corrected: Quantity = Field(description="By counts.")
    net: Quantity
    movements: int


class Report(_Answer):
    """A report as a list."""

    items: list[ReportRow]
    as_of: Time | None


class TimelineEvent(_Answer):
    """One step of a document."""

    number: int
    revision: int
    state: str
    at: Time
    actor: str


class Timeline(_Answer):
    """What happened to a document, the oldest first."""

    document_id: UUID
    items: list[TimelineEvent]


class Me(_Answer):
    """Who is asking."""

    name: str
    login: str | None
    scopes: list[str]
    language: str = Field(examples=["es"])


class Health(_Answer):
    """How the API is, and how fresh what it shows."""

    status: Literal["ok", "stale", "down"]
    database: bool
    as_of: Time | None
    age_s: float | None = Field(description="How old the figures are.")
    listeners: int


LARGEST_ID = 2**31 - 1


def sound(text: str) -> str:
    """Return a text that the database can hold.

    Raises:
        ValueError: It cannot.
    """
    if "\0" in text:
        raise ValueError("holds a character that no text may hold")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character") from None
    return text


def _of_our_time(moment: datetime) -> datetime:
    if not 2000 <= moment.year < 2100:
        raise ValueError("is not between 2000 and 2100")
    return moment


Sound = AfterValidator(sound)
_GIVEN = r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$"


def _given(value: object) -> Decimal:
    if not isinstance(value, str) or not re.fullmatch(_GIVEN[1:-1], value):
        raise ValueError('is a decimal in quotes, such as "12.5"')
    return Decimal(value)


Given = Annotated[
    Decimal, BeforeValidator(_given), WithJsonSchema({"type": "string", "pattern": _GIVEN})
]
"""A quantity as it is sent: a decimal string, so that no float rounds it."""
GivenId = Annotated[int, Field(strict=True, ge=1, le=LARGEST_ID)]
ConflictId = Annotated[int, Path(ge=1, le=2**62)]


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewMovement(_Question):
    """A movement to be booked in Odoo."""

    kind: Literal["in", "out", "adjustment", "count"] = Field(
        description=(
            "`in` and `out` move; `adjustment` adds, or takes where negative; "
            "`count` is what is there."
        )
    )
    medication_id: GivenId = Field(examples=[42])
    location_id: GivenId = Field(examples=[8])
    lot_id: GivenId | None = None
    lot_name: Annotated[str, Field(min_length=1, max_length=255), Sound] | None = None
    quantity: Given = Field(examples=["12"])
    expected_quantity: Given | None = Field(
        None, description="Of a count: what was shown. A conflict when Odoo has another by then."
    )
    reason: Annotated[str, Field(max_length=1000), Sound] | None = Field(
        None, examples=["Dispensación"]
    )
    reference: Annotated[str, Field(max_length=255), Sound] | None = None
    occurred_at: Annotated[AwareDatetime, AfterValidator(_of_our_time)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind in {"in", "out"} and self.quantity <= 0:
            raise ValueError(f"the quantity of {self.kind} is more than 0")
        if self.kind == "adjustment" and self.quantity == 0:
            raise ValueError("an adjustment of 0 changes nothing")
        if self.kind == "count" and self.quantity < 0:
            raise ValueError("nobody counts less than 0")
        if self.kind != "count" and self.expected_quantity is not None:
            raise ValueError("expected_quantity is of a count")
        return self


class MovementRequest(_Answer):
    """A movement that was asked for, and what became of it."""

    id: UUID
    state: Literal["pending", "applying", "applied", "conflict", "discarded"]
    kind: str
    medication_id: int
    location_id: int
    lot_id: int | None
    lot_name: str | None
    quantity: Quantity
    expected_quantity: Quantity | None
    reason: str | None
    reference: str | None
    source: str
    person: str
    occurred_at: Time
    odoo_picking: str | None
    error_code: str | None
    error_detail: str | None
    attempts: int
    created_at: Time
    updated_at: Time
    applied_at: Time | None


class Conflict(_Answer):
    """A movement that Odoo could not book."""

    id: int
    request_id: UUID
    code: str = Field(examples=["not_enough_stock"])
    ours: dict[str, Any] = Field(description="What Odoo has; `detail` says why in a sentence.")
    theirs: dict[str, Any] = Field(description="What was asked.")
    state: Literal["open", "resolved"]
    resolution: str | None
    resolved_by: str | None
    resolved_at: Time | None
    note: str | None
    created_at: Time
    kind: str
    medication_id: int
    person: str
    name_es: str | None
    name_en: str | None


class Conflicts(Page):
    """A page of conflicts, the newest first."""

    items: list[Conflict]


class Resolution(_Question):
    """What a person decides."""

    resolution: Literal["apply_anyway", "discard", "recount"]
    note: Annotated[str, Field(max_length=1000), Sound] | None = None
    counted: Given | None = Field(None, description="Of a recount: what is there.")
    expected: Given | None = Field(None, description="Of a recount: what was shown.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.resolution == "recount") != (self.counted is not None):
            raise ValueError("a recount, and nothing else, comes with what was counted")
        if self.counted is not None and self.counted < 0:
            raise ValueError("nobody counts less than 0")
        if self.resolution != "recount" and self.expected is not None:
            raise ValueError("expected is of a recount")
        return self
