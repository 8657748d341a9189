"""Pins: keys, line sense, lamps and sounder over the RPi.GPIO API, which ``rpi-lgpio`` offers on the device.

Edges are latched with their time in the library's thread; the loop takes them at its own pace. What the API cannot be
trusted with (all measured), and what is done about it:

* A callback does not say which way the pin went, and comes 3 to 12 ms late: the level is read in the callback. Where it
  is what it was before, a whole pulse went by: both its edges are latched.
* ``bouncetime`` delays the callback by 53 to 74 ms and swallows a tap of 30 ms: never used. The product debounces.
* Edges get lost: every input's level is compared with what was latched, every ``RECHECK_US``.
* A FIFO is made in the current directory at import; a read-only one breaks the import. ``LG_WD`` moves it, and moves
  the whole process with it: moved back at once.
"""

import os
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from firmware.policy.events import Edge, Lamp, Signal
from firmware.ports import Clock
from hw.pinmap import InputPin, PinMap

KEYS = frozenset({Signal.PAYMENT, Signal.OPT_OUT, Signal.KEEP})
LATCHED_MAX = 4096
"""Per kind: 40 s of a ring detector that follows each cycle (25 Hz, two lines). Keys have a latch of their own, so no
storm on a line can push a press out."""

RECHECK_US = 200_000
STRAGGLER_US = 50_000
"""What was latched ahead of its callback (a whole pulse at its first edge, a level by comparison) may still have one
on its way, which tells nothing new: 12 ms at most were measured."""


class PinsMissing(OSError):
    """There are no pins to use, or not for us. The text is one sentence for a person."""


def import_gpio() -> Any:
    """The RPi.GPIO module. Raises PinsMissing."""
    here = os.getcwd()
    os.environ.setdefault("LG_WD", os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or tempfile.gettempdir())
    try:
        from RPi import GPIO
    except (ImportError, RuntimeError, OSError) as error:
        raise PinsMissing(
            f"The keys and lamps cannot be reached: {error}. Nothing is recorded."
            " On the device install rpi-lgpio (and not RPi.GPIO beside it); elsewhere use `simulate`."
        ) from error
    finally:
        os.chdir(here)
    return GPIO


class GpioPins:
    """Implements ``firmware.ports.Pins``. ``gpio``: the module, for a test; else the real one is imported.

    Raises PinsMissing where pins cannot be had: not a Pi, no permission, taken by another process.
    """

    def __init__(self, clock: Clock, pin_map: PinMap, gpio: Any = None) -> None:
        self._clock = clock
        self._gpio = import_gpio() if gpio is None else gpio
        self._outputs = pin_map.outputs
        self._inputs: dict[int, InputPin] = {pin.bcm: pin for pin in pin_map.inputs}
        self._lock = threading.Lock()
        self._active: dict[int, bool] = {}
        self._ahead_mono_us: dict[int, int] = {}
        self._key_edges: deque[Edge] = deque(maxlen=LATCHED_MAX)
        self._line_edges: deque[Edge] = deque(maxlen=LATCHED_MAX)
        self._lit: dict[int, bool] = {}
        self._checked_mono_us = clock.mono_us()
        try:
            self._set_up()
        except (RuntimeError, ValueError) as error:
            raise PinsMissing(
                f"A pin for keys and lamps was refused: {error}. Nothing is recorded."
                " Check that no other program uses the pins, and the pins in tacet.toml."
            ) from error

    def _set_up(self) -> None:
        gpio = self._gpio
        gpio.setwarnings(False)
        gpio.setmode(gpio.BCM)
        for output in self._outputs:
            gpio.setup(output.bcm, gpio.OUT, initial=output.active_low)
            self._lit[output.bcm] = False
        for pin in self._inputs.values():
            gpio.setup(pin.bcm, gpio.IN, pull_up_down=gpio.PUD_UP if pin.active_low else gpio.PUD_DOWN)
            self._active[pin.bcm] = False
            gpio.add_event_detect(pin.bcm, gpio.BOTH, callback=self._on_edge)
        for bcm in self._inputs:
            self._recheck(bcm, self._clock.mono_us())

    # ------------------------------------------------------------------------------------------------ the port

    def read(self) -> list[Edge]:
        """A contact that is closed when the recorder starts is an edge then."""
        now_mono_us = self._clock.mono_us()
        if now_mono_us - self._checked_mono_us >= RECHECK_US:
            self._checked_mono_us = now_mono_us
            for bcm in self._inputs:
                self._recheck(bcm, now_mono_us)
        edges = []
        for latch in (self._key_edges, self._line_edges):
            edges += [latch.popleft() for _ in range(len(latch))]
        return sorted(edges, key=lambda edge: edge.at_mono_us)

    def show(self, lamps: Mapping[tuple[int, Lamp], bool], sounder: bool) -> None:
        for output in self._outputs:
            if output.lamp is None:
                on = sounder
            else:
                on = any(lamps.get((line, output.lamp), False) for line in output.lines)
            if self._lit[output.bcm] != on:
                self._gpio.output(output.bcm, on != output.active_low)
                self._lit[output.bcm] = on

    def close(self) -> None:
        """All lamps off, all pins given back."""
        self.show({}, False)
        for bcm in self._inputs:
            self._gpio.remove_event_detect(bcm)
        self._gpio.cleanup([*self._inputs, *self._lit])

    # ------------------------------------------------------------------------------------------------ within

    def _level(self, bcm: int) -> bool:
        return bool(self._gpio.input(bcm)) != self._inputs[bcm].active_low

    def _on_edge(self, bcm: int) -> None:
        """In the library's thread."""
        with self._lock:
            now_mono_us = self._clock.mono_us()
            active = self._level(bcm)
            if active != self._active[bcm]:
                self._latch(bcm, active, now_mono_us)
            elif now_mono_us - self._ahead_mono_us.pop(bcm, -STRAGGLER_US) >= STRAGGLER_US:
                self._ahead_mono_us[bcm] = now_mono_us
                self._latch(bcm, not active, now_mono_us)
                self._latch(bcm, active, now_mono_us)

    def _recheck(self, bcm: int, now_mono_us: int) -> None:
        with self._lock:
            active = self._level(bcm)
            if active != self._active[bcm]:
                self._ahead_mono_us[bcm] = now_mono_us
                self._latch(bcm, active, now_mono_us)

    def _latch(self, bcm: int, active: bool, at_mono_us: int) -> None:
        pin = self._inputs[bcm]
        self._active[bcm] = active
        latch = self._key_edges if pin.signal in KEYS else self._line_edges
        latch.append(Edge(pin.line, pin.signal, active, at_mono_us))
