"""The calls of RPi.GPIO that ``hw/gpio.py`` uses, without pins, and as rude as the real ones were measured to be.

Callbacks come 3 to 12 ms after their edge and do not say which way it went; two edges close together are merged into
one callback; some callbacks never come. All by seed, on virtual time: ``settle`` moves it.
"""

import random
from collections.abc import Callable, Iterable

from hw.sim.clock import SimClock

MERGED_US = 1_000
"""Edges of one pin closer than this may give one callback."""


class FakeGpio:
    BCM, OUT, IN = 11, 0, 1
    PUD_OFF, PUD_DOWN, PUD_UP = 20, 21, 22
    BOTH = 33

    def __init__(self, clock: SimClock, seed: int = 0, *, merge: float = 0.5, lose: float = 0.0) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._merge, self._lose = merge, lose
        self._mode: int | None = None
        self._outputs: dict[int, bool] = {}
        self._levels: dict[int, bool] = {}
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._due: list[tuple[int, int]] = []
        self._edge_us: dict[int, int] = {}
        self.initial: dict[int, bool] = {}
        """Level of an output from its very first moment."""
        self.external: dict[int, bool] = {}
        """Level that the world holds an input at, before it was ever set up."""

    # ------------------------------------------------------------------------------------- what the adapter calls

    def setwarnings(self, on: bool) -> None:
        assert on is False

    def setmode(self, mode: int) -> None:
        assert mode == self.BCM
        self._mode = mode

    def setup(self, bcm: int, direction: int, pull_up_down: int = PUD_OFF, initial: bool | None = None) -> None:
        assert self._mode == self.BCM, "setmode first"
        if direction == self.OUT:
            assert pull_up_down == self.PUD_OFF
            assert initial is not None, "an output that starts at an unknown level flashes its lamp"
            self._outputs[bcm] = self.initial[bcm] = bool(initial)
        else:
            assert pull_up_down in (self.PUD_DOWN, self.PUD_UP), "an input must not float"
            self._levels[bcm] = self.external.get(bcm, pull_up_down == self.PUD_UP)

    def add_event_detect(self, bcm: int, edge: int, callback: Callable[[int], None]) -> None:
        """``bouncetime`` is not taken: it swallows taps (measured)."""
        assert edge == self.BOTH
        assert bcm in self._levels, "setup first"
        self._callbacks[bcm] = callback

    def remove_event_detect(self, bcm: int) -> None:
        del self._callbacks[bcm]

    def input(self, bcm: int) -> int:
        return int(self._levels[bcm])

    def output(self, bcm: int, level: bool) -> None:
        assert bcm in self._outputs, "setup first"
        self._outputs[bcm] = bool(level)

    def cleanup(self, pins: Iterable[int]) -> None:
        for bcm in pins:
            self._outputs.pop(bcm, None)
            self._levels.pop(bcm, None)

    # ------------------------------------------------------------------------------------------ what the world does

    def drive(self, bcm: int, level: bool) -> None:
        """A contact outside moves the pin, now."""
        if self._levels[bcm] == level:
            return
        self._levels[bcm] = level
        now = self._clock.mono_us()
        merged = now - self._edge_us.get(bcm, -MERGED_US) < MERGED_US and self._random.random() < self._merge
        self._edge_us[bcm] = now
        if not merged and self._random.random() >= self._lose:
            self._due.append((now + self._random.randint(3_000, 12_000), bcm))
            self._due.sort()

    def level(self, bcm: int) -> bool | None:
        """Of an output; None when the pin is not one (any more)."""
        return self._outputs.get(bcm)

    def settle(self, us: int) -> None:
        """Time passes; callbacks run at their time, in the library's thread as far as the adapter can tell."""
        end = self._clock.mono_us() + us
        while self._due and self._due[0][0] <= end:
            due, bcm = self._due.pop(0)
            self._clock.advance_us(max(0, due - self._clock.mono_us()))
            if bcm in self._callbacks:
                self._callbacks[bcm](bcm)
        self._clock.advance_us(end - self._clock.mono_us())
