"""Capture files (pcapng and pcap, Ethernet) as a ``PacketSource``, for replaying what a site captured. dpkt reads them.

The port comes from the name of the capture's interface (``trunk``, ``inside``); where a file has no such names, from
the trunk's hardware address: a frame that it sent arrived at the trunk side.
"""

import heapq
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import dpkt

from firmware.policy.events import Packet, Port
from firmware.ports import Burst

ETHERNET = 1
BLOCK_BYTES_MAX = 1 << 20
"""Of a block that is read; the others (secrets, names, statistics) are passed over, whatever their length."""
INTERFACES_MAX = 64
REORDER_PACKETS = 2048
"""A capture of two interfaces is in time order but for a few packets."""

BACK_US_MAX = 24 * 3600 * 1_000_000
AHEAD_US_MAX = 31 * BACK_US_MAX
"""From a packet to the next. A clock that was set back by more, or a silence that is longer, is a wrong time stamp:
what follows it has no place in time."""
YEARS_US = (946_684_800_000_000, 4_102_444_800_000_000)
"""2000 to 2100, UTC: what the calendar rules are for."""

START_MONO_US = 1_000_000
OPTION_IF_NAME, OPTION_TSRESOL, OPTION_TSOFFSET, OPTION_EPB_FLAGS = 2, 9, 14, 2
NOT_ETHERNET = "The capture is not of Ethernet frames. Capture on the two interfaces themselves."
OUTBOUND = 2
"""epb_flags, bits 0 and 1: the capturing machine sent the packet."""


READ = (dpkt.pcapng.PCAPNG_BT_SHB, dpkt.pcapng.PCAPNG_BT_IDB, dpkt.pcapng.PCAPNG_BT_EPB)
TIMELESS = (dpkt.pcapng.PCAPNG_BT_PB, dpkt.pcapng.PCAPNG_BT_SPB)
"""Packets of old or simple writers, which are left out: the one has an outdated form, the other no time stamp."""


class CaptureDamaged(OSError):
    """The text says what is wrong and never repeats the file's own text."""


class CaptureFile:
    """``origin_utc_us``: capture time of the first packet; its ``at_mono_us`` is START_MONO_US.

    ``trunk_mac``: six bytes, for files whose interfaces have no names of ours. Raises CaptureDamaged, OSError.
    """

    def __init__(self, path: Path, trunk_mac: bytes | None = None) -> None:
        assert trunk_mac is None or len(trunk_mac) == 6
        self._trunk_mac = trunk_mac
        self._file = path.open("rb")
        self._damage: CaptureDamaged | None = None
        self._next: tuple[int, Port, bytes] | None = None
        self._left_out = LeftOut()
        try:
            self._packets = _in_order(self._read())
            self._next = next(self._packets, None)
        except OSError:
            self._file.close()
            raise
        self.origin_utc_us = self._next[0] if self._next is not None else 0

    def drain(self, packets_max: int) -> Burst:
        """Everything before a damage is handed out before the damage is raised."""
        out: list[Packet] = []
        while self._next is not None and len(out) < packets_max:
            utc_us, port, data = self._next
            out.append(Packet(port, utc_us - self.origin_utc_us + START_MONO_US, data))
            self._advance()
        if not out and self._damage is not None:
            raise self._damage
        return Burst.of(out)

    def _advance(self) -> None:
        try:
            self._next = next(self._packets, None)
        except CaptureDamaged as damage:
            self._next, self._damage = None, damage

    @property
    def left_out(self) -> int:
        """Packets read so far that are not from the trunk or the inside, or have no time."""
        return self._left_out.packets

    @property
    def dated(self) -> bool:
        """The first packet's time stamp is one that a recorder's calendar knows."""
        return YEARS_US[0] <= self.origin_utc_us < YEARS_US[1]

    def lost(self) -> bool:
        return False

    def dropped(self) -> int:
        return 0

    def finished(self) -> bool:
        return self._next is None and self._damage is None

    def close(self) -> None:
        self._file.close()

    def _read(self) -> Iterator[tuple[int, Port, bytes]]:
        magic = self._file.read(4)
        self._file.seek(0)
        if magic == b"\x0a\x0d\x0d\x0a":
            return _PcapNg(self._file, self._trunk_mac, self._left_out).packets()
        return _pcap(self._file, self._trunk_mac)


@dataclass
class LeftOut:
    packets: int = 0


def parse_mac(text: str) -> bytes:
    """``02:00:5e:10:00:01`` to six bytes. Raises ValueError."""
    octets = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if len(octets) != 6:
        raise ValueError("A hardware address has six octets.")
    return octets


def _in_order(packets: Iterator[tuple[int, Port, bytes]]) -> Iterator[tuple[int, Port, bytes]]:
    heap: list[tuple[int, int, Port, bytes]] = []
    damage: CaptureDamaged | None = None
    number, newest = 0, None
    while True:
        try:
            packet = next(packets, None)
        except CaptureDamaged as error:
            packet, damage = None, error
        if packet is not None:
            number += 1
            heapq.heappush(heap, (packet[0], number, packet[1], packet[2]))
        if heap and (packet is None or len(heap) > REORDER_PACKETS):
            at, _, port, data = heapq.heappop(heap)
            if newest is not None:
                _check_step(at - newest)
            newest = at if newest is None else max(at, newest)
            yield at, port, data
        if packet is None and not heap:
            break
    if damage is not None:
        raise damage


def _check_step(us: int) -> None:
    if not -BACK_US_MAX <= us <= AHEAD_US_MAX:
        what = "more than a day before" if us < 0 else "more than 31 days after"
        raise CaptureDamaged(
            f"A packet's time stamp lies {what} the one before it; what came before was read. "
            "Cut the capture there, or correct the stamp."
        )


def _by_mac(data: bytes, trunk_mac: bytes) -> Port:
    return Port.TRUNK if data[6:12] == trunk_mac else Port.INSIDE


def _pcap(file: BinaryIO, trunk_mac: bytes | None) -> Iterator[tuple[int, Port, bytes]]:
    if trunk_mac is None:
        raise CaptureDamaged(
            "A plain pcap file does not say at which port a packet came: give the trunk's hardware address with "
            "--trunk-mac. Nothing was recorded."
        )
    try:
        reader = dpkt.pcap.Reader(file)
    except (ValueError, dpkt.Error) as error:
        raise CaptureDamaged("The file is neither pcap nor pcapng. Nothing was recorded.") from error
    if reader.datalink() != ETHERNET:
        raise CaptureDamaged(NOT_ETHERNET)
    return _pcap_packets(reader, trunk_mac)


def _pcap_packets(reader: "dpkt.pcap.Reader", trunk_mac: bytes) -> Iterator[tuple[int, Port, bytes]]:
    try:
        for stamp, data in reader:
            yield round(stamp * 1_000_000), _by_mac(data, trunk_mac), data
    except (dpkt.Error, ValueError) as error:
        raise CaptureDamaged("The capture ends in the middle of a packet. What came before was read.") from error


class _PcapNg:
    """Blocks by dpkt's classes; interfaces with their name and resolution, which dpkt's own reader leaves out."""

    def __init__(self, file: BinaryIO, trunk_mac: bytes | None, left_out: LeftOut) -> None:
        self._file = file
        self._trunk_mac = trunk_mac
        self._left_out = left_out
        self._little = True
        self._named = False
        """An interface with a name of ours was described: packets of others are no business of ours."""
        self._interfaces: list[tuple[Port | None, int, int, int]] = []
        """(port, ticks per second, offset in s, link type); port None: by hardware address, or not ours."""

    def packets(self) -> Iterator[tuple[int, Port, bytes]]:
        try:
            while (block := self._block()) is not None:
                kind, body = block
                if kind == dpkt.pcapng.PCAPNG_BT_IDB:
                    self._interface(body)
                elif kind == dpkt.pcapng.PCAPNG_BT_EPB:
                    packet = self._packet(body)
                    if packet is not None:
                        yield packet
                elif kind in TIMELESS:
                    self._left_out.packets += 1
        except (dpkt.Error, ValueError, IndexError, OverflowError, struct.error) as error:
            raise CaptureDamaged("The capture is damaged. What came before the damage was read.") from error
        if self._left_out.packets and not self._named and self._trunk_mac is None:
            raise CaptureDamaged(
                "The capture's interfaces are not named trunk and inside: give the trunk's hardware address with "
                "--trunk-mac. Nothing was recorded."
            )

    def _block(self) -> tuple[int, bytes] | None:
        """Kind and whole block; the blocks that are passed over come without what is in them."""
        head = self._file.read(12)
        if not head:
            return None
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            self._little = head[8:12] == b"\x4d\x3c\x2b\x1a"
            self._interfaces.clear()
        kind, length = self._number(head[:4]), self._number(head[4:8])
        if length < 12 or length % 4 or (kind in READ and length > BLOCK_BYTES_MAX):
            raise ValueError("block length")
        if kind not in READ:
            self._pass_over(length, head)
            return kind, b""
        body = head + self._file.read(length - 12)
        if len(body) != length:
            raise ValueError("truncated")
        return kind, body

    def _pass_over(self, length: int, head: bytes) -> None:
        """The length stands again at the block's end: one that leads beyond the file, or astray, is damage."""
        end = head[8:]
        if length > 12:
            self._file.seek(length - 16, os.SEEK_CUR)
            end = self._file.read(4)
        if self._number(end) != length:
            raise ValueError("block length")

    def _number(self, field: bytes, *, signed: bool = False) -> int:
        return int.from_bytes(field, "little" if self._little else "big", signed=signed)

    def _interface(self, body: bytes) -> None:
        if len(self._interfaces) >= INTERFACES_MAX:
            raise ValueError("interfaces")
        make = dpkt.pcapng.InterfaceDescriptionBlockLE if self._little else dpkt.pcapng.InterfaceDescriptionBlock
        block = make(body)
        options = {option.code: bytes(option.data) for option in block.opts}
        name = options.get(OPTION_IF_NAME, b"").rstrip(b"\0").decode("ascii", "replace")
        port = Port(name) if name in set(Port) else None
        if block.linktype != ETHERNET and port is not None:
            raise CaptureDamaged(NOT_ETHERNET)
        resolution = options.get(OPTION_TSRESOL, b"\x06")[0]
        ticks = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        seconds = self._number(options.get(OPTION_TSOFFSET, b"")[:8], signed=True)
        self._interfaces.append((port, ticks, seconds, block.linktype))
        self._named = self._named or port is not None

    def _packet(self, body: bytes) -> tuple[int, Port, bytes] | None:
        block = (dpkt.pcapng.EnhancedPacketBlockLE if self._little else dpkt.pcapng.EnhancedPacketBlock)(body)
        port, ticks, offset, link_type = self._interfaces[block.iface_id]
        data = bytes(block.pkt_data)
        if port is None:
            if self._named or self._trunk_mac is None:
                self._left_out.packets += 1
                return None
            if link_type != ETHERNET:
                raise CaptureDamaged(NOT_ETHERNET)
            port = _by_mac(data, self._trunk_mac)
        for option in block.opts:
            if option.code == OPTION_EPB_FLAGS and self._number(bytes(option.data)) & 3 == OUTBOUND:
                return None
        stamp = (block.ts_high << 32 | block.ts_low) * 1_000_000 // ticks + offset * 1_000_000
        return stamp, port, data
