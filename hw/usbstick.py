"""Stick: the files of one plugged-in stick, below the directory it is mounted on. What is on it may be made to hurt.

Every step goes through directory descriptors (``openat``) and refuses links, so no name on the stick leads off it;
only regular files with one name are read, never more bytes than the caller allowed; nothing is listed or walked.
A file is written beside its name, synced, then renamed: a stick pulled in mid-write holds no half of an answer.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DEPTH_MAX = 8
_CHUNK_BYTES = 65536
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC
_READ = _OPEN | os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
"""O_NONBLOCK: opening a named pipe or a terminal must not wait for somebody at its other end."""


class StickRefused(OSError):
    """What is on the stick under this name is not a plain file of at most the size allowed."""


def _parts(path: str) -> list[str]:
    """Paths are made by the device: a bad one is our own mistake."""
    parts = path.split("/")
    assert len(parts) <= _DEPTH_MAX, "path deeper than the device makes them"
    assert all(_NAME.fullmatch(part) for part in parts), "path not made by the device"
    return parts


class UsbStick:
    """Implements ``firmware.ports.Stick`` below ``root``, the stick's mount point (FAT or exFAT; any in a test).

    ``close`` before it is unmounted: an open directory keeps it busy.
    """

    def __init__(self, root: str) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            with self._file(path) as (descriptor, size):
                if size > limit:
                    raise StickRefused(errno.EFBIG, f"{path} is longer than the {limit} bytes allowed")
                return _read_at_most(descriptor, path, limit)
        except FileNotFoundError:
            return None

    def write(self, path: str, chunks: Iterator[bytes] | Sequence[bytes]) -> None:
        *parents, name = _parts(path)
        part = name + ".part"
        with self._directory(parents, make=True) as directory:
            if _status(directory, name) is not None:
                raise FileExistsError(errno.EEXIST, f"{path} is on the stick already and is not replaced")
            try:
                _write_new(directory, part, chunks)
                os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)
            except BaseException:
                with suppress(OSError):  # a pulled stick cannot be tidied; the first error is the one that tells
                    os.unlink(part, dir_fd=directory)
                raise

    def reread(self, path: str) -> Iterator[bytes]:
        with self._file(path) as (descriptor, _):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            while chunk := os.read(descriptor, _CHUNK_BYTES):
                yield chunk

    def exists(self, path: str) -> bool:
        """Whether anything has this name, of whatever kind."""
        *parents, name = _parts(path)
        try:
            with self._directory(parents) as directory:
                return _status(directory, name) is not None
        except FileNotFoundError:
            return False

    def sync(self) -> None:
        """Files are synced as they are written; this adds the root, with the allocation table on FAT."""
        os.fsync(self._root)

    def close(self) -> None:
        os.close(self._root)

    @contextmanager
    def _file(self, path: str) -> Iterator[tuple[int, int]]:
        """A regular file's descriptor and size."""
        *parents, name = _parts(path)
        with self._directory(parents) as directory:
            descriptor = _refusing_links(path, name, _READ, directory)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
                raise StickRefused(errno.EINVAL, f"{path} on the stick is not a plain file")
            yield descriptor, status.st_size
        finally:
            os.close(descriptor)

    @contextmanager
    def _directory(self, parents: Sequence[str], make: bool = False) -> Iterator[int]:
        descriptor = os.dup(self._root)
        try:
            for name in parents:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                        os.fsync(descriptor)
                child = _refusing_links("/".join(parents), name, _OPEN | os.O_RDONLY | os.O_DIRECTORY, descriptor)
                os.close(descriptor)
                descriptor = child
            yield descriptor
        finally:
            os.close(descriptor)


def _refusing_links(path: str, name: str, flags: int, directory: int) -> int:
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise StickRefused(error.errno, f"{path} on the stick is a link, a device or not a directory") from error
        raise


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _read_at_most(descriptor: int, path: str, limit: int) -> bytes:
    """The size in the directory may lie: what counts is what comes."""
    data = bytearray()
    while chunk := os.read(descriptor, min(_CHUNK_BYTES, limit + 1 - len(data))):
        data += chunk
        if len(data) > limit:
            raise StickRefused(errno.EFBIG, f"{path} is longer than the {limit} bytes allowed")
    return bytes(data)


def _write_new(directory: int, name: str, chunks: Iterator[bytes] | Sequence[bytes]) -> None:
    if _status(directory, name) is not None:
        os.unlink(name, dir_fd=directory)  # left by a stick that was pulled in mid-write
    descriptor = os.open(name, _OPEN | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=directory)
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
