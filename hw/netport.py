"""Two network interfaces, the trunk's and the inside's, as a ``PacketSource``: AF_PACKET, a ring, a kernel filter.

Listens only; nothing is ever sent. One socket for both interfaces, so that their packets come in one order. The kernel
fills a ring of blocks (TPACKET_V3) that is read here without a system call per packet. Needs CAP_NET_RAW.

Figures: linux/if_packet.h, linux/filter.h. The ring of 16 MiB holds about 10 s of 50 G.711 calls both ways at both
ports, and, because a block is handed over after at most 50 ms, 12.8 s at any lower load.
"""

import ctypes
import errno
import mmap
import socket
import struct
import time
from collections.abc import Iterator

import numpy as np

from firmware.policy.events import Port
from firmware.ports import Burst, Integers
from hw.packet_filter import program

SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_RX_RING, PACKET_STATISTICS = 1, 5, 6
PACKET_VERSION, PACKET_IGNORE_OUTGOING = 10, 23
PACKET_MR_PROMISC = 1
TPACKET_V3 = 2
ETH_P_ALL = 3
SO_ATTACH_FILTER = 26

BLOCK_BYTES = 1 << 16
BLOCKS = 256
FRAME_BYTES = 2048
HAND_OVER_MS = 50

STATUS_USER = 1
BLOCK_STATUS, BLOCK_PACKETS, BLOCK_FIRST, BLOCK_USED = 8, 12, 16, 20
"""Offsets in tpacket_block_desc of block_status, num_pkts, offset_to_first_pkt, blk_len (a multiple of 8)."""
FRAME_SECONDS, FRAME_NANOSECONDS, FRAME_LENGTH, FRAME_INTERFACE = 1, 2, 3, 13
"""In 32-bit words of tpacket3_hdr, which begins with the distance to the next: tp_sec, tp_nsec, tp_snaplen; and
sll_ifindex, the second word of the sockaddr_ll behind the header, which is aligned to 48 bytes."""
FRAME_MAC = 12
"""In 16-bit words: tp_mac, where in the frame the packet begins."""

INTERFACE_CHECK_US = 1_000_000
UINT = struct.Struct("=I")
NS_PER_S = 1_000_000_000
SENDER = np.arange(6, 12)
"""Where an Ethernet frame has its sender's hardware address."""


class NetPort:
    """``trunk_mac`` (six bytes): ``trunk`` and ``inside`` are one and the same interface, a switch's mirror port, and
    the frames that the trunk's own hardware address sent are the ones of its side.

    Raises OSError when an interface is not there or the rights are missing.
    """

    def __init__(
        self,
        trunk: str,
        inside: str,
        *,
        sip_ports: tuple[int, ...] = (5060,),
        tls_ports: tuple[int, ...] = (5061,),
        trunk_mac: bytes | None = None,
    ) -> None:
        assert trunk_mac is None or len(trunk_mac) == 6
        self._names = {Port.TRUNK: trunk, Port.INSIDE: inside}
        self._trunk_mac = trunk_mac
        self._indices = {port: _index(name, port) for port, name in self._names.items()}
        mirrored = self._indices[Port.TRUNK] == self._indices[Port.INSIDE]
        if mirrored is not (trunk_mac is not None):
            raise OSError(
                errno.EINVAL,
                "The trunk and the inside are two interfaces, or one mirror port with the trunk's hardware address. "
                "Nothing is recorded.",
            )
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ALL))
        try:
            self._set_up(sip_ports + tls_ports)
        except OSError:
            self._socket.close()
            raise
        self._ring = mmap.mmap(
            self._socket.fileno(), BLOCK_BYTES * BLOCKS, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._block = 0
        self._dropped = 0
        self._last_mono_us = 0
        self._checked_mono_us = _mono_us()

    def _set_up(self, tcp_ports: tuple[int, ...]) -> None:
        wire = self._socket
        wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        instructions = program(tuple(set(self._indices.values())), tcp_ports)
        code = ctypes.create_string_buffer(instructions, len(instructions))
        # struct sock_fprog: unsigned short len; struct sock_filter *filter (natural alignment).
        wire.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(instructions) // 8, ctypes.addressof(code))
        )
        wire.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        frames = BLOCK_BYTES * BLOCKS // FRAME_BYTES
        wire.setsockopt(
            SOL_PACKET,
            PACKET_RX_RING,
            struct.pack("@7I", BLOCK_BYTES, BLOCKS, FRAME_BYTES, frames, HAND_OVER_MS, 0, 0),
        )
        for index in set(self._indices.values()):
            membership = struct.pack("@iHH8s", index, PACKET_MR_PROMISC, 0, b"")
            wire.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)

    def fileno(self) -> int:
        """Readable when a block was handed over."""
        return self._socket.fileno()

    def drain(self, packets_max: int) -> Burst:
        """Port ``PacketSource``; may go over ``packets_max`` by the packets of one block (64 KiB)."""
        now_mono_us = _mono_us()
        if now_mono_us - self._checked_mono_us >= INTERFACE_CHECK_US:
            self._checked_mono_us = now_mono_us
            self._check_interfaces()
        blocks: list[bytes] = []
        frames: list[int] = []
        position = 0
        ring = self._ring
        for _ in range(BLOCKS):
            base = self._block * BLOCK_BYTES
            if len(frames) >= packets_max or not UINT.unpack_from(ring, base + BLOCK_STATUS)[0] & STATUS_USER:
                break
            block = ring[base : base + UINT.unpack_from(ring, base + BLOCK_USED)[0]]
            UINT.pack_into(ring, base + BLOCK_STATUS, 0)
            self._block = (self._block + 1) % BLOCKS
            frames += [position + frame for frame in _frames(block)]
            blocks.append(block)
            position += len(block)
        return self._burst(b"".join(blocks), np.array(frames), now_mono_us) if frames else Burst.of(())

    def _burst(self, data: bytes, frames: Integers, now_mono_us: int) -> Burst:
        """The packets of all blocks; the kernel's filter lets none of another interface in. The kernel stamps them with
        the wall clock; the distance to CLOCK_BOOTTIME is taken here, and a step of the wall clock in between can move a
        packet by no more than its block's age."""
        words, halves = np.frombuffer(data, np.uint32), np.frombuffer(data, np.uint16)
        distance_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_REALTIME)
        word = frames // 4
        wall_ns = words[word + FRAME_SECONDS] * np.int64(NS_PER_S) + words[word + FRAME_NANOSECONDS]
        at_mono_us = np.minimum((wall_ns + distance_ns) // 1000, now_mono_us)
        at_mono_us = np.maximum.accumulate(np.maximum(at_mono_us, self._last_mono_us))
        self._last_mono_us = int(at_mono_us[-1])
        starts = frames + halves[frames // 2 + FRAME_MAC]
        if self._trunk_mac is None:
            at_trunk = words[word + FRAME_INTERFACE] == self._indices[Port.TRUNK]
        else:
            senders = np.frombuffer(data, np.uint8)[starts[:, None] + SENDER]
            at_trunk = (senders == np.frombuffer(self._trunk_mac, np.uint8)).all(axis=1)
        return Burst(data, starts, starts + words[word + FRAME_LENGTH], at_mono_us, at_trunk)

    def _check_interfaces(self) -> None:
        """An adapter that was pulled out and put back has another index: this object is then useless, open a new
        one."""
        for port, name in self._names.items():
            if _index(name, port) != self._indices[port]:
                raise OSError(errno.ENODEV, f"The network interface of the {port.value} side was exchanged.")

    def lost(self) -> bool:
        """Of one pair of interfaces for its life: that they are gone is an error of ``drain``."""
        return False

    def dropped(self) -> int:
        """The kernel's count is cleared by reading, so it is added up here."""
        statistics = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12)
        self._dropped += int(struct.unpack("@3I", statistics)[1])
        return self._dropped

    def finished(self) -> bool:
        return False

    def close(self) -> None:
        self._ring.close()
        self._socket.close()


def _frames(block: bytes) -> Iterator[int]:
    """Where each packet's tpacket3_hdr begins."""
    words = memoryview(block).cast("I")
    frame = words[BLOCK_FIRST // 4]
    for _ in range(words[BLOCK_PACKETS // 4]):
        yield frame
        frame += words[frame // 4]


def _index(name: str, port: Port) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        sentence = f"The network interface of the {port.value} side is not there. Nothing is recorded. Check its plug."
        raise OSError(errno.ENODEV, sentence) from error


def _mono_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
