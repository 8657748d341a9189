"""The one place where the explorer looks behind the vault's door: what a rebuild must equal, and what is saved."""

from dataclasses import dataclass

from firmware.store import holding
from firmware.store.audit import AuditLine
from firmware.store.bag import Bag, Pool
from firmware.store.core import Call
from firmware.store.identity import Identity
from firmware.store.layout import BLOCK_BYTES
from firmware.store.table import HEADER_BYTES
from firmware.store.vault import Vault


def persisted_utc_ms(vault: Vault) -> int:
    """T as the table in force has it: what a boot without any clock starts from."""
    return vault._core.table.clock.watermark_utc_ms


def canonical(vault: Vault) -> tuple[object, ...]:
    """All that card and memory determine (I23), without what overwriting in the background moves on."""
    core = vault._core
    table = core.table
    calls = tuple(
        (
            c.call_id,
            c.opened_utc_ms,
            c.line,
            c.meta_hash,
            c.close,
            c.hold,
            c.day_bag is not None,
            c.hold_bag is not None,
        )
        for c in sorted(core.calls.values(), key=lambda call: call.call_id)
    )
    lines = tuple((line.opted_out, line.owed_row_utc_ms, line.interrupted) for line in table.lines)
    documents = tuple(sorted(table.documents.values(), key=lambda document: document.name))
    bags = tuple(sorted((row.bag_id, row.type, row.day, row.key) for row in table.bags.values()))
    return (
        calls,
        lines,
        documents,
        bags,
        tuple(sorted(table.orders.items())),
        table.recipients,
        table.request_keys,
        tuple(sorted((seq, x.line, x.opted_out, x.started_utc_ms) for seq, x in table.begun.items())),
        table.sign_epoch,
        table.period,
        core.ring.head,
    )


def retained(vault: Vault) -> list[Call]:
    """Calls that the device can still read, those too that a suspected clock keeps from being handed out."""
    return list(vault._core.calls.values())


def frames(vault: Vault, call_id: bytes) -> list[bytes]:
    return [bytes(raw) for raw in holding.frames(vault._core, vault._core.calls[call_id])]


@dataclass(frozen=True)
class Place:
    """Where a call's frames lie; two equal places with untouched blocks hold the same frames."""

    call_id: bytes
    name: str
    spans: tuple[tuple[int, int], ...]
    """First byte and past the last."""
    close: bytes
    """The signature of its CLOSE: over all that it says."""


def place_of(vault: Vault, call_id: bytes) -> Place:
    core = vault._core
    call = core.calls[call_id]
    close = b"" if call.close is None else call.close.signature
    if call.day_bag is None:
        extents = () if call.hold is None else call.hold.extents
        blocks = [(extent.first, extent.first + extent.blocks) for extent in extents]
        name = "hold"
    else:
        end = core.ring.head if call.close is None else call.close.end
        blocks = _on_the_ring(call.first, end, core.ring.blocks)
        name = "ring"
    return Place(call_id, name, tuple((first * BLOCK_BYTES, end * BLOCK_BYTES) for first, end in blocks), close)


def _on_the_ring(first: int, end: int, size: int) -> list[tuple[int, int]]:
    start, length = first % size, end - first
    if start + length <= size:
        return [(start, start + length)]
    return [(start, size), (0, start + length - size)]


def is_closed(vault: Vault, call_id: bytes) -> bool:
    return vault._core.calls[call_id].close is not None


def held(vault: Vault, call_id: bytes) -> bool:
    return vault._core.calls[call_id].hold is not None


def hold_refused_for_space(vault: Vault, call_id: bytes, *, told: bool) -> bool:
    """KEEP was pressed on the running call, and at its end the space for holds did not take it: true by the sizes and,
    where it was ``told`` to somebody, said by an alarm. A boot's alarm goes with the boot, where that is cut."""
    core = vault._core
    call = core.calls.get(call_id)
    if call is None or call.hold is not None or (told and not core.holds_refused):
        return False
    gaps = core.hold_area.free(holding.taken(core))
    blocks = sum(len(raw) for raw in holding.frames(core, call)) // BLOCK_BYTES
    return len(gaps) > 1 or blocks > sum(gap.blocks for gap in gaps)


def hold_undecided(vault: Vault, call_id: bytes) -> bool:
    """A hold is asked for, and neither in force nor refused."""
    return vault._core.calls[call_id].wanted_hold is not None


def clock_is_suspect(vault: Vault) -> bool:
    return vault._core.time.suspect


def sign_epoch(vault: Vault) -> int:
    return vault._core.table.sign_epoch


def intents_left(vault: Vault) -> int:
    """After a boot every intent of a closed call is carried out or voided (I25)."""
    return sum(len(listed) for call in vault._core.calls.values() for listed in call.intents.values())


def ring_at(vault: Vault, position: int, length: int) -> bytes:
    core = vault._core
    return core.card.disk.read("ring", position % core.ring.blocks * BLOCK_BYTES, length)


def recent_log(vault: Vault, from_seq: int) -> list[AuditLine]:
    """The log's lines from ``from_seq`` on, read backwards from its end: all of it is too long to read each time."""
    log = vault._core.log
    start = log._segment_start(log.cursor.position - 1)
    lines = log._segment_lines(start)
    while start > log.cursor.tail and (not lines or lines[0].seq > from_seq):
        start -= log._segment
        lines = log._segment_lines(start) + lines
    return [line for line in lines if line.seq >= from_seq]


def mirrored(vault: Vault) -> list[tuple[str, int, int]]:
    """(file without its mirror, first byte, past the last) of what the vault relies on: its bags with their end marks,
    its table, and the segment of the log that it writes."""
    core = vault._core
    size, position = core.pool.slot_bytes, core.log.cursor.position
    bags = [
        ("bags", slot * size, min(slot * size + bag.end + 64, (slot + 1) * size)) for slot, bag in core.bags.items()
    ]
    start = core.log._segment_start(position) % core.log._size
    log = ("audit", start, start + position % core.log._segment)
    return [*bags, log, (f"kt{core.table.gen & 1}", 0, HEADER_BYTES + len(core.table.encode()) + 16)]


def identity_of(vault: Vault) -> Identity:
    return vault._core.identity


def current_bag(vault: Vault) -> tuple[Pool, list[Bag]]:
    return vault._core.pool, list(vault._core.bags.values())
