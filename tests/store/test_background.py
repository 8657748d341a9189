"""Overwriting and scrubbing go on beside everything else, and stumble over nothing that goes meanwhile."""

from firmware.store import background
from tests.store.listening import heard
from tests.store.world import DAY_MS, World


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


def test_a_slot_taken_again_before_its_overwriting_is_left_alone() -> None:
    world = World()
    calls = [world.call(seconds=0.2) for _ in range(3)]
    core = world.vault._core
    steps = background.steps(core)
    next(steps)
    for call_id in calls[:2]:
        world.vault.erase(call_id)
    for _ in steps:
        pass
    assert heard(world.vault, calls[2])
    world.cut()
    assert heard(world.vault, calls[2])


def test_work_that_was_finished_meanwhile_is_finished_once() -> None:
    world = World()
    world.vault.erase(world.call(seconds=6))
    core = world.vault._core
    steps = background.steps(core)
    next(steps)
    background.finish_todo(core)
    for _ in steps:
        pass
    assert background.idle(core)


def test_the_scrub_survives_a_call_that_goes_while_it_is_read() -> None:
    world = World()
    calls = [world.call(seconds=6) for _ in range(2)]
    running = world.open(1)
    steps = world.vault._scrubber.steps()
    next(steps)
    world.vault.erase(calls[0])
    world.vault.erase(calls[1])
    for _ in steps:
        pass
    assert world.vault._scrubber.damaged == set()
    assert running in world.vault._core.calls


def test_a_held_frame_that_decays_is_found() -> None:
    world = World()
    call_id = world.call(seconds=4)
    world.vault.hold(call_id, b"", world.now() + 300 * DAY_MS)
    world.sleep(63 * DAY_MS, DAY_MS)
    world.spoil("hold", 0)
    world.spoil("hold", 6 * 4096 + 300)
    world.sleep(60_000, 1000)
    assert "FRAME_DAMAGED" in alarms(world)


def test_an_export_ends_when_its_call_is_destroyed_meanwhile() -> None:
    world = World()
    call_id = world.call(seconds=10)
    sealed = world.vault.sealed(call_id)
    frames = sealed.frames()
    next(frames)
    world.vault.opt_out([call_id], 0)
    assert list(frames) == []
    assert list(sealed.frames()) == []
