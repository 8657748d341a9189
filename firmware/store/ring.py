"""The ring: a pure log of frames in zones, addressed by positions that never wrap (FORMAT.md 6 and 7).

The allocator knows two positions of the *durable* table: ``table_tail``, below which all is free, and ``table_head``,
from which a boot scans ``reserve_blocks``. It never writes past either limit; a ROTATE moves them (I19).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from firmware.store.card import Card
from firmware.store.errors import Malformed
from firmware.store.frame import HEADER_BYTES, MAGIC, Header, ciphertext_sound, parse_header
from firmware.store.identity import Geometry
from firmware.store.layout import BLOCK_BYTES

FILE = "ring"
SECTOR_BYTES = 512
"""What a card writes whole or not at all, but for the one that a cut tears."""
SCAN_BLOCKS = 256
"""Blocks read at a time while scanning: 1 MiB."""


@dataclass(frozen=True)
class Found:
    """A frame in the ring whose header and ciphertext CRC are sound."""

    position: int
    header: Header
    sound: bool


class Ring:
    def __init__(self, card: Card, geometry: Geometry) -> None:
        self._card = card
        self._zone = geometry.zone_blocks
        self.blocks = geometry.ring_blocks
        self.reserve = geometry.reserve_blocks
        self.head = 0
        self.tail = 0
        """Everything below it is zeroed."""

    # ----------------------------------------------------------------------------------------------------- positions

    def place(self, head: int, blocks: int) -> int:
        """Where a frame of ``blocks`` goes at ``head``: there, or at the start of the next zone."""
        return head if head % self._zone + blocks <= self._zone else self.next_zone(head)

    def next_zone(self, position: int) -> int:
        return (position // self._zone + 1) * self._zone

    def zone_start(self, position: int) -> int:
        return position // self._zone * self._zone

    def beyond_reserve(self, table_head: int, end: int) -> bool:
        """A ROTATE has to move the table's head before anything is written up to ``end``."""
        return end > table_head + self.reserve

    def beyond_tail(self, table_tail: int, end: int) -> bool:
        """The zones up to ``end`` are not free in the durable table: a zone is free once nothing retained lies in it,
        for a card may damage neighbours of what it writes."""
        return end > self.zone_start(table_tail) + self.blocks

    # ------------------------------------------------------------------------------------------------------- writing

    def put(self, position: int, frame: bytes | bytearray) -> None:
        """One durable write of a frame; the head is behind it then. Raises OSError."""
        self._card.disk.write_durable(FILE, position % self.blocks * BLOCK_BYTES, frame)
        self.head = position + len(frame) // BLOCK_BYTES

    def zero(self, first: int, end: int) -> None:
        """Overwrite whole blocks, from the last to the first zone piece. Raises CardFailed."""
        at = first
        while at < end:
            stop = min(end, self.next_zone(at))
            self._card.zero(FILE, at % self.blocks * BLOCK_BYTES, (stop - at) * BLOCK_BYTES)
            at = stop

    def zero_frame(self, found: Found) -> None:
        """The header goes last, and alone: a cut leaves a frame that the next walk finds again, or nothing of it, in
        whatever order the sectors of a block reach the card."""
        start = found.position % self.blocks * BLOCK_BYTES
        end = start + found.header.blocks * BLOCK_BYTES
        self._card.zero(FILE, start + SECTOR_BYTES, end - start - SECTOR_BYTES)
        self._card.zero(FILE, start + HEADER_BYTES, SECTOR_BYTES - HEADER_BYTES)
        self._card.zero(FILE, start, HEADER_BYTES)

    # ------------------------------------------------------------------------------------------------------- reading

    def read(self, position: int, blocks: int) -> bytes:
        """Never across a zone. Raises CardFailed."""
        return self._card.read(FILE, position % self.blocks * BLOCK_BYTES, blocks * BLOCK_BYTES)

    def walk(
        self, first: int, end: int, wanted: Callable[[Header], bool], *, strict: bool = False
    ) -> Iterator[tuple[Found, bytes]]:
        """Frames that ``wanted`` takes, in order of place, with their bytes. A frame that is not wanted is stepped over
        by its length, what is no frame or cannot be read by one block; ``strict``: raises CardFailed there."""
        read = self.read if strict else self._try_read
        at = first
        while at < end:
            header = self._header_in(at, read(at, 1))
            raw = b"" if header is None or not wanted(header) else read(at, header.blocks)
            if header is None or raw is None:
                at += 1
                continue
            if raw:
                yield Found(at, header, ciphertext_sound(header, memoryview(raw)[HEADER_BYTES:])), raw
            at += header.blocks

    def _try_read(self, position: int, blocks: int) -> bytes | None:
        return self._card.try_read(FILE, position % self.blocks * BLOCK_BYTES, blocks * BLOCK_BYTES)

    def _header_in(self, at: int, block: bytes | None) -> Header | None:
        """The header of a frame that may lie at ``at``: written there or resent there, and within its zone."""
        try:
            header = parse_header(block or b"")
        except Malformed:
            return None
        in_zone = at % self._zone + header.blocks <= self._zone
        return header if in_zone and at - self.blocks < header.ring_seq <= at else None

    def scan(self, table_head: int, signed: Callable[[Header], bool]) -> tuple[int, list[Found]]:
        """Boot: every sound, signed frame of the reserve; and the head, which is after the last of them. All of the
        reserve is read: a hole (a refused zone) is not the end. Raises CardFailed."""
        frames: list[Found] = []
        head = table_head
        chunks = _Chunks(self, table_head, table_head + self.reserve)
        at = table_head
        while (at := chunks.candidate(at)) < chunks.end:
            found = self._frame_at(at, table_head, chunks)
            if found is None or not signed(found.header):
                at += 1
                continue
            frames.append(found)
            at = head = at + found.header.blocks
        return head, frames

    def _frame_at(self, at: int, table_head: int, chunks: "_Chunks") -> Found | None:
        header = self._header_in(at, chunks.get(at, 1))
        if header is None or header.ring_seq < table_head or at + header.blocks > chunks.end:
            return None
        raw = chunks.get(at, header.blocks)
        if not ciphertext_sound(header, memoryview(raw)[HEADER_BYTES:]):
            return None
        return Found(at, header, True)


class _Chunks:
    """Reads the reserve a mebibyte at a time; never across a zone or the end of the file."""

    def __init__(self, ring: Ring, first: int, end: int) -> None:
        self._ring = ring
        self.end = end
        self._at = first
        self._data = b""

    def candidate(self, position: int) -> int:
        """The first block from ``position`` on that starts like a frame: most of the reserve is zeros. ``end``: there
        is none."""
        while position < self.end:
            start = self._start(position, 1)
            firsts = self._data[start::BLOCK_BYTES]
            found = firsts.find(MAGIC[:1])
            if found >= 0:
                return position + found
            position += len(firsts)
        return self.end

    def get(self, position: int, blocks: int) -> bytes:
        start = self._start(position, blocks)
        return self._data[start : start + blocks * BLOCK_BYTES]

    def _start(self, position: int, blocks: int) -> int:
        """Where these blocks lie in the data at hand, read anew where they do not."""
        start = (position - self._at) * BLOCK_BYTES
        if start < 0 or start + blocks * BLOCK_BYTES > len(self._data):
            stop = min(self.end, self._ring.next_zone(position), position + max(SCAN_BLOCKS, blocks))
            self._at, self._data, start = position, self._ring.read(position, stop - position), 0
        return start
