"""Memory that can be destroyed in place (port ``ErasableMemory``), through Linux nvmem, and a file that stands in.

Two slots of 32 bytes. SRAM and FRAM hold them at offsets 0 and 32; an EEPROM holds them in different pages, because a
cut while a page is programmed may spoil all of that page. Every write is read back from the part: the register maps of
the drivers named here are not cached (measured with ds1307 in emulation).
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

SLOT_BYTES = 32
NVMEM_ROOT = Path("/sys/bus/nvmem/devices")
FILE_KIND = "file"


@dataclass(frozen=True)
class Part:
    """What is known of a kind of part: smallest usable size, and where its two slots lie."""

    size_bytes_min: int
    slot_offsets: tuple[int, int]


PARTS = {
    # at24: EEPROM or FRAM. Pages have 8 to 256 bytes (data sheets of 24C02 to 24C512): 256 apart is another page.
    "at24": Part(512, (0, 256)),
    # DS3232: 236 bytes of battery-backed SRAM at 0x14 (Maxim DS3232 data sheet).
    "ds3232": Part(236, (0, SLOT_BYTES)),
    # MCP7941x: 64 bytes of battery-backed SRAM (Microchip DS20002266).
    "mcp794xx": Part(64, (0, SLOT_BYTES)),
}


class NvmemMemory:
    """``kind``: at24, ds3232 or mcp794xx; ``name``: its folder below /sys/bus/nvmem/devices.

    Raises OSError when the part is not there, is too small (a DS1307 has 56 bytes) or does not take a write.
    """

    def __init__(self, name: str, kind: str, root: Path = NVMEM_ROOT) -> None:
        if kind not in PARTS:
            raise OSError(errno.EINVAL, f"a kind of erasable memory is one of {', '.join(PARTS)}", kind)
        if "/" in name or name in ("", ".", ".."):
            raise OSError(errno.EINVAL, "the name of an nvmem device is one word", name)
        self.kind = kind
        self._part = PARTS[kind]
        self._path = root / name / "nvmem"
        size = self._size()
        if size < self._part.size_bytes_min:
            raise OSError(errno.ENOSPC, f"{kind} needs {self._part.size_bytes_min} bytes, this part has {size}", name)

    def read(self) -> bytes:
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(self._read_slot(fd, slot) for slot in (0, 1))
        finally:
            os.close(fd)

    def write_slot(self, slot: int, data: bytes) -> None:
        assert slot in (0, 1)
        assert len(data) == SLOT_BYTES
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _write_whole(fd, data, self._part.slot_offsets[slot])
            held = self._read_slot(fd, slot)
        finally:
            os.close(fd)
        if held != data:
            raise OSError(errno.EIO, "the erasable memory did not take what was written")

    def zero_slot(self, slot: int) -> None:
        self.write_slot(slot, bytes(SLOT_BYTES))

    def _read_slot(self, fd: int, slot: int) -> bytes:
        data = os.pread(fd, SLOT_BYTES, self._part.slot_offsets[slot])
        if len(data) != SLOT_BYTES:
            raise OSError(errno.EIO, "the erasable memory answered short")
        return data

    def _size(self) -> int:
        """sysfs shows the part's size as the size of the file."""
        return os.stat(self._path).st_size


class FileMemory:
    """A file of 64 bytes in place of a part: *degraded*. Flash keeps old copies, so erasure is not proven on it.

    Made with zeros when it is not there (``create``), opened otherwise; OSError when it is not 64 bytes.
    """

    kind = FILE_KIND

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        if create and not path.exists():
            _make_file(path)
        size = os.stat(path, follow_symlinks=False).st_size
        if size != 2 * SLOT_BYTES:
            raise OSError(errno.EIO, f"the file memory has {size} bytes instead of {2 * SLOT_BYTES}")

    def read(self) -> bytes:
        fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            data = os.pread(fd, 2 * SLOT_BYTES, 0)
        finally:
            os.close(fd)
        if len(data) != 2 * SLOT_BYTES:
            raise OSError(errno.EIO, "the file memory ends early")
        return data

    def write_slot(self, slot: int, data: bytes) -> None:
        assert slot in (0, 1)
        assert len(data) == SLOT_BYTES
        fd = os.open(self._path, os.O_RDWR | os.O_DSYNC | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _write_whole(fd, data, slot * SLOT_BYTES)
        finally:
            os.close(fd)
        if self.read()[slot * SLOT_BYTES :][:SLOT_BYTES] != data:
            raise OSError(errno.EIO, "the file memory did not take what was written")

    def zero_slot(self, slot: int) -> None:
        self.write_slot(slot, bytes(SLOT_BYTES))


def _make_file(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _write_whole(fd, bytes(2 * SLOT_BYTES), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    folder_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _write_whole(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]
        offset += written
