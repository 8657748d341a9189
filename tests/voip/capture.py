"""Writes what ``NetPort`` reads to a pcapng file with the interfaces ``trunk`` and ``inside``, until
standard input ends.

python -m tests.voip.capture TRUNK INSIDE FILE
"""

import select
import struct
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from firmware.policy.events import Packet, Port
from hw.netport import HAND_OVER_MS, NetPort

PORTS = (Port.TRUNK, Port.INSIDE)


def option(code: int, data: bytes) -> bytes:
    return struct.pack("<HH", code, len(data)) + data + bytes(-len(data) % 4)


def block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def head(names: Iterable[str] = ("trunk", "inside")) -> bytes:
    section = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    interfaces = b"".join(
        block(1, struct.pack("<HHI", 1, 0, 0) + option(2, name.encode()) + option(9, b"\x06") + option(0, b""))
        for name in names
    )
    return section + interfaces


def enhanced(packet: Packet, flags: int | None = None) -> bytes:
    stamp = packet.at_mono_us
    body = struct.pack(
        "<IIIII", PORTS.index(packet.port), stamp >> 32, stamp & 0xFFFFFFFF, len(packet.data), len(packet.data)
    )
    body += packet.data + bytes(-len(packet.data) % 4)
    if flags is not None:
        body += option(2, struct.pack("<I", flags)) + option(0, b"")
    return block(6, body)


def write(path: Path, packets: Iterable[Packet]) -> None:
    path.write_bytes(head() + b"".join(enhanced(packet) for packet in packets))


def record(port: NetPort, file: BinaryIO) -> None:
    """The kernel hands a block over after HAND_OVER_MS at the latest, so the last packets are still to come then."""
    file.write(head())
    rounds_left = None
    while rounds_left != 0:
        for packet in port.drain(1 << 20):
            file.write(enhanced(packet))
        if rounds_left is None:
            ready, _, _ = select.select([port, sys.stdin], [], [], 0.2)
            rounds_left = 4 if sys.stdin in ready else None
        else:
            time.sleep(HAND_OVER_MS / 1000)
            rounds_left -= 1


def main() -> None:
    trunk, inside, path = sys.argv[1:]
    port = NetPort(trunk, inside, sip_ports=(5060, 5062))
    print("listening", flush=True)
    with open(path, "wb") as file:
        record(port, file)
    print("dropped", port.dropped(), flush=True)
    port.close()


if __name__ == "__main__":
    main()
