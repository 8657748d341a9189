"""The data partition as a flat set of preallocated files below one directory (port ``Disk``).

No name is followed through a link, none is made in a hot path, and what ``sync`` or ``write_durable`` returned for is
on the medium as far as the card tells the truth (a card that lies is found by the relay test, not here).
"""

import errno
import fcntl
import mmap
import os
import re
import stat
from collections import OrderedDict
from pathlib import Path

NAME = re.compile(r"[a-z0-9-][a-z0-9.-]*(/[a-z0-9-][a-z0-9.-]*)*")
PAGE_BYTES = 4096
OPEN_FILES_MAX = 128
"""Descriptors kept open; the default limit of a process is 1024."""
FILL_BYTES = 1 << 20
DIRECT_BYTES_MAX = 256 * 1024
"""Bounce buffer for O_DIRECT, which needs page-aligned memory: the largest frame is 128 KiB."""

_BASE_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryDisk:
    """``exclusive``: hold a lock on the directory, so that two recorders never share one; BlockingIOError otherwise."""

    def __init__(self, root: Path, *, exclusive: bool = False) -> None:
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | _BASE_FLAGS)
        if exclusive:
            try:
                fcntl.flock(self._root_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._root_fd)
                raise
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._bounce = mmap.mmap(-1, DIRECT_BYTES_MAX)

    def names(self) -> list[str]:
        found: list[str] = []
        self._walk(self._root_fd, "", found)
        return sorted(found)

    def size(self, name: str) -> int:
        return self._open(name).size

    def create(self, name: str, size_bytes: int) -> None:
        """Filled with zeros under another name first, so that a cut leaves the whole file or none. FileExistsError."""
        _check_name(name)
        folder_fd, last = self._folder(name, make=True)
        try:
            if _exists(folder_fd, last):
                raise FileExistsError(errno.EEXIST, "the file is there already", name)
            unfinished = last + "~"
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BASE_FLAGS
            fd = os.open(unfinished, flags, 0o600, dir_fd=folder_fd)
            try:
                _fill(fd, size_bytes)
            finally:
                os.close(fd)
            os.rename(unfinished, last, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)

    def read(self, name: str, offset: int, length: int) -> bytes:
        file = self._open(name)
        _check_span(file, name, offset, length)
        parts: list[bytes] = []
        left = length
        while left:
            part = os.pread(file.fd, left, offset + length - left)
            if not part:
                raise OSError(errno.EIO, "the file ends early", name)
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        file = self._open(name)
        _check_span(file, name, offset, len(data))
        file.unsynced = True
        _write_whole(file.fd, data, offset)

    def sync(self, name: str) -> None:
        file = self._open(name)
        file.unsynced = False
        os.fdatasync(file.fd)

    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        file = self._open(name)
        _check_span(file, name, offset, len(data))
        aligned = offset % PAGE_BYTES == 0 and len(data) % PAGE_BYTES == 0 and 0 < len(data) <= DIRECT_BYTES_MAX
        if aligned and self._write_direct(file, offset, data):
            return
        if file.durable_fd is None:
            file.durable_fd = self._open_fd(name, os.O_RDWR | os.O_DSYNC)
        _write_whole(file.durable_fd, data, offset)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        os.close(self._root_fd)

    # ---------------------------------------------------------------------------------------------------- in detail

    def _write_direct(self, file: "_OpenFile", offset: int, data: bytes | bytearray | memoryview) -> bool:
        """True when the data went past the page cache. False: this file system cannot (tmpfs, some FUSE)."""
        if file.direct_refused:
            return False
        if file.direct_fd is None:
            try:
                file.direct_fd = self._open_fd(file.name, os.O_RDWR | os.O_DSYNC | os.O_DIRECT)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                file.direct_refused = True
                return False
        self._bounce[: len(data)] = data
        with memoryview(self._bounce) as whole, whole[: len(data)] as view:
            _write_whole(file.direct_fd, view, offset)
        return True

    def _open(self, name: str) -> "_OpenFile":
        file = self._files.get(name)
        if file is not None:
            self._files.move_to_end(name)
            return file
        fd = self._open_fd(name, os.O_RDWR)
        file = _OpenFile(name, fd, os.fstat(fd).st_size)
        self._files[name] = file
        if len(self._files) > OPEN_FILES_MAX:
            self._close_oldest()
        return file

    def _close_oldest(self) -> None:
        """Never one with unsynced writes: an error of theirs is reported to this descriptor."""
        for name, file in self._files.items():
            if not file.unsynced:
                del self._files[name]
                file.close()
                return

    def _open_fd(self, name: str, flags: int) -> int:
        _check_name(name)
        folder_fd, last = self._folder(name, make=False)
        try:
            fd = os.open(last, flags | _BASE_FLAGS, dir_fd=folder_fd)
        finally:
            os.close(folder_fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", name)
        return fd

    def _folder(self, name: str, *, make: bool) -> tuple[int, str]:
        """A descriptor of the folder that holds ``name``, each step opened without following links."""
        *folders, last = name.split("/")
        fd = os.dup(self._root_fd)
        for folder in folders:
            parent = fd
            try:
                if make and not _exists(parent, folder):
                    os.mkdir(folder, 0o700, dir_fd=parent)
                    os.fsync(parent)
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _BASE_FLAGS, dir_fd=parent)
            finally:
                os.close(parent)
        return fd, last

    def _walk(self, folder_fd: int, prefix: str, found: list[str]) -> None:
        with os.scandir(folder_fd) as entries:
            for entry in entries:
                name = prefix + entry.name
                if not NAME.fullmatch(name):
                    continue
                if entry.is_file(follow_symlinks=False):
                    found.append(name)
                elif entry.is_dir(follow_symlinks=False):
                    fd = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | _BASE_FLAGS, dir_fd=folder_fd)
                    try:
                        self._walk(fd, name + "/", found)
                    finally:
                        os.close(fd)


class _OpenFile:
    def __init__(self, name: str, fd: int, size: int) -> None:
        self.name = name
        self.fd = fd
        self.size = size
        self.unsynced = False
        self.durable_fd: int | None = None
        self.direct_fd: int | None = None
        self.direct_refused = False

    def close(self) -> None:
        for fd in (self.fd, self.durable_fd, self.direct_fd):
            if fd is not None:
                os.close(fd)


def _check_name(name: str) -> None:
    assert NAME.fullmatch(name), "a file name of the vault is fixed at provisioning"


def _check_span(file: _OpenFile, name: str, offset: int, length: int) -> None:
    """A file shorter than it was made is the world's fault (a card that lost it), hence EIO and no assertion."""
    assert offset >= 0
    assert length >= 0
    if offset + length > file.size:
        raise OSError(errno.EIO, "the file is shorter than it was made", name)


def _exists(folder_fd: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _fill(fd: int, size_bytes: int) -> None:
    """Real zeros, not only a reservation: a first pass into unwritten extents would cost a journal commit each."""
    if size_bytes:
        os.posix_fallocate(fd, 0, size_bytes)
    zeros = bytes(min(FILL_BYTES, size_bytes))
    for offset in range(0, size_bytes, FILL_BYTES):
        _write_whole(fd, memoryview(zeros)[: size_bytes - offset], offset)
    os.fsync(fd)


def _write_whole(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        if written == 0:
            raise OSError(errno.EIO, "nothing was written")
        view = view[written:]
        offset += written
