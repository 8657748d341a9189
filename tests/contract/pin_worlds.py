"""Worlds with a panel in them, for one contract: simulated pins, and the real adapter over the rude fake of its API."""

from typing import Protocol

from firmware.policy.events import Edge, Lamp, Signal
from firmware.ports import Pins
from hw.gpio import GpioPins
from hw.pinmap import DEFAULT_PINS, PinMap
from hw.sim.clock import SimClock
from hw.sim.pins import SimPins
from tests.contract.fake_gpio import FakeGpio


class PanelWorld(Protocol):
    pins: Pins

    def contact(self, line: int, signal: Signal, active: bool) -> None:
        """A contact closes or opens, now."""

    def wait(self, ms: float) -> None: ...
    def now_mono_us(self) -> int: ...
    def lit(self, line: int, lamp: Lamp) -> bool: ...
    def sounding(self) -> bool: ...


class SimPanel:
    def __init__(self, seed: int, bounce_edges_max: int = 6) -> None:
        self._clock = SimClock(0)
        self.pins = SimPins(self._clock, seed=seed, bounce_edges_max=bounce_edges_max)

    def contact(self, line: int, signal: Signal, active: bool) -> None:
        self.pins.level(line, signal, active)

    def wait(self, ms: float) -> None:
        self._clock.advance_us(round(ms * 1000))

    def now_mono_us(self) -> int:
        return self._clock.mono_us()

    def lit(self, line: int, lamp: Lamp) -> bool:
        return self.pins.lit.get((line, lamp), False)

    def sounding(self) -> bool:
        return self.pins.sounder


class FakePanel:
    """``bounce``: each contact of a key closes and opens a few times within 3 ms before it stays."""

    def __init__(self, seed: int, pin_map: PinMap = DEFAULT_PINS, bounce: bool = True, lose: float = 0.0) -> None:
        self._clock = SimClock(0)
        self.gpio = FakeGpio(self._clock, seed, lose=lose)
        self._map = pin_map
        self._bounce = bounce
        self.pins = GpioPins(self._clock, pin_map, self.gpio)

    def contact(self, line: int, signal: Signal, active: bool) -> None:
        (pin,) = (pin for pin in self._map.inputs if (pin.line, pin.signal) == (line, signal))
        for us in (700, 400, 900) if self._bounce else ():
            self.gpio.drive(pin.bcm, active != pin.active_low)
            self.gpio.settle(us)
            self.gpio.drive(pin.bcm, active == pin.active_low)
            self.gpio.settle(us // 2)
        self.gpio.drive(pin.bcm, active != pin.active_low)

    def wait(self, ms: float) -> None:
        self.gpio.settle(round(ms * 1000))

    def now_mono_us(self) -> int:
        return self._clock.mono_us()

    def lit(self, line: int, lamp: Lamp) -> bool:
        (pin,) = (pin for pin in self._map.outputs if pin.lamp is lamp and line in pin.lines)
        return self.gpio.level(pin.bcm) is not pin.active_low

    def sounding(self) -> bool:
        (pin,) = (pin for pin in self._map.outputs if pin.lamp is None)
        return self.gpio.level(pin.bcm) is not pin.active_low


def ends_active(edges: list[Edge], line: int, signal: Signal) -> bool | None:
    """Where the newest edge of the input leaves it; None when it had none."""
    return next((edge.active for edge in reversed(edges) if (edge.line, edge.signal) == (line, signal)), None)
