"""Where the plain datagrams of a burst are, found for all of its packets at once: nearly everything on a telephone line
is RTP in one. What is not plain is ``link``'s to read, a packet at a time.

Plain is: Ethernet, one VLAN tag or none, IPv4 without options or IPv6 without extensions, no fragment, UDP.
"""

from collections.abc import Iterator

import numpy as np

from firmware.ports import Burst

ADDRESSES_BYTES, VLAN_BYTES = 12, 4
VLAN, VLAN_OUTER, IPV4, IPV6 = 0x8100, 0x88A8, 0x0800, 0x86DD
IPV4_PLAIN = 0x45
"""Version 4, a header of five words."""
FRAGMENT = 0x3FFF
"""In the flags and offset of IPv4: more fragments, or not the first."""
UDP = 17

HEADERS_BYTES = 2 + 40 + 8
IPV4_UDP = np.dtype(
    {
        "names": ["kind", "version", "fragment", "protocol", "flow", "length"],
        "formats": [">u2", "u1", ">u2", "u1", "V12", ">u2"],
        "offsets": [0, 2, 8, 11, 14, 26],
        "itemsize": HEADERS_BYTES,
    }
)
IPV6_UDP = np.dtype(
    {
        "names": ["kind", "protocol", "flow", "length"],
        "formats": [">u2", "u1", "V36", ">u2"],
        "offsets": [0, 8, 10, 46],
        "itemsize": HEADERS_BYTES,
    }
)
"""From the EtherType on. ``flow``: both addresses and both ports; ``length``: UDP's."""
IPV4_PAYLOAD, IPV6_PAYLOAD = 2 + 20 + 8, HEADERS_BYTES


def plain_datagrams(burst: Burst) -> Iterator[tuple[bytes, int, int]]:
    """Of each packet: its flow (addresses and ports as they are in it; empty where it is not plain), and where in the
    burst its UDP payload begins and ends (before it begins, where the packet is cut short)."""
    octets = burst.data + bytes(ADDRESSES_BYTES + VLAN_BYTES + HEADERS_BYTES)
    # Every stretch as long as the headers: picked are those that begin where they do.
    stretches = np.ndarray((len(octets) - HEADERS_BYTES + 1, HEADERS_BYTES), np.uint8, octets, strides=(1, 1))
    begins = burst.starts + ADDRESSES_BYTES
    heads = stretches[begins]
    kind = heads.view(IPV4_UDP)["kind"][:, 0]
    tagged = (kind == VLAN) | (kind == VLAN_OUTER)
    if tagged.any():
        begins = begins + VLAN_BYTES * tagged
        heads = stretches[begins]
    four, six = heads.view(IPV4_UDP)[:, 0], heads.view(IPV6_UDP)[:, 0]
    ipv4 = (four["kind"] == IPV4) & (four["version"] == IPV4_PLAIN) & (four["protocol"] == UDP)
    ipv4 &= four["fragment"] & FRAGMENT == 0
    ipv6 = (six["kind"] == IPV6) & (six["protocol"] == UDP)

    payloads = begins + np.where(ipv4, IPV4_PAYLOAD, IPV6_PAYLOAD)
    ends = payloads - 8 + np.where(ipv4, four["length"], six["length"])
    there = payloads <= burst.ends
    flows = zip(
        four["flow"].tolist(), six["flow"].tolist(), (ipv4 & there).tolist(), (ipv6 & there).tolist(), strict=True
    )
    return zip(
        [in_four if is_four else in_six if is_six else b"" for in_four, in_six, is_four, is_six in flows],
        payloads.tolist(),
        np.where(ends <= burst.ends, ends, burst.starts).tolist(),
        strict=True,
    )
