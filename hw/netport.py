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

from firmware.policy.events import Packet, Port
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
BLOCK_STATUS, BLOCK_PACKETS, BLOCK_FIRST = 8, 12, 16
"""Offsets in tpacket_block_desc of block_status, num_pkts, offset_to_first_pkt."""
FRAME_HEADER = struct.Struct("=IIIIIIHH")
"""tpacket3_hdr: next offset, seconds, nanoseconds, captured length, length, status, mac offset, net offset."""
INTERFACE_OFFSET = 48 + 4
"""sockaddr_ll behind the aligned tpacket3_hdr; sll_ifindex is its second field."""

INTERFACE_CHECK_US = 1_000_000
UINT = struct.Struct("=I")


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
        self._ports = {_index(name, port): port for port, name in self._names.items()}
        if (len(self._ports) == 1) is not (trunk_mac is not None):
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
        instructions = program(tuple(self._ports), tcp_ports)
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
        for index in self._ports:
            membership = struct.pack("@iHH8s", index, PACKET_MR_PROMISC, 0, b"")
            wire.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)

    def fileno(self) -> int:
        """Readable when a block was handed over."""
        return self._socket.fileno()

    def drain(self, packets_max: int) -> list[Packet]:
        """Port ``PacketSource``; may go over ``packets_max`` by the packets of one block (64 KiB)."""
        now_mono_us = _mono_us()
        if now_mono_us - self._checked_mono_us >= INTERFACE_CHECK_US:
            self._checked_mono_us = now_mono_us
            self._check_interfaces()
        packets: list[Packet] = []
        ring = self._ring
        for _ in range(BLOCKS):
            base = self._block * BLOCK_BYTES
            if len(packets) >= packets_max or not UINT.unpack_from(ring, base + BLOCK_STATUS)[0] & STATUS_USER:
                break
            self._read_block(base, now_mono_us, packets)
            UINT.pack_into(ring, base + BLOCK_STATUS, 0)
            self._block = (self._block + 1) % BLOCKS
        return packets

    def _read_block(self, base: int, now_mono_us: int, packets: list[Packet]) -> None:
        """The kernel stamps packets with the wall clock; the distance to CLOCK_BOOTTIME is taken at each block, and a
        step of the wall clock in between can move a packet by no more than the block's age."""
        ring, ports, trunk_mac = self._ring, self._ports, self._trunk_mac
        distance_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_REALTIME)
        count = UINT.unpack_from(ring, base + BLOCK_PACKETS)[0]
        frame = base + UINT.unpack_from(ring, base + BLOCK_FIRST)[0]
        last = self._last_mono_us
        for _ in range(count):
            following, seconds, nanoseconds, length, _, _, mac, _ = FRAME_HEADER.unpack_from(ring, frame)
            port = ports.get(UINT.unpack_from(ring, frame + INTERFACE_OFFSET)[0])
            if port is not None:
                at = (seconds * 1_000_000_000 + nanoseconds + distance_ns) // 1000
                last = at if last <= at <= now_mono_us else max(last, min(at, now_mono_us))
                start = frame + mac
                data = ring[start : start + length]
                if trunk_mac is not None:
                    port = Port.TRUNK if data[6:12] == trunk_mac else Port.INSIDE
                packets.append(Packet(port, last, data))
            frame += following
        self._last_mono_us = last

    def _check_interfaces(self) -> None:
        """An adapter that was pulled out and put back has another index: this object is then useless, open a new
        one."""
        for port, name in self._names.items():
            if _index(name, port) not in self._ports:
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


def _index(name: str, port: Port) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        sentence = f"The network interface of the {port.value} side is not there. Nothing is recorded. Check its plug."
        raise OSError(errno.ENODEV, sentence) from error


def _mono_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
