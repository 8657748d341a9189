"""How long a call may be kept: the calendar, and nothing but the calendar.

The notice promises "up to two months". A call opened on UTC day D is destroyed at the *start* of the same day number
N months later, clamped to the last day of that month: never more than N calendar months, at most one day less. A site
may ask for a shorter period, in months or in days; a longer one is refused when it is made (``Period``).
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from firmware.units import MS_PER_DAY, RETENTION_MONTHS_MAX

DAYS_MAX = 59
"""The shortest two calendar months there are (1 January to 1 March, 31 December to 28 February): a period in days can
never outlast the promise, whatever the month."""

_EPOCH = date(1970, 1, 1)


class PeriodRefused(ValueError):
    """The asked-for period is not one that the notice's promise allows. The text is one sentence for the operator."""


@dataclass(frozen=True)
class Period:
    """Exactly one of ``months`` (1..2) and ``days`` (1..59) is set; the other is 0. Raises PeriodRefused."""

    months: int = 0
    days: int = 0

    def __post_init__(self) -> None:
        if (self.months != 0) == (self.days != 0):
            raise PeriodRefused("Give the retention period either in months or in days, not both and not neither.")
        if not 0 <= self.months <= RETENTION_MONTHS_MAX:
            raise PeriodRefused(f"A retention of {self.months} months is not allowed: 1 to {RETENTION_MONTHS_MAX} are.")
        if not 0 <= self.days <= DAYS_MAX:
            raise PeriodRefused(f"A retention of {self.days} days is not allowed: 1 to {DAYS_MAX} are.")


TWO_MONTHS = Period(months=RETENTION_MONTHS_MAX)


def utc_day(utc_ms: int) -> int:
    """Number of the UTC day since 1970-01-01: the bag day of a call opened then, midnight in the call or not."""
    assert utc_ms >= 0
    return utc_ms // MS_PER_DAY


def limit_day(day: int, period: Period) -> int:
    """The UTC day at whose start the calls of ``day`` are to be gone; always later than ``day``."""
    if period.days:
        return day + period.days
    start = _EPOCH + timedelta(days=day)
    month_index = start.year * 12 + (start.month - 1) + period.months
    year, month = month_index // 12, month_index % 12 + 1
    last_day = calendar.monthrange(year, month)[1]
    return (date(year, month, min(start.day, last_day)) - _EPOCH).days


def limit_utc_ms(opened_utc_ms: int, period: Period) -> int:
    """The first instant at which a call opened at ``opened_utc_ms`` may no longer exist (a midnight UTC)."""
    return limit_day(utc_day(opened_utc_ms), period) * MS_PER_DAY


def is_past_limit(opened_utc_ms: int, now_utc_ms: int, period: Period) -> bool:
    return now_utc_ms >= limit_utc_ms(opened_utc_ms, period)


def expired_days(days: frozenset[int], now_utc_ms: int, period: Period) -> tuple[int, ...]:
    """Those of the bag days ``days`` that have reached their limit, oldest first."""
    return tuple(day for day in sorted(days) if now_utc_ms >= limit_day(day, period) * MS_PER_DAY)


def next_midnight_utc_ms(now_utc_ms: int) -> int:
    """The start of the next UTC day: when expiry is due again."""
    return (utc_day(now_utc_ms) + 1) * MS_PER_DAY


def day_name(day: int) -> str:
    """``2026-03-02``; for messages and tests."""
    return datetime.fromtimestamp(day * MS_PER_DAY // 1000, UTC).strftime("%Y-%m-%d")
