"""Keys, line sense, lamps and sounder without hardware: contacts bounce by seed, lamps are logged with their times.

Edges may be laid ahead (``at_mono_us``): they come out of ``read`` once the clock has reached them, in time order.
"""

import heapq
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from firmware.policy.events import Edge, Lamp, Signal

KEYS = frozenset({Signal.PAYMENT, Signal.OPT_OUT, Signal.KEEP})
BOUNCE_US_MAX = 5_000
"""Longest bounce of a common key switch (data sheets state 5 ms for tactile and panel switches)."""

LOG_ENTRIES_MAX = 1_000_000


class MonoClock(Protocol):
    def mono_us(self) -> int: ...


@dataclass(frozen=True)
class LampChange:
    """``lamp`` None is the sounder, whose ``line`` is -1."""

    at_mono_us: int
    line: int
    lamp: Lamp | None
    on: bool


class SimPins:
    """Implements ``firmware.ports.Pins``. ``bounce_edges_max``: pairs of false edges around each change of a key, drawn
    from ``seed``; 0 for a clean contact."""

    def __init__(self, clock: MonoClock, *, seed: int = 0, bounce_edges_max: int = 6) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._bounce_edges_max = bounce_edges_max
        self._pending: list[tuple[int, int, Edge, bool]] = []
        self._laid = 0
        self.lit: dict[tuple[int, Lamp], bool] = {}
        self.sounder = False
        self.log: deque[LampChange] = deque(maxlen=LOG_ENTRIES_MAX)

    # ------------------------------------------------------------------------------------------------ the port

    def read(self) -> list[Edge]:
        now_mono_us = self._clock.mono_us()
        edges = []
        while self._pending and self._pending[0][0] <= now_mono_us:
            edges.append(heapq.heappop(self._pending)[2])
        return edges

    def show(self, lamps: Mapping[tuple[int, Lamp], bool], sounder: bool) -> None:
        now_mono_us = self._clock.mono_us()
        for (line, lamp), on in lamps.items():
            if self.lit.get((line, lamp), False) != on:
                self.log.append(LampChange(now_mono_us, line, lamp, on))
            self.lit[line, lamp] = on
        if sounder != self.sounder:
            self.log.append(LampChange(now_mono_us, -1, None, sounder))
            self.sounder = sounder

    def close(self) -> None:
        self.show(dict.fromkeys(self.lit, False), False)

    # ------------------------------------------------------------------------------------- what the world does

    def press(self, line: int, key: Signal, at_mono_us: int | None = None) -> None:
        self.level(line, key, True, at_mono_us)

    def release(self, line: int, key: Signal, at_mono_us: int | None = None) -> None:
        self.level(line, key, False, at_mono_us)

    def level(self, line: int, signal: Signal, active: bool, at_mono_us: int | None = None) -> None:
        """The contact or the sense input changes to ``active``, now or at a time ahead; keys bounce."""
        at_mono_us = self._clock.mono_us() if at_mono_us is None else at_mono_us
        self._settle(line, signal, at_mono_us)
        self._lay(line, signal, active, at_mono_us)
        if signal not in KEYS:
            return
        pairs = self._random.randint(0, self._bounce_edges_max)
        offsets_us = sorted(self._random.sample(range(100, BOUNCE_US_MAX), 2 * pairs))
        for index, offset_us in enumerate(offsets_us):
            self._lay(line, signal, active == bool(index % 2), at_mono_us + offset_us, bouncing=True)

    def bounce(self, line: int, key: Signal, times: int, every_us: int, at_mono_us: int | None = None) -> None:
        """A worn contact: ``times`` closures of half of ``every_us`` each, ending open."""
        at_mono_us = self._clock.mono_us() if at_mono_us is None else at_mono_us
        for index in range(times):
            self._lay(line, key, True, at_mono_us + index * every_us)
            self._lay(line, key, False, at_mono_us + index * every_us + every_us // 2)

    def _lay(self, line: int, signal: Signal, active: bool, at_mono_us: int, bouncing: bool = False) -> None:
        self._laid += 1
        heapq.heappush(self._pending, (at_mono_us, self._laid, Edge(line, signal, active, at_mono_us), bouncing))

    def _settle(self, line: int, signal: Signal, at_mono_us: int) -> None:
        """A contact that changes again has stopped bouncing from the change before."""
        self._pending = [
            laid
            for laid in self._pending
            if not (laid[3] and laid[0] >= at_mono_us and (laid[2].line, laid[2].signal) == (line, signal))
        ]
        heapq.heapify(self._pending)
