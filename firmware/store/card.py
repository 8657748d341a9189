"""Writing twice and believing once: mirrored files, and what an I/O error may and may not do.

A failed write is tried once more with identical bytes; a second failure is ``CardFailed``, after which the vault writes
nothing until it is opened again (a page cache that swallowed an error shows data as clean that is gone).
"""

from collections.abc import Callable

from firmware.ports import Disk
from firmware.store.errors import CardFailed

MIRRORS = ("a", "b")
ZERO_CHUNK_BYTES = 128 * 1024
_ZEROS = bytes(ZERO_CHUNK_BYTES)


class Card:
    """The disk as the vault uses it. ``failed`` latches."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.failed = False

    def check(self) -> None:
        if self.failed:
            raise CardFailed

    def durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """One durable write, in place. Raises CardFailed."""
        self.twice(lambda: self.disk.write_durable(name, offset, data))

    def mirrored(self, stem: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """First ``stem.a``, durable, then ``stem.b``: one cut never shears both. Raises CardFailed."""
        for mirror in MIRRORS:
            self.durable(f"{stem}.{mirror}", offset, data)

    def zero(self, name: str, offset: int, length: int) -> None:
        """Overwrite with zeros, durable. Raises CardFailed."""
        for at in range(0, length, ZERO_CHUNK_BYTES):
            self.durable(name, offset + at, memoryview(_ZEROS)[: min(ZERO_CHUNK_BYTES, length - at)])

    def try_read(self, name: str, offset: int, length: int) -> bytes | None:
        """None after the second refusal: a bad block is damage like any other, not the end of the card."""
        for _ in range(2):
            try:
                return self.disk.read(name, offset, length)
            except OSError:
                continue
        return None

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Where nothing may be missed. Raises CardFailed after the second refusal."""
        data = self.try_read(name, offset, length)
        if data is None:
            self.failed = True
            raise CardFailed
        return data

    def read_mirrors(self, stem: str, offset: int, length: int) -> list[bytes]:
        """Both copies, zeros for one that cannot be read. Raises CardFailed where neither can."""
        images = [self.try_read(f"{stem}.{mirror}", offset, length) for mirror in MIRRORS]
        if images == [None, None]:
            self.failed = True
            raise CardFailed
        return [bytes(length) if image is None else image for image in images]

    def zero_mirrors(self, stem: str, offset: int, length: int) -> bool:
        """Zeros into each copy that is not zero. True where there was something. Raises CardFailed."""
        found = False
        for mirror in MIRRORS:
            image = self.try_read(f"{stem}.{mirror}", offset, length)
            if image is None or image.count(0) != length:
                found = True
                self.zero(f"{stem}.{mirror}", offset, length)
        return found

    def twice(self, act: Callable[[], None]) -> None:
        self.check()
        try:
            act()
        except OSError:
            self._again(act)

    def _again(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError:
            self.failed = True
            raise CardFailed from None
