"""The queue in which captured audio waits before it is judged. Memory only; what is not kept is gone when it leaves.

A block is due once its last sample is as old as the look-back. By then everything that may silence it has been heard:
a late press of PAYMENT or OPT-OUT reaches back over exactly what still waits here.
"""

from collections import deque
from dataclasses import dataclass

from firmware.ports import Block
from firmware.units import BLOCK_MS, MS_PER_S, SAMPLE_US

SLACK_S = 30
"""The loop may stand still for this long (a stopped process) before the limit below is reached."""


@dataclass
class Waiting:
    """``muted``: per channel, whether a key silenced the whole block while it was captured. Said one block later,
    when a release that still bounced in it would be known."""

    block: Block
    muted: tuple[bool, ...] = ()

    @property
    def ends_mono_us(self) -> int:
        samples: int = self.block.samples.shape[1]
        return self.block.captured_mono_us + samples * SAMPLE_US


class LookBack:
    """Of one codec, all its lines together."""

    def __init__(self, look_back_us: int) -> None:
        self._look_back_us = look_back_us
        self._waiting: deque[Waiting] = deque()
        self._blocks_max = (look_back_us // 1000 + SLACK_S * MS_PER_S) // BLOCK_MS

    @property
    def newest(self) -> Waiting | None:
        return self._waiting[-1] if self._waiting else None

    def push(self, block: Block) -> None:
        """When the limit is reached the oldest block is dropped: its samples become a gap, never a late recording."""
        if len(self._waiting) == self._blocks_max:
            self._waiting.popleft()
        self._waiting.append(Waiting(block))

    def due(self, now_mono_us: int) -> list[Waiting]:
        due: list[Waiting] = []
        while self._waiting and self._waiting[0].ends_mono_us + self._look_back_us <= now_mono_us:
            due.append(self._waiting.popleft())
        return due

    def oldest_mono_us(self, now_mono_us: int) -> int:
        """Capture time of the oldest sound that still waits; now, where none does."""
        return self._waiting[0].block.captured_mono_us if self._waiting else now_mono_us

    def waits_for(self, at_mono_us: int) -> bool:
        """Whether a block captured before this time still waits."""
        return bool(self._waiting) and self._waiting[0].block.captured_mono_us < at_mono_us
