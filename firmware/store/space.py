"""Room in the ring and in the pool of bags: what may be written where, and what has to go first when it is full.

The current day is never destroyed for space (product.md 11).
"""

from firmware.policy.retention import utc_day
from firmware.store import destroy, rotate
from firmware.store.bag import Bag
from firmware.store.core import Core
from firmware.store.errors import CardFailed, ErasureUnconfirmed, RingFull
from firmware.store.layout import BLOCK_BYTES
from firmware.store.table import BAGS_MAX, HOLD_BAGS_MAX, BagType, Op

SPARE_SLOTS = HOLD_BAGS_MAX + 2
"""Slots that one rewriting may need beside those of the table: at midnight all hold bags at once."""


def forbidden(core: Core, end: int) -> bool:
    """Past the scan window or into a zone that the durable table does not call free (I19)."""
    table = core.table
    return core.ring.beyond_reserve(table.ring_head, end) or core.ring.beyond_tail(table.ring_tail, end)


def make_room(core: Core, blocks: int) -> int:
    """The position for a frame of ``blocks``. Raises RingFull, CardFailed, ErasureUnconfirmed."""
    ring = core.ring
    position = ring.place(ring.head, blocks)
    if ring.beyond_reserve(core.table.ring_head, position + blocks):
        rotate.plain(core)
    while ring.beyond_tail(core.table.ring_tail, position + blocks):
        _free_a_zone(core)
    return position


def write(core: Core, position: int, frame: bytearray) -> int:
    """One durable write; where the card refuses it, the identical bytes at the start of the next zone. Returns where
    the frame lies. Raises CardFailed."""
    ring = core.ring
    assert not forbidden(core, position + len(frame) // BLOCK_BYTES)
    try:
        ring.put(position, frame)
        return position
    except OSError:
        position = ring.next_zone(position)
    try:
        if ring.beyond_reserve(core.table.ring_head, position + len(frame) // BLOCK_BYTES):
            rotate.plain(core)
        if forbidden(core, position + len(frame) // BLOCK_BYTES):
            raise OSError("there is no further zone")
        ring.put(position, frame)
        return position
    except (OSError, ErasureUnconfirmed):
        core.card.failed = True
        raise CardFailed from None


def relieve(core: Core, rate_blocks: int) -> None:
    """Less than one day's usual load is free: the oldest day goes before the writer has to wait for it. At most an
    eighth of the ring is kept free so: one heavy day must not cost the day before it."""
    used = core.ring.head - core.live_tail()
    if core.ring.blocks - used < min(rate_blocks, core.ring.blocks // 8) and not _blocked_by_today(core):
        expire_oldest_day(core)


def _free_a_zone(core: Core) -> None:
    ring = core.ring
    live_tail = core.live_tail()
    if ring.zone_start(ring.tail) > ring.zone_start(core.table.ring_tail):
        rotate.plain(core)
    elif live_tail > ring.tail:
        end = min(ring.next_zone(ring.tail), live_tail)
        ring.zero(ring.tail, end)
        ring.tail = end
    elif _blocked_by_today(core) or not expire_oldest_day(core):
        core.ring_full = True
        raise RingFull


def _blocked_by_today(core: Core) -> bool:
    """The oldest frame belongs to a call of today or to one that goes on: destroying other days would gain nothing."""
    here = [call for call in core.calls.values() if call.day_bag is not None]
    oldest = min(here, key=lambda call: call.first)
    return oldest.running is not None or utc_day(oldest.opened_utc_ms) >= utc_day(core.now_utc_ms())


def expire_oldest_day(core: Core) -> bool:
    """Capacity: destroy the oldest day that is not today and has no running call. False: there is none."""
    today = utc_day(core.now_utc_ms())
    busy = {call.day_bag for call in core.running.values()}
    rows = [row for row in core.table.bags.values() if row.type is BagType.DAY]
    days = {row.day for row in rows if row.day < today}
    days -= {row.day for row in rows if row.bag_id in busy}
    if not days:
        return False
    day = min(days)
    core.log.append(core.now_utc_ms(), "CAPACITY", {"day": day}, core.table.seed)
    core.capacity_expiries += 1
    change = rotate.begin(core)
    destroy.drop_days(core, change, {day}, Op.CAPACITY)
    rotate.commit(core, change)
    return True


def bag_to_spare(core: Core) -> bool:
    return len(core.table.bags) < min(BAGS_MAX, core.pool.slots - SPARE_SLOTS)


def new_day_bag(core: Core, day: int) -> Bag:
    """A further bag for ``day``. Raises RingFull when even the pool is full of today."""
    while not bag_to_spare(core):
        if not expire_oldest_day(core):
            core.ring_full = True
            raise RingFull
    before = set(core.bags)
    change = rotate.begin(core)
    change.create.append((BagType.DAY, day, []))
    rotate.commit(core, change)
    (bag_id,) = set(core.bags) - before
    return core.bags[bag_id]
