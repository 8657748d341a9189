"""Times as a person reads and types them: in the site's own zone, the zone always said."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from firmware.config import parse_site
from tools.desk.home import Home

DEFAULT_ZONE = "Europe/London"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}")


def zone_of(home: Home) -> ZoneInfo:
    """Of the first recorder's site settings; London where there are none or they cannot be read."""
    for device in home.devices():
        try:
            return ZoneInfo(parse_site(device.site_text()).of("site", "timezone"))
        except (ValueError, LookupError, ZoneInfoNotFoundError, OSError):
            break
    return ZoneInfo(DEFAULT_ZONE)


def local_text(utc_ms: int, zone: ZoneInfo) -> str:
    """``2 Mar 2026, 09:00:11 GMT``."""
    there = datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(zone)
    return f"{there.day} {there:%b %Y, %H:%M:%S %Z}"


def local_day(utc_ms: int, zone: ZoneInfo) -> str:
    there = datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(zone)
    return f"{there.day} {there:%b %Y}"


def clock_text(seconds: float) -> str:
    """``3:07`` or ``1:02:03``: a place on a call's time axis."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def typed_moment(day: str, clock: str, zone: ZoneInfo, *, end: bool) -> int | None:
    """UTC ms of what was typed, None for nothing. A day alone means its first moment, or with ``end`` the first moment
    of the next day; a minute with ``end`` is included. Raises ValueError."""
    if not day:
        if clock:
            raise ValueError("a time needs a date with it")
        return None
    if not _DAY.fullmatch(day) or (clock and not _TIME.fullmatch(clock)):
        raise ValueError("the date or the time is not complete")
    start = datetime.combine(date.fromisoformat(day), time.fromisoformat(clock or "00:00"))
    if end:
        start += timedelta(minutes=1) if clock else timedelta(days=1)
    return int(start.replace(tzinfo=zone).timestamp()) * 1000
