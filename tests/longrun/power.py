"""A real file system whose power fails: ext4 on a loop device, shut down without its log or its data being written.

What was not synced by then is gone, as after a power cut; the next mount replays the journal. The erasable memory lies
elsewhere, for a cut does not empty it. Sectors are neither torn nor reordered here: that is the explorer's part.
"""

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IMAGE_BYTES = 96 << 20
EXT4_IOC_SHUTDOWN = 0x8004587D
NEITHER_LOG_NOR_DATA = struct.pack("I", 2)
TOOLS = ("mkfs.ext4", "mount", "umount")


def why_not() -> str:
    """What is missing here; empty where nothing is."""
    if os.geteuid() != 0:
        return "mounting a loop device needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not installed"
    return "" if Path("/dev/loop-control").exists() else "this machine has no loop devices"


class LossyCard:
    """``folder`` is the mount point."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self._folder = folder

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self._folder))

    def cut(self) -> None:
        """Nothing that is written from here on, or was not synced before, is there after ``restore``."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, NEITHER_LOG_NOR_DATA)
        finally:
            os.close(folder)

    def restore(self) -> None:
        """Once nobody has a file of it open."""
        _run("umount", str(self._folder))
        self.mount()


@contextmanager
def lossy_card(image: Path, folder: Path) -> Iterator[LossyCard]:
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    _run("mkfs.ext4", "-q", "-F", "-b", "4096", str(image))
    card = LossyCard(image, folder)
    card.mount()
    try:
        yield card
    finally:
        _run("umount", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
