"""Pins: one contract over the simulated panel and the real adapter (over a rude fake of its vendor's API).

The real library over the kernel's gpio-sim is in ``tests/appliance/test_pins_gpiosim.py``.
"""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.policy.events import Edge, Lamp, Signal
from hw.gpio import GpioPins, PinsMissing, import_gpio
from hw.pinmap import DEFAULT_PINS, FREE_PINS, RESERVED_PINS, InputPin, OutputPin, PinMap
from hw.sim.clock import SimClock
from hw.sim.pins import SimPins
from tests.contract.fake_gpio import FakeGpio
from tests.contract.pin_worlds import FakePanel, PanelWorld, SimPanel, ends_active

PANELS = [SimPanel, FakePanel]
SEEDS = range(5)


@pytest.fixture(params=[(panel, seed) for panel in PANELS for seed in SEEDS], ids=lambda p: f"{p[0].__name__}-{p[1]}")
def world(request: pytest.FixtureRequest) -> PanelWorld:
    panel, seed = request.param
    made: PanelWorld = panel(seed)
    return made


# ------------------------------------------------------------------------------------------------------ contract


def test_nothing_is_pressed_until_somebody_presses(world: PanelWorld) -> None:
    world.wait(1000)
    assert world.pins.read() == []


@pytest.mark.parametrize("tap_ms", [6, 30, 200])
def test_a_tap_within_one_stall_is_a_press_and_a_release(world: PanelWorld, tap_ms: int) -> None:
    """30 ms vanished altogether with the vendor's debouncing (measured)."""
    before = world.now_mono_us()
    world.contact(0, Signal.PAYMENT, True)
    world.wait(tap_ms)
    world.contact(0, Signal.PAYMENT, False)
    world.wait(500)
    edges = world.pins.read()
    assert edges[0].active
    assert not edges[-1].active
    assert all((edge.line, edge.signal) == (0, Signal.PAYMENT) for edge in edges)
    assert before <= edges[0].at_mono_us <= before + 20_000


def test_edges_of_one_input_take_turns_and_come_in_time_order(world: PanelWorld) -> None:
    for _ in range(10):
        for line, signal in ((0, Signal.PAYMENT), (1, Signal.OPT_OUT), (0, Signal.RING)):
            world.contact(line, signal, True)
            world.wait(15)
            world.contact(line, signal, False)
            world.wait(25)
    world.wait(300)
    edges = world.pins.read()
    times = [edge.at_mono_us for edge in edges]
    assert times == sorted(times)
    for line, signal in ((0, Signal.PAYMENT), (1, Signal.OPT_OUT), (0, Signal.RING)):
        own = [edge.active for edge in edges if (edge.line, edge.signal) == (line, signal)]
        assert own[0] is True
        assert all(a != b for a, b in pairwise(own))
        assert own[-1] is False


def test_a_key_held_down_is_not_released_by_its_bouncing(world: PanelWorld) -> None:
    world.contact(1, Signal.OPT_OUT, True)
    world.wait(400)
    edges = world.pins.read()
    assert ends_active(edges, 1, Signal.OPT_OUT) is True
    world.wait(2000)
    assert world.pins.read() == []


def test_what_was_read_is_not_told_again(world: PanelWorld) -> None:
    world.contact(0, Signal.KEEP, True)
    world.wait(400)
    assert world.pins.read()
    assert world.pins.read() == []


def test_lamps_and_sounder_show_what_they_are_told(world: PanelWorld) -> None:
    world.pins.show({(0, Lamp.REC): True, (1, Lamp.PAYMENT): True}, sounder=True)
    assert world.lit(0, Lamp.REC)
    assert world.lit(1, Lamp.PAYMENT)
    assert not world.lit(1, Lamp.REC)
    assert world.sounding()
    world.pins.show({(0, Lamp.REC): False, (1, Lamp.PAYMENT): True}, sounder=False)
    assert not world.lit(0, Lamp.REC)
    assert world.lit(1, Lamp.PAYMENT)
    assert not world.sounding()


ACTS = st.lists(
    st.tuples(
        st.sampled_from([(0, Signal.PAYMENT), (0, Signal.OPT_OUT), (1, Signal.PAYMENT), (1, Signal.LOOP)]),
        st.booleans(),
        st.floats(0.2, 60),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(ACTS, st.integers(0, 999), st.sampled_from(PANELS))
def test_whatever_happens_the_last_edge_tells_where_the_contact_is(
    acts: list[tuple[tuple[int, Signal], bool, float]], seed: int, panel: type[SimPanel] | type[FakePanel]
) -> None:
    world: PanelWorld = panel(seed)
    state: dict[tuple[int, Signal], bool] = {}
    edges: list[Edge] = []
    for (line, signal), active, ms in acts:
        if state.get((line, signal), False) != active:
            world.contact(line, signal, active)
            state[line, signal] = active
        world.wait(ms)
        edges += world.pins.read()
    world.wait(500)
    edges += world.pins.read()
    for (line, signal), active in state.items():
        assert bool(ends_active(edges, line, signal)) is active


# ------------------------------------------------------------------------------------------ the real adapter alone


@settings(max_examples=60, deadline=None)
@given(ACTS, st.integers(0, 999))
def test_callbacks_that_never_come_leave_no_key_pressed_for_ever(
    acts: list[tuple[tuple[int, Signal], bool, float]], seed: int
) -> None:
    world = FakePanel(seed, lose=0.4)
    state: dict[tuple[int, Signal], bool] = {}
    edges: list[Edge] = []
    for (line, signal), active, ms in acts:
        world.contact(line, signal, active)
        state[line, signal] = active
        world.wait(ms)
    world.wait(500)
    edges += world.pins.read()
    for (line, signal), active in state.items():
        assert bool(ends_active(edges, line, signal)) is active


@pytest.mark.parametrize("seed", range(20))
def test_a_tap_that_is_over_before_its_first_callback_is_one_press_and_one_release(seed: int) -> None:
    """Both its callbacks find the key open; the second one tells nothing new."""
    world = FakePanel(seed, bounce=False)
    world.contact(0, Signal.PAYMENT, True)
    world.wait(2)
    world.contact(0, Signal.PAYMENT, False)
    world.wait(500)
    assert [edge.active for edge in world.pins.read()] == [True, False]


def test_a_level_found_before_its_callback_is_not_told_twice() -> None:
    """The comparison of levels may run between an edge and its callback."""
    for seed in range(20):
        world = FakePanel(seed, bounce=False)
        world.wait(199)
        world.contact(0, Signal.PAYMENT, True)
        world.wait(2)
        edges = world.pins.read()
        world.wait(500)
        assert [edge.active for edge in [*edges, *world.pins.read()]] == [True]


def test_a_key_held_while_the_recorder_starts_is_a_press() -> None:
    """A maintained PAYMENT key, or a handset off the hook, at boot."""
    clock = SimClock(0)
    gpio = FakeGpio(clock)
    gpio.external = {5: False, 20: False}
    edges = GpioPins(clock, DEFAULT_PINS, gpio).read()
    assert {(edge.line, edge.signal, edge.active) for edge in edges} == {
        (0, Signal.PAYMENT, True),
        (0, Signal.LOOP, True),
    }


def test_a_storm_on_the_line_cannot_push_a_press_out() -> None:
    world = FakePanel(1, bounce=False)
    world.contact(0, Signal.PAYMENT, True)
    world.wait(30)
    for number in range(10_000):
        world.contact(0, Signal.RING, number % 2 == 0)
        world.wait(15)
    edges = world.pins.read()
    assert ends_active(edges, 0, Signal.PAYMENT) is True
    assert len(edges) <= 4097


def test_no_lamp_is_lit_before_there_is_something_to_tell() -> None:
    pin_map = PinMap((), (OutputPin(17, (0,), Lamp.REC), OutputPin(27, (0,), Lamp.FAULT, active_low=True)))
    gpio = FakeGpio(SimClock(0))
    GpioPins(SimClock(0), pin_map, gpio)
    assert gpio.initial == {17: False, 27: True}


def test_contacts_and_lamps_of_either_polarity() -> None:
    pin_map = PinMap(
        (InputPin(5, 0, Signal.PAYMENT, active_low=False), InputPin(6, 0, Signal.LOOP)),
        (OutputPin(17, (0,), Lamp.REC, active_low=True), OutputPin(12, (0,), None)),
    )
    world = FakePanel(2, pin_map, bounce=False)
    assert not world.lit(0, Lamp.REC)
    world.pins.show({(0, Lamp.REC): True}, sounder=False)
    assert world.gpio.level(17) is False
    world.contact(0, Signal.PAYMENT, True)
    world.contact(0, Signal.LOOP, True)
    world.wait(50)
    assert {(edge.signal, edge.active) for edge in world.pins.read()} == {
        (Signal.PAYMENT, True),
        (Signal.LOOP, True),
    }


def test_one_fault_lamp_serves_both_lines() -> None:
    world = FakePanel(3)
    world.pins.show({(0, Lamp.FAULT): False, (1, Lamp.FAULT): True}, sounder=False)
    assert world.lit(0, Lamp.FAULT)
    world.pins.show({(0, Lamp.FAULT): False, (1, Lamp.FAULT): False}, sounder=False)
    assert not world.lit(0, Lamp.FAULT)


def test_close_darkens_the_panel_and_gives_the_pins_back() -> None:
    world = FakePanel(4)
    world.pins.show({(0, Lamp.REC): True}, sounder=True)
    world.pins.close()
    assert all(world.gpio.level(pin.bcm) is None for pin in DEFAULT_PINS.outputs)


def test_without_pins_there_is_one_clear_sentence_and_the_process_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine has no pins; where it has, the library is made unreachable."""
    monkeypatch.setitem(__import__("sys").modules, "RPi", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PinsMissing, match="Nothing is recorded") as caught:
        import_gpio()
    assert "\n" not in str(caught.value)
    assert os.getcwd() == str(tmp_path)


def test_a_pin_taken_by_another_program_is_one_clear_sentence() -> None:
    class Taken(FakeGpio):
        def add_event_detect(self, bcm: int, edge: int, callback: object) -> None:
            raise RuntimeError("GPIO busy")

    with pytest.raises(PinsMissing, match="GPIO busy"):
        GpioPins(SimClock(0), DEFAULT_PINS, Taken(SimClock(0)))


# ------------------------------------------------------------------------------------------------ the simulation


def test_a_press_can_be_laid_ahead() -> None:
    clock = SimClock(0)
    pins = SimPins(clock, bounce_edges_max=0)
    pins.press(0, Signal.PAYMENT, at_mono_us=40_000)
    pins.release(0, Signal.PAYMENT, at_mono_us=90_000)
    clock.advance_ms(39)
    assert pins.read() == []
    clock.advance_ms(100)
    assert [(edge.active, edge.at_mono_us) for edge in pins.read()] == [(True, 40_000), (False, 90_000)]


@pytest.mark.parametrize("seed", range(20))
def test_a_tap_shorter_than_the_bouncing_of_its_press_ends_open(seed: int) -> None:
    clock = SimClock(0)
    pins = SimPins(clock, seed=seed)
    pins.press(0, Signal.PAYMENT, at_mono_us=1000)
    pins.release(0, Signal.PAYMENT, at_mono_us=2000)
    clock.advance_ms(100)
    assert ends_active(pins.read(), 0, Signal.PAYMENT) is False


def test_a_worn_contact_closes_as_often_as_it_is_told_and_ends_open() -> None:
    clock = SimClock(0)
    pins = SimPins(clock)
    pins.bounce(0, Signal.OPT_OUT, times=3, every_us=30_000)
    clock.advance_ms(200)
    assert [(edge.active, edge.at_mono_us) for edge in pins.read()] == [
        (True, 0),
        (False, 15_000),
        (True, 30_000),
        (False, 45_000),
        (True, 60_000),
        (False, 75_000),
    ]


def test_the_lamps_log_says_what_changed_and_when() -> None:
    clock = SimClock(0)
    pins = SimPins(clock)
    for on in (True, True, False):
        pins.show({(0, Lamp.REC): on}, sounder=on)
        clock.advance_ms(20)
    assert [(change.at_mono_us, change.lamp, change.on) for change in pins.log] == [
        (0, Lamp.REC, True),
        (0, None, True),
        (40_000, Lamp.REC, False),
        (40_000, None, False),
    ]


# -------------------------------------------------------------------------------------------------- the pin table


def test_the_default_wiring_uses_each_free_pin_once_and_no_reserved_one() -> None:
    used = [pin.bcm for pin in DEFAULT_PINS.inputs] + [pin.bcm for pin in DEFAULT_PINS.outputs]
    assert sorted(used) == sorted(FREE_PINS)
    assert not set(used) & RESERVED_PINS.keys()


def test_outputs_are_on_pins_that_are_pulled_down_until_the_recorder_runs() -> None:
    """BCM 0 to 8 are pulled up at reset: a lamp there would be lit by a recorder that does not run."""
    assert all(pin.bcm >= 9 for pin in DEFAULT_PINS.outputs if not pin.active_low)


def test_every_line_has_its_keys_lamps_and_senses() -> None:
    inputs = {(pin.line, pin.signal) for pin in DEFAULT_PINS.inputs}
    outputs = {(line, pin.lamp) for pin in DEFAULT_PINS.outputs for line in pin.lines}
    for line in (0, 1):
        assert {(line, s) for s in Signal if s is not Signal.REVERSAL} <= inputs
        assert {(line, lamp) for lamp in Lamp} <= outputs
        assert (line, None) in outputs


def test_one_line_needs_only_its_own_pins() -> None:
    one = DEFAULT_PINS.for_lines(1)
    assert {pin.line for pin in one.inputs} == {0}
    assert all(pin.lines == (0,) for pin in one.outputs)
    assert any(pin.lamp is Lamp.FAULT for pin in one.outputs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        ((InputPin(2, 0, Signal.LOOP),), (), "I2C"),
        ((InputPin(14, 0, Signal.LOOP),), (), "UART"),
        ((InputPin(28, 0, Signal.LOOP),), (), "not on the header"),
        ((InputPin(5, 0, Signal.LOOP), InputPin(5, 0, Signal.RING)), (), "two things"),
        ((InputPin(5, 0, Signal.LOOP),), (OutputPin(5, (0,), Lamp.REC),), "two things"),
        ((InputPin(5, 0, Signal.LOOP), InputPin(6, 0, Signal.LOOP)), (), "two pins"),
        ((), (OutputPin(17, (0, 1), Lamp.REC), OutputPin(27, (1,), Lamp.REC)), "two pins"),
    ],
)
def test_a_wiring_that_cannot_be_is_one_clear_sentence(
    inputs: tuple[InputPin, ...], outputs: tuple[OutputPin, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        PinMap(inputs, outputs)
