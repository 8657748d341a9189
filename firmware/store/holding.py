"""Legal holds: intent, copy of the ciphertext into the hold area, and one ROTATE that makes it so.

Whether a hold may be placed is decided in ``policy/holds``; here it is carried out. A hold bag is rewritten under a new
key by every hold and release, so that an old copy of the erasable memory opens no hold placed later.
"""

from collections.abc import Iterator
from dataclasses import replace

from firmware.policy import holds
from firmware.policy.holds import Candidate, Hold, Quota, Refusal
from firmware.policy.retention import limit_utc_ms
from firmware.store import rotate
from firmware.store.append import append
from firmware.store.audit import Value
from firmware.store.bag import CALLS_MAX, Bag, stored_bytes
from firmware.store.core import Call, Contents, Core
from firmware.store.destroy import add_todo, intend, without
from firmware.store.entries import NO_SEALED_TEXT, Extent, HoldInfo, Kind
from firmware.store.errors import Refused
from firmware.store.frame import Header
from firmware.store.keys import Purpose, seal_text
from firmware.store.layout import BLOCK_BYTES, HOLD, digest
from firmware.store.ring import Found
from firmware.store.rotate import Change
from firmware.store.table import HOLD_BAGS_MAX, HOLD_REFUSED, BagType, Certificate, Op, Todo, TodoOp, refused_hold

TEXT_BYTES_MAX = 2048
"""Case and reason of a hold."""
INTENT_ROOM_BYTES = 8192
"""Kept free in a hold bag: RELEASE intents, and HOLDINFO marked as exported."""
ENTRY_ROOM_BYTES = INTENT_ROOM_BYTES + 12 * 1024
"""OPEN, META, CLOSE and HOLDINFO of one call at their longest."""


def keep(core: Core, call_id: bytes) -> str | None:
    """KEEP key: a provisional hold, carried out at CLOSE for a running call. Returns a refusal's word, which is in the
    log by then, or None."""
    core.ready()
    call = core.calls.get(call_id)
    refusal = holds.refuse_keep(candidate(core, call), quota(core))
    if refusal is not None:
        return refuse_keep(core, call_id, refusal.value)
    assert call is not None
    if call.hold is not None or call.wanted_hold is not None:
        return None
    now = core.now_utc_ms()
    try:
        intend(core, call, Op.KEEP, review_utc_ms=holds.provisional_until(now))
    except Refused as refused:
        return refuse_keep(core, call_id, refused.code)
    _log(core, "KEEP", call_id, holds.provisional_until(now))
    if call.close is not None and not carry_out(core, call):
        return Refusal.QUOTA_FULL.value
    return None


def refuse_keep(core: Core, of: bytes | int, why: str) -> str:
    """A KEEP that is refused at the press leaves its line, too. ``of``: the call, or the telephone line of one that
    never was in the vault. Returns ``why``. Raises CardFailed, ErasureUnconfirmed."""
    core.ready()
    if (of, why) not in core.refused_keeps:
        about: dict[str, Value] = {"call": of} if isinstance(of, bytes) else {"line": of}
        core.log.append(core.now_utc_ms(), HOLD_REFUSED, {"op": Op.KEEP.word, "why": why, **about}, core.table.seed)
    if isinstance(of, bytes):
        core.refused_keeps.add((of, why))
    return why


def hold(core: Core, call_id: bytes, info: bytes, review_utc_ms: int) -> None:
    """HOLD order: a full hold, or a provisional one made full. Raises Refused, CardFailed, ErasureUnconfirmed."""
    core.ready()
    call = core.calls.get(call_id)
    refusal = holds.refuse_hold(candidate(core, call), quota(core), review_utc_ms, core.now_utc_ms())
    if refusal is not None:
        raise Refused(refusal.value)
    assert call is not None
    if call.close is None:
        raise Refused(Refusal.NOT_KEPT.value)
    if len(info) > TEXT_BYTES_MAX:
        raise Refused("text_too_long")
    sealed = _seal_info(core, call, info)
    if call.hold is not None:
        _log(core, "HOLD", call_id, review_utc_ms)
        _rewrite_info(core, call, replace(call.hold, provisional=False, review_utc_ms=review_utc_ms, sealed=sealed))
        return
    intend(core, call, Op.HOLD, review_utc_ms=review_utc_ms, sealed=sealed)
    _log(core, "HOLD", call_id, review_utc_ms)
    if not carry_out(core, call):
        raise Refused(Refusal.QUOTA_FULL.value)


def confirm(core: Core, call_id: bytes, info: bytes, review_utc_ms: int) -> None:
    """CONFIRM order: a provisional hold becomes a full one. Raises Refused."""
    core.ready()
    call = core.calls.get(call_id)
    if call is None or call.hold is None:
        raise Refused(Refusal.NOT_HELD.value)
    hold(core, call_id, info, review_utc_ms)


def extend(core: Core, call_id: bytes, review_utc_ms: int) -> None:
    """EXTEND order: a later review date. Raises Refused."""
    core.ready()
    call = core.calls.get(call_id)
    refusal = holds.refuse_extend(hold_of(call), review_utc_ms, core.now_utc_ms())
    if refusal is not None:
        raise Refused(refusal.value)
    assert call is not None
    assert call.hold is not None
    _log(core, "EXTEND", call_id, review_utc_ms)
    _rewrite_info(core, call, replace(call.hold, review_utc_ms=review_utc_ms))


def release(core: Core, call_id: bytes, event: str = "RELEASE") -> None:
    """RELEASE order, or the lapse of a provisional hold: the call follows its ordinary limit, at once if that is
    past."""
    core.ready()
    call = core.calls.get(call_id)
    if call is None or call.hold is None:
        raise Refused(Refusal.NOT_HELD.value)
    intend(core, call, Op.RELEASE)
    _log(core, event, call_id, call.hold.review_utc_ms)
    carry_out_release(core, call)


def mark_exported(core: Core, call_id: bytes) -> None:
    """A sealed export of a held call was completed: no reminder for it."""
    call = core.calls.get(call_id)
    if call is None or call.hold is None or call.hold.exported:
        return
    assert call.hold_bag is not None
    entry = replace(call.hold, exported=True)
    append(core, core.bags[call.hold_bag], [(Kind.HOLDINFO, entry.encode())])


# ----------------------------------------------------------------------------------------------------- what is known


def hold_of(call: Call | None) -> Hold | None:
    if call is None or call.hold is None:
        return None
    info = call.hold
    size = sum(extent.blocks for extent in info.extents) * BLOCK_BYTES
    return Hold(call.call_id, info.provisional, info.placed_utc_ms, info.review_utc_ms, size, info.exported)


def all_holds(core: Core) -> list[Hold]:
    found = [hold_of(call) for call in core.held()]
    return [entry for entry in found if entry is not None]


def candidate(core: Core, call: Call | None) -> Candidate:
    if call is None:
        return Candidate(kept=False, opted_out=False, past_limit=False, size_bytes=0)
    past = core.export_utc_ms() >= limit_utc_ms(call.opened_utc_ms, core.table.period)
    copied = call.close is None or call.hold is not None
    size = 0 if copied else sum(_frame_blocks(core, call)) * BLOCK_BYTES
    return Candidate(kept=True, opted_out=False, past_limit=past, size_bytes=size, held=hold_of(call))


def taken(core: Core) -> list[Extent]:
    """Blocks of the hold area that a hold uses or that are still to be overwritten."""
    extents = [extent for call in core.held() if call.hold is not None for extent in call.hold.extents]
    waiting = [Extent(todo.first, todo.end - todo.first) for todo in core.table.todo if todo.op is TodoOp.HOLD]
    return extents + waiting


def quota(core: Core) -> Quota:
    return core.hold_area.quota(taken(core))


# -------------------------------------------------------------------------------------------------------- carrying out


def carry_out(core: Core, call: Call) -> bool:
    """Copy, sync, ROTATE. False: the space for holds is full; the ROTATE that voids the intent owes the line."""
    intent = call.wanted_hold
    assert intent is not None
    extents = _copy(core, call)
    change = rotate.begin(core)
    _void_intents(core, change, call)
    if extents is not None:
        info = HoldInfo(
            call.call_id,
            intent.op is Op.KEEP,
            intent.placed_utc_ms,
            intent.review_utc_ms,
            False,
            extents,
            intent.sealed or NO_SEALED_TEXT,
        )
        _add(core, change, call, info)
    else:
        change.table.certificates.append(refused_hold(intent.op, call.call_id, Refusal.QUOTA_FULL))
    rotate.commit(core, change)
    return extents is not None


def carry_out_release(core: Core, call: Call) -> None:
    assert call.hold is not None
    assert call.hold_bag is not None
    change = rotate.begin(core)
    for extent in call.hold.extents:
        add_todo(core, change, Todo(TodoOp.HOLD, call.call_id, extent.first, extent.first + extent.blocks))
    without(core, change, core.bags[call.hold_bag], call.call_id)
    if call.day_bag is None:
        change.table.certificates.append(Certificate(Op.RELEASE, call.call_id, 0, 1, digest(call.call_id)))
    rotate.commit(core, change)


def rekey(core: Core, change: Change) -> None:
    """Midnight: every hold bag under a new key."""
    for bag in core.bags.values():
        if bag.row.type is BagType.HOLD and bag.row.bag_id not in change.rewrite:
            change.rewrite[bag.row.bag_id] = core.contents(bag)


def _add(core: Core, change: Change, call: Call, info: HoldInfo) -> None:
    contents: Contents = []
    for kind in (Kind.OPEN, Kind.META, Kind.CLOSE):
        body = core.entry_body(call, kind)
        if body is not None:
            contents.append((kind, body))
    contents.append((Kind.HOLDINFO, info.encode()))
    bag = _hold_bag_with_room(core, contents)
    if bag is None:
        change.create.append((BagType.HOLD, 0, contents))
    else:
        change.rewrite[bag.row.bag_id] = core.contents(bag) + contents


def _hold_bag_with_room(core: Core, contents: Contents) -> Bag | None:
    need = sum(stored_bytes(len(body)) for _, body in contents) + INTENT_ROOM_BYTES
    for bag in core.bags.values():
        if bag.row.type is BagType.HOLD and bag.calls < CALLS_MAX and core.pool.room(bag) >= need:
            return bag
    return None


def _rewrite_info(core: Core, call: Call, info: HoldInfo) -> None:
    """A changed HOLDINFO, under a new bag key."""
    assert call.hold_bag is not None
    change = rotate.begin(core)
    contents = core.contents(core.bags[call.hold_bag])
    change.rewrite[call.hold_bag] = [
        (kind, info.encode() if kind is Kind.HOLDINFO and body[:16] == call.call_id else body)
        for kind, body in contents
    ]
    rotate.commit(core, change)


def _void_intents(core: Core, change: Change, call: Call) -> None:
    for bag_id in call.intents:
        change.rewrite[bag_id] = core.contents(core.bags[bag_id], void=frozenset((call.call_id,)))


def _frame_blocks(core: Core, call: Call) -> list[int]:
    return [len(raw) // BLOCK_BYTES for raw in ring_frames(core, call)]


def _copy(core: Core, call: Call) -> tuple[Extent, ...] | None:
    """The ciphertext into the hold area; None: there is no room. A damaged frame is copied as it is; the reader names
    it."""
    places = core.hold_area.places(taken(core))
    if not _bag_left(core) or None in [places.take(blocks) for blocks in _frame_blocks(core, call)]:
        return None
    places = core.hold_area.places(taken(core))
    for raw in ring_frames(core, call):
        first_block = places.take(len(raw) // BLOCK_BYTES)
        if first_block is None:
            return None
        core.hold_area.write(first_block, raw)
    return tuple(places.extents)


def ring_frames(core: Core, call: Call) -> Iterator[bytes]:
    """The call's frames in the ring in order. Of one that the card refused and took at a later zone, the sound copy."""

    def wanted(header: Header) -> bool:
        return header.call_id == call.call_id

    end = call.close.end if call.close is not None else core.ring.head
    last: tuple[Found, bytes] | None = None
    for found, raw in core.ring.walk(call.first, end, wanted):
        again = last is not None and last[0].header.seq == found.header.seq
        if last is not None and not again:
            yield last[1]
        if not (again and last is not None and last[0].sound):
            last = found, raw
    if last is not None:
        yield last[1]


def frames(core: Core, call: Call) -> Iterator[bytes]:
    """Of a closed call: from the ring while its day is there, else from the hold area. Raises CardFailed."""
    if call.day_bag is not None:
        yield from ring_frames(core, call)
    elif call.hold is not None:
        yield from core.hold_area.frames(call.hold.extents)


def _bag_left(core: Core) -> bool:
    """Room for one more entry of the greatest length, or for one more bag."""
    bags = [bag for bag in core.bags.values() if bag.row.type is BagType.HOLD]
    return len(bags) < HOLD_BAGS_MAX or any(core.pool.room(bag) >= ENTRY_ROOM_BYTES for bag in bags)


def _seal_info(core: Core, call: Call, info: bytes) -> bytes:
    purpose = Purpose(HOLD, core.device_id, call.call_id, call.opened_utc_ms)
    return seal_text(core.ciphers, core.table.recipients, info, purpose, core.parts.random)


def _log(core: Core, event: str, call_id: bytes, review_utc_ms: int) -> None:
    core.log.append(core.now_utc_ms(), event, {"call": call_id, "review": review_utc_ms}, core.table.seed)
