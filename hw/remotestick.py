"""Stick: the files of a plugged-in stick, by way of its own process (``boot/stickd.py``), over one socket.

A stick that hangs, hangs that process; here it is a ``TimeoutError`` after ``STALL_S``, and the recorder can still be
ended and started again, which a thread stuck in the kernel would prevent. What the files hold is parsed here, as bytes;
the file system is looked at over there, without a recording, a key or a device in sight.

Records on the socket: length of the payload (u32), kind (1 byte), payload. A path is ASCII. Kinds asked: READ (limit
u32, path), WRITE (path; then DATA records; then END), REREAD, EXISTS (path), SYNC. Answered: DATA records and END, NONE
for a file that is not there, FAILED (errno u32, text).
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

HEAD = struct.Struct(">Ic")
NUMBER = struct.Struct(">I")
READ, WRITE, REREAD, EXISTS, SYNC, DATA, END, NONE, FAILED = b"R", b"W", b"B", b"X", b"S", b"D", b"E", b"N", b"F"
RECORD_BYTES_MAX = 1 << 18
"""A frame is at most 128 KiB."""
STALL_S = 60.0
"""As the courier's: a stick that takes no byte for a minute is given up."""


class RemoteStick:
    """Implements ``firmware.ports.Stick``. Raises OSError from the constructor where no stick is plugged in."""

    def __init__(self, address: str, stall_s: float = STALL_S) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(stall_s)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def read(self, path: str, limit: int) -> bytes | None:
        send(self._socket, READ, NUMBER.pack(limit) + path.encode("ascii"))
        found = self._answer()
        if found is not None and len(found) > limit:
            raise OSError(errno.EFBIG, "the stick's process sent more than was asked for")
        return found

    def write(self, path: str, chunks: Iterator[bytes] | Sequence[bytes]) -> None:
        send(self._socket, WRITE, path.encode("ascii"))
        for chunk in chunks:
            for start in range(0, len(chunk), RECORD_BYTES_MAX):
                send(self._socket, DATA, chunk[start : start + RECORD_BYTES_MAX])
        send(self._socket, END)
        self._answer()

    def reread(self, path: str) -> Iterator[bytes]:
        send(self._socket, REREAD, path.encode("ascii"))
        while True:
            kind, payload = receive(self._socket)
            if kind != DATA:
                _raise_if_failed(kind, payload)
                return
            yield payload

    def exists(self, path: str) -> bool:
        send(self._socket, EXISTS, path.encode("ascii"))
        return self._answer() is not None

    def sync(self) -> None:
        send(self._socket, SYNC)
        self._answer()

    def close(self) -> None:
        self._socket.close()

    def _answer(self) -> bytes | None:
        data = bytearray()
        while True:
            kind, payload = receive(self._socket)
            if kind == DATA:
                data += payload
            elif kind == NONE:
                return None
            else:
                _raise_if_failed(kind, payload)
                return bytes(data)


def _raise_if_failed(kind: bytes, payload: bytes) -> None:
    if kind == FAILED:
        [number] = NUMBER.unpack_from(payload)
        raise OSError(number, payload[NUMBER.size :].decode("ascii", errors="replace") or os.strerror(number))
    if kind != END:
        raise OSError(errno.EPROTO, "the stick's process answered out of turn")


def send(link: socket.socket, kind: bytes, payload: bytes = b"") -> None:
    link.sendall(HEAD.pack(len(payload), kind) + payload)


def receive(link: socket.socket) -> tuple[bytes, bytes]:
    """Raises OSError when the other side is gone, silent for too long, or sends what cannot be."""
    length, kind = HEAD.unpack(_exactly(link, HEAD.size))
    if length > RECORD_BYTES_MAX:
        raise OSError(errno.EPROTO, "a record longer than any can be")
    return kind, _exactly(link, length)


def _exactly(link: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = link.recv(length - len(data))
        if not chunk:
            raise ConnectionResetError(errno.ECONNRESET, "the stick was pulled")
        data += chunk
    return bytes(data)
