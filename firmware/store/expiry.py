"""Midnight UTC: one ROTATE with a new day bag, a new signing key, re-keyed hold bags, and without the days that have
reached their calendar limit."""

from firmware.policy import holds
from firmware.policy.retention import expired_days, utc_day
from firmware.store import destroy, holding, rotate, space
from firmware.store.audit import Value
from firmware.store.core import Core
from firmware.store.keys import wipe
from firmware.store.rotate import Change
from firmware.store.table import BagType, Op


def due(core: Core) -> bool:
    return utc_day(core.now_utc_ms()) > core.table.epoch_day or bool(expired(core))


def expired(core: Core) -> tuple[int, ...]:
    """Bag days that have reached their limit and have no call going on."""
    rows = [row for row in core.table.bags.values() if row.type is BagType.DAY]
    busy = {call.day_bag for call in core.running.values()}
    days = frozenset(row.day for row in rows) - {row.day for row in rows if row.bag_id in busy}
    return expired_days(days, core.now_utc_ms(), core.table.period)


def midnight(core: Core, change: Change) -> None:
    """Edit the draft; the caller commits. Used at midnight, at boot and when the retention was shortened."""
    today, rows = utc_day(core.now_utc_ms()), core.table.bags.values()
    destroy.drop_days(core, change, expired(core), Op.EXPIRY)
    _drop_empty_days(core, change, today)
    if today > core.table.epoch_day:
        holding.rekey(core, change)
        _next_epoch(core, change, today)
        _forget_orders(core, change)
    if space.bag_to_spare(core) and not any(row.type is BagType.DAY and row.day == today for row in rows):
        change.create.append((BagType.DAY, today, []))


def run(core: Core) -> None:
    """Raises CardFailed, ErasureUnconfirmed."""
    change = rotate.begin(core)
    midnight(core, change)
    rotate.commit(core, change)
    core.ring_full = False
    core.log.prune(core.now_utc_ms())


def lapse(core: Core) -> list[bytes]:
    """Release the provisional holds whose 14 days are over."""
    review = holds.review(holding.all_holds(core), core.now_utc_ms(), single_battery_memory=False)
    for call_id in review.lapsed:
        holding.release(core, call_id, "LAPSE")
        core.holds_lapsed += 1
    return list(review.lapsed)


def _drop_empty_days(core: Core, change: Change, today: int) -> None:
    for bag in core.bags.values():
        if bag.row.type is BagType.DAY and bag.row.day < today and bag.calls == 0:
            change.drop.add(bag.row.bag_id)


def _next_epoch(core: Core, change: Change, today: int) -> None:
    """The old key's last act is to name the new one. With the epochs' file full (22 years) the key stays."""
    table = core.table
    change.table.epoch_day = today
    if table.sign_epoch + 1 >= core.identity.geometry.epochs:
        return
    seed = bytearray(core.parts.random(32))
    lines = core.log.cursor.next_seq - table.epoch_first_seq + 1
    fields: dict[str, Value] = {"epoch": table.sign_epoch, "lines": lines, "next": core.ciphers.public_key(seed)}
    change.table.dayend = core.log.compose(core.now_utc_ms(), "DAYEND", fields, table.seed)
    change.table.seed = bytes(seed)
    change.table.sign_epoch = table.sign_epoch + 1
    change.table.epoch_first_seq = core.log.cursor.next_seq + 1
    wipe(seed)


def _forget_orders(core: Core, change: Change) -> None:
    """An order past its own end is refused for that; it need not be remembered."""
    now_s = core.now_utc_ms() // 1000
    change.table.orders = {order: until for order, until in change.table.orders.items() if until >= now_s}
