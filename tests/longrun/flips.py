"""Every bit of what decides, flipped one at a time: slots, key table, bag entries, frames. Nothing is taken silently.

A flip in one copy of what is there twice must be healed (the state is the same) or refused; a flip in the erasable
memory or in both copies must be refused; none may lead to another state that is believed. Slots and table are judged by
the function that chooses the table at boot, entries by the one that reads a bag, frames by the ring's own check and by
the reader of a disclosed bundle.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firmware.store import erasable
from firmware.store import frame as frames
from firmware.store import table as tables
from firmware.store.bag import HEADER_BYTES, Pool, State, stored_bytes
from firmware.store.errors import Malformed
from firmware.store.table import BagRow
from tests.longrun.inside import current_bag, identity_of
from tests.longrun.world import World


@dataclass
class Flips:
    slots: int = 0
    table: int = 0
    entries: int = 0
    frames: int = 0
    accepted: int = 0

    @property
    def total(self) -> int:
        return self.slots + self.table + self.entries + self.frames


def flip_all(share: float = 1.0, seed: int = 1, entries: int = 50, frame_count: int = 3) -> Flips:
    """``share`` of all bits, drawn by seed; 1.0 is every bit."""
    world = World("flips")
    for number in range(max(2, entries // 4 + 1)):
        world.call(number & 1, frames=2)
        if number % 6 == 5:
            world.midnight()
    call = world.open_call(0)
    for _ in range(frame_count):
        world.append(call, blocks=4)
    world.close(call)
    rng = random.Random(seed)
    found = Flips()
    _flip_slots(world, found, rng, share)
    _flip_table(world, found, rng, share)
    _flip_entries(world, found, rng, share, entries)
    _flip_frames(world, found, rng, share, world.frames[call])
    return found


def flipped(data: bytes, rng: random.Random, share: float) -> Iterator[bytes]:
    for bit in range(len(data) * 8):
        if share >= 1.0 or rng.random() < share:
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            yield bytes(changed)


def _flip_slots(world: World, found: Flips, rng: random.Random, share: float) -> None:
    for slot in range(2):
        raw = world.memory.slot(slot)
        if not any(raw):
            continue
        for changed in flipped(raw, rng, share):
            found.slots += 1
            found.accepted += erasable.decode_slot(changed) is not None


def _flip_table(world: World, found: Flips, rng: random.Random, share: float) -> None:
    who = identity_of(world.vault)
    ((gen, root),) = [
        (slot.gen, slot.root) for slot in map(erasable.decode_slot, erasable.split(world.memory.content)) if slot
    ]
    raw = world.disk.read(tables.file_of(gen, "a"), 0, tables.FILE_BYTES)
    opened = tables.unseal(world.ciphers, who, raw, gen, root)
    assert opened is not None
    for changed in flipped(opened[1], rng, share):
        found.table += 1
        found.accepted += tables.unseal(world.ciphers, who, changed, gen, root) is not None


def _flip_entries(world: World, found: Flips, rng: random.Random, share: float, count: int) -> None:
    pool, bags = current_bag(world.vault)
    for bag in bags:
        for entry in bag.entries:
            if not count:
                return
            count -= 1
            size = stored_bytes(entry.length)
            raw = world.disk.read("bags.a", bag.row.bag_id * pool.slot_bytes + entry.offset, size)
            used = HEADER_BYTES + entry.length + 20
            for changed in flipped(raw[:used], rng, share):
                found.entries += 1
                found.accepted += _entry_taken(pool, bag.row, entry.index, changed + raw[used:])


def _entry_taken(pool: Pool, row: BagRow, index: int, raw: bytes) -> bool:
    return pool.opener(row).judge(index, raw, 0)[0] is State.VALID


def _flip_frames(world: World, found: Flips, rng: random.Random, share: float, written: Sequence[bytes]) -> None:
    public_key = world.ciphers.public_key(world.vault._core.table.seed)
    for raw in written:
        assert _frame_taken(world, raw, public_key)
        for changed in flipped(raw, rng, share):
            found.frames += 1
            found.accepted += _frame_taken(world, changed, public_key)


def _frame_taken(world: World, raw: bytes, public_key: bytes) -> bool:
    try:
        header = frames.parse_header(raw)
    except Malformed:
        return False
    if not frames.ciphertext_sound(header, raw[frames.HEADER_BYTES :]):
        return False
    return frames.verify_signature(world.ciphers, world.vault.device_id, header, public_key)
