"""Where the plain datagrams of a burst are, found for all of its packets at once: nearly everything on a telephone line
is RTP in one. What is not plain is ``link``'s to read, a packet at a time.

Plain is: Ethernet, one VLAN tag or none, IPv4 without options or IPv6 without extensions, no fragment, UDP.
"""

from collections.abc import Iterator

import numpy as np

from firmware.ports import Burst, Integers

ETHERNET_BYTES, VLAN_BYTES, IPV4_BYTES, IPV6_BYTES, UDP_BYTES = 14, 4, 20, 40, 8
VLAN, VLAN_OUTER, IPV4, IPV6 = 0x8100, 0x88A8, 0x0800, 0x86DD
IPV4_PLAIN = 0x45
"""Version 4, a header of five words."""
FRAGMENT = 0x3FFF
"""In the flags and offset of IPv4: more fragments, or not the first."""
UDP = 17

FLOW_BYTES = 36
"""Both addresses of IPv6 and both ports, up to the length of UDP; of IPv4 the last 12 are as much, and the others 0."""
FLOW_IPV4_BYTES = 12


def plain_datagrams(burst: Burst) -> Iterator[tuple[bytes, int, int]]:
    """Of each packet: its flow (addresses and ports as they are in it; empty where it is not plain), and where in the
    burst its UDP payload begins and ends (before it begins, where the packet is cut short)."""
    octets = np.frombuffer(burst.data + bytes(ETHERNET_BYTES + VLAN_BYTES + IPV6_BYTES + UDP_BYTES), np.uint8)

    def word(at: Integers) -> Integers:
        return octets[at].astype(np.int64) << 8 | octets[at + 1]

    kind = word(burst.starts + ETHERNET_BYTES - 2)
    network = burst.starts + ETHERNET_BYTES + VLAN_BYTES * ((kind == VLAN) | (kind == VLAN_OUTER))
    kind = word(network - 2)
    ipv4 = (kind == IPV4) & (octets[network] == IPV4_PLAIN) & (octets[network + 9] == UDP)
    ipv4 &= word(network + 6) & FRAGMENT == 0
    ipv6 = (kind == IPV6) & (octets[network + 6] == UDP)
    udp = network + np.where(ipv4, IPV4_BYTES, IPV6_BYTES)
    payloads, ends = udp + UDP_BYTES, udp + word(udp + 4)
    plain = (ipv4 | ipv6) & (payloads <= burst.ends)

    everywhere = np.ndarray((len(octets) - FLOW_BYTES + 1, FLOW_BYTES), np.uint8, octets, strides=(1, 1))
    flows = everywhere[udp + 4 - FLOW_BYTES]
    flows[ipv4, :-FLOW_IPV4_BYTES] = 0
    names: list[bytes] = flows.view(f"V{FLOW_BYTES}")[:, 0].tolist()
    return zip(
        [name if known else b"" for name, known in zip(names, plain.tolist(), strict=True)],
        payloads.tolist(),
        np.where(ends <= burst.ends, ends, udp).tolist(),
        strict=True,
    )
