"""What one direction of a call has brought and was not cut yet: stretches of the call's axis, in any order."""

from dataclasses import dataclass, field
from operator import attrgetter

from firmware.voip.rtp import Coding


@dataclass(repr=False)
class Part:
    """A stretch of the axis: packets that follow each other, or silence on purpose."""

    first: int
    end: int
    coding: Coding
    payloads: list[bytes] = field(default_factory=list)
    """Of its packets, in order; none where it is silence."""

    def cut(self, start: int, end: int) -> bytes:
        """[start, end) of it, and what is before ``end`` is forgotten."""
        data, first, self.first = self.coding.silence * (end - start), self.first, end
        if self.payloads:
            unit, whole = self.coding.unit_bytes, b"".join(self.payloads)
            data = whole[(start - first) * unit : (end - first) * unit]
            self.payloads = [whole[(end - first) * unit :]]
        return data


@dataclass(frozen=True, repr=False)
class Run:
    """Contiguous audio [start, end) of one coding; ``data`` has ``coding.unit_bytes`` per sample."""

    start: int
    end: int
    coding: Coding
    data: bytes


class Parts:
    """Positions are samples of the axis. ``packets_max``: taken between two cuts; whoever adds asks ``has_room``."""

    def __init__(self, packets_max: int) -> None:
        self.cut = 0
        """Everything before it has left."""
        self.packets = 0
        """Taken since the last cut; what was left by it counts one a part."""
        self._packets_max = packets_max
        self._parts: list[Part] = []
        self._open: Part | None = None
        """What the next packet in sequence continues."""
        self._ordered = True

    def __len__(self) -> int:
        return len(self._parts)

    def has_room(self, packets: int = 1) -> bool:
        return self.packets + packets <= self._packets_max

    def extend(self, first: int, samples: int, coding: Coding, payloads: list[bytes]) -> None:
        """The next of a stream: one packet, or several that follow each other."""
        part = self._open
        if part is not None and part.end == first and part.coding is coding:
            part.payloads += payloads
            part.end += samples
            self.packets += len(payloads)
        else:
            self._open = self._add(first, samples, coding, payloads)

    def put(self, first: int, samples: int, coding: Coding, payload: bytes | None) -> None:
        """Out of order: late, redundant, or (None) silence put in afterwards."""
        self._add(first, samples, coding, [] if payload is None else [payload])

    def _add(self, first: int, samples: int, coding: Coding, payloads: list[bytes]) -> Part:
        part = Part(first, first + samples, coding, payloads)
        if first < self.cut:
            part.cut(self.cut, self.cut)
        self._ordered = self._ordered and (not self._parts or self._parts[-1].first <= part.first)
        self._parts.append(part)
        self.packets += max(1, len(payloads))
        return part

    def break_off(self) -> None:
        """What comes next continues nothing."""
        self._open = None

    def hold(self, start: int, end: int, payload: bytes) -> bool:
        """Whether these very bytes lie there."""
        return any(
            part.first <= start and end <= part.end and any(payload in taken for taken in part.payloads)
            for part in self._parts
        )

    def move_back(self, start: int, samples: int) -> None:
        """All that lies at ``start`` or after it."""
        for part in self._parts:
            if part.first >= start:
                part.first -= samples
                part.end -= samples
        self._ordered = False

    # ------------------------------------------------------------------------------------------------- audio out

    def runs(self, start: int, end: int) -> list[Run]:
        """Take [start, end) off the axis: what there is of it, in order, without overlap. ``start`` is where the
        last call ended."""
        if not self._ordered:
            self._parts.sort(key=attrgetter("first"))
            self._ordered = True
        position = begin = start
        runs: list[Run] = []
        pieces: list[bytes] = []
        coding: Coding | None = None
        for part in self._parts:
            if part.first >= end:
                break
            until = min(part.end, end)
            if until > position:
                if pieces and (part.first > position or part.coding is not coding):
                    runs.append(Run(begin, position, coding, b"".join(pieces)))  # type: ignore[arg-type]
                    pieces = []
                first = max(part.first, position)
                if not pieces:
                    begin, coding = first, part.coding
                pieces.append(part.cut(first, until))
                position = until
        if pieces and coding is not None:
            runs.append(Run(begin, position, coding, b"".join(pieces)))
        self._forget(end)
        return runs

    def drop(self, end: int) -> None:
        """Take everything up to ``end`` off the axis unheard (hold)."""
        self._forget(max(self.cut, end))

    def _forget(self, end: int) -> None:
        """What reaches over ``end`` begins there from now on: parts in order stay in order."""
        self.cut = end
        self._parts = [part for part in self._parts if part.end > end]
        for part in self._parts:
            if part.first < end:
                part.cut(end, end)
        self.packets = len(self._parts)
        if not self._parts or self._parts[-1] is not self._open:
            self._open = None
