"""Which pin does what: the default wiring of two lines on a Raspberry Pi's own header. ``hw/WIRING.md`` shows the same
table, and a test compares the two.

All 22 free pins are used. Left alone: BCM 0 and 1 (the HAT's EEPROM, read at boot), 2 and 3 (I2C: erasable memory and
clock), 14 and 15 (UART: console). Outputs sit on BCM 9 to 27, which are pulled *down* from reset until the recorder
runs (BCM2711 data sheet, 5.3), so no lamp tells anything before there is something to tell; BCM 4 to 8 are pulled up.
There is one FAULT lamp, lit by a fault of any line; line 2's REVERSAL needs a port expander.
"""

from dataclasses import dataclass

from firmware.policy.events import Lamp, Signal


@dataclass(frozen=True)
class InputPin:
    """A key or sense contact. ``active_low``: closed to ground against the Pi's own pull-up (about 50 kOhm)."""

    bcm: int
    line: int
    signal: Signal
    active_low: bool = True


@dataclass(frozen=True)
class OutputPin:
    """A lamp, or the sounder (``lamp`` None). Lit when it is lit for any of ``lines``."""

    bcm: int
    lines: tuple[int, ...]
    lamp: Lamp | None
    active_low: bool = False


@dataclass(frozen=True)
class PinMap:
    inputs: tuple[InputPin, ...]
    outputs: tuple[OutputPin, ...]

    def __post_init__(self) -> None:
        """Raises ValueError with one sentence where a pin or a purpose is named twice, or a pin cannot be used."""
        taken: set[int] = set()
        for bcm in [pin.bcm for pin in self.inputs] + [pin.bcm for pin in self.outputs]:
            if bcm not in FREE_PINS:
                raise ValueError(f"GPIO {bcm} cannot be used: {RESERVED_PINS.get(bcm, 'it is not on the header')}.")
            if bcm in taken:
                raise ValueError(f"GPIO {bcm} is given to two things. Each needs its own pin.")
            taken.add(bcm)
        purposes = [(pin.line, pin.signal) for pin in self.inputs]
        purposes_out = [(line, pin.lamp) for pin in self.outputs for line in pin.lines]
        if len(set(purposes)) < len(purposes) or len(set(purposes_out)) < len(purposes_out):
            raise ValueError("A key, sense input or lamp has two pins. Give it one.")

    def for_lines(self, lines: int) -> "PinMap":
        """The part of the map that the first ``lines`` lines need."""
        outputs = [
            OutputPin(pin.bcm, tuple(line for line in pin.lines if line < lines), pin.lamp, pin.active_low)
            for pin in self.outputs
        ]
        return PinMap(tuple(pin for pin in self.inputs if pin.line < lines), tuple(pin for pin in outputs if pin.lines))


RESERVED_PINS = {
    0: "the HAT's EEPROM is read there at boot",
    1: "the HAT's EEPROM is read there at boot",
    2: "the erasable memory and the clock are there (I2C)",
    3: "the erasable memory and the clock are there (I2C)",
    14: "the console is there (UART)",
    15: "the console is there (UART)",
}
FREE_PINS = frozenset(range(28)) - RESERVED_PINS.keys()

DEFAULT_PINS = PinMap(
    inputs=(
        InputPin(5, 0, Signal.PAYMENT),
        InputPin(6, 0, Signal.OPT_OUT),
        InputPin(7, 0, Signal.KEEP),
        InputPin(16, 0, Signal.RING),
        InputPin(20, 0, Signal.LOOP),
        InputPin(4, 0, Signal.REVERSAL),
        InputPin(13, 1, Signal.PAYMENT),
        InputPin(19, 1, Signal.OPT_OUT),
        InputPin(26, 1, Signal.KEEP),
        InputPin(8, 1, Signal.RING),
        InputPin(21, 1, Signal.LOOP),
    ),
    outputs=(
        OutputPin(17, (0,), Lamp.REC),
        OutputPin(27, (0,), Lamp.PAYMENT),
        OutputPin(22, (0,), Lamp.OPT_OUT),
        OutputPin(10, (0,), Lamp.KEEP),
        OutputPin(18, (1,), Lamp.REC),
        OutputPin(23, (1,), Lamp.PAYMENT),
        OutputPin(24, (1,), Lamp.OPT_OUT),
        OutputPin(25, (1,), Lamp.KEEP),
        OutputPin(9, (0, 1), Lamp.FAULT),
        OutputPin(11, (0, 1), Lamp.STICK),
        OutputPin(12, (0, 1), None),
    ),
)
