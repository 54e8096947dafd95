"""What the API answers and takes. Quantities are decimal strings, times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema


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


Json = dict[str, Any]
