"""From edges to events: no press missed, no release believed too early, no hang-up taken for a flash."""

from hypothesis import given
from hypothesis import strategies as st

from firmware.policy import events as ev
from firmware.policy.events import Edge, Key, Signal
from firmware.policy.inputs import Inputs


def ms(value: float) -> int:
    return round(value * 1000)


def edges(signal: Signal, *changes: tuple[float, bool]) -> list[Edge]:
    return [Edge(0, signal, active, ms(at)) for at, active in changes]


def begun() -> Inputs:
    inputs = Inputs(1)
    assert inputs.sample([], 0) == []
    return inputs


def test_a_press_and_release_inside_one_stall_are_both_told_with_their_times() -> None:
    found = begun().sample(edges(Signal.PAYMENT, (100, True), (180, False)), ms(5000))
    assert found == [ev.KeyPressed(0, ms(100), Key.PAYMENT), ev.KeyReleased(0, ms(180), Key.PAYMENT, ms(100))]


def test_a_hold_inside_one_stall_is_told_at_its_own_time() -> None:
    found = begun().sample(edges(Signal.OPT_OUT, (100, True), (1500, False)), ms(9000))
    assert [type(event) for event in found] == [ev.KeyPressed, ev.KeyHeld, ev.KeyReleased]
    assert found[1].at_mono_us == ms(1100)


def test_a_key_released_a_moment_before_its_hold_time_was_not_held() -> None:
    found = begun().sample(edges(Signal.OPT_OUT, (100, True), (1099, False)), ms(9000))
    assert not any(isinstance(event, ev.KeyHeld) for event in found)


def test_a_key_held_over_many_steps_is_told_once() -> None:
    inputs = begun()
    found = inputs.sample(edges(Signal.PAYMENT, (100, True)), ms(150))
    for now in range(200, 4000, 100):
        found += inputs.sample([], ms(now))
    assert [type(event) for event in found] == [ev.KeyPressed, ev.KeyHeld]


@given(st.lists(st.integers(1, 25), min_size=1, max_size=8))
def test_a_bouncing_key_is_one_press(gaps_ms: list[int]) -> None:
    changes, at = [(100.0, True)], 100
    for gap in gaps_ms:
        at += gap
        changes.append((float(at), len(changes) % 2 == 0))
    changes = [*changes, (at + 400.0, False)] if changes[-1][1] else [*changes, (at + 1.0, True), (at + 400.0, False)]
    found = begun().sample(edges(Signal.KEEP, *changes), ms(5000))
    assert [type(event) for event in found] == [ev.KeyPressed, ev.KeyReleased]
    assert found[0].at_mono_us == ms(100)


def test_ringing_current_that_follows_every_half_wave_is_one_burst() -> None:
    cycles = [change for i in range(10) for change in ((100 + 40 * i, True), (120 + 40 * i, False))]
    found = begun().sample(edges(Signal.RING, *cycles), ms(2000))
    assert found == [ev.RingBurst(0, ms(100))]


def test_a_pulse_on_the_line_shorter_than_a_ring_is_not_a_ring() -> None:
    assert begun().sample(edges(Signal.RING, (100, True), (250, False)), ms(2000)) == []


def test_the_loop_tells_hang_up_flash_and_glitch_apart() -> None:
    inputs = begun()
    assert inputs.sample(edges(Signal.LOOP, (100, True)), ms(200)) == [ev.OffHook(0, ms(100))]
    assert inputs.sample(edges(Signal.LOOP, (1000, False), (1030, True)), ms(1100))[-1] == ev.LoopRestored(
        0, ms(1030), ms(1000)
    )
    assert inputs.sample(edges(Signal.LOOP, (2000, False), (2100, True)), ms(2200))[-1] == ev.HookFlash(
        0, ms(2100), ms(2000)
    )
    assert inputs.sample(edges(Signal.LOOP, (3000, False)), ms(3100)) == [ev.LoopOpened(0, ms(3000))]
    assert inputs.sample([], ms(3500)) == [ev.OnHook(0, ms(3000))]


def test_a_new_call_right_after_a_hang_up_is_not_a_flash() -> None:
    inputs = begun()
    inputs.sample(edges(Signal.LOOP, (100, True)), ms(200))
    found = inputs.sample(edges(Signal.LOOP, (1000, False), (1600, True)), ms(1700))
    assert [type(event) for event in found] == [ev.LoopOpened, ev.OnHook, ev.OffHook]


def test_a_handset_that_is_up_when_the_recorder_starts_is_told_as_such() -> None:
    inputs = Inputs(1)
    assert inputs.sample(edges(Signal.LOOP, (0, True)), ms(10)) == [ev.OffHookAtBoot(0, 0)]
