"""Capture files to packets with their port: names of interfaces, hardware address, damage."""

import struct
from contextlib import suppress
from pathlib import Path

import dpkt
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from firmware.policy.events import Packet, Port
from hw.pcap import START_MONO_US, CaptureDamaged, CaptureFile, parse_mac
from tests.voip.capture import block, enhanced, head, option, write
from tests.voip.peers import replay
from tests.voip.wire import PBX, SBC, Dialogue, Voice, Wire, settings, talk, udp_frame

TRUNK_MAC = "02:00:00:00:00:01"


def packets(path: Path, mac: bytes | None = None) -> list[Packet]:
    file = CaptureFile(path, mac)
    out = []
    while not file.finished():
        out += file.drain(3)
    file.close()
    return out


def call() -> tuple[Wire, Voice]:
    wire = Wire()
    dialogue = Dialogue(wire)
    dialogue.establish()
    caller = Voice(dialogue, Port.TRUNK, 1, ssrc=1)
    talk(wire, 400, caller)
    dialogue.bye()
    return wire, caller


def test_a_pcapng_with_our_names_is_a_call(tmp_path: Path) -> None:
    wire, caller = call()
    write(tmp_path / "a.pcapng", wire.packets)
    read = packets(tmp_path / "a.pcapng")
    shift = wire.packets[0].at_mono_us - START_MONO_US
    assert read == [packet._replace(at_mono_us=packet.at_mono_us - shift) for packet in wire.packets]
    kept = replay(tmp_path / "a.pcapng", settings()).only
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.audio(0) == bytes(caller.sent)


def test_a_plain_pcap_takes_the_port_from_the_trunks_hardware_address(tmp_path: Path) -> None:
    wire, _ = call()
    trunk_mac = parse_mac(TRUNK_MAC)
    with (tmp_path / "a.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for packet in wire.packets:
            source = trunk_mac if packet.port is Port.TRUNK else b"\x02" * 6
            writer.writepkt(packet.data[:6] + source + packet.data[12:], ts=packet.at_mono_us / 1e6)
    read = packets(tmp_path / "a.pcap", trunk_mac)
    assert [packet.port for packet in read] == [packet.port for packet in wire.packets]
    times = [packet.at_mono_us - START_MONO_US for packet in read]
    assert times == [packet.at_mono_us - wire.packets[0].at_mono_us for packet in wire.packets]


def test_a_plain_pcap_without_the_address_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    with pytest.raises(CaptureDamaged, match="--trunk-mac"):
        CaptureFile(tmp_path / "a.pcap")


def test_interfaces_with_other_names_are_refused_without_the_address(tmp_path: Path) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    (tmp_path / "a.pcapng").write_bytes(head(("eth0", "eth1")) + enhanced(Packet(Port.TRUNK, 1, frame)))
    with pytest.raises(CaptureDamaged, match="not named trunk and inside"):
        CaptureFile(tmp_path / "a.pcapng")
    assert packets(tmp_path / "a.pcapng", frame[6:12])[0].port is Port.TRUNK
    assert packets(tmp_path / "a.pcapng", b"\x07" * 6)[0].port is Port.INSIDE


def test_packets_of_a_third_interface_are_left_out_and_counted(tmp_path: Path) -> None:
    wire, _ = call()
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    third = block(6, struct.pack("<IIIII", 2, 0, 0, len(frame), len(frame)) + frame + bytes(-len(frame) % 4))
    whole = [enhanced(packet) for packet in wire.packets]
    path = tmp_path / "a.pcapng"
    path.write_bytes(head(("trunk", "inside", "eth0")) + third + b"".join(whole[:9]) + third + b"".join(whole[9:]))
    for mac in (None, parse_mac(TRUNK_MAC)):
        file = CaptureFile(path, mac)
        read = file.drain(10**6)
        assert [(packet.port, packet.data) for packet in read] == [(p.port, p.data) for p in wire.packets]
        assert file.left_out == 2
        file.close()


def test_long_blocks_that_are_not_needed_are_passed_over(tmp_path: Path) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    one = enhanced(Packet(Port.TRUNK, 1, frame))
    (tmp_path / "a.pcapng").write_bytes(head() + block(10, bytes(2 << 20)) + one + block(4, b"") + one)
    assert len(packets(tmp_path / "a.pcapng")) == 2
    (tmp_path / "b.pcapng").write_bytes(head() + one + block(10, bytes(2 << 20))[:-8])
    with pytest.raises(CaptureDamaged, match="damaged"):
        packets(tmp_path / "b.pcapng")


DAY_US = 24 * 3600 * 1_000_000


@pytest.mark.parametrize(
    ("stamps", "read"),
    [((0, 1, 3650 * DAY_US), 2), ((0, 30 * DAY_US, 3650 * DAY_US), 2), ((0, 1), 2), ((0, 3650 * DAY_US), 1)],
)
def test_a_leap_of_the_time_stamps_ends_the_capture_after_what_came_before(
    stamps: tuple[int, ...], read: int, tmp_path: Path
) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    write(tmp_path / "a.pcapng", [Packet(Port.TRUNK, at, frame) for at in stamps])
    file = CaptureFile(tmp_path / "a.pcapng")
    assert len(file.drain(100)) == read
    if read < len(stamps):
        with pytest.raises(CaptureDamaged, match="31 days after"):
            file.drain(100)
    file.close()


def test_a_clock_that_was_set_back_by_days_ends_the_capture(tmp_path: Path) -> None:
    """Beyond what a capture of two interfaces may be out of order."""
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    before = [Packet(Port.TRUNK, 9 * DAY_US + at, frame) for at in range(3000)]
    write(tmp_path / "a.pcapng", before + [Packet(Port.TRUNK, at, frame) for at in range(3000)])
    with pytest.raises(CaptureDamaged, match="a day before"):
        packets(tmp_path / "a.pcapng")


@settings_of_hypothesis(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_whatever_is_damaged_the_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[int, bytes]]
) -> None:
    wire, _ = call()
    data = bytearray(head() + b"".join(enhanced(packet, flags=1) for packet in wire.packets))
    for at, new in damages:
        data[at : at + len(new)] = new
    path = tmp_path_factory.mktemp("damage") / "a.pcapng"
    path.write_bytes(data)
    for mac in (None, parse_mac(TRUNK_MAC)):
        with suppress(CaptureDamaged):
            packets(path, mac)


def test_what_the_capturing_machine_sent_is_left_out(tmp_path: Path) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    coming, going = Packet(Port.TRUNK, 1, frame), Packet(Port.INSIDE, 2, frame)
    (tmp_path / "a.pcapng").write_bytes(head() + enhanced(coming, flags=1) + enhanced(going, flags=2))
    assert [packet.port for packet in packets(tmp_path / "a.pcapng")] == [Port.TRUNK]


def test_packets_out_of_order_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    times = [50, 10, 30, 20, 40]
    write(tmp_path / "a.pcapng", [Packet(Port.TRUNK, at, frame) for at in times])
    read = [packet.at_mono_us for packet in packets(tmp_path / "a.pcapng")]
    assert read == [START_MONO_US + at - 10 for at in sorted(times)]


def test_nanoseconds_and_big_endian_sections_are_read(tmp_path: Path) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    section = struct.pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    options = (
        struct.pack(">HH", 2, 6) + b"inside\0\0" + struct.pack(">HH", 9, 1) + b"\x09\0\0\0" + struct.pack(">HH", 0, 0)
    )
    interface = struct.pack(">IIHHI", 1, 20 + len(options), 1, 0, 0) + options + struct.pack(">I", 20 + len(options))
    out = section + interface
    for stamp in (5_000_000_123_000, 5_000_002_123_999):
        body = struct.pack(">IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), len(frame))
        body += frame + bytes(-len(frame) % 4)
        out += struct.pack(">II", 6, 12 + len(body)) + body + struct.pack(">I", 12 + len(body))
    (tmp_path / "a.pcapng").write_bytes(out)
    first, second = packets(tmp_path / "a.pcapng")
    assert (first.port, second.at_mono_us - first.at_mono_us) == (Port.INSIDE, 2000)


def test_damage_is_told_after_what_came_before_it(tmp_path: Path) -> None:
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    whole = head() + b"".join(enhanced(Packet(Port.TRUNK, at, frame)) for at in range(1, 5000))
    (tmp_path / "a.pcapng").write_bytes(whole[:-10])
    file = CaptureFile(tmp_path / "a.pcapng")
    read = [packet for _ in range(5) for packet in file.drain(1000)]
    assert len(read) == 4998
    assert not file.finished()
    with pytest.raises(CaptureDamaged, match="damaged"):
        file.drain(1000)
    file.close()


@pytest.mark.parametrize("content", [b"junk" * 20, head() + b"\6\0\0\0\xff\xff\xff\x7f", head() + block(6, bytes(4)),
                                     head() + block(6, struct.pack("<IIIII", 9, 0, 0, 0, 0)),
                                     block(1, struct.pack("<HHI", 1, 0, 0) + option(9, b""))])  # fmt: skip
def test_what_is_no_capture_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pcapng").write_bytes(content)
    with pytest.raises(CaptureDamaged):
        packets(tmp_path / "a.pcapng", parse_mac(TRUNK_MAC))


def test_a_capture_of_something_else_than_ethernet_is_refused(tmp_path: Path) -> None:
    section = head(())
    interface = block(1, struct.pack("<HHI", 113, 0, 0) + option(2, b"trunk") + option(0, b""))
    (tmp_path / "a.pcapng").write_bytes(section + interface)
    with pytest.raises(CaptureDamaged, match="Ethernet"):
        packets(tmp_path / "a.pcapng")


def test_an_empty_capture_is_no_call(tmp_path: Path) -> None:
    (tmp_path / "a.pcapng").write_bytes(head())
    assert packets(tmp_path / "a.pcapng") == []
