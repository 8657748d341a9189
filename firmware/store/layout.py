"""The small words of FORMAT.md: block sizes, domain strings, ``bound`` and a reader that never runs past its end."""

import struct
from functools import lru_cache
from hashlib import sha256
from typing import Any

from firmware.store.ciphers import Bytes
from firmware.store.errors import Malformed

BLOCK_BYTES = 4096

KT = b"tacet/kt/1"
BAG = b"tacet/bag/1"
DEK = b"tacet/dek/1"
META = b"tacet/meta/1"
HOLD = b"tacet/hold/1"
FRAME = b"tacet/frame/1"
CLOSE = b"tacet/close/1"
AUDIT = b"tacet/audit/1"
FRAME_ENC = b"tacet/frame/enc/1"
FRAME_SALT = b"tacet/frame/salt/1"
FRAME_REACH = b"tacet/frame/reach/1"


def bound(domain: bytes, device_id: str, *parts: bytes) -> bytes:
    """FORMAT.md 1: the domain, the device and every part length-prefixed, so that no two meanings share bytes."""
    pieces = [domain, prefixed(device_id.encode("ascii"))]
    pieces += [prefixed(part) for part in parts]
    return b"".join(pieces)


def prefixed(data: bytes) -> bytes:
    """u16 length, then the bytes."""
    return len(data).to_bytes(2, "big") + data


def digest(data: Bytes) -> bytes:
    return sha256(data).digest()


def blocks_of(length_bytes: int) -> int:
    """Whole blocks that ``length_bytes`` fill."""
    return -(-length_bytes // BLOCK_BYTES)


def flag(value: int) -> bool:
    """Raises Malformed for anything but 0 and 1."""
    if value > 1:
        raise Malformed("flag")
    return value == 1


@lru_cache
def _layout(form: str) -> struct.Struct:
    return struct.Struct(">" + form)


class Cursor:
    """Reads a body front to back. Raises Malformed where it ends early or, in ``end``, late."""

    def __init__(self, data: Bytes) -> None:
        self._data = bytes(data)
        self.at = 0

    def take(self, count: int) -> bytes:
        piece = self._data[self.at : self.at + count]
        if len(piece) != count:
            raise Malformed("truncated")
        self.at += count
        return piece

    def unpack(self, form: str) -> tuple[Any, ...]:
        """Big-endian, without padding."""
        layout = _layout(form)
        if self.at + layout.size > len(self._data):
            raise Malformed("truncated")
        values = layout.unpack_from(self._data, self.at)
        self.at += layout.size
        return values

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def flag(self) -> bool:
        return flag(self.u8())

    def prefixed(self) -> bytes:
        return self.take(self.u16())

    def text(self, count: int) -> str:
        try:
            return self.take(count).decode("ascii")
        except UnicodeDecodeError:
            raise Malformed("text") from None

    def end(self) -> None:
        if self.at != len(self._data):
            raise Malformed("trailing bytes")
