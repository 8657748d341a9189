"""Where the plain datagrams of a burst are, found for all of its packets at once: nearly everything on a telephone line
is RTP in one. What is not plain is ``link``'s to read, a packet at a time.

Plain is: Ethernet, one VLAN tag or none, IPv4 without options or IPv6 without extensions, no fragment, UDP.

Packets of one flow that follow each other as speech does leave in trains: they are taken in one go.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firmware.ports import Burst, Integers

ADDRESSES_BYTES, VLAN_BYTES = 12, 4
VLAN, VLAN_OUTER, IPV4, IPV6 = 0x8100, 0x88A8, 0x0800, 0x86DD
IPV4_PLAIN = 0x45
"""Version 4, a header of five words."""
FRAGMENT = 0x3FFF
"""In the flags and offset of IPv4: more fragments, or not the first."""
UDP = 17

HEADERS_BYTES = 2 + 40 + 8
IPV4_UDP = np.dtype(
    {
        "names": ["kind", "version", "fragment", "protocol", "flow", "length"],
        "formats": [">u2", "u1", ">u2", "u1", "V12", ">u2"],
        "offsets": [0, 2, 8, 11, 14, 26],
        "itemsize": HEADERS_BYTES,
    }
)
IPV6_UDP = np.dtype(
    {
        "names": ["kind", "protocol", "flow", "length"],
        "formats": [">u2", "u1", "V36", ">u2"],
        "offsets": [0, 8, 10, 46],
        "itemsize": HEADERS_BYTES,
    }
)
"""From the EtherType on. ``flow``: both addresses and both ports; ``length``: UDP's."""
IPV4_PAYLOAD, IPV6_PAYLOAD = 2 + 20 + 8, HEADERS_BYTES

FLOW_BYTES = 36 + 4
"""Both addresses and both ports of IPv6, or of IPv4 and zeros; and the version."""

RTP = np.dtype([("first", "u1"), ("kind", "u1"), ("sequence", ">u2"), ("stamp", ">u4"), ("ssrc", ">u4")])
RTP_PLAIN = 0x80
"""Version 2; no padding, no extension, no CSRC (RFC 3550 5.1)."""

COLUMNS = FLOW_BYTES // 4 + 4
MIX = np.random.default_rng(0).integers(1 << 63, size=COLUMNS, dtype=np.uint64)
"""Sorts packets that are alike side by side; where others come out the same, their trains are shorter, no more."""


class Packets(NamedTuple):
    """Of each: its index in the burst, where its UDP payload begins and ends in the burst's ``data`` (ends before it
    begins, where it is cut short), and when it came."""

    indices: list[int]
    starts: list[int]
    ends: list[int]
    times_mono_us: list[int]


class Train(NamedTuple):
    """Packets [begin, end) of a sorted part of a burst, all of one flow; ``flow`` is empty where they are not plain.

    Where there are several, they are RTP without extras, alike in SSRC, kind and length; sequence number and time stamp
    go on from one to the next, the time stamp by one a byte."""

    flow: bytes
    begin: int
    end: int


@dataclass(frozen=True)
class Datagrams:
    """Of each packet of a burst: whether it is plain, its flow as it stands in it, where its UDP payload begins and
    ends, and what stands there, read as RTP."""

    plain: NDArray[np.bool_]
    flows: NDArray[np.uint8]
    starts: Integers
    ends: Integers
    rtp: NDArray[np.void]
    times_mono_us: Integers

    @classmethod
    def of(cls, burst: Burst) -> "Datagrams":
        octets = burst.data + bytes(ADDRESSES_BYTES + VLAN_BYTES + HEADERS_BYTES + RTP.itemsize)
        begins = burst.starts + ADDRESSES_BYTES
        heads = _stretches(octets, begins, HEADERS_BYTES)
        kind = heads.view(IPV4_UDP)["kind"][:, 0]
        tagged = (kind == VLAN) | (kind == VLAN_OUTER)
        if tagged.any():
            begins = begins + VLAN_BYTES * tagged
            heads = _stretches(octets, begins, HEADERS_BYTES)
        four, six = heads.view(IPV4_UDP)[:, 0], heads.view(IPV6_UDP)[:, 0]
        ipv4 = (four["kind"] == IPV4) & (four["version"] == IPV4_PLAIN) & (four["protocol"] == UDP)
        ipv4 &= four["fragment"] & FRAGMENT == 0
        ipv6 = (six["kind"] == IPV6) & (six["protocol"] == UDP)

        starts = begins + np.where(ipv4, IPV4_PAYLOAD, IPV6_PAYLOAD)
        ends = starts - 8 + np.where(ipv4, four["length"], six["length"])
        flows = np.zeros((len(heads), FLOW_BYTES), np.uint8)
        flows[ipv4, :12] = heads[ipv4, 14:26]
        flows[ipv6, :36] = heads[ipv6, 10:46]
        flows[:, -1] = np.where(ipv4, 4, 6)
        return cls(
            plain=(ipv4 | ipv6) & (starts <= burst.ends),
            flows=flows,
            starts=starts,
            ends=np.where(ends <= burst.ends, ends, burst.starts),
            rtp=_stretches(octets, starts, RTP.itemsize).view(RTP)[:, 0],
            times_mono_us=burst.at_mono_us,
        )

    def trains(self, first: int, last: int) -> tuple[Packets, list[Train]]:
        """Packets [first, last), in the order of each train's first one. None reaches over a packet that is not plain
        RTP: signalling, above all, is heard between what came before it and what came after."""
        part = slice(first, last)
        rtp, starts, ends = self.rtp[part], self.starts[part], self.ends[part]
        lengths = ends - starts - RTP.itemsize
        speech = self.plain[part] & (rtp["first"] == RTP_PLAIN)
        alike = np.empty((len(starts), COLUMNS), np.uint32)
        alike[:, :-4] = self.flows[part].view(np.uint32)
        alike[:, -4], alike[:, -3], alike[:, -2], alike[:, -1] = np.cumsum(~speech), lengths, rtp["kind"], rtp["ssrc"]
        order = np.argsort(alike @ MIX, kind="stable")

        sequence, stamp = rtp["sequence"].astype(np.uint16)[order], rtp["stamp"].astype(np.uint32)[order]
        alike, lengths = alike[order], lengths[order]
        travels = (speech & (lengths > 0))[order]
        goes_on = travels[1:] & travels[:-1] & (alike[1:] == alike[:-1]).all(axis=1)
        goes_on &= (np.diff(sequence) == 1) & (np.diff(stamp) == lengths[1:])
        return self._split(order + first, np.flatnonzero(~goes_on) + 1)

    def _split(self, order: Integers, edges: Integers) -> tuple[Packets, list[Train]]:
        """The packets ``order``, cut at ``edges`` into trains."""
        begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(order)]))
        turn = np.argsort(order[begins])
        begins, ends = begins[turn], ends[turn]
        heads = order[begins]
        flows = self.flows[heads].view(f"V{FLOW_BYTES}")[:, 0].tolist()
        plain = self.plain[heads].tolist()
        named = [flow if known else b"" for flow, known in zip(flows, plain, strict=True)]
        columns = order, self.starts[order], self.ends[order], self.times_mono_us[order]
        trains = map(Train, named, begins.tolist(), ends.tolist())
        return Packets(*(column.tolist() for column in columns)), list(trains)


def _stretches(octets: bytes, begins: Integers, length: int) -> NDArray[np.uint8]:
    """uint8 [packets, length]: so many octets from each place on."""
    every = np.ndarray((len(octets) - length + 1, length), np.uint8, octets, strides=(1, 1))
    return every[begins]
