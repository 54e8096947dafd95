"""What a page of Odoo's change feed says, and what of it can be kept.

A change that can be kept becomes a row; one that cannot is set aside with its reason and does not
stop the others. Long names, emoji, and quantities as small as 1e-9 or as large as 1e9 are kept
exactly; NaN, infinity, and a product without a name in any language are set aside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

# In the order in which a page names them, and in which a full load reads them.
ENTITIES: Final = (
    "location",
    "product",
    "lot",
    "reorder_rule",
    "stock_level",
    "movement",
    "patient",
)

Row = dict[str, Any]
Key = int | tuple[int, int, int]


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character, which PostgreSQL cannot store")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a surrogate pair, which is no Unicode character") from None
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return text


Id = Annotated[int, Field(ge=1, le=2**31 - 1)]  # Odoo's ids are PostgreSQL integers
Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, AfterValidator(_not_blank)]
Quantity = Annotated[Decimal, Field(allow_inf_nan=False)]
Money = Annotated[Decimal, Field(allow_inf_nan=False, gt=-(10**12), lt=10**12)]  # numeric(16, 4)


class _Values(BaseModel):
    """The values of one entity as the feed names them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_row(self) -> Row:
        """Return the values under the names of the shared database's columns."""
        return self.model_dump()


class LocationValues(_Values):
    """A row of ``shared_locations``."""

    name: Name
    usage: Text
    active: bool
    parent_path: Text | None = None
    company_id: Id | None = None
    company: Text | None = None
    warehouse_id: Id | None = None
    warehouse: Text | None = None


class ProductValues(_Values):
    """A row of ``shared_medications``, without the totals, which are computed from the levels."""

    sku: Text | None = None
    barcode: Text | None = None
    name: dict[str, Text | None]
    category: Text | None = None
    uom: Text
    active: bool
    storable: bool
    tracking: Text
    list_price: Money | None = None
    unit_cost: Money | None = None
    currency: Text | None = None
    company_id: Id | None = None

    @field_validator("name")
    @classmethod
    def _has_a_name(cls, names: dict[str, str | None]) -> dict[str, str | None]:
        if not any(name and name.strip() for name in names.values()):
            raise ValueError("the product has no name in any language")
        return names

    def _name_in(self, language: str) -> str:
        """Return the name in ``language`` (``es``), any country's, or else in another language.

        English comes second because Odoo keeps every term in en_US first.
        """
        given = {code: name for code, name in sorted(self.name.items()) if name and name.strip()}
        for wanted in (language, "en", ""):
            for code, name in given.items():
                if code.startswith(wanted):
                    return name
        raise AssertionError("checked when the values were read")

    def to_row(self) -> Row:
        """Return the values under the names of the shared database's columns."""
        row = self.model_dump(exclude={"name", "storable"})
        return row | {"name_es": self._name_in("es"), "name_en": self._name_in("en")}


class LotValues(_Values):
    """A row of ``shared_lots``."""

    product_id: Id
    name: Text
    expires_at: AwareDatetime | None = None
    removal_at: AwareDatetime | None = None
    company_id: Id | None = None

    def to_row(self) -> Row:
        """Return the values under the names of the shared database's columns."""
        row = self.model_dump(exclude={"product_id"})
        return row | {"medication_id": self.product_id}


class ReorderRuleValues(_Values):
    """A row of ``shared_reorder_rules``."""

    product_id: Id
    location_id: Id
    warehouse_id: Id | None = None
    company_id: Id | None = None
    min_quantity: Quantity
    max_quantity: Quantity
    active: bool

    def to_row(self) -> Row:
        """Return the values under the names of the shared database's columns."""
        row = self.model_dump(exclude={"product_id"})
        return row | {"medication_id": self.product_id}


class StockLevelValues(_Values):
    """A row of ``shared_stock_levels``; its key is in the change's id."""

    quantity: Quantity
    reserved_quantity: Quantity


class MovementValues(_Values):
    """A row of ``shared_stock_movements``."""

    product_id: Id
    lot_id: Id | None = None
    from_location_id: Id
    to_location_id: Id
    quantity: Quantity
    reference: Text | None = None
    origin: Text | None = None
    is_inventory: bool
    done_at: AwareDatetime
    user: Text | None = None
    company_id: Id | None = None

    def to_row(self) -> Row:
        """Return the values under the names of the shared database's columns."""
        row = self.model_dump(exclude={"product_id", "user"})
        return row | {"medication_id": self.product_id, "done_by": self.user}


class PatientValues(_Values):
    """A row of ``shared_patients``: who somebody is, and nothing clinical."""

    patient_number: Text | None = None
    name: Text | None = None
    birth_date: date | None = None
    sex: Text | None = None
    identity_type: Text | None = None
    identity_number: Text | None = None
    phone: Text | None = None
    email: Text | None = None
    language: Text | None = None
    active: bool
    company_id: Id | None = None


VALUES: Final[Mapping[str, type[_Values]]] = {
    "location": LocationValues,
    "product": ProductValues,
    "lot": LotValues,
    "reorder_rule": ReorderRuleValues,
    "stock_level": StockLevelValues,
    "movement": MovementValues,
    "patient": PatientValues,
}


class Change(BaseModel):
    """One change: the newest committed state of one record, or that it is gone."""

    model_config = ConfigDict(frozen=True)

    entity: str
    id: int | str
    op: Literal["upsert", "delete"]
    values: dict[str, Any] | None = None
    changed_at: AwareDatetime | None = None


_ID: Final[TypeAdapter[int]] = TypeAdapter(Id)


def parse_key(entity: str, record_id: int | str) -> Key:
    """Return the key under which the shared database keeps the record.

    >>> parse_key("lot", 7), parse_key("stock_level", "7:8:0")
    (7, (7, 8, 0))

    Raises:
        ValueError: The id has another form.
    """
    if entity != "stock_level":
        return _ID.validate_python(record_id)
    parts = str(record_id).split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError("id: is not product:location:lot")
    product, location, lot = (int(part) for part in parts)
    if not (0 < product < 2**31 and 0 < location < 2**31 and 0 <= lot < 2**31):
        raise ValueError("id: is not product:location:lot")
    return product, location, lot


@dataclass(frozen=True, slots=True)
class Reject:
    """A change that could not be kept, and why."""

    entity: str
    record_id: str
    reason: str
    payload: str

    @classmethod
    def of(cls, raw: object, reason: str) -> Self:
        """Set ``raw`` aside, however little of it can be read."""
        known = raw if isinstance(raw, dict) else {}
        return cls(
            entity=_printable(known.get("entity", "?"))[:100],
            record_id=_printable(known.get("id", "?"))[:100],
            reason=reason,
            # ASCII, so that lone surrogates and NUL can be stored as the escapes they came as.
            payload=json.dumps(raw, ensure_ascii=True, default=str)[:100_000],
        )


def _printable(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=True)[1:-1]


@dataclass(slots=True)
class Batch:
    """What one page says of one entity: the rows to keep, by key, and the keys that are gone."""

    upserts: dict[Key, Row] = field(default_factory=dict)
    deletes: set[Key] = field(default_factory=set)
    raw: dict[Key, Any] = field(default_factory=dict)  # as they came, should the database refuse


@dataclass(slots=True)
class Decoded:
    """A page, sorted: batches by entity (in the order of ``ENTITIES``), and what was set aside."""

    batches: dict[str, Batch]
    rejects: list[Reject] = field(default_factory=list)
    oldest_change_at: datetime | None = None
    changes: int = 0

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return not self.rejects and not any(b.upserts or b.deletes for b in self.batches.values())


def decode(changes: Iterable[Any]) -> Decoded:
    """Sort the changes of one page into what can be kept and what must be set aside.

    A later change of the same record replaces an earlier one. Entities that are not mirrored are
    passed over: they are other readers' business.
    """
    decoded = Decoded({entity: Batch() for entity in ENTITIES})
    for raw in changes:
        decoded.changes += 1
        try:
            change = Change.model_validate(raw)
            if change.entity not in VALUES:
                continue
            key = parse_key(change.entity, change.id)
            row = _row(change, key)
        except ValidationError as error:
            decoded.rejects.append(Reject.of(raw, _reason(error)))
            continue
        except ValueError as error:
            decoded.rejects.append(Reject.of(raw, str(error)))
            continue
        batch = decoded.batches[change.entity]
        batch.raw[key] = raw
        if row is None:
            batch.upserts.pop(key, None)
            batch.deletes.add(key)
        else:
            batch.deletes.discard(key)
            batch.upserts[key] = row
        at = change.changed_at
        if at and (decoded.oldest_change_at is None or at < decoded.oldest_change_at):
            decoded.oldest_change_at = at
    return decoded


def _row(change: Change, key: Key) -> Row | None:
    """Return the row to keep, or None when there must be none."""
    if change.op == "delete":
        return None
    if change.values is None:
        raise ValueError("values: missing")
    values = VALUES[change.entity].model_validate(change.values)
    if isinstance(values, ProductValues) and not values.storable:
        return None  # a service or a consumable: Odoo keeps no stock of it
    if isinstance(key, tuple):
        product, location, lot = key
        names = {"medication_id": product, "location_id": location, "lot_id": lot}
        return names | values.to_row()
    return {"id": key} | values.to_row()


def _reason(error: ValidationError) -> str:
    """Say in one line which values are wrong, without the values themselves."""
    parts = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in problem["loc"]) or "change"
        parts.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)


def touched_medications(batches: Mapping[str, Batch]) -> set[int]:
    """Return the products whose totals a page may have changed.

    Rules that move from one product to another, or are deleted, name only the product they have
    now; the products they had are the database's to tell.
    """
    touched: set[int] = set()
    for entity, batch in batches.items():
        if entity == "product":
            touched.update(_int_keys([*batch.upserts, *batch.deletes]))
        elif entity == "stock_level":
            keys = [*batch.upserts, *batch.deletes]
            touched.update(key[0] for key in keys if isinstance(key, tuple))
        elif entity == "reorder_rule":
            touched.update(row["medication_id"] for row in batch.upserts.values())
    return touched


def _int_keys(keys: Sequence[Key]) -> list[int]:
    return [key for key in keys if isinstance(key, int)]
