"""The queue in which captured audio waits before it is judged. Memory only; what is not kept is gone when it leaves.

A block is due once its last sample is as old as the look-back. By then everything that may silence it has been heard:
a late press of PAYMENT or OPT-OUT reaches back over exactly what still waits here. Blocks leave in portions of
``PORTION_BLOCKS`` that are judged as one: the verdict is the same to a sample, the work a quarter.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from firmware.ports import Block
from firmware.units import BLOCK_MS, MS_PER_S, PORTION_BLOCKS, SAMPLE_US

PORTION_WAIT_US = (PORTION_BLOCKS - 1) * BLOCK_MS * 1000
"""The first block of a portion waits for the last."""

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
        """Nothing until the oldest block's portion is complete in time; then whatever has waited out the look-back."""
        waited_out_us = now_mono_us - self._look_back_us
        if not self._waiting or self._waiting[0].ends_mono_us + PORTION_WAIT_US > waited_out_us:
            return []
        due: list[Waiting] = []
        while self._waiting and self._waiting[0].ends_mono_us <= waited_out_us:
            due.append(self._waiting.popleft())
        return [_joined(portion) for portion in _portions(due)]

    def oldest_mono_us(self, now_mono_us: int) -> int:
        """Capture time of the oldest sound that still waits; now, where none does."""
        return self._waiting[0].block.captured_mono_us if self._waiting else now_mono_us

    def waits_for(self, at_mono_us: int) -> bool:
        """Whether a block captured before this time still waits."""
        return bool(self._waiting) and self._waiting[0].block.captured_mono_us < at_mono_us


def _portions(due: Sequence[Waiting]) -> Iterator[list[Waiting]]:
    """Neighbours that lost nothing in between and were muted alike."""
    portion: list[Waiting] = []
    for waiting in due:
        if portion and not (len(portion) < PORTION_BLOCKS and _continues(portion, waiting)):
            yield portion
            portion = []
        portion.append(waiting)
    if portion:
        yield portion


def _continues(portion: Sequence[Waiting], after: Waiting) -> bool:
    """Two clocks drift apart by microseconds a block: a portion's samples all lie within one of where they would be
    judged alone."""
    first, last = portion[0].block, portion[-1].block
    in_order = after.block.first_sample == last.first_sample + last.samples.shape[1]
    due_mono_us = first.captured_mono_us + (after.block.first_sample - first.first_sample) * SAMPLE_US
    in_time = abs(after.block.captured_mono_us - due_mono_us) < SAMPLE_US
    return in_order and in_time and after.muted == portion[0].muted


def _joined(portion: Sequence[Waiting]) -> Waiting:
    first = portion[0]
    samples = np.concatenate([waiting.block.samples for waiting in portion], axis=1)
    return Waiting(Block(first.block.first_sample, first.block.captured_mono_us, samples), first.muted)
