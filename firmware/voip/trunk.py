"""The VoIP line to the outside: ``Trunk.hear`` takes packets, gives outputs. Sans-IO; time comes with the packets.

Work per packet is bounded: a burst is looked through at once (``datagrams``), then the packets of a known flow are
appended together; everything else is read by dpkt and our SIP and SDP parsers, which are linear in the packet. Ten
times a second, and after each part of a long burst, what is ready of each call is cut into pieces.
"""

from collections import OrderedDict

from firmware.policy.events import Packet, Port
from firmware.ports import Burst
from firmware.voip.datagrams import Datagrams, Packets, Train
from firmware.voip.flows import FlowTable
from firmware.voip.link import LinkReader, Segment
from firmware.voip.output import VoipOutput
from firmware.voip.settings import TrunkSettings
from firmware.voip.sip import parse_sip
from firmware.voip.stream import StreamReader
from firmware.voip.switchboard import Switchboard
from firmware.voip.track import Track

ADVANCE_US = 100_000
PART_US = 200_000
"""A longer burst (a capture, or what waited while the process stood still) is heard in parts of this length."""

TIDY_US = 1_000_000
COPIES_MAX = 256
"""SIP messages remembered, so that the copy of one that leaves at the other port is not heard twice."""


class Trunk:
    """Raises ValueError for settings that cannot be (a peer that is no address, a number that is none)."""

    def __init__(self, settings: TrunkSettings) -> None:
        limits = settings.limits
        self._sip_ports = frozenset(settings.sip_ports)
        self._tls_ports = frozenset(settings.tls_ports)
        self._message_bytes_max = limits.message_bytes
        self._flows = FlowTable(limits.media_flows, limits.strays)
        self._hot = self._flows.hot
        self._board = Switchboard(settings, self._flows)
        self._link = LinkReader(limits.fragments)
        self._streams = StreamReader(limits.tcp_flows, limits.tcp_pending_bytes, limits.message_bytes)
        self._copies: OrderedDict[int, Port] = OrderedDict()
        self._now_mono_us = 0
        self._advance_mono_us = 0
        self._tidy_mono_us = 0

    def hear(self, burst: Burst) -> list[VoipOutput]:
        """Outputs that these packets, and the times they came at, bring about."""
        out: list[VoipOutput] = []
        datagrams = Datagrams.of(burst)
        first = 0
        while first < len(burst):
            beyond = burst.at_mono_us[first:] >= burst.at_mono_us[first] + PART_US
            last = first + int(beyond.argmax()) if beyond.any() else len(burst)
            self._take(burst, *datagrams.trains(first, last), out)
            out += self.tick(int(burst.at_mono_us[last - 1]))
            first = last
        return out

    def tick(self, now_mono_us: int) -> list[VoipOutput]:
        """Time passes without packets: at least once a second."""
        out: list[VoipOutput] = []
        if now_mono_us >= self._advance_mono_us:
            self._advance(now_mono_us, out)
        return out

    def close(self, now_mono_us: int) -> list[VoipOutput]:
        """The end of the capture: every call that still runs ends now, with a row."""
        out: list[VoipOutput] = []
        self._advance(now_mono_us, out)
        return out + self._board.close(now_mono_us)

    # ------------------------------------------------------------------------------------------------------- packets

    def _take(self, burst: Burst, packets: Packets, trains: list[Train], out: list[VoipOutput]) -> None:
        data, hot = burst.data, self._hot
        indices, starts, ends, times_mono_us = packets
        for flow, begin, end in self._in_order(packets, trains):
            track = hot.get(flow)
            if end - begin > 1 and isinstance(track, Track):
                track.take_train(data, starts[begin:end], ends[begin:end], times_mono_us[begin:end])
                continue
            for number in range(begin, end):
                if flow not in hot:
                    self._read(burst[indices[number]], flow, out)
                elif (target := hot[flow]) is not None:
                    target.take(data, starts[number], ends[number], times_mono_us[number])

    def _in_order(self, packets: Packets, trains: list[Train]) -> list[Train]:
        """A flow that is not taken yet may become a call's by any packet of another: its own are each heard in the
        place that they came in."""
        ordered: list[Train] = []
        for train in trains:
            if train.end - train.begin == 1 or isinstance(self._hot.get(train.flow), Track):
                ordered.append(train)
            else:
                ordered += (Train(train.flow, number, number + 1) for number in range(train.begin, train.end))
        if len(ordered) > len(trains):
            ordered.sort(key=lambda train: packets.indices[train.begin])
        return ordered

    def _read(self, packet: Packet, flow: bytes, out: list[VoipOutput]) -> None:
        segment = self._link.read(packet.data, packet.at_mono_us)
        if segment is None:
            return
        if segment.tcp:
            self._read_tcp(segment, packet, out)
        elif segment.source_port in self._sip_ports or segment.destination_port in self._sip_ports:
            self._read_sip(segment.payload, segment, packet, out)
        else:
            target = self._flows.learn(segment, packet.at_mono_us)
            if target is not None:
                target.take(segment.payload, 0, len(segment.payload), packet.at_mono_us)
            if flow:
                self._flows.remember(flow, target)

    def _read_tcp(self, segment: Segment, packet: Packet, out: list[VoipOutput]) -> None:
        ports = {segment.source_port, segment.destination_port}
        if ports & self._tls_ports and segment.payload:
            _, begins = self._streams.feed(segment, packet.at_mono_us)
            out += self._board.tls_heard(packet.at_mono_us, begins=begins)
        elif ports & self._sip_ports:
            messages, begins = self._streams.feed(segment, packet.at_mono_us)
            if begins:
                out += self._board.tls_heard(packet.at_mono_us, begins=True)
            for message in messages:
                self._read_sip(message, segment, packet, out)

    def _read_sip(self, text: bytes, segment: Segment, packet: Packet, out: list[VoipOutput]) -> None:
        if len(text) > self._message_bytes_max or self._is_copy(text, packet):
            return
        message = parse_sip(text)
        if message is not None:
            out += self._board.hear(message, packet.port, segment.source, packet.at_mono_us)

    def _is_copy(self, text: bytes, packet: Packet) -> bool:
        """The same bytes at the other port: the packet passed through the bridge and was captured at both ends. A
        repetition at the same port is a retransmission and the dialog's business."""
        name = hash(text)
        known = self._copies.get(name)
        if known is not None and known is not packet.port:
            return True
        self._copies[name] = packet.port
        self._copies.move_to_end(name)
        if len(self._copies) > COPIES_MAX:
            self._copies.popitem(last=False)
        return False

    # ---------------------------------------------------------------------------------------------------------- time

    def _advance(self, now_mono_us: int, out: list[VoipOutput]) -> None:
        self._now_mono_us = max(self._now_mono_us, now_mono_us)
        self._advance_mono_us = self._now_mono_us + ADVANCE_US
        for stray in self._flows.found():
            out += self._board.stray_found(stray, self._now_mono_us)
        out += self._board.advance(self._now_mono_us)
        if self._now_mono_us >= self._tidy_mono_us:
            self._tidy_mono_us = self._now_mono_us + TIDY_US
            for stray in self._flows.sweep(self._now_mono_us):
                out += self._board.stray_gone(stray)
            out += self._board.tidy(self._now_mono_us)
