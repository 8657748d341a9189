"""ROTATE: the one transaction that changes the key table, and with it the only way anything is destroyed.

    R1  changed bags under new random keys into free slots, both mirrors, synced
    R2  table g+1 under a fresh random root into kt[(g+1) & 1], both mirrors, synced
    R3  slot[(g+1) & 1] <- (g+1, root); read back
    R4  slot[g & 1] <- zeros; read back                                      <- erasure point
    R5  (``background``) blocks and old slots are overwritten

A cut before R3 is whole leaves generation g; from then on g+1 (storage.md 3.4). An I/O *error* in R1 or R2 discards the
root and draws everything anew, once; from R3's first byte there is no way back, so R3 and R4 are repeated with
identical bytes and nothing else is written before they are done.
"""

from dataclasses import dataclass, field

from firmware.store import erasable
from firmware.store import table as tables
from firmware.store.audit import Value, parse_line
from firmware.store.auditlog import AuditLog
from firmware.store.bag import Bag
from firmware.store.card import MIRRORS
from firmware.store.core import Contents, Core
from firmware.store.errors import CardFailed, VaultError
from firmware.store.layout import digest
from firmware.store.table import HOLD_REFUSED, REFUSED_OPS, REFUSED_WHY, BagRow, BagType, Certificate, Table

ATTEMPTS = 2


@dataclass
class Change:
    """A draft: edit ``table``, name the bags to rewrite, create and drop, then ``commit``."""

    table: Table
    rewrite: dict[int, Contents] = field(default_factory=dict)
    create: list[tuple[BagType, int, Contents]] = field(default_factory=list)
    drop: set[int] = field(default_factory=set)


@dataclass
class _Prepared:
    table: Table
    used: bytes
    """The used bytes of its file."""
    slot: bytes
    new_bags: list[tuple[Bag, Contents]]
    gone: list[int]


def begin(core: Core) -> Change:
    return Change(tables.copy(core.table))


def commit(core: Core, change: Change) -> None:
    """Returns after R4 and after the audit lines that the change owes. Raises CardFailed (before R3: generation g is
    in force; later: g+1 is), ErasureUnconfirmed (``finish`` is to be tried again), VaultError (no free slot)."""
    core.ready()
    prepared = _prepare(core, change)
    core.unfinished = lambda: _finish(core, prepared)
    core.unfinished()


def plain(core: Core) -> None:
    """Persist T, head, tail and the rest of what the table carries, destroying nothing."""
    commit(core, begin(core))


# ------------------------------------------------------------------------------------------------------ R1 and R2


def _prepare(core: Core, change: Change) -> _Prepared:
    for attempt in range(ATTEMPTS):
        try:
            return _prepare_once(core, change)
        except OSError:
            if attempt == ATTEMPTS - 1:
                core.card.failed = True
    raise CardFailed


def _prepare_once(core: Core, change: Change) -> _Prepared:
    """R1 and R2. Raises OSError; nothing that was written by then can ever be opened."""
    table = tables.copy(change.table)
    table.certificates = list(change.table.certificates)
    table.dayend = change.table.dayend
    _stamp(core, table)
    gone = [*change.rewrite, *change.drop]
    new_bags = _write_bags(core, change)
    table.bags = {row.bag_id: _counted(core, row) for row in table.bags.values() if row.bag_id not in gone}
    table.bags.update({bag.row.bag_id: _vouched(bag) for bag, _ in new_bags})
    root = core.parts.random(erasable.ROOT_BYTES)
    used = tables.seal(core.ciphers, core.identity, table, root)
    for mirror in MIRRORS:
        name = tables.file_of(table.gen, mirror)
        core.card.disk.write(name, 0, used)
        core.card.disk.sync(name)
    return _Prepared(table, used, erasable.encode_slot(table.gen, root), new_bags, gone)


def _stamp(core: Core, table: Table) -> None:
    """What every table carries of the moment it is written."""
    core.advance_time(look=False)
    table.gen = core.table.gen + 1
    table.previous_table = core.table_hash
    table.clock = core.time.record()
    table.ring_head = core.ring.head
    table.ring_tail = core.ring.tail
    table.audit = core.log.cursor


def _write_bags(core: Core, change: Change) -> list[tuple[Bag, Contents]]:
    """R1. A hold bag without holds gets no successor."""
    taken = set(core.table.bags)
    rows = core.table.bags
    wanted = [
        (rows[bag_id].type, rows[bag_id].day, contents)
        for bag_id, contents in change.rewrite.items()
        if contents or rows[bag_id].type is BagType.DAY
    ]
    written: list[tuple[Bag, Contents]] = []
    for kind, day, contents in [*wanted, *change.create]:
        slot = core.pool.free_slot(taken)
        if slot is None:
            raise VaultError("There is no free bag left; the oldest day has to expire first.")
        taken.add(slot)
        core.used_slots.append(slot)
        row = BagRow(slot, kind, day, core.parts.random(32), 0)
        written.append((core.pool.write_new(row, contents, core.parts.random), contents))
    return written


def _counted(core: Core, row: BagRow) -> BagRow:
    """The bound of entries that a later boot must find."""
    return BagRow(row.bag_id, row.type, row.day, row.key, len(core.bags[row.bag_id].entries))


def _vouched(bag: Bag) -> BagRow:
    row = BagRow(bag.row.bag_id, bag.row.type, bag.row.day, bag.row.key, len(bag.entries))
    bag.row = row
    return row


# ------------------------------------------------------------------------------------------------------ R3 and R4


def _finish(core: Core, prepared: _Prepared) -> None:
    memory = core.parts.memory
    gen = prepared.table.gen
    erasable.write_confirmed(memory, gen & 1, prepared.slot)
    erasable.zero_confirmed(memory, (gen - 1) & 1)
    core.unfinished = None
    _take_up(core, prepared)
    owe(core, core.log)


def _take_up(core: Core, prepared: _Prepared) -> None:
    core.table = prepared.table
    core.table_hash = digest(prepared.used)
    core.time = core.time.persisted(prepared.table.clock)
    core.drop_bags(prepared.gone)
    for bag, contents in prepared.new_bags:
        core.index_bag(bag, contents)
    core.drop_orphans()
    core.used_slots = sorted({*core.used_slots, *prepared.gone} - set(core.table.bags))


# ------------------------------------------------------------------------------------------- what the change owes


def owe(core: Core, log: AuditLog, written: int = 0) -> None:
    """Append the lines that the table carries (DAYEND first), the first ``written`` of which are in the log already.
    Raises CardFailed."""
    table = core.table
    if table.dayend:
        if written == 0:
            log.append_line(table.dayend)
        log.keep_dayend(parse_line(table.dayend))
        written = max(written - 1, 0)
    for entry in table.certificates[written:]:
        if entry.op in REFUSED_OPS:
            log.append(core.now_utc_ms(), HOLD_REFUSED, _refusal(entry), table.seed)
        else:
            log.append(core.now_utc_ms(), "DESTROYED", _fields(core, entry), table.seed)


def _refusal(entry: Certificate) -> dict[str, Value]:
    return {"op": entry.op.word, "why": REFUSED_WHY[entry.calls - 1].value, "call": entry.call_id}


def _fields(core: Core, entry: Certificate) -> dict[str, Value]:
    """FORMAT.md 9."""
    table = core.table
    subject: dict[str, Value] = (
        {"call": entry.call_id}
        if entry.call_id != tables.NO_CALL
        else {"day": entry.day, "calls": entry.calls, "ids": entry.ids}
    )
    return {
        "op": entry.op.word,
        **subject,
        "gen": table.gen - 1,
        "next_gen": table.gen,
        "table": table.previous_table,
        "next_table": core.table_hash,
        "memory": core.identity.memory_kind,
        "stores": 1,
        "proven": int(core.identity.memory_kind not in erasable.DEGRADED_KINDS),
        "technique": "crypto_erase",
    }
