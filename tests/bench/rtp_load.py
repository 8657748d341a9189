"""N two-way G.711 calls as raw Ethernet frames into two interfaces, in real time: what a bridge's two ports would see.

Run by ``voip_bench`` in a process of its own. Frames are made beforehand; only sequence and time stamp are written in
the loop, so that the generator takes as little of the machine as it can.
"""

import argparse
import json
import socket
import struct
import time

from firmware.policy.events import Port
from tests.voip.wire import PBX, SBC, Dialogue, Wire, rtp, speech, udp_frame

TICK_S = 0.020
SAMPLES = 160
RTP_OFFSET = 42


class Leg:
    """One direction of one call."""

    def __init__(self, wire: socket.socket, source: str, sport: int, target: str, dport: int, ssrc: int) -> None:
        self._wire = wire
        self._frame = bytearray(udp_frame(source, sport, target, dport, rtp(8, 0, 0, ssrc, speech(ssrc, SAMPLES))))

    def send(self, tick: int) -> None:
        struct.pack_into("!HI", self._frame, RTP_OFFSET + 2, tick & 0xFFFF, tick * SAMPLES & 0xFFFFFFFF)
        self._wire.send(self._frame)


def open_interface(name: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((name, 0))
    return wire


def dialogues(calls: int) -> list[Dialogue]:
    wire = Wire()
    return [
        Dialogue(wire, call_id=f"{n}@load.invalid", from_tag=f"f{n}", to_tag=f"t{n}", port_caller=20000 + 2 * n,
                 port_called=40000 + 2 * n)
        for n in range(calls)
    ]  # fmt: skip


def legs(calls: list[Dialogue], trunk: socket.socket, inside: socket.socket) -> list[Leg]:
    out = []
    for number, call in enumerate(calls):
        out.append(Leg(trunk, SBC, call.port_caller, PBX, call.port_called, 2 * number + 1))
        out.append(Leg(inside, PBX, call.port_called, SBC, call.port_caller, 2 * number + 2))
    return out


def signal(calls: list[Dialogue], trunk: socket.socket, inside: socket.socket, kind: str) -> None:
    for call in calls:
        call.wire.packets.clear()
        call.establish() if kind == "establish" else call.bye()
        for packet in call.wire.packets:
            (trunk if packet.port is Port.TRUNK else inside).send(packet.data)
        time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--trunk", required=True)
    parser.add_argument("--inside", required=True)
    wanted = parser.parse_args()
    trunk, inside = open_interface(wanted.trunk), open_interface(wanted.inside)
    calls = dialogues(wanted.calls)
    signal(calls, trunk, inside, "establish")
    voices = legs(calls, trunk, inside)
    began, late, sent = time.monotonic(), 0.0, 0
    for tick in range(int(wanted.seconds / TICK_S)):
        rest = began + tick * TICK_S - time.monotonic()
        if rest > 0:
            time.sleep(rest)
        late = max(late, -rest)
        for voice in voices:
            voice.send(tick)
        sent += len(voices)
    signal(calls, trunk, inside, "bye")
    print(json.dumps({"rtp_packets": sent, "worst_late_ms": round(late * 1000, 1)}))


if __name__ == "__main__":
    main()
