"""SIP over TCP: segments in any order in, whole messages out (RFC 3261 18.3: Content-Length is mandatory there)."""

from collections import OrderedDict
from dataclasses import dataclass, field

from firmware.voip.link import Segment

HEADER_END = b"\r\n\r\n"
TLS_HANDSHAKE = b"\x16\x03"
"""Content type handshake, version 3.x (RFC 8446 5.1)."""

MISSING_US = 2_000_000
"""A segment that the receiver misses as well is sent again within a second or so (RFC 6298); one that only we lost
never comes."""

SEQUENCE_MASK = 0xFFFFFFFF
HALF_SEQUENCE = 0x80000000

FlowKey = tuple[bytes, int, bytes, int]


@dataclass(repr=False)
class _Flow:
    """``expected``: next sequence number, None until the first segment. ``text``: contiguous bytes not yet a message,
    of which the first ``searched`` hold no end of headers. ``pending``: out-of-order segments by sequence number."""

    expected: int | None = None
    text: bytearray = field(default_factory=bytearray)
    searched: int = 0
    pending: dict[int, bytes] = field(default_factory=dict)
    pending_bytes: int = 0
    waiting_mono_us: int = 0
    """Since when the first pending segment waits for what is missing before it."""
    encrypted: bool = False

    def restart(self, expected: int) -> None:
        self.text.clear()
        self.searched = 0
        self.pending.clear()
        self.pending_bytes = 0
        self.expected = expected


class StreamReader:
    """At most ``flows_max`` directions, ``pending_bytes_max`` waiting bytes each, messages up to ``message_bytes_max``.

    A direction that misses bytes for MISSING_US (a packet that only we lost) goes on at the next segment that begins
    a message.
    """

    def __init__(self, flows_max: int, pending_bytes_max: int, message_bytes_max: int) -> None:
        self._flows_max = flows_max
        self._pending_bytes_max = pending_bytes_max
        self._message_bytes_max = message_bytes_max
        self._flows: OrderedDict[FlowKey, _Flow] = OrderedDict()

    def feed(self, segment: Segment, at_mono_us: int) -> tuple[list[bytes], bool]:
        """(messages that became whole, True when this direction has just shown itself to be TLS)."""
        flow = self._flow(segment)
        messages: list[bytes] = []
        begins_tls = False
        if segment.payload and not flow.encrypted:
            self._place(flow, segment, at_mono_us)
            if flow.text.startswith(TLS_HANDSHAKE):
                flow.restart(0)
                flow.encrypted = begins_tls = True
            else:
                messages = self._messages(flow)
        if segment.finished:
            self._flows.pop(_key(segment), None)
        return messages, begins_tls

    def _flow(self, segment: Segment) -> _Flow:
        key = _key(segment)
        flow = self._flows.get(key)
        if flow is None or segment.synchronise:
            flow = self._flows[key] = _Flow()
            if len(self._flows) > self._flows_max:
                self._flows.popitem(last=False)
        self._flows.move_to_end(key)
        if segment.synchronise:
            flow.expected = (segment.sequence + 1) & SEQUENCE_MASK
        return flow

    def _place(self, flow: _Flow, segment: Segment, at_mono_us: int) -> None:
        """Put the payload where it belongs: behind the text, among the pending, or nowhere (it was there before)."""
        if flow.expected is None:
            flow.expected = segment.sequence
        payload = segment.payload
        ahead = (segment.sequence - flow.expected) & SEQUENCE_MASK
        if ahead >= HALF_SEQUENCE:
            payload = payload[SEQUENCE_MASK + 1 - ahead :]
        elif ahead:
            self._wait(flow, segment, at_mono_us)
            return
        self._append(flow, payload)
        self._join(flow)

    def _wait(self, flow: _Flow, segment: Segment, at_mono_us: int) -> None:
        if not flow.pending:
            flow.waiting_mono_us = at_mono_us
        if segment.sequence not in flow.pending:
            flow.pending[segment.sequence] = segment.payload
            flow.pending_bytes += len(segment.payload)
        late = at_mono_us - flow.waiting_mono_us > MISSING_US
        if not late and flow.pending_bytes <= self._pending_bytes_max:
            return
        base = flow.expected or 0
        waiting = sorted(flow.pending.items(), key=lambda item: (item[0] - base) & SEQUENCE_MASK)
        whole = [(sequence, payload) for sequence, payload in waiting if _begins_message(payload)]
        flow.restart(whole[0][0] if whole else (segment.sequence + len(segment.payload)) & SEQUENCE_MASK)
        if whole:
            flow.pending = dict(waiting[waiting.index(whole[0]) :])
            flow.pending_bytes = sum(len(payload) for payload in flow.pending.values())
            flow.waiting_mono_us = at_mono_us
            self._join(flow)

    def _join(self, flow: _Flow) -> None:
        while flow.expected in flow.pending:
            follower = flow.pending.pop(flow.expected)
            flow.pending_bytes -= len(follower)
            self._append(flow, follower)

    @staticmethod
    def _append(flow: _Flow, payload: bytes) -> None:
        assert flow.expected is not None
        flow.text += payload
        flow.expected = (flow.expected + len(payload)) & SEQUENCE_MASK

    def _messages(self, flow: _Flow) -> list[bytes]:
        messages: list[bytes] = []
        text = flow.text
        while True:
            if flow.searched == 0:
                blank = len(text) - len(text.lstrip(b"\r\n"))
                del text[:blank]  # keep-alives between messages (RFC 5626 3.5.1)
            end = text.find(HEADER_END, max(0, flow.searched - len(HEADER_END)))
            length = content_length(bytes(text[:end])) if end >= 0 else 0
            total = (end if end >= 0 else len(text)) + len(HEADER_END) + (length or 0)
            if length is None or total > self._message_bytes_max:
                text.clear()
                flow.searched = 0
                return messages
            if end < 0 or len(text) < total:
                flow.searched = len(text) if end < 0 else end
                return messages
            messages.append(bytes(text[:total]))
            del text[:total]
            flow.searched = 0


def _key(segment: Segment) -> FlowKey:
    return segment.source, segment.source_port, segment.destination, segment.destination_port


def _begins_message(payload: bytes) -> bool:
    line = payload[:512].lstrip(b"\r\n").split(b"\r\n", 1)[0]
    return line.startswith(b"SIP/2.0 ") or line.endswith(b" SIP/2.0")


def content_length(head: bytes) -> int | None:
    """The announced body length of a SIP head (0 where none is announced), None where it makes no sense."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            digits = value.strip()
            return int(digits) if digits.isdigit() and len(digits) <= 7 else None
    return 0
