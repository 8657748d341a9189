"""The real rpi-lgpio over the kernel's gpio-sim, under the contract that the simulated panel and the fake keep too.

Needs root, the ``gpio-sim`` module, rpi-lgpio and pytest on one machine (a Pi, or a PC whose kernel has the module);
elsewhere it is skipped, with the reason. The emulated machine has no pytest: there the installed recorder's keys are
pressed and its lamps read through gpio-sim (``test_appliance.py``).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.policy.events import Edge, Lamp, Signal
from hw.clock import MachineClock
from hw.pinmap import DEFAULT_PINS

CONFIGFS = Path("/sys/kernel/config/gpio-sim")
LINES = 28
RASPBERRY_PI_4 = "c03114"


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    if not CONFIGFS.is_dir():
        return "this kernel has no gpio-sim (load the module gpio-sim, mount configfs)"
    try:
        import lgpio  # noqa: F401
    except ImportError:
        return "rpi-lgpio is not installed here"
    return None


WHY_NOT = _why_not()
pytestmark = [pytest.mark.appliance, pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))]


class SimChip:
    """One bank of the kernel's simulated chip: inputs are pulled up or down from outside, outputs can be looked at."""

    def __init__(self) -> None:
        self._device = CONFIGFS / "tacet"
        bank = self._device / "bank0"
        bank.mkdir(parents=True)
        (bank / "num_lines").write_text(str(LINES))
        (self._device / "live").write_text("1")
        name = (self._device / "dev_name").read_text().strip()
        self.number = int((bank / "chip_name").read_text().strip().removeprefix("gpiochip"))
        self._lines = Path("/sys/devices/platform") / name / f"gpiochip{self.number}"

    def pull(self, bcm: int, up: bool) -> None:
        (self._lines / f"sim_gpio{bcm}/pull").write_text("pull-up" if up else "pull-down")

    def level(self, bcm: int) -> bool:
        return (self._lines / f"sim_gpio{bcm}/value").read_text().strip() == "1"

    def remove(self) -> None:
        (self._device / "live").write_text("0")
        (self._device / "bank0").rmdir()
        self._device.rmdir()


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimChip]:
    made = SimChip()
    os.environ["RPI_LGPIO_REVISION"] = RASPBERRY_PI_4
    os.environ["RPI_LGPIO_CHIP"] = str(made.number)
    os.environ["LG_WD"] = str(tmp_path_factory.mktemp("lgpio"))
    for pin in DEFAULT_PINS.inputs:
        made.pull(pin.bcm, pin.active_low)
    yield made
    made.remove()


class Panel:
    def __init__(self, chip: SimChip) -> None:
        from hw.gpio import GpioPins

        self.chip = chip
        self.pins = GpioPins(MachineClock(), DEFAULT_PINS)

    def contact(self, line: int, signal: Signal, active: bool) -> None:
        (pin,) = (pin for pin in DEFAULT_PINS.inputs if (pin.line, pin.signal) == (line, signal))
        self.chip.pull(pin.bcm, active != pin.active_low)

    def edges_within(self, seconds: float) -> list[Edge]:
        end, edges = time.monotonic() + seconds, []
        while time.monotonic() < end:
            time.sleep(0.02)
            edges += self.pins.read()
        return edges

    def lit(self, line: int, lamp: Lamp) -> bool:
        (pin,) = (pin for pin in DEFAULT_PINS.outputs if pin.lamp is lamp and line in pin.lines)
        return self.chip.level(pin.bcm) is not pin.active_low


@pytest.fixture
def panel(chip: SimChip) -> Iterator[Panel]:
    here = os.getcwd()
    made = Panel(chip)
    assert os.getcwd() == here, "the vendor's library moves the process to its own directory"
    made.edges_within(0.1)
    yield made
    made.pins.close()


@pytest.mark.parametrize("tap_s", [0.002, 0.03, 0.2])
def test_a_tap_is_a_press_and_a_release(panel: Panel, tap_s: float) -> None:
    panel.contact(0, Signal.PAYMENT, True)
    time.sleep(tap_s)
    panel.contact(0, Signal.PAYMENT, False)
    edges = panel.edges_within(1.0)
    assert [edge.active for edge in edges] == [True, False]
    assert {(edge.line, edge.signal) for edge in edges} == {(0, Signal.PAYMENT)}


def test_a_bouncing_contact_ends_where_it_ends(panel: Panel) -> None:
    for _ in range(20):
        panel.contact(1, Signal.OPT_OUT, True)
        panel.contact(1, Signal.OPT_OUT, False)
    panel.contact(1, Signal.OPT_OUT, True)
    assert panel.edges_within(1.0)[-1].active
    panel.contact(1, Signal.OPT_OUT, False)
    assert not panel.edges_within(1.0)[-1].active


def test_a_press_in_a_stall_of_the_loop_is_found_afterwards(panel: Panel) -> None:
    panel.contact(0, Signal.KEEP, True)
    time.sleep(0.05)
    panel.contact(0, Signal.KEEP, False)
    time.sleep(2.0)
    assert [edge.active for edge in panel.pins.read()] == [True, False]


def test_lamps_are_on_their_pins(panel: Panel) -> None:
    for line, lamp in ((0, Lamp.REC), (1, Lamp.PAYMENT), (1, Lamp.FAULT)):
        panel.pins.show({(line, lamp): True}, sounder=False)
        assert panel.lit(line, lamp)
        panel.pins.show({(line, lamp): False}, sounder=True)
        assert not panel.lit(line, lamp)


def test_a_key_held_at_the_start_is_a_press(chip: SimChip) -> None:
    chip.pull(5, False)
    panel = Panel(chip)
    assert [(edge.signal, edge.active) for edge in panel.edges_within(0.1)] == [(Signal.PAYMENT, True)]
    chip.pull(5, True)
    panel.pins.close()
