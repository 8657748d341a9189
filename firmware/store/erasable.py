"""The two slots of the erasable memory: encode, judge, write and read back (FORMAT.md 3, storage.md 3.4 R3 and R4).

One part is fitted. A second one beside it needs nothing here: the pair is one ``ErasableMemory`` whose ``write_slot``
and ``zero_slot`` return once both parts have read back, and raise OSError otherwise, and whose ``read`` shows of each
slot the copy that is valid, and zeros only where both are zero. The number of parts goes into ``stores`` of a
certificate (``rotate``).
"""

import struct
from dataclasses import dataclass
from zlib import crc32

from firmware.ports import ErasableMemory
from firmware.store.errors import ErasureUnconfirmed

ROOT_BYTES = 24
SLOT_BYTES = 32
SLOTS = 2
ATTEMPTS = 5
"""Tries of R3 and R4 before the vault stops; I2C errors are mostly single ones [G]."""

DEGRADED_KINDS = frozenset({"file", "sim"})
"""Storage on which overwriting proves nothing; ``sim`` stands for a part but is none."""


@dataclass(frozen=True)
class Slot:
    gen: int
    root: bytes

    def __repr__(self) -> str:
        return f"Slot(gen={self.gen})"


def encode_slot(gen: int, root: bytes) -> bytes:
    body = struct.pack(">I", gen) + root
    return body + struct.pack(">I", crc32(b"slot1" + body))


def decode_slot(data: bytes) -> Slot | None:
    """None for zeros and for anything torn."""
    body, (check,) = data[:28], struct.unpack(">I", data[28:SLOT_BYTES])
    (gen,) = struct.unpack(">I", body[:4])
    if gen == 0 or crc32(b"slot1" + body) != check:
        return None
    return Slot(gen, body[4:])


def split(memory: bytes) -> tuple[bytes, bytes]:
    return memory[:SLOT_BYTES], memory[SLOT_BYTES : SLOTS * SLOT_BYTES]


def write_confirmed(memory: ErasableMemory, slot: int, data: bytes) -> None:
    """R3: identical bytes until they read back. Raises ErasureUnconfirmed."""
    for _ in range(ATTEMPTS):
        try:
            memory.write_slot(slot, data)
            if split(memory.read())[slot] == data:
                return
        except OSError:
            continue
    raise ErasureUnconfirmed


def zero_confirmed(memory: ErasableMemory, slot: int) -> None:
    """R4: zeros until they read back. Raises ErasureUnconfirmed."""
    for _ in range(ATTEMPTS):
        try:
            memory.zero_slot(slot)
            if split(memory.read())[slot] == bytes(SLOT_BYTES):
                return
        except OSError:
            continue
    raise ErasureUnconfirmed
