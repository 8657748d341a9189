"""Below SIP: frames, fragments, TCP in any order, TLS; and the kernel's filter, run here instruction by instruction."""

import random
import struct
from itertools import pairwise

import pytest

from firmware.policy.events import Packet, Port
from firmware.ports import Burst
from firmware.voip.datagrams import Datagrams
from firmware.voip.link import LinkReader, Segment
from firmware.voip.output import Encrypted
from firmware.voip.stream import StreamReader
from firmware.voip.trunk import Trunk
from hw.packet_filter import program
from tests.voip.sink import run
from tests.voip.wire import (
    PBX,
    PBX6,
    SBC,
    SBC6,
    Dialogue,
    Voice,
    Wire,
    ethernet,
    ip_frame,
    ipv4_fragments,
    settings,
    talk,
    tcp_frame,
    udp_frame,
)


def read(*frames: bytes) -> list[Segment]:
    reader = LinkReader(8)
    return [segment for frame in frames if (segment := reader.read(frame, 0)) is not None]


def test_a_padded_frame_gives_its_payload_only() -> None:
    (segment,) = read(udp_frame(SBC, 5060, PBX, 5061, b"hi") + bytes(30))
    assert (segment.payload, segment.source_port, segment.destination_port) == (b"hi", 5060, 5061)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_fragments_in_any_order_are_one_datagram(order: tuple[int, ...]) -> None:
    payload = random.Random(1).randbytes(3500)
    parts = ipv4_fragments(udp_frame(SBC, 5060, PBX, 5060, payload), 1400)
    (segment,) = read(*[parts[index] for index in order])
    assert segment.payload == payload


def test_ipv6_fragments_are_one_datagram() -> None:
    payload = random.Random(1).randbytes(2000)
    body = struct.pack("!HHHH", 5060, 5060, 8 + len(payload), 0) + payload
    parts = [(0, body[:1200], 1), (1200, body[1200:], 0)]
    frames = [
        ip_frame(SBC6, PBX6, 44, struct.pack("!BBHI", 17, 0, offset | more, 99) + part) for offset, part, more in parts
    ]
    (segment,) = read(*frames)
    assert segment.payload == payload


def test_overlapping_fragments_are_refused() -> None:
    parts = ipv4_fragments(udp_frame(SBC, 5060, PBX, 5060, bytes(3000)), 1400)
    bad = bytearray(parts[1])
    struct.pack_into("!H", bad, 20, 0x2000 | 100)
    assert read(parts[0], bytes(bad), parts[2]) == []


@pytest.mark.parametrize(("sbc", "pbx", "vlan"), [(SBC, PBX, None), (SBC6, PBX6, None), (SBC, PBX, 7), (SBC6, PBX6, 7)])
def test_media_of_a_known_flow_is_not_read_layer_by_layer(
    sbc: str, pbx: str, vlan: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(sbc=sbc, pbx=pbx, vlan=vlan)
    call = Dialogue(wire)
    call.establish()
    caller = Voice(call, Port.TRUNK, 1, ssrc=1)
    trunk = Trunk(settings())
    trunk.hear(Burst.of(wire.packets))
    wire.packets.clear()
    talk(wire, 1000, caller)
    frames: list[bytes] = []
    read = trunk._link.read

    def counted(data: bytes, at_mono_us: int) -> Segment | None:
        frames.append(data)
        return read(data, at_mono_us)

    monkeypatch.setattr(trunk._link, "read", counted)
    trunk.hear(Burst.of(wire.packets))
    assert len(frames) == 1


def found(packets: list[Packet]) -> list[tuple[bytes, bytes]]:
    """(flow, payload) of each packet, by the reading of a whole burst."""
    burst = Burst.of(packets)
    packets_sorted, trains = Datagrams.of(burst).trains(0, len(packets))
    ways: dict[int, tuple[bytes, bytes]] = {}
    for flow, begin, end in trains:
        for index, start, stop, _ in list(zip(*packets_sorted, strict=True))[begin:end]:
            ways[index] = flow, burst.data[start:stop]
    return [ways[index] for index in range(len(packets))]


def test_a_packet_is_found_its_way_alike_alone_and_among_others() -> None:
    """Every length of every kind of frame, in one burst: what is cut short must not be read on into its neighbour."""
    whole = [*WANTED, *UNWANTED, udp_frame(SBC, 1, PBX, 2, bytes(64), vlan=3)]
    frames = [frame[:length] for frame in whole for length in range(min(len(frame), 90) + 1)]
    random.Random(5).shuffle(frames)
    packets = [Packet(Port.TRUNK, 0, frame) for frame in frames]
    assert found(packets) == [way for packet in packets for way in found([packet])]


def test_a_flow_is_its_addresses_and_ports_and_nothing_else_of_its_packets() -> None:
    hosts = [(SBC, PBX), (PBX, SBC), (SBC6, PBX6), (PBX6, SBC6)]
    ways = [
        (one, sport, other, dport)
        for one, other in hosts
        for sport, dport in [(4000, 5000), (4000, 5001), (5000, 4000)]
    ]
    sent = [(way, bytes([size]) * size, vlan) for way in ways for size in (0, 1, 200) for vlan in (None, 7)]
    packets = [Packet(Port.TRUNK, 0, udp_frame(*way, payload, vlan)) for way, payload, vlan in sent]
    flows: dict[bytes, set[object]] = {}
    for (flow, payload), (way, bytes_sent, _) in zip(found(packets), sent, strict=True):
        assert payload == bytes_sent
        flows.setdefault(flow, set()).add(way)
    assert len(flows) == len(ways)
    assert all(len(ways_of_flow) == 1 for ways_of_flow in flows.values())


def test_fragments_that_never_complete_are_forgotten() -> None:
    reader = LinkReader(4)
    for number in range(100):
        parts = ipv4_fragments(udp_frame(SBC, 5060, PBX, 5060, bytes(3000)), 1400, identification=number)
        assert reader.read(parts[0], number) is None
    assert len(reader._fragments._partial) == 4


def stream(parts: list[tuple[int, bytes]], **limits: int) -> tuple[list[bytes], bool]:
    values = {"flows_max": 4, "pending_bytes_max": 10_000, "message_bytes_max": 10_000, **limits}
    reader = StreamReader(**values)
    messages, tls = [], False
    for number, (sequence, payload) in enumerate(parts):
        segment = Segment(b"\1", 1, b"\2", 5060, payload, tcp=True, sequence=sequence & 0xFFFFFFFF)
        found, begins = reader.feed(segment, number * 100_000)
        messages += found
        tls = tls or begins
    return messages, tls


def messages(count: int) -> list[bytes]:
    return [f"MESSAGE sip:{n} SIP/2.0\r\nContent-Length: {n}\r\n\r\n".encode() + b"x" * n for n in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_tcp_stream_in_pieces_reordered_and_repeated_gives_its_messages(seed: int) -> None:
    chance = random.Random(seed)
    whole = messages(12)
    text = b"\r\n\r\n".join(whole)
    base = 0xFFFFFF00 + chance.randrange(400)
    cuts = sorted({0, len(text), *(chance.randrange(len(text)) for _ in range(30))})
    pieces = [(base + start, text[start:end]) for start, end in pairwise(cuts)]
    first, rest = pieces[0], pieces[1:]
    for index in range(0, len(rest) - 3, 3):
        window = rest[index : index + 3]
        chance.shuffle(window)
        rest[index : index + 3] = window
    rest += [rest[0]]
    assert stream([first, *rest])[0] == whole


def test_after_a_lost_segment_the_stream_goes_on_with_the_next_message() -> None:
    one, *later = messages(40)
    parts, position = [(0, one)], len(one) + 700
    for message in later:
        parts.append((position, message))
        position += len(message)
    assert stream(parts)[0] == [one, *later]
    cut = later[3][:10]
    parts = [(0, one), (700, cut), *[(sequence + 2000, message) for sequence, message in parts[5:]]]
    assert stream(parts)[0] == [one, *later[4:]]


def test_a_message_beyond_the_limit_is_not_collected() -> None:
    huge = b"INVITE sip:a SIP/2.0\r\nContent-Length: 9999999\r\n\r\n"
    assert stream([(0, huge), (len(huge), bytes(5000))])[0] == []
    assert stream([(n * 1000, b"a: b\r\n" * 166 + b"abcd") for n in range(40)])[0] == []


def test_flows_beyond_the_limit_push_out_the_oldest() -> None:
    reader = StreamReader(4, 1000, 1000)
    for number in range(50):
        reader.feed(Segment(number.to_bytes(4, "big"), 1, b"\2", 5060, b"INVITE", tcp=True), number)
    assert len(reader._flows) == 4


def test_sip_over_tcp_in_small_segments_is_a_call() -> None:
    plain = Wire()
    call = Dialogue(plain)
    call.establish()
    caller, agent = Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2)
    talk(plain, 400, caller, agent)
    call.bye()
    sequence = {Port.TRUNK: 1000, Port.INSIDE: 2000}
    packets = []
    for packet in plain.packets:
        if packet.data[36:38] != struct.pack("!H", 5060):
            packets.append(packet)
            continue
        text = packet.data[42:]
        for start in range(0, len(text), 300):
            part = text[start : start + 300]
            source, target = (SBC, PBX) if packet.port is Port.TRUNK else (PBX, SBC)
            ports = (40000, 5060) if packet.port is Port.TRUNK else (5060, 40000)
            frame = tcp_frame(source, ports[0], target, ports[1], sequence[packet.port], part)
            packets.append(Packet(packet.port, packet.at_mono_us, frame))
            sequence[packet.port] += len(part)
    kept = run(settings(), packets).only
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.audio(0) == bytes(caller.sent)


@pytest.mark.parametrize("port", [5060, 5061])
def test_signalling_in_tls_is_told_and_its_media_is_not_recordable(port: int) -> None:
    wire = Wire()
    wire.put(Port.TRUNK, tcp_frame(SBC, 40000, PBX, port, 1, b"\x16\x03\x01\x02\x00" + bytes(500)))
    call = Dialogue(wire)
    talk(wire, 3000, Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2))
    wire.wait(15_000)
    wire.put(Port.TRUNK, tcp_frame(SBC, 40000, PBX, port, 506, b"\x17\x03\x03" + bytes(50)))
    sink = run(settings(), wire.packets, linger_us=20_000_000)
    assert [type(told) for told in sink.others] == [Encrypted]
    assert sink.rows == [("not_recordable_encrypted", "tls_signalling")]


# ------------------------------------------------------------------------------------------------ the kernel's filter


def passes(code: bytes, frame: bytes, interface: int) -> bool:
    """A classic BPF machine for the instructions that are used (linux/filter.h)."""
    accumulator = index = counter = 0
    while True:
        operation, on_true, on_false, value = struct.unpack_from("=HBBI", code, counter * 8)
        counter += 1
        size = {0x20: 4, 0x28: 2, 0x48: 2, 0x50: 1}.get(operation)
        if operation == 0x20:
            assert value == 0xFFFFF008
            accumulator = interface
        elif size is not None:
            position = value + (index if operation in (0x48, 0x50) else 0)
            if position + size > len(frame):
                return False
            accumulator = int.from_bytes(frame[position : position + size], "big")
        elif operation == 0x01:
            index = value
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x64:
            accumulator <<= value
        elif operation == 0x0C:
            accumulator += index
        elif operation == 0x07:
            index = accumulator
        elif operation == 0x06:
            return bool(value)
        else:
            test = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[operation]
            counter += on_true if test else on_false


def tagged_twice(frame: bytes) -> bytes:
    return frame[:12] + bytes.fromhex("88a80005") + bytes.fromhex("81000006") + frame[12:]


WANTED = [
    udp_frame(SBC, 5060, PBX, 5060, b"x"),
    udp_frame(SBC, 20000, PBX, 30000, b"x" * 172),
    udp_frame(SBC, 20000, PBX, 30000, b"x", vlan=9),
    tagged_twice(udp_frame(SBC, 20000, PBX, 30000, b"x")),
    udp_frame(SBC6, 20000, PBX6, 30000, b"x"),
    udp_frame(SBC6, 20000, PBX6, 30000, b"x", vlan=9),
    tcp_frame(SBC, 40000, PBX, 5060, 1, b""),
    tcp_frame(SBC6, 5061, PBX6, 40000, 1, b""),
    *ipv4_fragments(udp_frame(SBC, 5060, PBX, 5060, bytes(3000)), 1400),
    ip_frame(SBC6, PBX6, 44, bytes(16)),
]
UNWANTED = [
    udp_frame(SBC, 53, PBX, 30000, b"x"),
    udp_frame(SBC6, 30000, PBX6, 123, b"x"),
    tcp_frame(SBC, 40000, PBX, 443, 1, b""),
    tcp_frame(SBC6, 40000, PBX6, 22, 1, b""),
    ip_frame(SBC, PBX, 1, bytes(20)),
    ethernet(0x0806) + bytes(28),
    b"",
    bytes(13),
]


def test_the_filter_lets_signalling_and_media_pass_and_nothing_else() -> None:
    code = program((7, 11), (5060, 5061))
    assert all(passes(code, frame, interface) for frame in WANTED for interface in (7, 11))
    assert not any(passes(code, frame, 3) for frame in WANTED)
    assert not any(passes(code, frame, 7) for frame in UNWANTED)
