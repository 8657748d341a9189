"""Boot: from whatever a power cut left to a vault that may record again (storage.md 3.4).

    1  slots -> newest generation whose table decrypts in either copy; else NO_ROOT, and nothing is changed
    2  zero the other slot if any byte of it is not zero
    3  heal the table's and the bags' mirrors
    4  append what the table's ROTATE owed to the audit log, and ledger rows that a CLOSE promised
    5  scan the ring from the table's head
    6  carry out the intents to destroy and to release
    7  CLOSE(INTERRUPTED), and the ledger row, for every open call; the row of every answered call that has none
    8  carry out the intents to hold
    9  one ROTATE: T, midnight and expiry if due, the ring's head

Holds come before expiry, so that one raised a minute before it is not lost (storage.md 5, 25); the scan comes before
the intents, so that the blocks of an interrupted call that was opted out are known.
"""

from dataclasses import dataclass

from firmware.policy.records import Direction, Ended, LedgerRow, Outcome
from firmware.policy.trusted_time import ClockState
from firmware.store import begun, destroy, erasable, expiry, holding, identity, rotate
from firmware.store import table as tables
from firmware.store.audit import AuditLine, Value
from firmware.store.begun import INTERRUPTED_RULE
from firmware.store.card import MIRRORS
from firmware.store.core import Call, Core, VaultParts
from firmware.store.entries import Close, Intent, Kind
from firmware.store.errors import NoRoot, Rollback, WrongKind
from firmware.store.frame import Header, reach_ms, verify_signature
from firmware.store.identity import Identity
from firmware.store.layout import digest
from firmware.store.recording import close_with, write_row
from firmware.store.ring import Found
from firmware.store.table import NO_CALL, BagType, Op, Table

MS_PER_FRAME = 2000


@dataclass(frozen=True)
class InForce:
    """The table that counts, and the bytes of its file."""

    table: Table
    used: bytes


def open_core(parts: VaultParts, *, simulation: bool) -> Core:
    """Raises NotProvisioned, IdentityDamaged, WrongKind, NoRoot, Rollback, ErasureUnconfirmed, CardFailed, OSError."""
    who = identity.read(parts.disk)
    _check_kind(who, parts, simulation)
    return recovered(parts, who, _one_root(parts, who))


def recovered(parts: VaultParts, who: Identity, found: InForce) -> Core:
    """Steps 3 to 9. What the erasable memory held beside the root in force is not known any more."""
    core = Core(parts, who, found.table, digest(found.used))
    _heal_table(core, found)
    _load_bags(core)
    core.ring.head, core.ring.tail = found.table.ring_head, found.table.ring_tail
    _continue_log(core)
    core.ring.head, _ = core.ring.scan(found.table.ring_head, lambda header: _signed(core, header))
    _destroy_intended(core)
    _close_interrupted(core)
    _pay_rows(core)
    _pay_begun(core)
    _hold_intended(core)
    _start(core)
    return core


def look(parts: VaultParts) -> Core:
    """A vault that nobody has open, to read from: nothing is recovered and nothing is changed. Raises as
    ``open_core``."""
    who = identity.read(parts.disk)
    found, _, _ = _table_in_force(parts, who)
    return Core(parts, who, found.table, digest(found.used))


# ---------------------------------------------------------------------------------------------------- slots and table


def _check_kind(who: Identity, parts: VaultParts, simulation: bool) -> None:
    if who.simulation != simulation:
        found, asked = ("a simulation", "the real recorder") if who.simulation else ("a real recorder", "a simulation")
        raise WrongKind(f"This state belongs to {found} and was opened as {asked}; nothing was changed.")
    if who.memory_kind != parts.memory.kind:
        raise WrongKind(
            f"This recorder was provisioned with erasable memory of kind {who.memory_kind} and finds "
            f"{parts.memory.kind}; nothing was changed. Fit the memory that it was provisioned with."
        )


def _one_root(parts: VaultParts, who: Identity) -> InForce:
    """Steps 1 and 2."""
    found, slot, other = _table_in_force(parts, who)
    if any(other):
        erasable.zero_confirmed(parts.memory, 1 - slot)
    return found


def _table_in_force(parts: VaultParts, who: Identity) -> tuple[InForce, int, bytes]:
    """With the number of its slot, and the bytes of the other one."""
    try:
        memory = parts.memory.read()
    except OSError:
        raise NoRoot("the memory does not answer") from None
    slots = [(index, erasable.decode_slot(raw)) for index, raw in enumerate(erasable.split(memory))]
    valid = sorted(((slot.gen, index, slot.root) for index, slot in slots if slot is not None), reverse=True)
    for gen, index, root in valid:
        for mirror in MIRRORS:
            raw = _read(parts, tables.file_of(gen, mirror), tables.FILE_BYTES)
            found = tables.unseal(parts.ciphers, who, raw, gen, root)
            if found is not None and index == gen & 1:
                return InForce(*found), index, erasable.split(memory)[1 - index]
    if not valid:
        raise NoRoot("the memory holds no key")
    if all(_claimed_gen(parts, number) < valid[0][0] for number in range(2)):
        raise Rollback
    raise NoRoot("no copy of the table opens")


def _claimed_gen(parts: VaultParts, number: int) -> int:
    """What a table file says of itself in clear; 0 for anything else."""
    raw = _read(parts, tables.file_of(number, "a"), tables.HEADER_BYTES)
    return int.from_bytes(raw[4:8], "big") if raw[:4] == b"KT01" else 0


def _read(parts: VaultParts, name: str, length: int) -> bytes:
    """Zeros where the card does not give the file: the other copy is tried next."""
    try:
        return parts.disk.read(name, 0, length)
    except OSError:
        return bytes(length)


def _heal_table(core: Core, found: InForce) -> None:
    for mirror in MIRRORS:
        name = tables.file_of(found.table.gen, mirror)
        if core.card.try_read(name, 0, len(found.used)) != found.used:
            core.card.durable(name, 0, found.used)
            core.healed += 1


def _load_bags(core: Core) -> None:
    for row in core.table.bags.values():
        loaded = core.pool.load(row)
        core.healed += loaded.healed
        core.bags_damaged += loaded.missing
        kinds = [entry.kind for entry in loaded.bag.entries]
        core.index_bag(loaded.bag, list(zip(kinds, loaded.bodies, strict=True)))
    core.used_slots = [slot for slot in range(core.pool.slots) if slot not in core.table.bags]


# ------------------------------------------------------------------------------------------------------------- the log


def _continue_log(core: Core) -> None:
    table = core.table
    key = core.ciphers.public_key(table.seed)
    recovered = core.log.recover(table.audit, key, table.dayend)
    core.healed += recovered.healed
    owed = bool(table.dayend) + len(table.certificates)
    rotate.owe(core, core.log, min(len(recovered.lines), owed))
    begun.recover(core, recovered.lines)
    rows = [line for line in recovered.lines if line.event == "CALL"]
    _clear_paid_rows(core, rows)
    _write_promised_rows(core, {line.fields.get("call", "") for line in rows})


def _clear_paid_rows(core: Core, rows: list[AuditLine]) -> None:
    for row in rows:
        state = core.table.lines[row.integer("line")]
        if row.fields.get("call") == state.owed_call.hex():
            state.owed_row_utc_ms, state.owed_call = 0, NO_CALL


def _write_promised_rows(core: Core, written: set[str]) -> None:
    """A CLOSE appended since the last ROTATE whose row is not in the log: the cut came between the two."""
    for bag in core.bags.values():
        if bag.row.type is not BagType.DAY:
            continue
        for entry in bag.entries[bag.row.entries :]:
            call = core.calls.get(entry.call_id)
            if (
                entry.kind is Kind.CLOSE
                and call is not None
                and call.close is not None
                and call.call_id.hex() not in written
            ):
                write_row(core, call.close.row(call.line, call.opened_utc_ms))


def _pay_rows(core: Core) -> None:
    """An opted-out call whose on-hook nobody saw: its one ledger row."""
    for number, state in enumerate(core.table.lines):
        if state.owed_row_utc_ms:
            started = state.owed_row_utc_ms
            ended = max(started, core.time.saved.watermark_utc_ms)
            row = LedgerRow(
                number, Outcome.OPTED_OUT, Direction.INBOUND, INTERRUPTED_RULE, started, ended, False, state.owed_call
            )
            write_row(core, row)


def _pay_begun(core: Core) -> None:
    """What is left has neither a row nor a recording."""
    for row in begun.rows_owed(core):
        write_row(core, row)


# ------------------------------------------------------------------------------------------------- intents and open
# calls


def _signed(core: Core, header: Header) -> bool:
    key = core.ciphers.public_key(core.table.seed)
    epoch = header.sign_epoch == core.table.sign_epoch
    return epoch and verify_signature(core.ciphers, core.device_id, header, key)


def _intents(core: Core, *ops: Op) -> list[tuple[Call, Intent]]:
    found = [(call, x) for call in core.calls.values() for listed in call.intents.values() for x in listed]
    return [(call, x) for call, x in found if x.op in ops]


def _destroy_intended(core: Core) -> None:
    opted_out: dict[int, list[Call]] = {}
    for call, intent in _intents(core, Op.OPT_OUT):
        opted_out.setdefault(intent.line, []).append(call)
    for line, calls in opted_out.items():
        destroy.carry_out_opt_out(core, calls, line)
    for call, _ in _intents(core, Op.ERASE):
        destroy.carry_out_erase(core, call)
    for call, _ in _intents(core, Op.RELEASE):
        holding.carry_out_release(core, call)


def _hold_intended(core: Core) -> None:
    for call in list(core.calls.values()):
        if call.wanted_hold is not None and not holding.carry_out(core, call):
            core.holds_refused += 1


def _close_interrupted(core: Core) -> None:
    _note_interrupted(core)
    for call in [call for call in core.calls.values() if call.close is None]:
        close = _interrupted(core, call)
        close_with(core, call, [], close)
        write_row(core, close.row(call.line, call.opened_utc_ms))
        core.table.lines[call.line].interrupted = call.call_id


def _note_interrupted(core: Core) -> None:
    """Which call OPT-OUT acts on after this boot: also one that an earlier boot closed and then lost power itself."""
    for bag in core.bags.values():
        for entry in bag.entries[bag.row.entries :]:
            call = core.calls.get(entry.call_id)
            if entry.kind is Kind.CLOSE and call is not None and call.close is not None and _was_cut(call.close):
                core.table.lines[call.line].interrupted = call.call_id
    for state in core.table.lines:
        if state.interrupted not in core.calls or _has_later_call(core, core.calls[state.interrupted]):
            state.interrupted = NO_CALL


def _was_cut(close: Close) -> bool:
    return close.ended is Ended.POWER_CUT


def _has_later_call(core: Core, call: Call) -> bool:
    return any(x.line == call.line and x.opened_utc_ms > call.opened_utc_ms for x in core.calls.values())


def _interrupted(core: Core, call: Call) -> Close:
    frames = _frames(core, call)
    last = frames[max(frames)] if frames else None
    count = 0 if last is None else last.header.seq + 1
    body = core.entry_body(call, Kind.OPEN)
    assert body is not None
    return Close(
        call.call_id,
        _end_utc_ms(core, call, last),
        Ended.POWER_CUT,
        Outcome.RECORDED if count else Outcome.FAULT,
        Direction.INBOUND,
        False,
        INTERRUPTED_RULE,
        count,
        max(count - 1, 0),
        digest(body) if last is None else last.header.link,
        call.first,
        call.first if last is None else last.position + last.header.blocks,
        call.meta_hash,
        core.table.sign_epoch,
    )


def _end_utc_ms(core: Core, call: Call, last: Found | None) -> int:
    """How far its last frame reaches. Where that cannot be read (a midnight came since and its seed is gone): 2 s a
    frame."""
    if last is None:
        return call.opened_utc_ms
    reach = None
    if last.header.sign_epoch == core.table.sign_epoch:
        reach = reach_ms(core.ciphers, last.header, core.table.seed)
    length_ms = MS_PER_FRAME * (last.header.seq + 1) if reach is None else reach
    return min(call.opened_utc_ms + length_ms, max(call.opened_utc_ms, core.now_utc_ms()))


def _frames(core: Core, call: Call) -> dict[int, Found]:
    """By seq. What a cut tore at the very end is not counted: it was never acknowledged."""
    mine = core.ring.walk(call.first, core.ring.head, lambda header: header.call_id == call.call_id, strict=True)
    found = [x for x, _ in mine]
    while found and not found[-1].sound:
        found.pop()
    return {x.header.seq: x for x in found}


# ---------------------------------------------------------------------------------------------------------------- start


def _start(core: Core) -> None:
    change = rotate.begin(core)
    change.table.boot_no += 1
    expiry.midnight(core, change)
    rotate.commit(core, change)
    fields: dict[str, Value] = {"boot": core.table.boot_no, "clock": ClockState(core.time.state).name.lower()}
    core.log.append(core.now_utc_ms(), "BOOT", fields, core.table.seed)
    core.log.prune(core.now_utc_ms())
