"""Capture files to packets with their port: names of interfaces, hardware address, damage."""

import struct
from pathlib import Path

import dpkt
import pytest

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
