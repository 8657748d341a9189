"""Times on the command line and in what people read: UTC inside, said with its zone."""

import re
import time
from datetime import UTC, datetime

_FORM = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2}:[0-9]{2})(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2}))?")


def parse_time(text: str) -> int:
    """Milliseconds. ``2026-03-02T08:00Z``, with seconds, with an offset, or a bare date (its first moment in UTC).
    Raises ValueError: a time without a zone means two things twice a year."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("a time looks like 2026-03-02T08:00Z or 2026-03-02T09:00+01:00, a date like 2026-03-02")
    day, minutes, seconds, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    moment = datetime.fromisoformat(f"{day}T{minutes or '00:00'}{seconds or ':00'}{zone}")
    return int(moment.timestamp()) * 1000


def now_utc_ms() -> int:
    return time.time_ns() // 1_000_000


def utc_ms_text(utc_ms: int) -> str:
    """``2026-03-02T09:00:06.500Z``."""
    whole = datetime.fromtimestamp(utc_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{utc_ms % 1000:03d}Z"
