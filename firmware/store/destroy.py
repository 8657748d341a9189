"""Destroying by forgetting keys: opt-out, erasure of one call, and whole days."""

from collections.abc import Iterable, Sequence

from firmware.policy.holds import Refusal
from firmware.policy.retention import utc_day
from firmware.store import background, begun, rotate
from firmware.store.append import append
from firmware.store.bag import Bag
from firmware.store.core import Call, Core
from firmware.store.entries import Intent, Kind, subject
from firmware.store.errors import CardFailed, Refused
from firmware.store.layout import digest
from firmware.store.rotate import Change
from firmware.store.table import NO_CALL, TODO_MAX, BagType, Certificate, Op, Todo, TodoOp, refused_hold


def opt_out(core: Core, call_ids: Sequence[bytes], line: int) -> bool:
    """Latch the line and destroy these calls in one ROTATE; returns after R4. False: there was nothing to destroy.

    Raises Refused (a confirmed hold stands), CardFailed, ErasureUnconfirmed.
    """
    core.ready()
    here = [core.calls[call_id] for call_id in call_ids if call_id in core.calls]
    for call in here:
        if call.hold is not None and not call.hold.provisional:
            raise Refused(Refusal.CONFIRMED_HOLD.value)
    if not here and core.table.lines[line].opted_out:
        return False
    for call in here:
        core.stop(call)
        intend(core, call, Op.OPT_OUT)
    carry_out_opt_out(core, here, line)
    return bool(here)


def carry_out_opt_out(core: Core, here: Sequence[Call], line: int) -> None:
    change = rotate.begin(core)
    state = change.table.lines[line]
    state.opted_out = True
    for call in here:
        if call.close is None:
            state.owed_row_utc_ms, state.owed_call = call.opened_utc_ms, call.call_id
            answer = begun.find(change.table.begun, call.line, call.opened_utc_ms)
            if answer is not None:
                change.table.begun[answer].opted_out = True
        if state.interrupted == call.call_id:
            state.interrupted = NO_CALL
        drop_call(core, change, call, Op.OPT_OUT)
    _commit_destroying(core, change, here)


def erase(core: Core, call_id: bytes) -> Certificate:
    """A signed order. Raises Refused (``not_kept``, ``held``), CardFailed, ErasureUnconfirmed."""
    core.ready()
    call = core.calls.get(call_id)
    if call is None or call.close is None:
        raise Refused(Refusal.NOT_KEPT.value)
    if call.hold is not None:
        raise Refused("held")
    intend(core, call, Op.ERASE)
    return carry_out_erase(core, call)


def carry_out_erase(core: Core, call: Call) -> Certificate:
    change = rotate.begin(core)
    if call.wanted_hold is not None:
        change.table.certificates.append(refused_hold(call.wanted_hold.op, call.call_id, Refusal.NOT_KEPT))
    drop_call(core, change, call, Op.ERASE)
    certificate = change.table.certificates[-1]
    _commit_destroying(core, change, [call])
    return certificate


def discard(core: Core, call: Call) -> None:
    """A running call that turned out to be nothing that may be kept. Raises CardFailed, ErasureUnconfirmed."""
    core.stop(call)
    intend(core, call, Op.ERASE)
    carry_out_erase(core, call)


def latch(core: Core, line: int, *, active: bool) -> None:
    """Persist or lift a line's opt-out. Raises CardFailed, ErasureUnconfirmed."""
    core.ready()
    if core.table.lines[line].opted_out == active:
        return
    change = rotate.begin(core)
    change.table.lines[line].opted_out = active
    if not active:
        change.table.lines[line].interrupted = NO_CALL
    rotate.commit(core, change)


def intend(core: Core, call: Call, op: Op, *, review_utc_ms: int = 0, sealed: bytes = b"") -> None:
    """One synced append in the call's own bag, before anything is done. Voided when that bag is rewritten."""
    bag_id = call.hold_bag if op is Op.RELEASE or call.day_bag is None else call.day_bag
    assert bag_id is not None
    intent = Intent(op, call.call_id, call.line, core.now_utc_ms(), review_utc_ms, sealed)
    append(core, core.bags[bag_id], [(Kind.INTENT, intent.encode())])


def drop_call(core: Core, change: Change, call: Call, op: Op) -> None:
    """Out of every bag it lies in; its blocks become work to do."""
    for bag_id in (call.day_bag, call.hold_bag):
        if bag_id is not None:
            without(core, change, core.bags[bag_id], call.call_id)
    for todo in todo_of(core, call):
        add_todo(core, change, todo)
    change.table.certificates.append(Certificate(op, call.call_id, 0, 1, digest(call.call_id)))


def without(core: Core, change: Change, bag: Bag, call_id: bytes) -> None:
    """Rewrite ``bag`` without the call, whatever the change does to it already."""
    contents = change.rewrite.get(bag.row.bag_id)
    if contents is None:
        contents = core.contents(bag)
    change.rewrite[bag.row.bag_id] = [(kind, body) for kind, body in contents if subject(kind, body) != call_id]


def todo_of(core: Core, call: Call) -> list[Todo]:
    work: list[Todo] = []
    if call.day_bag is not None:
        end = call.close.end if call.close is not None else core.ring.head
        if end > call.first:
            work.append(Todo(TodoOp.RING, call.call_id, call.first, end))
    if call.hold is not None:
        work += [Todo(TodoOp.HOLD, call.call_id, x.first, x.first + x.blocks) for x in call.hold.extents]
    return work


def add_todo(core: Core, change: Change, todo: Todo) -> None:
    """A full list is worked off first, at once."""
    if len(change.table.todo) >= TODO_MAX:
        known = set(core.table.todo)
        background.finish_todo(core)
        change.table.todo = [entry for entry in change.table.todo if entry not in known]
    change.table.todo.append(todo)


def drop_days(core: Core, change: Change, days: Iterable[int], op: Op) -> None:
    """All bags of these days. What the ring held of them is overwritten as its tail moves on."""
    wanted = set(days)
    for bag in core.bags.values():
        if bag.row.type is not BagType.DAY or bag.row.day not in wanted:
            continue
        change.drop.add(bag.row.bag_id)
    for day in sorted(wanted):
        ids = sorted(call.call_id for call in core.calls.values() if call.day_bag in change.drop and _day(call) == day)
        if ids:
            change.table.certificates.append(Certificate(op, NO_CALL, day, len(ids), digest(b"".join(ids))))


def _day(call: Call) -> int:
    return utc_day(call.opened_utc_ms)


def _commit_destroying(core: Core, change: Change, gone: Sequence[Call]) -> None:
    """The card may fail *after* the erasure point, when the audit line is due: the calls are then gone all the same,
    and the failure shows at the next write (``Card.failed``)."""
    try:
        rotate.commit(core, change)
    except CardFailed:
        if any(call.call_id in core.calls for call in gone) or not gone:
            raise
