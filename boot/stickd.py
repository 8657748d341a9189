"""The stick's own process: unprivileged, thrown away with the stick, one client at a time (``hw/remotestick.py``).

    python -m boot.stickd --root /run/tacet-stick/mount --socket /run/tacet-stick/socket

It sees one mounted file system and a socket. Everything it does to files is ``hw/usbstick.py``'s.
"""

import argparse
import errno
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from hw.remotestick import DATA, END, EXISTS, FAILED, NONE, NUMBER, READ, REREAD, SYNC, WRITE, receive, send
from hw.usbstick import UsbStick

READ_BYTES_MAX = 4 << 20
"""The largest file that is ever read: the notice of a provisioning pack."""
SEND_BYTES = 65536


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="boot.stickd", description="serve the files of one mounted stick")
    parser.add_argument("--root", required=True)
    parser.add_argument("--socket", required=True)
    options = parser.parse_args(arguments)
    stick = UsbStick(options.root)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        Path(options.socket).unlink(missing_ok=True)
        listener.bind(options.socket)
        os.chmod(options.socket, 0o660)
        listener.listen(1)
        notify_ready()
        while True:
            link, _ = listener.accept()
            with link:
                serve(link, stick)


def serve(link: socket.socket, stick: UsbStick) -> None:
    """Until the client goes. A failing file operation is told and is not the end; the client's errors are."""
    while True:
        try:
            kind, payload = receive(link)
        except OSError:
            return
        try:
            answer(link, stick, kind, payload)
        except (OSError, AssertionError, UnicodeDecodeError) as error:
            number = (error.errno if isinstance(error, OSError) else None) or errno.EINVAL
            text = str(error.strerror) if isinstance(error, OSError) else "a path that the recorder does not make"
            try:
                send(link, FAILED, NUMBER.pack(number) + text.encode("ascii", errors="replace")[:200])
            except OSError:
                return


def answer(link: socket.socket, stick: UsbStick, kind: bytes, payload: bytes) -> None:
    if kind == READ:
        [limit] = NUMBER.unpack_from(payload)
        found = stick.read(payload[NUMBER.size :].decode("ascii"), min(limit, READ_BYTES_MAX))
        if found is None:
            send(link, NONE)
            return
        for start in range(0, len(found), SEND_BYTES):
            send(link, DATA, found[start : start + SEND_BYTES])
    elif kind == WRITE:
        write(link, stick, payload)
    elif kind == REREAD:
        for chunk in stick.reread(payload.decode("ascii")):
            send(link, DATA, chunk)
    elif kind == EXISTS:
        if not stick.exists(payload.decode("ascii")):
            send(link, NONE)
            return
    elif kind == SYNC:
        stick.sync()
    else:
        raise OSError(errno.EPROTO, "unknown kind of record")
    send(link, END)


def write(link: socket.socket, stick: UsbStick, payload: bytes) -> None:
    """A write that fails goes on reading to its END, or what follows would be taken for new requests."""
    incoming = _incoming(link)
    try:
        stick.write(payload.decode("ascii"), incoming)
    finally:
        for _ in incoming:
            pass


def _incoming(link: socket.socket) -> Iterator[bytes]:
    while True:
        kind, payload = receive(link)
        if kind == END:
            return
        if kind != DATA:
            raise OSError(errno.EPROTO, "unknown kind of record")
        yield payload


def notify_ready() -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


if __name__ == "__main__":
    sys.exit(main())
