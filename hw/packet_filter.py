"""The kernel filter of ``netport`` as classic BPF: SIP over UDP and TCP, RTP, their fragments; nothing else is copied.

UDP from and to unprivileged ports (RTP may be on any), TCP of the signalling ports, fragments of UDP; over IPv4 and
IPv6; up to two VLAN tags in the frame (the kernel usually takes the outer one out before). Opcodes: linux/filter.h,
linux/bpf_common.h.
"""

import struct
from dataclasses import dataclass

LOAD_WORD, LOAD_HALF, LOAD_HALF_X, LOAD_BYTE_X = 0x20, 0x28, 0x48, 0x50
SET_X, AND, SHIFT_LEFT, ADD_X, A_TO_X = 0x01, 0x54, 0x64, 0x0C, 0x07
IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT, RETURN = 0x15, 0x35, 0x45, 0x06
JUMPS = (IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT)

INTERFACE_INDEX = 0xFFFFF000 + 8
"""SKF_AD_OFF + SKF_AD_IFINDEX."""
WHOLE_PACKET = 0x40000
IPV4, IPV6, VLAN, VLAN_OUTER = 0x0800, 0x86DD, 0x8100, 0x88A8
TCP, UDP, FRAGMENT = 6, 17, 44
UNPRIVILEGED = 1024


@dataclass(frozen=True)
class Step:
    """One instruction; a jump goes to the label ``then`` or ``otherwise``, '' is the next instruction."""

    code: int
    value: int = 0
    then: str = ""
    otherwise: str = ""
    label: str = ""


def program(interfaces: tuple[int, ...], tcp_ports: tuple[int, ...]) -> bytes:
    """sock_filter structs (8 bytes each) for these interface indices."""
    steps = [Step(LOAD_WORD, INTERFACE_INDEX)]
    steps += [Step(IF_EQUAL, index, "tags") for index in interfaces]
    steps += [Step(RETURN, 0, label="drop_interface"), *_tags(), *_ipv4(tcp_ports), *_ipv6(tcp_ports)]
    steps += [Step(RETURN, 0, label="drop"), Step(RETURN, WHOLE_PACKET, label="accept")]
    return _assemble(steps)


def _tags() -> list[Step]:
    """X becomes the length of the VLAN tags, A the EtherType behind them."""
    return [
        Step(SET_X, 0, label="tags"),
        Step(LOAD_HALF, 12),
        Step(IF_EQUAL, VLAN, "one_tag"),
        Step(IF_EQUAL, VLAN_OUTER, "one_tag", "type"),
        Step(SET_X, 4, label="one_tag"),
        Step(LOAD_HALF, 16),
        Step(IF_EQUAL, VLAN, "two_tags"),
        Step(IF_EQUAL, VLAN_OUTER, "two_tags", "type"),
        Step(SET_X, 8, label="two_tags"),
        Step(LOAD_HALF, 20),
        Step(IF_EQUAL, IPV4, "ipv4", label="type"),
        Step(IF_EQUAL, IPV6, "ipv6", "drop"),
    ]


def _ipv4(tcp_ports: tuple[int, ...]) -> list[Step]:
    to_transport = [
        Step(LOAD_BYTE_X, 14),
        Step(AND, 0x0F),
        Step(SHIFT_LEFT, 2),
        Step(ADD_X),
        Step(A_TO_X),
    ]
    return [
        Step(LOAD_BYTE_X, 23, label="ipv4"),
        Step(IF_EQUAL, UDP, "udp4"),
        Step(IF_EQUAL, TCP, "tcp4", "drop"),
        Step(LOAD_HALF_X, 20, label="udp4"),
        Step(IF_ANY_BIT, 0x1FFF, "accept"),
        *to_transport,
        *_unprivileged(14),
        Step(LOAD_HALF_X, 20, label="tcp4"),
        Step(IF_ANY_BIT, 0x1FFF, "drop"),
        *to_transport,
        *_one_of(14, tcp_ports),
    ]


def _ipv6(tcp_ports: tuple[int, ...]) -> list[Step]:
    return [
        Step(LOAD_BYTE_X, 20, label="ipv6"),
        Step(IF_EQUAL, FRAGMENT, "accept"),
        Step(IF_EQUAL, UDP, "udp6"),
        Step(IF_EQUAL, TCP, "tcp6", "drop"),
        Step(LOAD_HALF_X, 54, label="udp6"),
        Step(IF_AT_LEAST, UNPRIVILEGED, "", "drop"),
        Step(LOAD_HALF_X, 56),
        Step(IF_AT_LEAST, UNPRIVILEGED, "accept", "drop"),
        Step(LOAD_HALF_X, 54, label="tcp6"),
        *[Step(IF_EQUAL, port, "accept") for port in tcp_ports],
        Step(LOAD_HALF_X, 56),
        *[Step(IF_EQUAL, port, "accept") for port in tcp_ports],
        Step(RETURN, 0),
    ]


def _unprivileged(offset: int) -> list[Step]:
    return [
        Step(LOAD_HALF_X, offset),
        Step(IF_AT_LEAST, UNPRIVILEGED, "", "drop"),
        Step(LOAD_HALF_X, offset + 2),
        Step(IF_AT_LEAST, UNPRIVILEGED, "accept", "drop"),
    ]


def _one_of(offset: int, ports: tuple[int, ...]) -> list[Step]:
    return [
        Step(LOAD_HALF_X, offset),
        *[Step(IF_EQUAL, port, "accept") for port in ports],
        Step(LOAD_HALF_X, offset + 2),
        *[Step(IF_EQUAL, port, "accept") for port in ports],
        Step(RETURN, 0),
    ]


def _assemble(steps: list[Step]) -> bytes:
    labels = {step.label: index for index, step in enumerate(steps) if step.label}
    out = bytearray()
    for index, step in enumerate(steps):
        distances = [labels[name] - index - 1 if name else 0 for name in (step.then, step.otherwise)]
        assert step.code in JUMPS or distances == [0, 0]
        assert all(0 <= distance <= 255 for distance in distances), "classic BPF jumps forward, 255 at most"
        out += struct.pack("=HBBI", step.code, *distances, step.value)
    return bytes(out)
