"""SIP over TCP: segments in any order in, whole messages out (RFC 3261 18.3: Content-Length is mandatory there)."""

from collections import OrderedDict
from dataclasses import dataclass, field

from firmware.voip.link import Segment

HEADER_END = b"\r\n\r\n"
TLS_HANDSHAKE = b"\x16\x03"
"""Content type handshake, version 3.x (RFC 8446 5.1)."""

FlowKey = tuple[bytes, int, bytes, int]


@dataclass
class _Flow:
    """``expected``: next sequence number, None until the first segment. ``text``: contiguous bytes not yet a message.

    ``pending``: out-of-order segments by sequence number.
    """

    expected: int | None = None
    text: bytearray = field(default_factory=bytearray)
    pending: dict[int, bytes] = field(default_factory=dict)
    pending_bytes: int = 0
    encrypted: bool = False


class StreamReader:
    """At most ``flows_max`` directions, ``pending_bytes_max`` waiting bytes each, messages up to ``message_bytes_max``.

    A direction that loses bytes (a packet that we lost) goes on at the next segment that begins a message.
    """

    def __init__(self, flows_max: int, pending_bytes_max: int, message_bytes_max: int) -> None:
        self._flows_max = flows_max
        self._pending_bytes_max = pending_bytes_max
        self._message_bytes_max = message_bytes_max
        self._flows: OrderedDict[FlowKey, _Flow] = OrderedDict()

    def feed(self, segment: Segment) -> tuple[list[bytes], bool]:
        """(messages that became whole, True when this direction has just shown itself to be TLS)."""
        key = (segment.source, segment.source_port, segment.destination, segment.destination_port)
        flow = self._flows.get(key)
        if flow is None or segment.synchronise:
            flow = self._flows[key] = _Flow()
            if len(self._flows) > self._flows_max:
                self._flows.popitem(last=False)
        self._flows.move_to_end(key)
        if segment.synchronise:
            flow.expected = (segment.sequence + 1) & 0xFFFFFFFF
        if not segment.payload or flow.encrypted:
            messages: list[bytes] = []
        elif flow.expected is None and segment.payload[:2] == TLS_HANDSHAKE:
            messages = self._mark(flow)
        else:
            self._place(flow, segment)
            messages = self._mark(flow) if bytes(flow.text[:2]) == TLS_HANDSHAKE else self._messages(flow)
            if flow.encrypted:
                return messages, True
        newly = flow.encrypted and bool(segment.payload) and segment.payload[:2] == TLS_HANDSHAKE
        if segment.finished:
            self._flows.pop(key, None)
        return messages, newly

    @staticmethod
    def _mark(flow: _Flow) -> list[bytes]:
        flow.encrypted = True
        flow.text.clear()
        flow.pending.clear()
        flow.pending_bytes = 0
        return []

    def _place(self, flow: _Flow, segment: Segment) -> None:
        if flow.expected is None:
            flow.expected = segment.sequence
        ahead = (segment.sequence - flow.expected) & 0xFFFFFFFF
        payload = segment.payload
        if ahead >= 0x80000000:
            payload = payload[0x100000000 - ahead :]
            ahead = 0
        if not payload:
            return
        if ahead and flow.pending_bytes + len(payload) <= self._pending_bytes_max:
            if segment.sequence not in flow.pending:
                flow.pending[segment.sequence] = payload
                flow.pending_bytes += len(payload)
            return
        if ahead:
            # The missing bytes will not come any more (we lost them): begin again at this segment.
            flow.text.clear()
            flow.pending.clear()
            flow.pending_bytes = 0
            flow.expected = segment.sequence
        flow.text += payload
        flow.expected = (flow.expected + len(payload)) & 0xFFFFFFFF
        while flow.expected in flow.pending:
            follower = flow.pending.pop(flow.expected)
            flow.pending_bytes -= len(follower)
            flow.text += follower
            flow.expected = (flow.expected + len(follower)) & 0xFFFFFFFF

    def _messages(self, flow: _Flow) -> list[bytes]:
        messages = []
        text = flow.text
        while True:
            while text[:2] == b"\r\n":
                del text[:2]  # keep-alive (RFC 5626 3.5.1)
            end = text.find(HEADER_END)
            if end < 0:
                break
            length = content_length(bytes(text[:end]))
            total = end + len(HEADER_END) + (length or 0)
            if length is None or total > self._message_bytes_max:
                text.clear()
                break
            if len(text) < total:
                break
            messages.append(bytes(text[:total]))
            del text[:total]
        if len(text) > self._message_bytes_max:
            text.clear()
        return messages


def content_length(head: bytes) -> int | None:
    """The announced body length of a SIP head (0 where none is announced), None where it makes no sense."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-length", b"l"):
            digits = value.strip()
            return int(digits) if digits.isdigit() and len(digits) <= 7 else None
    return 0
