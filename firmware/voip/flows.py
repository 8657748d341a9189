"""Which call a media packet belongs to, by the address it is sent to; and the media that belongs to none.

``hot`` is the path of nearly every packet: the raw source and destination bytes of a flow to what takes its packets.
It is forgotten whenever an agreement changes and learnt again from the next packet.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from firmware.voip.link import Segment
from firmware.voip.rtp import HEADER, RTCP_TYPES
from firmware.voip.track import Track

STRAY_PACKETS = 50
"""RTP packets in sequence (1 s at 20 ms) before a flow without a dialog is called media."""

NOT_RTP_PACKETS = 10
STRAY_IDLE_US = 10_000_000
TOMBSTONE_US = 10_000_000
"""Media that still comes for so long after its call ended belongs to that call and is not looked at."""

Address = tuple[bytes, int]


@dataclass
class Stray:
    """A UDP flow that no dialog explains, under observation."""

    source: Address
    destination: Address
    sequence: int = -1
    ssrc: int = -1
    run: int = 0
    other: int = 0
    last_mono_us: int = 0
    call: int | None = None

    def take(self, data: bytes, offset: int, end: int, at_mono_us: int) -> None:
        if end - offset < HEADER.size:
            self.other += 1
            return
        first, kind, sequence, _, ssrc = HEADER.unpack_from(data, offset)
        if first >> 6 != 2 or kind & 0x7F in RTCP_TYPES:
            self.other += 1
            return
        follows = ssrc == self.ssrc and 0 < ((sequence - self.sequence) & 0xFFFF) < 16
        self.run = self.run + 1 if follows else self.run if sequence == self.sequence else 0
        self.other += not follows
        self.sequence, self.ssrc = sequence, ssrc
        self.last_mono_us = at_mono_us


Target = Track | Stray | None
"""None: a known flow of which nothing is kept."""


@dataclass
class _Binding:
    owner: int
    target: Track | None
    opposite: Track | None


@dataclass
class FlowTable:
    flows_max: int
    strays_max: int
    hot: dict[bytes, Target] = field(default_factory=dict)
    strays: OrderedDict[tuple[Address, Address], Stray] = field(default_factory=OrderedDict)
    _bound: dict[Address, _Binding] = field(default_factory=dict)
    _tombstones: OrderedDict[Address, int] = field(default_factory=OrderedDict)
    _explained: list[Stray] = field(default_factory=list)
    """Strays that turned out to be a call's, since the last sweep."""

    def bind(
        self, owner: int, address: Address, target: Track | None, opposite: Track | None, *, yields: bool = False
    ) -> int | None:
        """Packets to ``address`` go to ``target`` from now on. Returns the call of a stray flow that this explains.

        The last agreement for an address wins, for a port is used again by the next call; but one that ``yields``
        never takes an address from another call.
        """
        binding = self._bound.get(address)
        if binding is not None and binding.owner == owner and binding.target is target:
            return None
        if binding is not None and binding.owner != owner and yields:
            return None
        if binding is None and len(self._bound) >= self.flows_max:
            return None
        self._bound[address] = _Binding(owner, target, opposite)
        self._tombstones.pop(address, None)
        return self._explain(address)

    def _explain(self, address: Address) -> int | None:
        """Flows of this address were strays or nobody's until now. Returns the call of one that is a stray no more."""
        self.hot.clear()
        found = None
        for key in [key for key in self.strays if address in key]:
            stray = self.strays.pop(key)
            self._explained.append(stray)
            found = stray.call if found is None else found
        return found

    def release(self, owner: int, at_mono_us: int) -> None:
        gone = [address for address, binding in self._bound.items() if binding.owner == owner]
        for address in gone:
            del self._bound[address]
            self._tombstones[address] = at_mono_us
            self._tombstones.move_to_end(address)
        while len(self._tombstones) > self.flows_max:
            self._tombstones.popitem(last=False)
        if gone:
            self.hot.clear()

    def learn(self, segment: Segment, at_mono_us: int) -> Target:
        """What takes the packets of this flow. The way back is learnt with it, for peers behind address translation
        (symmetric RTP, RFC 4961)."""
        source = (segment.source, segment.source_port)
        destination = (segment.destination, segment.destination_port)
        binding = self._bound.get(destination)
        if binding is not None:
            if source not in self._bound and len(self._bound) < self.flows_max // 2:
                # Half of the places stay for what is agreed, whoever else sends to an address of a call.
                self._bound[source] = _Binding(binding.owner, binding.opposite, binding.target)
                self._explain(source)
            return binding.target
        if source in self._bound or destination in self._tombstones or source in self._tombstones:
            return None
        return self._stray(source, destination, at_mono_us)

    def _stray(self, source: Address, destination: Address, at_mono_us: int) -> Stray | None:
        if min(source[1], destination[1]) < 1024:
            return None
        stray = self.strays.get((source, destination))
        if stray is None and len(self.strays) < self.strays_max:
            stray = self.strays[source, destination] = Stray(source, destination, last_mono_us=at_mono_us)
        return stray

    def remember(self, key: bytes, target: Target) -> None:
        if len(self.hot) >= 4 * self.flows_max:
            self.hot.clear()
        self.hot[key] = target

    def sweep(self, now_mono_us: int) -> list[Stray]:
        """Forget what is over; returns strays that are gone (idle, or never media)."""
        while self._tombstones:
            address, since = next(iter(self._tombstones.items()))
            if now_mono_us - since <= TOMBSTONE_US:
                break
            del self._tombstones[address]
            self.hot.clear()
        gone, self._explained = self._explained, []
        for key, stray in list(self.strays.items()):
            never = stray.call is None and stray.other >= NOT_RTP_PACKETS
            if never or now_mono_us - stray.last_mono_us > STRAY_IDLE_US:
                del self.strays[key]
                gone.append(stray)
                for hot_key in [hot for hot, target in self.hot.items() if target is stray]:
                    self.hot[hot_key] = None
        return gone

    def found(self) -> list[Stray]:
        """Strays that have shown themselves to be media and belong to no call yet."""
        return [stray for stray in self.strays.values() if stray.call is None and stray.run >= STRAY_PACKETS]

    def reverse_call(self, stray: Stray) -> int | None:
        other = self.strays.get((stray.destination, stray.source))
        return other.call if other is not None else None
