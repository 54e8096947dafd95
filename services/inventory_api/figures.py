"""What a medication's use so far says of the time to come. Pure: no clock, no database.

Deliberately simple, so that a pharmacist can follow it: the average of the window, carried on. The
answer says in words how it was reached, and says nothing where too little is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Final

WINDOW_DAYS: Final = 90
LEAST_DAYS: Final = 7
MONTH_DAYS: Final = Decimal(30)
FARTHEST_DAYS: Final = 3650


@dataclass(frozen=True, slots=True)
class Batch:
    """Stock of one lot, or of goods without one."""

    quantity: Decimal
    expires_on: date | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The figures and how they were reached."""

    window_days: int
    consumed: Decimal
    monthly_average: Decimal | None
    months_of_cover: Decimal | None
    stock_out_on: date | None
    reasoning_es: str
    reasoning_en: str
    suggested_order: Decimal
    pack_size: Decimal | None


def window_days(known_since: date | None, today: date) -> int:
    """Return over how many days use is averaged: the window, or less where less is known."""
    return 0 if known_since is None else max(0, min(WINDOW_DAYS, (today - known_since).days))


def whole_packs(missing: Decimal, pack_size: Decimal | None) -> Decimal:
    """Return what to order so that at least ``missing`` comes, in whole packs (else units)."""
    if missing <= 0:
        return Decimal(0)
    pack = pack_size if pack_size is not None and pack_size > 0 else Decimal(1)
    return (missing / pack).to_integral_value(ROUND_CEILING) * pack


def days_until_empty(batches: Iterable[Batch], daily: Decimal, today: date) -> tuple[int, Decimal]:
    """Use the stock up, what expires first first; return the days it lasts and what expires unused.

    A lot is used up to and including the day before it expires. What is left of it then is lost.
    """
    day, lost = Decimal(0), Decimal(0)
    far = date.max
    for batch in sorted(batches, key=lambda each: each.expires_on or far):
        if batch.quantity <= 0:
            continue
        needs = batch.quantity / daily
        if batch.expires_on is not None:
            usable = max(Decimal(0), Decimal((batch.expires_on - today).days) - day)
            if needs > usable:
                lost += batch.quantity - usable * daily
                needs = usable
        day += needs
        if day >= FARTHEST_DAYS:
            return FARTHEST_DAYS, lost
    return int(day), lost


def outlook(
    *,
    today: date,
    known_since: date | None,
    consumed: Decimal,
    batches: Sequence[Batch],
    minimum: Decimal | None,
    maximum: Decimal | None,
    pack_size: Decimal | None = None,
) -> Outlook:
    """Say how long the stock lasts and what to order.

    Args:
        today: From when it is reckoned.
        known_since: Since when movements of the medication are known.
        consumed: What was used in the window, returns taken off.
        batches: What is in stock.
        minimum: Of the reorder rules; None without.
        maximum: Of the reorder rules; None without.
        pack_size: Units in a pack; None when it is not known.
    """
    window = window_days(known_since, today)
    in_stock = sum((batch.quantity for batch in batches), Decimal(0))
    usable = sum(
        (b.quantity for b in batches if b.expires_on is None or b.expires_on > today), Decimal(0)
    )
    target = max(maximum or Decimal(0), minimum or Decimal(0))
    order = (
        whole_packs(target - usable, pack_size)
        if minimum is not None and usable < minimum
        else Decimal(0)
    )
    if window < LEAST_DAYS or consumed <= 0:
        why = (
            (
                f"Se conocen {window} días de movimientos; con menos de {LEAST_DAYS} "
                "no se predice.",
                f"{window} days of movements are known; with less than {LEAST_DAYS} "
                "nothing is predicted.",
            )
            if window < LEAST_DAYS
            else (
                f"Sin consumo en los últimos {window} días: no hay fecha de agotamiento.",
                f"No use in the last {window} days: there is no date of running out.",
            )
        )
        return Outlook(window, consumed, None, None, None, *why, order, pack_size)
    daily = consumed / window
    monthly = daily * MONTH_DAYS
    days, lost = days_until_empty(batches, daily, today)
    runs_out = None if days >= FARTHEST_DAYS else today + timedelta(days=days)
    spoken = _short(monthly)
    es = (
        f"En los últimos {window} días se consumieron {_short(consumed)}: {spoken} cada 30 días. "
        f"Quedan {_short(usable)} utilizables de {_short(in_stock)}"
    )
    en = (
        f"In the last {window} days {_short(consumed)} were used: {spoken} each 30 days. "
        f"{_short(usable)} of {_short(in_stock)} in stock can be used"
    )
    usable_lost = lost - max(Decimal(0), sum(
        (b.quantity for b in batches
         if b.quantity > 0 and b.expires_on is not None and b.expires_on <= today),
        Decimal(0),
    ))  # fmt: skip
    if usable_lost > 0:
        es += f", y de esas {_short(usable_lost)} caducarán antes de usarse"
        en += f", and {_short(usable_lost)} of those will expire unused"
    if runs_out is None:
        es += "; a ese ritmo duran más de diez años."
        en += "; at that rate they last for more than ten years."
    else:
        es += f"; a ese ritmo se agotan el {runs_out.isoformat()}."
        en += f"; at that rate they are used up on {runs_out.isoformat()}."
    return Outlook(
        window_days=window,
        consumed=consumed,
        monthly_average=_rounded(monthly),
        months_of_cover=_rounded(Decimal(days) / MONTH_DAYS),
        stock_out_on=runs_out,
        reasoning_es=es,
        reasoning_en=en,
        suggested_order=order,
        pack_size=pack_size,
    )


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _short(value: Decimal) -> str:
    text = format(_rounded(value), "f")
    return text.rstrip("0").rstrip(".") or "0"


def history(
    current: Decimal, changes: Sequence[tuple[date, Decimal]], first: date, last: date
) -> list[tuple[date, Decimal]]:
    """Return the stock at the end of each day from ``first`` to ``last``, back from the current."""
    by_day = dict(changes)
    quantity, day, days = current, last, list[tuple[date, Decimal]]()
    while day >= first:
        days.append((day, quantity))
        quantity -= by_day.get(day, Decimal(0))
        day -= timedelta(days=1)
    return days[::-1]
