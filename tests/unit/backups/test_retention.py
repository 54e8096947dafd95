"""Which backups are kept: examples, and what holds whatever there is."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

import pytest
from clinic.backups.model import BackupKind
from clinic.backups.retention import CLOCKS_DIFFER, STORED_LATEST, Candidate, Plan, plan_expiry
from clinic.backups.settings import Retention
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
SPACE = UUID(int=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def backup(
    taken_at: datetime, database: str = "odoo", kind: BackupKind = BackupKind.FULL, n: int = 0
) -> Candidate:
    name = f"{database}.{kind}.{taken_at:%Y%m%dT%H%M%SZ}.{n}"
    return Candidate(uuid5(SPACE, name), database, kind, taken_at, taken_at + HOUR, name)


def nightly(days: int, until: datetime = NOW) -> list[Candidate]:
    last = until.replace(hour=1, minute=0)
    return [backup(last - n * DAY) for n in range(days)]


def plan(backups: Iterable[Candidate], now: datetime = NOW, **settings: int) -> Plan:
    return plan_expiry(backups, now, Retention(**settings), {})


def kept(found: Plan) -> list[str]:
    return [f"{one.backup.taken_at:%Y-%m-%d}" for one in found.keep]


def why(found: Plan, day: str) -> tuple[str, ...]:
    (decision,) = [
        one for one in (*found.keep, *found.expire) if f"{one.backup.taken_at:%Y-%m-%d}" == day
    ]
    return decision.reasons


def test_nothing_is_planned_of_nothing() -> None:
    assert plan([]) == Plan((), ())


def test_four_years_of_nights_leave_days_weeks_months_and_years() -> None:
    found = plan(nightly(4 * 365))
    assert kept(found) == [
        *[f"2026-11-{day:02}" for day in range(24, 10, -1)],  # days
        # weeks end on Sunday; 22nd and 15th are among the days
        *["2026-11-08", "2026-11-01", "2026-10-31", "2026-10-25", "2026-10-18", "2026-10-11"],
        *["2026-09-30", "2026-08-31", "2026-07-31", "2026-06-30", "2026-05-31", "2026-04-30"],
        *["2026-03-31", "2026-02-28", "2026-01-31", "2025-12-31"],
        "2024-12-31",
    ]
    assert len(found.keep) + len(found.expire) == 4 * 365
    assert why(found, "2026-11-24") == (
        "newest 1 of 3", "day 2026-11-24", "week 2026-W48", "month 2026-11", "year 2026",
    )  # fmt: skip
    assert why(found, "2025-12-31") == ("month 2025-12", "year 2025")
    assert why(found, "2026-11-10") == (
        "older than the 14 days kept, and not the newest of one of 8 weeks, 12 months, 3 years",
    )


def test_a_burst_of_a_hundred_in_an_hour_pushes_out_no_other_day() -> None:
    burst = [backup(NOW - timedelta(seconds=36 * n), n=n) for n in range(1, 101)]
    before = nightly(30, NOW - DAY)
    found = plan([*burst, *before])
    quiet = plan([burst[0], *before])
    assert {one.backup for one in found.keep if one.backup in before} == {
        one.backup for one in quiet.keep if one.backup in before
    }
    assert [one.backup for one in found.keep if one.backup in burst] == burst[:3]
    assert found.expire[0].reasons == (f"{burst[0].name} stands for 2026-11-24",)


def test_no_backup_expires_because_time_goes_by() -> None:
    assert plan(nightly(14), now=NOW + 3650 * DAY).expire == ()


def test_kinds_and_databases_do_not_stand_for_one_another() -> None:
    fulls = nightly(5)
    others = [
        replace(one, kind=BackupKind.DATABASE, taken_at=one.taken_at + HOUR, backup_id=UUID(int=n))
        for n, one in enumerate(fulls, 1)
    ]
    copies = [
        replace(one, database="copia", backup_id=UUID(int=n)) for n, one in enumerate(fulls, 9)
    ]
    found = plan([*fulls, *others, *copies], last=1, daily=0, weekly=0, monthly=0, yearly=0)
    assert {one.backup for one in found.keep} == {fulls[0], others[0], copies[0]}


def test_what_is_protected_stays_with_its_reason() -> None:
    backups = nightly(5)
    none = Retention(last=1, daily=0, weekly=0, monthly=0, yearly=0)
    found = plan_expiry(backups, NOW, none, {backups[3].backup_id: "it is being restored"})
    assert [one.backup for one in found.keep] == [backups[0], backups[3]]
    assert found.keep[1].reasons == ("it is being restored",)
    assert len(found.expire) == 3


def test_a_backup_from_the_future_is_kept_and_stands_for_nothing() -> None:
    future = backup(NOW + 400 * DAY)
    backups = nightly(3)
    found = plan([future, *backups], last=1, daily=0, weekly=0, monthly=0, yearly=0)
    assert [one.backup for one in found.keep] == [future, backups[0]]
    assert found.keep[0].reasons == ("its time is yet to come: a clock is, or was, wrong",)


def test_a_backup_taken_with_a_clock_set_back_is_kept_and_stands_for_nothing() -> None:
    strange = replace(backup(datetime(2020, 1, 1, tzinfo=UTC)), stored_at=NOW - HOUR)
    found = plan([strange, *nightly(2000)])
    assert "its time is doubtful: the vault has had it since 2026-11-24 02:30 UTC" in why(
        found, "2020-01-01"
    )
    assert kept(found)[:-1] == kept(plan(nightly(2000)))


def test_a_clock_set_ahead_lets_expire_only_what_new_backups_replace() -> None:
    # Three nights were taken by a clock that is ten years ahead; it still is.
    ahead = NOW + 3650 * DAY
    strange = [replace(one, stored_at=None) for one in nightly(3, ahead)]
    found = plan([*strange, *nightly(14)], now=ahead)
    assert len(found.expire) == 3  # a day for a day, as after any three nights
    assert plan([*strange, *nightly(14)], now=NOW).expire == ()


@pytest.mark.parametrize(
    ("apart", "is_good"),
    [
        (-CLOCKS_DIFFER, True), (-CLOCKS_DIFFER * 1.01, False),
        (STORED_LATEST, True), (STORED_LATEST * 1.01, False),
    ],
)  # fmt: skip
def test_the_vaults_clock_is_the_witness(apart: timedelta, is_good: bool) -> None:
    one = backup(NOW - 9 * DAY)
    found = plan([replace(one, stored_at=one.taken_at + apart)])
    assert ("newest 1 of 3" in found.keep[0].reasons) == is_good


# What holds whatever there is

INSTANTS = st.integers(-30_000, 10_000).map(lambda hours: NOW + hours * HOUR)
BACKUPS = st.lists(
    st.builds(
        Candidate,
        backup_id=st.uuids(),
        database=st.sampled_from(["odoo", "copia"]),
        kind=st.sampled_from(BackupKind),
        taken_at=INSTANTS
        | st.builds(lambda minutes: NOW - timedelta(minutes=minutes), st.integers(0, 100_000)),
        stored_at=st.none(),
        name=st.just("x"),
    ),
    unique_by=lambda one: one.backup_id,
    max_size=60,
).flatmap(
    lambda found: st.tuples(
        *(
            st.sampled_from([HOUR, HOUR, HOUR, None, -DAY, 400 * DAY]).map(
                lambda apart, one=one: replace(one, stored_at=apart and one.taken_at + apart)
            )
            for one in found
        )
    ).map(list)
)
RETENTIONS = st.builds(
    Retention,
    last=st.integers(1, 4),
    daily=st.integers(0, 5),
    weekly=st.integers(0, 5),
    monthly=st.integers(0, 5),
    yearly=st.integers(0, 3),
)


@given(BACKUPS, INSTANTS, RETENTIONS, st.data())
def test_what_always_holds(
    backups: list[Candidate], now: datetime, retention: Retention, data: st.DataObject
) -> None:
    some = data.draw(st.sets(st.sampled_from(backups)) if backups else st.just(set()))
    protected = {one.backup_id: "protected" for one in some}
    found = plan_expiry(backups, now, retention, protected)
    keep, expire = [one.backup for one in found.keep], [one.backup for one in found.expire]
    # Each is decided once, with a reason.
    assert sorted(one.backup_id for one in [*keep, *expire]) == sorted(
        one.backup_id for one in backups
    )
    assert all(decision.reasons for decision in (*found.keep, *found.expire))
    # Neither the newest of its database and kind nor what is protected is given up.
    assert not some & set(expire)
    for one in expire:
        newer = [
            other
            for other in keep
            if (other.database, other.kind) == (one.database, one.kind)
            and (other.taken_at, other.backup_id) > (one.taken_at, one.backup_id)
            and other.taken_at <= now + CLOCKS_DIFFER
        ]
        assert len(newer) >= retention.last
    # Once more finds nothing, and keeps the same for the same reasons.
    again = plan_expiry(keep, now, retention, protected)
    assert again == Plan(found.keep, ())
    # Neither their order nor, where no backup is from the future, the time of day matters.
    assert plan_expiry(backups[::-1], now, retention, protected) == found
    if all(one.taken_at <= now for one in backups):
        assert plan_expiry(backups, now + 999 * DAY, retention, protected) == found


@given(BACKUPS, RETENTIONS)
def test_a_new_backup_lets_none_return_and_each_new_one_is_kept(
    backups: list[Candidate], retention: Retention
) -> None:
    now = datetime(2028, 1, 2, tzinfo=UTC)
    before = plan_expiry(backups, now, retention, {})
    new = backup(now)
    after = plan_expiry([*backups, new], now, retention, {})
    assert new in [one.backup for one in after.keep]
    assert {one.backup for one in after.keep} - {new} <= {one.backup for one in before.keep}
