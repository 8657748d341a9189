"""Nothing that comes over the wire raises, grows without limit or writes its own text into what we say."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.policy.events import Packet, Port
from firmware.voip.dialog import Dialog
from firmware.voip.number import caller_identity, comparable, split_list
from firmware.voip.rtp import payload_span, redundant_blocks
from firmware.voip.sdp import parse_sdp
from firmware.voip.sip import address_uri, display_name, find_sdp, parameter, parse_sip, uri_host, uri_user
from tests.voip.mangle import CANARY, conversation, hear_all
from tests.voip.wire import PBX, SBC, Dialogue, Wire, rtp, sdp, tcp_frame, udp_frame

CONVERSATION = conversation()
MESSAGES = [packet.data[42:] for packet in CONVERSATION if packet.data[34:36] == struct.pack("!H", 5060)]
PIECES = st.sampled_from(
    [b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b";", b"=", b"<", b">", b'"', b"\\", b",", b"%", b"@", b"\0", b"\xff",
     b"tag=", b"Content-Length: 99999999", b"l:-1", b"sip:", b"a=rtpmap:", b"m=audio 0 RTP/AVP 0\r\n", b"v=0\r\n",
     b"CSeq: 99999999999999 INVITE", b"a=sendonly\r\n", b"To: <sip:x>;tag=y\r\n", b"BYE ", b"SIP/2.0 200 OK\r\n"]
)  # fmt: skip


@st.composite
def mangled(draw: st.DrawFn, source: list[bytes]) -> bytes:
    """One of the sources with a few bytes cut out, doubled, changed or put in."""
    data = bytearray(draw(st.sampled_from(source)))
    for _ in range(draw(st.integers(0, 6))):
        position = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        length = draw(st.integers(1, 40))
        if kind == 0:
            del data[position : position + length]
        elif kind == 1:
            data[position:position] = data[position : position + length]
        elif kind == 2:
            data[position:position] = draw(PIECES)
        elif position < len(data):
            data[position] = draw(st.integers(0, 255))
    return bytes(data)


@given(st.one_of(st.binary(max_size=400), mangled(MESSAGES)))
@settings(max_examples=300, deadline=None)
def test_no_message_makes_a_parser_raise(data: bytes) -> None:
    message = parse_sip(data)
    if message is None:
        return
    assert CANARY not in repr(message)
    body = message.sdp()
    if body is not None:
        parse_sdp(body)
    identity = caller_identity(message)
    assert CANARY not in repr(identity)
    assert identity.name is None or identity.name.isprintable()
    assert identity.number is None or set(identity.number) <= set("+0123456789")
    dialog = Dialog(message, Port.TRUNK, 0)
    for side in Port:
        dialog.hear(message, side, 0)
    assert (message.call_id, message.from_tag, message.to_tag, message.cseq) is not None


@given(st.one_of(st.binary(max_size=300), mangled([sdp(SBC, 9, formats="8 0 9 101 96 97 99").encode()])))
@settings(max_examples=200, deadline=None)
def test_no_session_description_makes_the_parser_raise(data: bytes) -> None:
    session = parse_sdp(data)
    assert session is None or len(session.media) <= 16
    find_sdp("multipart/mixed;boundary=x", data)


@given(st.text(max_size=80))
@settings(deadline=None)
def test_no_header_value_makes_a_reader_raise(text: str) -> None:
    for read in (address_uri, display_name, uri_user, uri_host, split_list):
        read(text)
    parameter(text, "tag")
    comparable(text, "44")


@given(st.binary(min_size=12, max_size=80))
@settings(deadline=None)
def test_no_rtp_header_makes_a_reader_raise(data: bytes) -> None:
    span = payload_span(data, 0, len(data))
    assert span is None or 12 <= span[0] <= span[1] <= len(data)
    redundant_blocks(data)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_conversation_that_is_mangled_on_its_way_stays_a_row_per_call(data: st.DataObject) -> None:
    packets = []
    for packet in CONVERSATION:
        fate = data.draw(st.integers(0, 11))
        if fate == 0:
            continue
        copies = 2 if fate == 1 else 1
        frame = data.draw(mangled([packet.data])) if fate == 2 else packet.data
        port = data.draw(st.sampled_from(list(Port))) if fate == 3 else packet.port
        packets += [Packet(port, packet.at_mono_us, frame)] * copies
    for _ in range(data.draw(st.integers(0, 5))):
        index = data.draw(st.integers(1, len(packets) - 1))
        packets[index - 1], packets[index] = packets[index], packets[index - 1]
    hear_all(packets, follow=data.draw(st.booleans()))


SIDES = st.sampled_from(list(Port))
METHODS = st.sampled_from(["INVITE", "ACK", "BYE", "CANCEL", "UPDATE", "PRACK", "REFER", "INFO", "NOTIFY"])
STATUSES = st.sampled_from([100, 180, 183, 200, 202, 302, 401, 407, 481, 486, 487, 491, 603])
BODIES = st.sampled_from(
    [
        "",
        *[
            sdp(SBC, port, formats=formats, flow=flow, profile=profile)
            for port in (20000, 0)
            for formats in ("8 101", "18")
            for flow in ("sendrecv", "inactive")
            for profile in ("RTP/AVP", "RTP/SAVP")
        ],
    ]
)


@given(st.lists(st.tuples(SIDES, METHODS, st.one_of(st.none(), STATUSES), BODIES, st.integers(1, 4), st.booleans(),
                          st.sampled_from(["", "t1", "t2"]), st.sampled_from(["a", "b"])), max_size=30),
       st.booleans())  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_order_of_any_messages_is_a_row_per_call(moves: list[tuple[object, ...]], follow: bool) -> None:
    wire = Wire()
    for side, method, status, body, cseq, by_called, tag, call_id in moves:
        call = Dialogue(wire, f"{call_id}@example.invalid", extra="")
        extra = "Refer-To: <sip:02079460101@x?Replaces=b%40example.invalid>" if method == "REFER" else ""
        if status is None:
            text = call.request(str(method), str(body), to_tag=str(tag), cseq=int(str(cseq)), by_called=bool(by_called),
                                extra=extra)  # fmt: skip
        else:
            text = call.response(int(str(status)), "x", str(body), method=str(method), to_tag=str(tag),
                                 cseq=int(str(cseq)), by_called=bool(by_called))  # fmt: skip
        assert isinstance(side, Port)
        wire.sip(side, text)
        wire.datagram(side, 30000, 20000, rtp(8, len(wire.packets), 160 * len(wire.packets), 1, b"\x11" * 160))
        wire.wait(200)
    hear_all(wire.packets, follow=follow)


@given(st.lists(st.tuples(SIDES, st.binary(max_size=120)), max_size=20))
@settings(deadline=None)
def test_random_frames_are_no_calls(frames: list[tuple[Port, bytes]]) -> None:
    packets = [Packet(port, number * 1000, data) for number, (port, data) in enumerate(frames)]
    assert hear_all(packets).calls == {}


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.one_of(st.binary(max_size=200), mangled(MESSAGES))), max_size=15)
)
@settings(max_examples=60, deadline=None)
def test_any_tcp_segments_are_survived(parts: list[tuple[int, bytes]]) -> None:
    packets = [
        Packet(Port.TRUNK, number * 500_000, tcp_frame(SBC, 40000, PBX, 5060, sequence, payload))
        for number, (sequence, payload) in enumerate(parts)
    ]
    hear_all(packets)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60), st.integers(0, 3)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_rtp_on_a_live_call_keeps_the_axis_whole(moves: list[tuple[bool, bytes, int]]) -> None:
    """Random headers behind a valid version: sequences, stamps, payload types, redundancy and events at random."""
    wire = Wire()
    call = Dialogue(wire)
    call.establish(formats="8 0 9 13 97 99 101")
    for caller, tail, kind in moves:
        payload_type = (8, 101, 99, 97)[kind]
        data = b"\x80" + bytes([payload_type]) + tail
        side, ports = (Port.TRUNK, (20000, 30000)) if caller else (Port.INSIDE, (30000, 20000))
        source, target = (SBC, PBX) if caller else (PBX, SBC)
        wire.put(side, udp_frame(source, ports[0], target, ports[1], data))
        wire.wait(37)
    call.bye()
    hear_all(wire.packets)
