"""Packets made by hand for the tests: a trunk (SBC) on one side, a telephone or PBX on the other, we in between.

Numbers are from Ofcom's drama range; addresses from the documentation ranges (RFC 5737, RFC 3849).
"""

import random
import socket
import struct
from dataclasses import dataclass, field
from itertools import count

from firmware.policy.events import Packet, Port
from firmware.voip.settings import Limits, LineSlot, OnTransfer, TrunkSettings

SBC = "192.0.2.10"
PBX = "198.51.100.20"
STRANGER = "203.0.113.66"
SBC6 = "2001:db8:1::10"
PBX6 = "2001:db8:2::20"
DDI = "02079460100"
CALLER = "+442079460999"
SECOND_CALLER = "+442079460888"


def settings(**changes: object) -> TrunkSettings:
    values: dict[str, object] = {"lines": (LineSlot(ddi=(DDI,)),), "peers": (SBC, SBC6)}
    values.update(changes)
    return TrunkSettings(**values)  # type: ignore[arg-type]


__all__ = ["Limits", "LineSlot", "OnTransfer"]


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def udp_frame(source: str, sport: int, target: str, dport: int, payload: bytes, vlan: int | None = None) -> bytes:
    body = struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload
    return ip_frame(source, target, 17, body, vlan)


def tcp_frame(
    source: str, sport: int, target: str, dport: int, sequence: int, payload: bytes, flags: int = 0x18
) -> bytes:
    body = struct.pack("!HHIIBBHHH", sport, dport, sequence & 0xFFFFFFFF, 0, 5 << 4, flags, 65535, 0, 0) + payload
    return ip_frame(source, target, 6, body)


def ip_frame(source: str, target: str, protocol: int, body: bytes, vlan: int | None = None) -> bytes:
    """With the traffic class of voice (EF, RFC 3246), as telephones send it."""
    if ":" in source:
        head = struct.pack("!IHBB", 0x6B800000, len(body), protocol, 64) + packed(source) + packed(target)
        return ethernet(0x86DD, vlan) + head + body
    head = struct.pack("!BBHHHBBH", 0x45, 0xB8, 20 + len(body), 1, 0, 64, protocol, 0) + packed(source) + packed(target)
    return ethernet(0x0800, vlan) + head + body


def ethernet(kind: int, vlan: int | None = None) -> bytes:
    tag = struct.pack("!HH", 0x8100, vlan) if vlan is not None else b""
    return bytes.fromhex("020000000001") + bytes.fromhex("020000000002") + tag + struct.pack("!H", kind)


def ipv4_fragments(frame: bytes, size: int, identification: int = 77) -> list[bytes]:
    """An IPv4 frame in fragments of ``size`` bytes (a multiple of 8)."""
    head, body = bytearray(frame[14:34]), frame[34:]
    out = []
    for offset in range(0, len(body), size):
        part = body[offset : offset + size]
        more = 0x2000 if offset + size < len(body) else 0
        struct.pack_into("!HHH", head, 2, 20 + len(part), identification, more | offset // 8)
        out.append(frame[:14] + bytes(head) + part)
    return out


def sdp(address: str, port: int, *, formats: str = "8 0 101", flow: str = "sendrecv", extra: str = "",
        profile: str = "RTP/AVP") -> str:  # fmt: skip
    family = "IP6" if ":" in address else "IP4"
    maps = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "13": "CN/8000", "18": "G729/8000",
            "96": "opus/48000/2", "97": "L16/16000", "98": "L16/8000", "99": "red/8000",
            "101": "telephone-event/8000"}  # fmt: skip
    lines = [f"a=rtpmap:{word} {maps[word]}" for word in formats.split() if word in maps]
    return "\r\n".join(
        ["v=0", f"o=- 1 1 IN {family} {address}", "s=-", f"c=IN {family} {address}", "t=0 0",
         f"m=audio {port} {profile} {formats}", *lines, f"a={flow}", *([extra] if extra else []), ""]
    )  # fmt: skip


def speech(seed: int, samples: int) -> bytes:
    """Codec bytes that are nowhere the same and never silence, so that a shift of one sample is seen."""
    made = random.Random(seed).randbytes(samples)
    return made.replace(b"\xff", b"\x01").replace(b"\xd5", b"\x02")


END_OF_EVENT = 0x80
"""RFC 4733 2.3: the E bit, beside the volume."""


def rtp(kind: int, sequence: int, stamp: int, ssrc: int, payload: bytes, *, marker: bool = False) -> bytes:
    first = struct.pack("!BBHII", 0x80, kind | marker << 7, sequence & 0xFFFF, stamp & 0xFFFFFFFF, ssrc)
    return first + payload


@dataclass
class Wire:
    """Time goes on by ``wait``; packets collect in ``packets``."""

    sbc: str = SBC
    pbx: str = PBX
    now_us: int = 5_000_000
    vlan: int | None = None
    packets: list[Packet] = field(default_factory=list)

    def wait(self, milliseconds: float) -> None:
        self.now_us += round(milliseconds * 1000)

    def put(self, port: Port, data: bytes) -> None:
        self.packets.append(Packet(port, self.now_us, data))

    def datagram(self, port: Port, sport: int, dport: int, payload: bytes) -> None:
        """From the side of ``port`` to the other one."""
        source, target = (self.sbc, self.pbx) if port is Port.TRUNK else (self.pbx, self.sbc)
        self.put(port, udp_frame(source, sport, target, dport, payload, self.vlan))

    def sip(self, port: Port, text: str) -> None:
        self.datagram(port, 5060, 5060, text.encode())


_branches = count(1)


@dataclass
class Dialogue:
    """One SIP dialog, from the caller's INVITE on. ``side`` is where the INVITE comes from."""

    wire: Wire
    call_id: str = "one@example.invalid"
    side: Port = Port.TRUNK
    caller: str = CALLER
    called: str = DDI
    port_caller: int = 20000
    port_called: int = 30000
    from_tag: str = "f1"
    to_tag: str = "t1"
    cseq: int = 1
    extra: str = ""
    from_header: str = ""
    branches: dict[tuple[str, int, bool], int] = field(default_factory=dict)
    """Of a method, CSeq and ``by_called``: the branch of the newest request, which its responses give back."""

    @property
    def other(self) -> Port:
        return Port.INSIDE if self.side is Port.TRUNK else Port.TRUNK

    def address(self, side: Port) -> str:
        return self.wire.sbc if side is Port.TRUNK else self.wire.pbx

    def offer(self, **changes: object) -> str:
        return sdp(self.address(self.side), self.port_caller, **changes)  # type: ignore[arg-type]

    def answer(self, **changes: object) -> str:
        return sdp(self.address(self.other), self.port_called, **changes)  # type: ignore[arg-type]

    def request(self, method: str, body: str = "", *, extra: str = "", to_tag: str | None = None,
                cseq: int | None = None, by_called: bool = False, kind: str = "application/sdp") -> str:  # fmt: skip
        tag = self.to_tag if to_tag is None else to_tag
        ours, theirs = self.from_header or f"<sip:{self.caller}@sbc.invalid>", f"<sip:{self.called}@pbx.invalid>"
        ours += f";tag={self.from_tag}"
        theirs += f";tag={tag}" if tag else ""
        if by_called:
            ours, theirs = theirs, ours
        number = self.cseq if cseq is None else cseq
        invited = self.branches.get(("INVITE", number, by_called)) if method == "CANCEL" else None
        branch = self.branches[method, number, by_called] = invited or next(_branches)
        return _message(
            f"{method} sip:{self.called}@pbx.invalid SIP/2.0", self, method, ours, theirs, number, extra, body, kind,
            branch,
        )  # fmt: skip

    def response(self, status: int, reason: str, body: str = "", *, method: str = "INVITE", extra: str = "",
                 to_tag: str | None = None, cseq: int | None = None, by_called: bool = False,
                 kind: str = "application/sdp", branch: int | None = None) -> str:  # fmt: skip
        """``by_called``: the request was made by the called side. ``branch``: of an older request than the newest."""
        tag = self.to_tag if to_tag is None else to_tag
        ours = (self.from_header or f"<sip:{self.caller}@sbc.invalid>") + f";tag={self.from_tag}"
        theirs = f"<sip:{self.called}@pbx.invalid>" + (f";tag={tag}" if tag else "")
        if by_called:
            ours, theirs = theirs, ours
        number = self.cseq if cseq is None else cseq
        asked = branch or self.branches.get((method, number, by_called)) or next(_branches)
        return _message(f"SIP/2.0 {status} {reason}", self, method, ours, theirs, number, extra, body, kind, asked)

    # what a call usually is

    def invite(self, **offer: object) -> None:
        self.wire.sip(self.side, self.request("INVITE", self.offer(**offer), to_tag="", extra=self.extra))

    def ringing(self) -> None:
        self.wire.sip(self.other, self.response(180, "Ringing"))

    def ok(self, **answer: object) -> None:
        self.wire.sip(self.other, self.response(200, "OK", self.answer(**answer)))

    def ack(self) -> None:
        self.wire.sip(self.side, self.request("ACK"))

    def bye(self, *, by_called: bool = False) -> None:
        side = self.other if by_called else self.side
        self.wire.sip(side, self.request("BYE", cseq=self.cseq + 50, by_called=by_called))

    def establish(self, **media: object) -> None:
        self.invite(**media)
        self.wire.wait(300)
        self.ringing()
        self.wire.wait(2000)
        self.ok(**media)
        self.wire.wait(20)
        self.ack()

    def reinvite(self, cseq: int, *, flow: str = "sendrecv", answer_flow: str | None = None, by_called: bool = False,
                 formats: str = "8 0 101", method: str = "INVITE") -> None:  # fmt: skip
        answers = {"sendonly": "recvonly", "recvonly": "sendonly"}
        reply = answer_flow or answers.get(flow, flow)
        asking, asked = (self.other, self.side) if by_called else (self.side, self.other)
        make = {self.side: self.offer, self.other: self.answer}
        self.wire.sip(
            asking, self.request(method, make[asking](flow=flow, formats=formats), cseq=cseq, by_called=by_called)
        )
        self.wire.wait(10)
        self.wire.sip(
            asked,
            self.response(200, "OK", make[asked](flow=reply, formats=formats), cseq=cseq, by_called=by_called,
                          method=method),
        )  # fmt: skip
        self.wire.wait(10)
        if method == "INVITE":
            self.wire.sip(asking, self.request("ACK", cseq=cseq, by_called=by_called))


def _message(first: str, dialogue: Dialogue, method: str, ours: str, theirs: str, cseq: int, extra: str, body: str,
             kind: str, branch: int) -> str:  # fmt: skip
    lines = [
        first,
        f"Via: SIP/2.0/UDP example.invalid;branch=z9hG4bK{branch}",
        "Max-Forwards: 70",
        f"From: {ours}",
        f"To: {theirs}",
        f"Call-ID: {dialogue.call_id}",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:x@example.invalid>",
    ]
    if extra:
        lines.append(extra)
    if body:
        lines.append(f"Content-Type: {kind}")
    return "\r\n".join([*lines, f"Content-Length: {len(body.encode())}", "", body])


@dataclass
class Voice:
    """One RTP sender of a dialogue: ``send`` puts one packet of the given audio, ``talk`` a stretch of it."""

    dialogue: Dialogue
    side: Port
    seed: int
    kind: int = 8
    ssrc: int = 0x1111
    sequence: int = 65_500
    stamp: int = 0xFFFFF000
    sent: bytearray = field(default_factory=bytearray)
    _made: int = 0

    @property
    def ports(self) -> tuple[int, int]:
        mine, theirs = self.dialogue.port_caller, self.dialogue.port_called
        return (mine, theirs) if self.side is self.dialogue.side else (theirs, mine)

    def frame(self, samples: int = 160) -> bytes:
        """The next stretch of this voice's own audio, as an RTP packet."""
        self._made += 1
        audio = speech(self.seed * 100_000 + self._made, samples)
        self.sent += audio
        packet = rtp(self.kind, self.sequence, self.stamp, self.ssrc, audio)
        self.sequence += 1
        self.stamp += samples
        return packet

    def put(self, packet: bytes) -> None:
        sport, dport = self.ports
        self.dialogue.wire.datagram(self.side, sport, dport, packet)

    def send(self) -> None:
        self.put(self.frame())

    def key(self, code: int, milliseconds: int, *, end: bool = True) -> None:
        """A keyed digit by RFC 4733: one packet every 20 ms, three at the end."""
        for step in range(20, milliseconds + 1, 20):
            self._put_event(code, step)
            self.dialogue.wire.wait(20)
        for _ in range(3 if end else 0):
            self._put_event(code, milliseconds, END_OF_EVENT)
        self.stamp += milliseconds * 8

    def _put_event(self, code: int, milliseconds: int, flags: int = 0) -> None:
        event = struct.pack("!BBH", code, flags | 10, milliseconds * 8)
        self.put(rtp(101, self.sequence, self.stamp, self.ssrc, event))
        self.sequence += 1


def talk(wire: Wire, milliseconds: int, *voices: Voice) -> None:
    """Every voice sends 20 ms packets for so long."""
    for _ in range(milliseconds // 20):
        for voice in voices:
            voice.send()
        wire.wait(20)
