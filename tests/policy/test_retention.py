"""Two months is a hard upper bound, by calendar (product.md N6, decision 10)."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.policy.retention import (
    DAYS_MAX,
    TWO_MONTHS,
    Period,
    PeriodRefused,
    day_name,
    expired_days,
    is_past_limit,
    limit_day,
    limit_utc_ms,
    next_midnight_utc_ms,
    utc_day,
)
from firmware.units import MS_PER_DAY

EPOCH = date(1970, 1, 1)
DAYS = st.dates(date(2000, 2, 27), date(2400, 3, 2))
PERIODS = st.one_of(st.builds(Period, months=st.integers(1, 2)), st.builds(Period, days=st.integers(1, DAYS_MAX)))


def number(day: date) -> int:
    return (day - EPOCH).days


@pytest.mark.parametrize(
    ("opened", "months", "gone"),
    [
        ("2026-03-02", 2, "2026-05-02"),
        ("2025-12-31", 2, "2026-02-28"),
        ("2025-12-30", 2, "2026-02-28"),
        ("2025-12-28", 2, "2026-02-28"),
        ("2023-12-31", 2, "2024-02-29"),
        ("2023-12-29", 2, "2024-02-29"),
        ("2026-01-31", 1, "2026-02-28"),
        ("2028-01-31", 1, "2028-02-29"),
        ("2026-07-31", 2, "2026-09-30"),
        ("2026-11-30", 2, "2027-01-30"),
        ("2026-12-01", 1, "2027-01-01"),
        ("2024-02-29", 2, "2024-04-29"),
        ("2099-12-31", 2, "2100-02-28"),
        ("2399-12-31", 2, "2400-02-29"),
    ],
)
def test_the_limit_is_the_same_day_number_clamped_to_the_months_end(opened: str, months: int, gone: str) -> None:
    limit = limit_day(number(date.fromisoformat(opened)), Period(months=months))
    assert day_name(limit) == gone


@given(DAYS)
def test_no_call_outlives_two_calendar_months_nor_dies_more_than_a_day_and_a_clamp_early(opened: date) -> None:
    limit = EPOCH + timedelta(days=limit_day(number(opened), TWO_MONTHS))
    month = (opened.month + 1) % 12 + 1
    assert limit.month == month, "always in the month two later, never in the one after it"
    assert limit.day == opened.day or (limit.day < opened.day and (limit + timedelta(days=1)).day == 1)


@given(DAYS, PERIODS)
def test_no_allowed_period_outlasts_two_months(opened: date, period: Period) -> None:
    day = number(opened)
    assert day < limit_day(day, period) <= limit_day(day, TWO_MONTHS)


@given(DAYS, DAYS, PERIODS)
def test_a_later_call_is_never_destroyed_before_an_earlier_one(one: date, other: date, period: Period) -> None:
    early, late = sorted((number(one), number(other)))
    assert limit_day(early, period) <= limit_day(late, period)


@given(DAYS, st.integers(0, MS_PER_DAY - 1), PERIODS)
def test_every_call_of_a_day_has_the_limit_of_its_opening_midnight_in_the_call_or_not(
    opened: date, in_day_ms: int, period: Period
) -> None:
    start = number(opened) * MS_PER_DAY
    limit = limit_utc_ms(start + in_day_ms, period)
    assert limit == limit_utc_ms(start, period)
    assert limit % MS_PER_DAY == 0
    assert not is_past_limit(start + in_day_ms, limit - 1, period)
    assert is_past_limit(start + in_day_ms, limit, period)


def test_the_months_end_takes_several_days_at_once() -> None:
    days = frozenset(number(date(2025, 12, day)) for day in range(26, 32))
    at_end_of_february = number(date(2026, 2, 28)) * MS_PER_DAY
    assert [day_name(day) for day in expired_days(days, at_end_of_february, TWO_MONTHS)] == [
        f"2025-12-{day}" for day in range(26, 32)
    ]
    assert [day_name(day) for day in expired_days(days, at_end_of_february - 1, TWO_MONTHS)] == [
        "2025-12-26",
        "2025-12-27",
    ]


@pytest.mark.parametrize(
    "asked", [{}, {"months": 3}, {"months": 1, "days": 1}, {"days": DAYS_MAX + 1}, {"months": -1}, {"days": -1}]
)
def test_a_longer_or_senseless_period_is_refused_in_one_sentence(asked: dict[str, int]) -> None:
    with pytest.raises(PeriodRefused) as refused:
        Period(**asked)
    assert str(refused.value).endswith(".")


def test_days_max_is_the_shortest_two_months_of_any_year() -> None:
    spans = [limit_day(day, TWO_MONTHS) - day for day in range(number(date(2023, 1, 1)), number(date(2032, 1, 1)))]
    assert min(spans) == DAYS_MAX
    assert max(spans) == 62


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_expiry_is_next_due_at_midnight_utc(now: datetime) -> None:
    now_ms = int(now.replace(tzinfo=UTC).timestamp() * 1000)
    due = next_midnight_utc_ms(now_ms)
    assert now_ms < due <= now_ms + MS_PER_DAY
    assert due % MS_PER_DAY == 0
    assert utc_day(due) == utc_day(now_ms) + 1
