"""What a site says about its trunk, and the limits that bound the memory and time of everything in this package."""

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

from firmware.units import BLOCK_SAMPLES, PORTION_BLOCKS

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class OnTransfer(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"


@dataclass(frozen=True)
class LineSlot:
    """One line of the recorder. ``ddi``: the numbers that ring it, in any usual form (+44..., 0044..., 0...).

    ``agents``: user parts or addresses of the telephones behind it; only needed where several lines share a number.
    """

    ddi: tuple[str, ...]
    agents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    """Everything is bounded; a limit that is reached is an output, never an exception."""

    dialogs: int = 256
    """Dialogs at a time. A new one pushes out the oldest of those that are not from a peer or from inside, then (only
    if it is from there itself) the oldest unanswered; answered calls are never pushed out."""
    message_bytes: int = 65_535
    """Longest SIP message; a longer one is not read (UDP cannot carry more)."""
    tcp_flows: int = 64
    tcp_pending_bytes: int = 65_535
    """Out-of-order bytes kept per TCP direction."""
    fragments: int = 64
    """IP datagrams under reassembly."""
    media_flows: int = 2048
    strays: int = 64
    """Media flows without a dialog under observation."""
    channel_packets: int = 512
    """RTP packets that one channel takes from one cut to the next (at 20 ms: 10 s)."""
    piece_samples: int = PORTION_BLOCKS * BLOCK_SAMPLES
    """As long as what leaves the look-back of two wires at a time."""
    reorder_wait_us: int = 1_000_000
    """How long a stretch waits for late packets before it is cut. Nothing is in a hurry: the shortest look-back is
    2 s."""


@dataclass(frozen=True)
class TrunkSettings:
    """``peers``: addresses or networks of the provider; an INVITE from elsewhere is never inbound. ``opt_out_digit``:
    the one key that a caller may hold for 1 s (None: off)."""

    lines: tuple[LineSlot, ...]
    peers: tuple[str, ...]
    on_transfer: OnTransfer = OnTransfer.STOP
    sip_ports: tuple[int, ...] = (5060,)
    tls_ports: tuple[int, ...] = (5061,)
    country_code: str = "44"
    opt_out_digit: str | None = None
    limits: Limits = field(default_factory=Limits)

    def networks(self) -> tuple[IpNetwork, ...]:
        """Raises ValueError where a peer is neither an address nor a network."""
        return tuple(ipaddress.ip_network(peer, strict=False) for peer in self.peers)
