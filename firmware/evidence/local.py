"""Times as a person reads them: in the site's own zone, the zone said. Inside everything is UTC (product.md 17)."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
"""In English, whatever the machine's locale is."""


def local_text(utc_ms: int, zone_name: str) -> str:
    """``2 March 2026, 09:01:25 GMT``; in UTC where the machine does not know the zone."""
    try:
        zone = ZoneInfo(zone_name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"{_text(datetime.fromtimestamp(utc_ms / 1000, UTC))} UTC"
    there = datetime.fromtimestamp(utc_ms / 1000, zone)
    return f"{_text(there)} {there.tzname()}"


def day_text(utc_ms: int) -> str:
    """``1 June 2026``: a review date is a UTC day."""
    return _text(datetime.fromtimestamp(utc_ms / 1000, UTC)).partition(",")[0]


def _text(moment: datetime) -> str:
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M:%S}"
