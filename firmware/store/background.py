"""R5: overwriting what was destroyed, a small portion at a time; and the scrub. Idempotent, repeated after every boot.

The key is gone before any of this runs; overwriting is what the notice promises, not the guarantee (storage.md 1.5).
"""

from collections.abc import Iterator

from firmware.store.core import Core
from firmware.store.frame import Header
from firmware.store.holdarea import FILE as HOLD_FILE
from firmware.store.layout import BLOCK_BYTES
from firmware.store.table import Todo, TodoOp

BYTES_PER_S = 8_000_000
"""At most so much overwriting per second, so that recording always has the card (storage.md 3.5)."""
BURST_BYTES = 1024 * 1024
STEP_BLOCKS = 32


class Sweeper:
    """Runs ``steps`` within a budget of bytes that grows with the time."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._steps: Iterator[int] | None = None
        self._budget = 0
        self._last_mono_us = core.parts.clock.mono_us()

    def tick(self) -> None:
        """Raises CardFailed."""
        now = self._core.parts.clock.mono_us()
        self._budget = min(BURST_BYTES, self._budget + (now - self._last_mono_us) * BYTES_PER_S // 1_000_000)
        self._last_mono_us = now
        while self._budget > 0:
            if self._steps is None:
                self._steps = steps(self._core)
            written = next(self._steps, None)
            if written is None:
                self._steps = None
                return
            self._budget -= written


def steps(core: Core) -> Iterator[int]:
    """All that there is to overwrite now; yields the bytes of each portion. Raises CardFailed."""
    for todo in list(core.table.todo):
        yield from _todo_steps(core, todo)
    for slot in list(core.used_slots):
        if slot in core.used_slots and slot not in core.table.bags:
            core.pool.zero(slot)
            core.used_slots.remove(slot)
            yield 2 * core.pool.slot_bytes
    yield from _tail_steps(core)


def finish_todo(core: Core) -> None:
    """Work off the table's list at once: it is full. Raises CardFailed."""
    for todo in list(core.table.todo):
        for _ in _todo_steps(core, todo):
            pass


def idle(core: Core) -> bool:
    """Nothing is left to overwrite."""
    return not core.table.todo and not core.used_slots and core.ring.tail >= core.live_tail()


def _todo_steps(core: Core, todo: Todo) -> Iterator[int]:
    if todo.op is TodoOp.HOLD:
        blocks = todo.end - todo.first
        core.card.zero(HOLD_FILE, todo.first * BLOCK_BYTES, blocks * BLOCK_BYTES)
        yield blocks * BLOCK_BYTES
    else:
        yield from _frames_steps(core, todo)
    if todo in core.table.todo:
        core.table.todo.remove(todo)


def _frames_steps(core: Core, todo: Todo) -> Iterator[int]:
    def wanted(header: Header) -> bool:
        return header.call_id == todo.call_id

    first = max(todo.first, core.ring.tail)
    for found, _ in core.ring.walk(first, todo.end, wanted):
        core.ring.zero_frame(found)
        yield found.header.blocks * BLOCK_BYTES


def _tail_steps(core: Core) -> Iterator[int]:
    """Up to the oldest retained frame."""
    ring = core.ring
    while ring.tail < (live_tail := core.live_tail()):
        end = min(ring.tail + STEP_BLOCKS, ring.next_zone(ring.tail), live_tail)
        ring.zero(ring.tail, end)
        ring.tail = end
        yield STEP_BLOCKS * BLOCK_BYTES
