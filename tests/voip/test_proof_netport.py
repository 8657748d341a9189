"""The adapter on real interfaces (veth, root): ports, order, what is left out, what is lost, an interface that goes."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from firmware.policy.events import Packet, Port
from firmware.ports import PacketSource
from hw.clock import MachineClock
from hw.liveport import LivePort
from hw.netport import BLOCK_BYTES, BLOCKS, NetPort
from tests.voip.wire import PBX, SBC, tcp_frame, udp_frame

pytestmark = pytest.mark.proof
TRUNK, INSIDE = f"tct{os.getpid() % 100000}", f"tci{os.getpid() % 100000}"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def wires() -> Iterator[dict[Port, socket.socket]]:
    for name in (TRUNK, INSIDE):
        ip("link", "add", name, "type", "veth", "peer", "name", name + "p")
        ip("link", "set", name, "up")
        ip("link", "set", name + "p", "up")
    out = {}
    for port, name in ((Port.TRUNK, TRUNK), (Port.INSIDE, INSIDE)):
        out[port] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out[port].bind((name + "p", 0))
    yield out
    for wire in out.values():
        wire.close()
    for name in (TRUNK, INSIDE):
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def collect(port: PacketSource, wanted: int, limit_s: float = 3.0) -> list[Packet]:
    out: list[Packet] = []
    until = time.monotonic() + limit_s
    while len(out) < wanted and time.monotonic() < until:
        time.sleep(0.02)
        out += port.drain(1000)
    return out


def test_packets_come_in_one_order_with_their_port_and_time(wires: dict[Port, socket.socket]) -> None:
    port = NetPort(TRUNK, INSIDE)
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    sent = []
    for number in range(500):
        side = Port.TRUNK if number % 3 else Port.INSIDE
        frame = udp_frame(SBC, 20000, PBX, 30000, number.to_bytes(4, "big") * 40)
        wires[side].send(frame)
        sent.append((side, frame))
    read = collect(port, len(sent))
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    assert [(packet.port, packet.data) for packet in read] == sent
    times = [packet.at_mono_us for packet in read]
    assert times == sorted(times)
    assert before - 1000 <= times[0] <= times[-1] <= after
    assert port.dropped() == 0
    port.close()


def test_what_we_send_and_what_is_not_telephony_is_left_out(wires: dict[Port, socket.socket]) -> None:
    port = NetPort(TRUNK, INSIDE)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as ours:
        ours.bind((TRUNK, 0))
        ours.send(udp_frame(SBC, 5060, PBX, 5060, b"ours"))
    wires[Port.TRUNK].send(tcp_frame(SBC, 40000, PBX, 443, 1, b"web"))
    wires[Port.TRUNK].send(udp_frame(SBC, 53, PBX, 5000, b"names"))
    wires[Port.TRUNK].send(udp_frame(SBC, 5060, PBX, 5060, b"telephony"))
    assert [packet.data[-9:] for packet in collect(port, 2, 0.5)] == [b"telephony"]
    port.close()


def test_packets_beyond_the_ring_are_counted_not_silent(wires: dict[Port, socket.socket]) -> None:
    port = NetPort(TRUNK, INSIDE)
    frame = udp_frame(SBC, 20000, PBX, 30000, bytes(1300))
    count = BLOCK_BYTES * BLOCKS // len(frame) + 5000
    for _ in range(count):
        wires[Port.TRUNK].send(frame)
    time.sleep(0.2)
    read = len(port.drain(1 << 20))
    while more := len(port.drain(1 << 20)):
        read += more
    lost = port.dropped()
    assert lost > 0
    assert read + lost == count
    assert port.dropped() == lost
    port.close()


def test_a_mirror_port_tells_the_sides_by_the_trunks_hardware_address(wires: dict[Port, socket.socket]) -> None:
    mac = bytes.fromhex("025e10000001")
    port = NetPort(TRUNK, TRUNK, trunk_mac=mac)
    frame = udp_frame(SBC, 5060, PBX, 5060, b"x")
    wires[Port.TRUNK].send(frame)
    wires[Port.TRUNK].send(frame[:6] + mac + frame[12:])
    assert [packet.port for packet in collect(port, 2)] == [Port.INSIDE, Port.TRUNK]
    port.close()
    with pytest.raises(OSError, match="two interfaces"):
        NetPort(TRUNK, TRUNK)


def test_an_interface_that_is_gone_is_an_error(wires: dict[Port, socket.socket]) -> None:
    port = NetPort(TRUNK, INSIDE)
    ip("link", "del", TRUNK)
    with pytest.raises(OSError, match="trunk side is not there"):
        collect(port, 1)
    port.close()


def test_an_adapter_that_is_put_back_is_heard_again(wires: dict[Port, socket.socket]) -> None:
    clock = MachineClock()
    port = LivePort(clock, lambda: NetPort(TRUNK, INSIDE))
    ip("link", "del", TRUNK)
    until = time.monotonic() + 3
    while not port.lost() and time.monotonic() < until:
        time.sleep(0.02)
        assert not len(port.drain(100))
    assert port.lost()
    ip("link", "add", TRUNK, "type", "veth", "peer", "name", TRUNK + "p")
    ip("link", "set", TRUNK, "up")
    ip("link", "set", TRUNK + "p", "up")
    until = time.monotonic() + 3
    while port.lost() and time.monotonic() < until:
        time.sleep(0.02)
        port.drain(100)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as again:
        again.bind((TRUNK + "p", 0))
        again.send(udp_frame(SBC, 5060, PBX, 5060, b"again"))
        assert [packet.data[-5:] for packet in collect(port, 1)] == [b"again"]
    port.close()


def test_a_mirror_port_tells_the_sides_by_the_routers_address(wires: dict[Port, socket.socket]) -> None:
    frame = udp_frame(SBC, 20000, PBX, 30000, b"from the provider")
    port = NetPort(TRUNK, TRUNK, trunk_mac=frame[6:12])
    back = frame[6:12] + frame[:6] + udp_frame(PBX, 30000, SBC, 20000, b"to the provider")[12:]
    wires[Port.TRUNK].send(frame)
    wires[Port.TRUNK].send(back)
    assert [packet.port for packet in collect(port, 2)] == [Port.TRUNK, Port.INSIDE]
    port.close()


def test_an_interface_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="trunk side is not there"):
        NetPort("tcnone0", "tcnone1")
