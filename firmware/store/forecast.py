"""How long the ring will last, and the alarms that follow from the state."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from firmware.policy import holds
from firmware.policy.retention import limit_day, utc_day
from firmware.store import background, erasable, holding
from firmware.store.commands import Alarm
from firmware.store.core import Core
from firmware.store.table import BagType

FORECAST_DAYS = 7
HORIZON_DAYS = 70
"""Past the longest retention nothing new can come."""
STEP_BLOCKS = 256
BATTERY_KINDS = frozenset({"ds3232", "mcp794xx"})
"""Memories that lose everything with one battery (storage.md 7.4)."""


def day_blocks(core: Core) -> dict[int, int]:
    """Blocks of the ring that the calls of each UTC day fill."""
    used: dict[int, int] = {}
    for call in core.calls.values():
        if call.day_bag is not None and call.close is not None:
            day = utc_day(call.opened_utc_ms)
            used[day] = used.get(day, 0) + call.close.end - call.first
    return used


@dataclass(frozen=True)
class Outlook:
    rate_blocks: int
    """What a day fills: the mean of the last seven days with calls; 0 before the first is over."""
    days_left: int | None
    """In how many days the ring will be full at that rate; None: not within the retention."""


class Forecast:
    """Looks at all calls only when a day or a mebibyte is over: a tick a second must not walk 31,000 calls."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._seen: tuple[int, ...] = ()
        self._outlook = Outlook(0, None)

    def outlook(self) -> Outlook:
        core = self._core
        seen = (utc_day(core.now_utc_ms()), core.ring.head // STEP_BLOCKS, core.table.gen if core.table.todo else 0)
        if seen != self._seen:
            self._seen = seen
            self._outlook = look(core)
        return self._outlook


def look(core: Core) -> Outlook:
    """Today's calls count once the day is over."""
    today = utc_day(core.now_utc_ms())
    used = {day: blocks for day, blocks in day_blocks(core).items() if day < today}
    recent = [blocks for day, blocks in sorted(used.items())[-7:]]
    if not recent:
        return Outlook(0, None)
    rate = max(1, sum(recent) // len(recent))
    return Outlook(rate, _days_left(core, used, rate, today))


def _days_left(core: Core, used: dict[int, int], rate: int, today: int) -> int | None:
    freed: Counter[int] = Counter()
    for day, blocks in used.items():
        freed[limit_day(day, core.table.period)] += blocks
    free = core.ring.blocks - sum(used.values())
    for ahead in range(HORIZON_DAYS):
        free += freed[today + ahead] - rate
        if free < 0:
            return ahead
    return None


def alarms(core: Core, outlook: Outlook, damaged: set[bytes]) -> list[Alarm]:
    """Every alarm of the store, active or cleared."""
    left = outlook.days_left
    battery = core.identity.memory_kind in BATTERY_KINDS
    review = holds.review(holding.all_holds(core), core.now_utc_ms(), single_battery_memory=battery)
    active = {
        "DEGRADED_MEMORY": core.identity.memory_kind in erasable.DEGRADED_KINDS,
        "CLOCK_SUSPECT": core.time.suspect,
        "CLOCK_UNKNOWN": not core.time.may_record,
        "HOLD_QUOTA_HIGH": holding.quota(core).high,
        "HOLD_REFUSED": core.holds_refused > 0,
        "HOLD_LAPSED": core.holds_lapsed > 0,
        "HOLD_REVIEW_DUE": bool(review.due),
        "HOLD_EXPORT_DUE": bool(review.export_due),
        "CAPACITY_EXPIRY": core.capacity_expiries > 0,
        "CAPACITY_FORECAST": left is not None and left <= FORECAST_DAYS,
        "MIRROR_HEALED": core.healed > 0,
        "RING_FULL": core.ring_full,
        "INTERNAL": core.encoder_failures > 0,
        "FRAME_DAMAGED": bool(damaged) or core.bags_damaged > 0,
    }
    return [Alarm(code, on) for code, on in active.items()]


def health(core: Core) -> Mapping[str, int | str]:
    """For REPORT: numbers and words only."""
    core.now_utc_ms()
    quota = holding.quota(core)
    left = look(core).days_left
    rows = core.table.bags.values()
    return {
        "clock": core.time.state.name.lower(),
        "boot": core.table.boot_no,
        "generation": core.table.gen,
        "memory": core.identity.memory_kind,
        "erasure_proven": int(core.identity.memory_kind not in erasable.DEGRADED_KINDS),
        "calls": len(core.calls),
        "held": sum(call.hold is not None for call in core.calls.values()),
        "ring_bytes": core.ring.blocks * 4096,
        "ring_used_bytes": (core.ring.head - core.ring.tail) * 4096,
        "days_until_full": -1 if left is None else left,
        "hold_bytes": quota.capacity_bytes,
        "hold_used_bytes": quota.used_bytes,
        "oldest_day": min((row.day for row in rows if row.type is BagType.DAY), default=0),
        "overwriting": int(not background.idle(core)),
        "healed": core.healed,
        "bags_damaged": core.bags_damaged,
    }
