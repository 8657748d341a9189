"""Coverage-guided fuzzing of the VoIP line with atheris, where it is installed.

    python -m tests.longrun.fuzz_voip [-max_total_time=3600] [CORPUS]

One input is a sequence of packets: a byte for the port and the kind (raw frame, SIP over UDP or TCP, RTP to a port of
a live call), two for the length, then the bytes. An exception, a broken invariant of ``Sink``, a limit that does not
hold or the caller's text in an output is a finding; libFuzzer's own ``-timeout`` and ``-rss_limit_mb`` watch time and
memory. Exits 0 with a sentence where atheris is not installed.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import FunctionType

from firmware.policy.events import Packet, Port
from tests.voip.mangle import conversation, hear_all
from tests.voip.wire import PBX, SBC, tcp_frame, udp_frame

PACKETS_MAX = 200
OPENING = conversation()[:6]
"""INVITE, 180, 200, ACK and the first media: inputs meet a call that is going on."""


def packets(data: bytes) -> list[Packet]:
    out = list(OPENING)
    now_us, sequence, position = OPENING[-1].at_mono_us, 1, 0
    while position + 3 <= len(data) and len(out) < PACKETS_MAX:
        kind, length = data[position], int.from_bytes(data[position + 1 : position + 3], "big")
        body = data[position + 3 : position + 3 + length]
        position += 3 + length
        now_us += (kind >> 3) * 4000
        port = Port.TRUNK if kind & 1 else Port.INSIDE
        source, target = (SBC, PBX) if kind & 1 else (PBX, SBC)
        if kind & 6 == 0:
            frame = body
        elif kind & 6 == 2:
            frame = udp_frame(source, 5060, target, 5060, body)
        elif kind & 6 == 4:
            frame = tcp_frame(source, 40000, target, 5060, sequence, body)
            sequence += len(body)
        else:
            ports = (20000, 30000) if kind & 1 else (30000, 20000)
            frame = udp_frame(source, ports[0], target, ports[1], body)
        out.append(Packet(port, now_us, frame))
    return out


def one_input(data: bytes) -> None:
    hear_all(packets(data))


def seed() -> bytes:
    """The conversation itself, in the form of an input."""
    out = b""
    for packet in conversation()[6:]:
        body = packet.data[42:]
        kind = 2 if packet.data[34:36] == (5060).to_bytes(2, "big") else 6
        out += bytes([kind | (packet.port is Port.TRUNK) | 5 << 3]) + len(body).to_bytes(2, "big") + body
    return out


def functions(package: str) -> Iterator[FunctionType]:
    """Every function and method of the package's modules: only our own code guides the fuzzer."""
    for name in [name for name in sys.modules if name.startswith(package + ".")]:
        for value in list(vars(sys.modules[name]).values()):
            owned = getattr(value, "__module__", "") == name
            if owned and isinstance(value, FunctionType):
                yield value
            elif owned and isinstance(value, type):
                yield from (member for member in vars(value).values() if isinstance(member, FunctionType))


def main() -> None:
    if importlib.util.find_spec("atheris") is None:
        one_input(seed())
        print("atheris is not installed: only the seed input was run. It has wheels for some Pythons only.")
        return
    atheris = importlib.import_module("atheris")
    for function in functions("firmware.voip"):
        atheris.instrument_func(function)
    atheris.Setup([*sys.argv, "-timeout=5", "-rss_limit_mb=512"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
