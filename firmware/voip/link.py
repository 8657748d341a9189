"""From an Ethernet frame to a UDP datagram or TCP segment. dpkt reads the layers; this file bounds and joins them.

The hot path (RTP of a known flow) does not come through here: dpkt takes 11.4 us for Ethernet/IPv4/UDP/RTP, a packet's
share of ``datagrams`` is less than 1 us (measured, Python 3.11 on one x86 core), and 50 calls leave 11 us for
everything. ``trunk`` therefore learns each flow's raw address bytes from the first packet read here.
"""

from collections import OrderedDict
from dataclasses import dataclass

import dpkt

FRAGMENT_AGE_US_MAX = 5_000_000
FRAGMENTS_PER_DATAGRAM_MAX = 48
"""65 535 bytes in fragments of an MTU of 1400."""
DATAGRAM_BYTES_MAX = 65_535


@dataclass(frozen=True, repr=False)
class Segment:
    """The payload of a UDP datagram (``tcp`` False) or TCP segment. Addresses: 4 or 16 bytes."""

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    payload: bytes
    tcp: bool = False
    sequence: int = 0
    synchronise: bool = False
    finished: bool = False
    """FIN or RST."""

    def __repr__(self) -> str:
        return "Segment(...)"


class LinkReader:
    """Reads frames; keeps only the fragments of datagrams that are not yet whole (a long INVITE is fragmented)."""

    def __init__(self, fragments_max: int) -> None:
        self._fragments = _Fragments(fragments_max)

    def read(self, data: bytes, at_mono_us: int) -> Segment | None:
        """None for what is neither UDP nor TCP over IP, is damaged, or is a part whose rest is still to come."""
        try:
            frame = dpkt.ethernet.Ethernet(data)
            network = frame.data
            if isinstance(network, dpkt.ip.IP):
                return self._ipv4(network, at_mono_us)
            if isinstance(network, dpkt.ip6.IP6):
                return self._ipv6(network, at_mono_us)
        except (dpkt.UnpackError, IndexError, ValueError, KeyError, AttributeError, TypeError):
            # What dpkt lets through on malformed layers (found by the fuzzer): such a frame is not for a telephone.
            return None
        return None

    def _ipv4(self, network: "dpkt.ip.IP", at_mono_us: int) -> Segment | None:
        if network.mf or network.offset:
            key = (network.src, network.dst, network.p, network.id)
            body = _raw(network.data)
            whole = self._fragments.add(key, network.offset * 8, body, bool(network.mf), at_mono_us)
            return None if whole is None else _transport(network.src, network.dst, network.p, whole)
        return _transport(network.src, network.dst, network.p, network.data)

    def _ipv6(self, network: "dpkt.ip6.IP6", at_mono_us: int) -> Segment | None:
        fragment = network.extension_hdrs.get(dpkt.ip.IP_PROTO_FRAGMENT)
        if fragment is None:
            return _transport(network.src, network.dst, network.p, network.data)
        key = (network.src, network.dst, fragment.nxt, fragment.id)
        offset, more = fragment.frag_off * 8, bool(fragment.m_flag)
        if not offset and not more:
            return _transport(network.src, network.dst, fragment.nxt, _raw(network.data))
        whole = self._fragments.add(key, offset, _raw(network.data), more, at_mono_us)
        return None if whole is None else _transport(network.src, network.dst, fragment.nxt, whole)


def _raw(layer: object) -> bytes:
    return layer if isinstance(layer, bytes) else bytes(layer)  # type: ignore[call-overload]


def _transport(source: bytes, destination: bytes, protocol: int, layer: object) -> Segment | None:
    if protocol == dpkt.ip.IP_PROTO_UDP:
        udp = layer if isinstance(layer, dpkt.udp.UDP) else dpkt.udp.UDP(_raw(layer))
        payload = _raw(udp.data)[: max(0, udp.ulen - 8)]
        return Segment(source, udp.sport, destination, udp.dport, payload)
    if protocol == dpkt.ip.IP_PROTO_TCP:
        tcp = layer if isinstance(layer, dpkt.tcp.TCP) else dpkt.tcp.TCP(_raw(layer))
        flags = tcp.flags
        finished = bool(flags & (dpkt.tcp.TH_FIN | dpkt.tcp.TH_RST))
        return Segment(
            source,
            tcp.sport,
            destination,
            tcp.dport,
            _raw(tcp.data),
            tcp=True,
            sequence=tcp.seq,
            synchronise=bool(flags & dpkt.tcp.TH_SYN),
            finished=finished,
        )
    return None


@dataclass(repr=False)
class _Partial:
    since_mono_us: int
    parts: dict[int, bytes]
    end: int | None = None


class _Fragments:
    """IP reassembly (RFC 791, RFC 8200 4.5): at most ``datagrams_max`` at a time, the oldest is forgotten first."""

    def __init__(self, datagrams_max: int) -> None:
        self._datagrams_max = datagrams_max
        self._partial: OrderedDict[tuple[bytes, bytes, int, int], _Partial] = OrderedDict()

    def add(
        self, key: tuple[bytes, bytes, int, int], offset: int, body: bytes, more: bool, at_mono_us: int
    ) -> bytes | None:
        """The whole datagram's payload when this part completes it. Overlapping parts are refused (RFC 5722)."""
        partial = self._partial.get(key)
        if partial is None or at_mono_us - partial.since_mono_us > FRAGMENT_AGE_US_MAX:
            partial = self._partial[key] = _Partial(at_mono_us, {})
            if len(self._partial) > self._datagrams_max:
                self._partial.popitem(last=False)
        if offset + len(body) > DATAGRAM_BYTES_MAX or len(partial.parts) >= FRAGMENTS_PER_DATAGRAM_MAX:
            self._partial.pop(key, None)
            return None
        partial.parts[offset] = body
        if not more:
            partial.end = offset + len(body)
        return self._joined(key, partial)

    def _joined(self, key: tuple[bytes, bytes, int, int], partial: _Partial) -> bytes | None:
        if partial.end is None:
            return None
        position = 0
        for offset in sorted(partial.parts):
            if offset > position:
                return None
            if offset < position:
                del self._partial[key]
                return None
            position += len(partial.parts[offset])
        if position != partial.end:
            return None
        del self._partial[key]
        return b"".join(partial.parts[offset] for offset in sorted(partial.parts))
