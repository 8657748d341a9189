"""The hold area: ciphertext of held calls, in runs of blocks with a quota of its own (FORMAT.md 6, HOLDINFO)."""

from collections.abc import Iterable, Iterator, Sequence

from firmware.policy.holds import Quota
from firmware.store.card import Card
from firmware.store.entries import EXTENTS_MAX, Extent
from firmware.store.errors import Malformed
from firmware.store.frame import parse_header
from firmware.store.layout import BLOCK_BYTES

FILE = "hold"


class HoldArea:
    def __init__(self, card: Card, blocks: int) -> None:
        self._card = card
        self.blocks = blocks

    def free(self, taken: Iterable[Extent]) -> list[Extent]:
        """What no extent of ``taken`` covers, in order."""
        gaps: list[Extent] = []
        at = 0
        for extent in sorted(taken, key=lambda extent: extent.first):
            if extent.first > at:
                gaps.append(Extent(at, extent.first - at))
            at = max(at, extent.first + extent.blocks)
        if at < self.blocks:
            gaps.append(Extent(at, self.blocks - at))
        return gaps

    def quota(self, taken: Sequence[Extent]) -> Quota:
        return Quota(self.blocks * BLOCK_BYTES, sum(extent.blocks for extent in taken) * BLOCK_BYTES)

    def places(self, taken: Iterable[Extent]) -> "Places":
        return Places(self.free(taken))

    def write(self, first_block: int, frame: bytes) -> None:
        """Raises CardFailed."""
        self._card.durable(FILE, first_block * BLOCK_BYTES, frame)

    def frames(self, extents: Iterable[Extent]) -> Iterator[bytes]:
        """Frames as they lie there; a block that is no frame or cannot be read is stepped over."""
        for extent in extents:
            at, end = extent.first, extent.first + extent.blocks
            while at < end:
                raw = self._frame_at(at, end)
                if raw is not None:
                    yield raw
                at += 1 if raw is None else len(raw) // BLOCK_BYTES

    def _frame_at(self, at: int, end: int) -> bytes | None:
        head = self._card.try_read(FILE, at * BLOCK_BYTES, BLOCK_BYTES)
        try:
            header = parse_header(head or b"")
        except Malformed:
            return None
        return self._card.try_read(FILE, at * BLOCK_BYTES, min(header.blocks, end - at) * BLOCK_BYTES)


class Places:
    """Places whole frames one after the other into the gaps, first fit, never going back."""

    def __init__(self, gaps: Iterable[Extent]) -> None:
        self._gaps = list(gaps)
        self.extents: list[Extent] = []

    def take(self, blocks: int) -> int | None:
        """The first block for a frame of ``blocks``; None: there is no room."""
        while self._gaps and self._gaps[0].blocks < blocks:
            self._gaps.pop(0)
        if not self._gaps:
            return None
        gap = self._gaps[0]
        self._gaps[0] = Extent(gap.first + blocks, gap.blocks - blocks)
        last = self.extents[-1] if self.extents else None
        if last is not None and last.first + last.blocks == gap.first:
            self.extents[-1] = Extent(last.first, last.blocks + blocks)
        elif len(self.extents) == EXTENTS_MAX:
            return None
        else:
            self.extents.append(Extent(gap.first, blocks))
        return gap.first
