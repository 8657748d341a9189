"""Legal holds: when one may be placed, when it lapses, when it must be looked at. Pure; the vault carries it out.

Held means held: a confirmed hold never lapses, it only asks to be reviewed. A *provisional* hold (the KEEP key) stands
for 14 days of trusted time and lapses unless the custodian confirms it by a signed order. A caller's opt-out wins over
a provisional hold, and KEEP after an opt-out is refused. Space for holds is a quota of its own: when it is full a new
hold is refused loudly and recording goes on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from firmware.units import MS_PER_DAY, PROVISIONAL_HOLD_DAYS

QUOTA_ALARM_PERCENT = 70
EXPORT_DUE_MS = 7 * MS_PER_DAY
"""A held call whose only protection is one battery-backed memory must be exported, sealed, within this time."""


class Refusal(StrEnum):
    """Why a hold order or key press was refused: the word of ``KeepDone.refused`` and of replies."""

    NOT_KEPT = "not_kept"
    """There is no recording of this call."""
    OPTED_OUT = "opted_out"
    QUOTA_FULL = "hold_quota_full"
    PAST_LIMIT = "past_limit"
    ALREADY_HELD = "already_held"
    NOT_HELD = "not_held"
    REVIEW_NOT_AHEAD = "review_not_ahead"
    REVIEW_NOT_LATER = "review_not_later"
    CONFIRMED_HOLD = "confirmed_hold"
    """Opt-out by key meets a hold that the custodian has confirmed: only a signed release and ERASE end it."""


@dataclass(frozen=True)
class Hold:
    call_id: bytes
    provisional: bool
    placed_utc_ms: int
    review_utc_ms: int
    """Confirmed: when to look again. Provisional: when it lapses."""
    size_bytes: int
    exported: bool = False
    """A sealed export of it was completed since it was placed."""


@dataclass(frozen=True)
class Quota:
    capacity_bytes: int
    used_bytes: int

    def fits(self, size_bytes: int) -> bool:
        return size_bytes <= self.capacity_bytes - self.used_bytes

    @property
    def high(self) -> bool:
        return self.used_bytes * 100 > self.capacity_bytes * QUOTA_ALARM_PERCENT


@dataclass(frozen=True)
class Candidate:
    """What the vault knows of the call that somebody wants to hold."""

    kept: bool
    opted_out: bool
    past_limit: bool
    """Judged at ``TrustedTime.export_utc_ms``: a hold must not revive what is past its limit."""
    size_bytes: int
    held: Hold | None = None


def provisional_until(placed_utc_ms: int) -> int:
    return placed_utc_ms + PROVISIONAL_HOLD_DAYS * MS_PER_DAY


def refuse_keep(call: Candidate, quota: Quota) -> Refusal | None:
    """KEEP key. None: place a provisional hold (an existing hold is left as it is: the key press is then done)."""
    if call.opted_out:
        return Refusal.OPTED_OUT
    if call.held is not None:
        return None
    return _refuse_new(call, quota)


def refuse_hold(call: Candidate, quota: Quota, review_utc_ms: int, now_utc_ms: int) -> Refusal | None:
    """HOLD order. A provisional hold may be made a full one by it; a confirmed one is extended, not placed twice."""
    if call.opted_out:
        return Refusal.OPTED_OUT
    if call.held is not None and not call.held.provisional:
        return Refusal.ALREADY_HELD
    if review_utc_ms <= now_utc_ms:
        return Refusal.REVIEW_NOT_AHEAD
    return None if call.held is not None else _refuse_new(call, quota)


def refuse_extend(hold: Hold | None, review_utc_ms: int, now_utc_ms: int) -> Refusal | None:
    """EXTEND order: a later review date for a confirmed hold."""
    if hold is None or hold.provisional:
        return Refusal.NOT_HELD
    if review_utc_ms <= now_utc_ms:
        return Refusal.REVIEW_NOT_AHEAD
    return Refusal.REVIEW_NOT_LATER if review_utc_ms <= hold.review_utc_ms else None


def refuse_opt_out(hold: Hold | None) -> Refusal | None:
    """An opt-out beats a provisional hold; a confirmed one stands until it is released by order."""
    return Refusal.CONFIRMED_HOLD if hold is not None and not hold.provisional else None


@dataclass(frozen=True)
class Review:
    """What the holds ask for at one instant."""

    lapsed: tuple[bytes, ...]
    """Provisional holds whose 14 days are over: the calls follow their ordinary limit from now on."""
    due: tuple[bytes, ...]
    """Confirmed holds past their review date: an alarm, nothing else."""
    export_due: tuple[bytes, ...]


def review(holds: Iterable[Hold], trusted_utc_ms: int, *, single_battery_memory: bool) -> Review:
    """``trusted_utc_ms`` is T itself, never a suspected clock's claim: a lapse is under the quarantine of expiry."""
    held = sorted(holds, key=lambda hold: (hold.placed_utc_ms, hold.call_id))
    lapsed = tuple(hold.call_id for hold in held if hold.provisional and trusted_utc_ms >= hold.review_utc_ms)
    due = tuple(hold.call_id for hold in held if not hold.provisional and trusted_utc_ms >= hold.review_utc_ms)
    export_due = tuple(
        hold.call_id
        for hold in held
        if single_battery_memory and not hold.exported and trusted_utc_ms >= hold.placed_utc_ms + EXPORT_DUE_MS
    )
    return Review(lapsed, due, export_due)


def _refuse_new(call: Candidate, quota: Quota) -> Refusal | None:
    if not call.kept:
        return Refusal.NOT_KEPT
    if call.past_limit:
        return Refusal.PAST_LIMIT
    return None if quota.fits(call.size_bytes) else Refusal.QUOTA_FULL
