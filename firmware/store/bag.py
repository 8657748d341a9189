"""Bags: append-only runs of sealed entries in a mirrored pool of slots (FORMAT.md 4).

A bag is destroyed by forgetting its key; an entry is destroyed by writing a successor bag without it (ROTATE).
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from zlib import crc32

from firmware.store.card import MIRRORS, Card
from firmware.store.ciphers import NONCE_BYTES, TAG_BYTES, Ciphers
from firmware.store.entries import Kind, subject
from firmware.store.errors import BadSeal, VaultError
from firmware.store.layout import BAG, bound, prefixed
from firmware.store.table import BagRow

ALIGN = 64
HEADER_BYTES = 16
OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES + 4
END_MARK = bytes(ALIGN)
CALLS_MAX = 256
STEM = "bags"


class State(Enum):
    END = 1
    VALID = 2
    STALE = 3
    BAD = 4


@dataclass(frozen=True)
class Entry:
    """Where an entry lies; its body is read from the card when it is wanted (31,000 calls would fill the memory)."""

    index: int
    kind: Kind
    call_id: bytes
    offset: int
    length: int
    """Of the body."""


@dataclass
class Bag:
    row: BagRow
    entries: list[Entry] = field(default_factory=list)
    end: int = 0
    """Offset in the slot of the next entry."""
    calls: int = 0


@dataclass(frozen=True)
class Loaded:
    bag: Bag
    bodies: tuple[bytes, ...]
    healed: bool
    missing: bool
    """Fewer entries than the table vouches for, in both mirrors: bit rot beyond the fault model."""


def stored_bytes(body_bytes: int) -> int:
    """What an entry takes in a slot."""
    return -(-(body_bytes + OVERHEAD_BYTES) // ALIGN) * ALIGN


class Pool:
    """All slots. ``slot_bytes`` and their number come from the identity."""

    def __init__(self, card: Card, ciphers: Ciphers, device_id: str, slots: int, slot_bytes: int) -> None:
        self._card = card
        self._ciphers = ciphers
        self._device_id = device_id
        self.slots = slots
        self.slot_bytes = slot_bytes

    # ----------------------------------------------------------------------------------------------------- writing

    def write_new(self, row: BagRow, contents: Sequence[tuple[Kind, bytes]], random: Callable[[int], bytes]) -> Bag:
        """R1: a whole bag into a free slot, both mirrors. Raises OSError; the caller then draws everything anew."""
        bag = Bag(row)
        image = self._place(bag, contents, random)
        for mirror in MIRRORS:
            name = f"{STEM}.{mirror}"
            self._card.disk.write(name, row.bag_id * self.slot_bytes, image)
            self._card.disk.sync(name)
        return bag

    def append(self, bag: Bag, contents: Sequence[tuple[Kind, bytes]], random: Callable[[int], bytes]) -> None:
        """Durable in both mirrors when it returns. Raises CardFailed. The caller has checked ``room``."""
        start, known, calls = bag.end, len(bag.entries), bag.calls
        image = self._place(bag, contents, random)
        try:
            self._card.mirrored(STEM, bag.row.bag_id * self.slot_bytes + start, image)
        except VaultError:
            del bag.entries[known:]
            bag.end, bag.calls = start, calls
            raise

    def room(self, bag: Bag) -> int:
        return self.slot_bytes - bag.end

    def _place(self, bag: Bag, contents: Sequence[tuple[Kind, bytes]], random: Callable[[int], bytes]) -> bytes:
        pieces: list[bytes] = []
        opener = self.opener(bag.row)
        for kind, body in contents:
            pieces.append(opener.seal(len(bag.entries), kind, body, random(NONCE_BYTES)))
            note(bag, kind, body)
        assert bag.end <= self.slot_bytes
        assert bag.calls <= CALLS_MAX
        if bag.end < self.slot_bytes:
            pieces.append(END_MARK)
        return b"".join(pieces)

    def opener(self, row: BagRow) -> "Opener":
        return Opener(self._ciphers, self._device_id, row.bag_id, row.key)

    # ----------------------------------------------------------------------------------------------------- reading

    def bodies(self, bag: Bag, entries: Sequence[Entry]) -> list[bytes]:
        """Of many entries of one bag, its slot read once. Raises as ``body``."""
        opener, slot = self.opener(bag.row), bag.row.bag_id * self.slot_bytes
        images = [self._card.try_read(f"{STEM}.{mirror}", slot, bag.end) for mirror in MIRRORS]
        readable = [image for image in images if image is not None]
        found: list[bytes] = []
        for entry in entries:
            valid = opener.valid(entry.index, readable, entry.offset)
            found.append(self.body(bag, entry) if valid is None else valid[1])
        return found

    def body(self, bag: Bag, entry: Entry) -> bytes:
        """From either mirror. Raises VaultError where both are damaged, CardFailed."""
        size = stored_bytes(entry.length)
        images = self._card.read_mirrors(STEM, bag.row.bag_id * self.slot_bytes + entry.offset, size)
        valid = self.opener(bag.row).valid(entry.index, images, 0)
        if valid is None:
            raise VaultError("An entry of a bag is damaged in both copies; the other calls are not affected.")
        return valid[1]

    def load(self, row: BagRow) -> Loaded:
        """Boot: parse both mirrors entry by entry, take whichever is valid, make them equal. Raises CardFailed."""
        images = self._card.read_mirrors(STEM, row.bag_id * self.slot_bytes, self.slot_bytes)
        parsed = self.opener(row).parse(*images)
        bag = Bag(row, list(parsed.entries), parsed.end, parsed.calls)
        healed = self._heal(row, parsed.whole, images)
        return Loaded(bag, parsed.bodies, healed, len(bag.entries) < row.entries)

    def _heal(self, row: BagRow, whole: bytes, images: Sequence[bytes]) -> bool:
        """Writes the joined image where a mirror differs, end mark included: a torn tail ends here."""
        damaged = False
        for mirror, image in zip(MIRRORS, images, strict=True):
            if not image.startswith(whole):
                damaged = True
                self._card.durable(f"{STEM}.{mirror}", row.bag_id * self.slot_bytes, whole)
        return damaged

    # ----------------------------------------------------------------------------------------------- free slots

    def free_slot(self, used: Iterable[int]) -> int | None:
        """The lowest slot that no table row names."""
        taken = set(used)
        return next((slot for slot in range(self.slots) if slot not in taken), None)

    def zero(self, slot: int) -> None:
        """Overwrite a slot that no table names, where it is not zero already. Raises CardFailed."""
        self._card.zero_mirrors(STEM, slot * self.slot_bytes, self.slot_bytes)


@dataclass(frozen=True)
class Parsed:
    """What the two mirrors of a slot hold together."""

    entries: tuple[Entry, ...]
    bodies: tuple[bytes, ...]
    calls: int
    end: int
    whole: bytes
    """As either mirror should read, end mark included."""


@dataclass(frozen=True, repr=False)
class Opener:
    """Reads the entries of one bag. What it finds depends on these words and the bytes alone, so that the crash
    explorer may remember it."""

    ciphers: Ciphers
    device_id: str
    bag_id: int
    key: bytes

    def parse(self, first: bytes, second: bytes) -> Parsed:
        """Both mirrors of the slot, each entry from whichever has it whole."""
        entries: list[Entry] = []
        bodies: list[bytes] = []
        stored: list[bytes] = []
        end = 0
        while end < len(first):
            found = self.valid(len(entries), (first, second), end)
            if found is None:
                stored.append(END_MARK)
                break
            kind, body, raw = found
            entries.append(Entry(len(entries), kind, subject(kind, body), end, len(body)))
            bodies.append(body)
            stored.append(raw)
            end += len(raw)
        calls = sum(entry.kind is Kind.OPEN for entry in entries)
        return Parsed(tuple(entries), tuple(bodies), calls, end, b"".join(stored))

    def valid(self, index: int, images: Sequence[bytes], at: int) -> tuple[Kind, bytes, bytes] | None:
        """The entry's kind, its body and its bytes in the slot, from the first image that has it whole."""
        for image in images:
            state, kind, body = self.judge(index, image, at)
            if state is State.VALID:
                size = len(body) + OVERHEAD_BYTES
                return kind, body, image[at : at + size] + bytes(-size % ALIGN)
        return None

    def judge(self, index: int, image: bytes, at: int) -> tuple[State, Kind, bytes]:
        """What lies at offset ``at``, if it is to be entry ``index``."""
        nothing = (Kind.OPEN, b"")
        if not any(image[at : at + ALIGN]):
            return State.END, *nothing
        length, number, zero = struct.unpack_from(">HBB", image, at)
        end = at + HEADER_BYTES + length + TAG_BYTES
        check = image[end : end + 4]
        kind = _KINDS.get(number)
        if zero or kind is None or len(check) != 4 or struct.pack(">I", crc32(image[at:end])) != check:
            return State.BAD, *nothing
        nonce, sealed = image[at + 4 : at + HEADER_BYTES], image[at + HEADER_BYTES : end]
        try:
            return State.VALID, kind, self.ciphers.open(self.key, nonce, sealed, self.aad(index, kind))
        except BadSeal:
            return State.STALE, *nothing

    def seal(self, index: int, kind: Kind, body: bytes, nonce: bytes) -> bytes:
        """Its bytes in the slot."""
        entry = struct.pack(">HBB", len(body), kind, 0) + nonce
        entry += self.ciphers.seal(self.key, nonce, body, self.aad(index, kind))
        entry += struct.pack(">I", crc32(entry))
        return entry + bytes(-len(entry) % ALIGN)

    def aad(self, index: int, kind: Kind) -> bytes:
        return self._domain + prefixed(struct.pack(">IIB", self.bag_id, index, kind))

    @cached_property
    def _domain(self) -> bytes:
        """A bag of 256 calls has a thousand entries."""
        return bound(BAG, self.device_id)


_KINDS = {int(kind): kind for kind in Kind}


def note(bag: Bag, kind: Kind, body: bytes) -> None:
    """Add an entry to what is known of a bag."""
    bag.entries.append(Entry(len(bag.entries), kind, subject(kind, body), bag.end, len(body)))
    bag.end += stored_bytes(len(body))
    bag.calls += kind is Kind.OPEN
