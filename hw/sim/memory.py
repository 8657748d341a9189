"""Erasable memory that tears, fails and forgets on command (port ``ErasableMemory``)."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

SLOT_BYTES = 32

MemoryKind = Literal["read", "write", "zero"]
MemoryHook = Callable[[int, MemoryKind, int], "Failure | None"]
"""Called before the k-th call (kind, slot; slot -1 for a read); returns how it fails, or None."""


@dataclass(frozen=True)
class Failure:
    """``bytes_done``: how much of the slot was written before the part stopped answering (0..32); ``error``: what is
    raised instead of the OSError of a part that does not answer (a power cut in a test)."""

    bytes_done: int = 0
    error: Exception | None = None


@dataclass(frozen=True)
class SlotWrite:
    slot: int
    before: bytes
    after: bytes


class SimMemory:
    """64 bytes. ``history`` has every write; a cut inside one leaves any prefix of it (``torn``)."""

    def __init__(self, content: bytes = bytes(2 * SLOT_BYTES), kind: str = "sim") -> None:
        assert len(content) == 2 * SLOT_BYTES
        self.kind = kind
        self.content = content
        self.hook: MemoryHook | None = None
        self.unplugged = False
        self.calls = 0
        self.history: list[SlotWrite] = []
        self.on_write: Callable[[SlotWrite], None] | None = None

    def read(self) -> bytes:
        self._call("read", -1)
        return self.content

    def write_slot(self, slot: int, data: bytes) -> None:
        assert slot in (0, 1)
        assert len(data) == SLOT_BYTES
        self._write("write", slot, bytes(data))

    def zero_slot(self, slot: int) -> None:
        assert slot in (0, 1)
        self._write("zero", slot, bytes(SLOT_BYTES))

    def slot(self, slot: int) -> bytes:
        return self.content[slot * SLOT_BYTES :][:SLOT_BYTES]

    def _write(self, kind: MemoryKind, slot: int, data: bytes) -> None:
        before = self.slot(slot)
        failure = self._call(kind, slot)
        done = SLOT_BYTES if failure is None else failure.bytes_done
        self._set(slot, data[:done] + before[done:])
        if failure is not None:
            raise failure.error or OSError(errno.EREMOTEIO, "the erasable memory does not answer")

    def _call(self, kind: MemoryKind, slot: int) -> Failure | None:
        number = self.calls
        self.calls += 1
        failure = self.hook(number, kind, slot) if self.hook is not None else None
        if self.unplugged or (failure is not None and kind == "read"):
            raise OSError(errno.EREMOTEIO, "the erasable memory does not answer")
        return failure

    def _set(self, slot: int, data: bytes) -> None:
        write = SlotWrite(slot, self.slot(slot), data)
        self.history.append(write)
        self.content = torn(self.content, write, SLOT_BYTES)
        if self.on_write is not None:
            self.on_write(write)


def torn(content: bytes, write: SlotWrite, bytes_done: int) -> bytes:
    """``content`` with the first ``bytes_done`` bytes of the slot written and the rest as before."""
    at = write.slot * SLOT_BYTES
    slot = write.after[:bytes_done] + write.before[bytes_done:]
    return content[:at] + slot + content[at + SLOT_BYTES :]
