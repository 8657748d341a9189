"""A stick that can be pulled, fill up or tear: the real adapter over a directory, with a hand on the plug.

``pull`` makes every later call fail as a vanished FAT does: ENOSPC for a write, EIO for the rest (measured).
"""

import errno
from collections.abc import Iterator, Sequence

from hw.usbstick import UsbStick


class SimStick:
    """Implements ``firmware.ports.Stick`` over the directory ``root``.

    ``pull_after_bytes`` pulls it by itself once so many bytes were written; ``full_after_bytes`` refuses the next
    byte with ENOSPC and goes on working for reads.
    """

    def __init__(self, root: str, *, pull_after_bytes: int | None = None, full_after_bytes: int | None = None) -> None:
        self._stick = UsbStick(root)
        self._pull_after_bytes = pull_after_bytes
        self._full_after_bytes = full_after_bytes
        self._written_bytes = 0
        self._pulled = False

    def pull(self) -> None:
        """The stick is out, now, whatever was going on."""
        self._pulled = True

    def read(self, path: str, limit: int) -> bytes | None:
        self._plugged()
        return self._stick.read(path, limit)

    def write(self, path: str, chunks: Iterator[bytes] | Sequence[bytes]) -> None:
        if self._pulled:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._stick.write(path, self._counted(chunks))

    def reread(self, path: str) -> Iterator[bytes]:
        self._plugged()
        for chunk in self._stick.reread(path):
            self._plugged()
            yield chunk

    def exists(self, path: str) -> bool:
        self._plugged()
        return self._stick.exists(path)

    def sync(self) -> None:
        self._plugged()
        self._stick.sync()

    def close(self) -> None:
        self._stick.close()

    def _plugged(self) -> None:
        if self._pulled:
            raise OSError(errno.EIO, "Input/output error")

    def _counted(self, chunks: Iterator[bytes] | Sequence[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._written_bytes += len(chunk)
            if self._pull_after_bytes is not None and self._written_bytes > self._pull_after_bytes:
                self.pull()
            full = self._full_after_bytes is not None and self._written_bytes > self._full_after_bytes
            if self._pulled or full:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield chunk
