"""Codec: one contract over the simulated device and the real one (PyAudio over a private PulseAudio daemon).

PulseAudio is the only thing that may be missing: ``make setup`` installs it.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from firmware.ports import Block, CodecState
from firmware.units import BLOCK_SAMPLES, SAMPLE_US
from tests.contract.codec_worlds import PulseWorld, SimWorld, World, sound, where
from tests.contract.pulse_server import MISSING

NO_PULSE = pytest.mark.skipif(bool(MISSING), reason=f"PulseAudio is not installed (missing: {', '.join(MISSING)})")


@pytest.fixture(
    scope="module", params=["sim", pytest.param("pulse", marks=[NO_PULSE, pytest.mark.xdist_group("pulse")])]
)
def one_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made: World = SimWorld() if request.param == "sim" else PulseWorld(tmp_path_factory.mktemp("pulse"))
    yield made
    made.close()


@pytest.fixture
def world(one_world: World) -> World:
    """Each test begins with a live codec and no block waiting."""
    one_world.wait(0.2)
    one_world.blocks.clear()
    return one_world


def noise(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8000, 8000, samples).astype(np.int16)


def captured_exactly(world: World, seed: int) -> bool:
    """Three tries: on a busy machine the daemon that stands for the card loses samples itself; we would lose them each
    time."""
    for attempt in range(3):
        said = noise(100 * seed + attempt, 4000)
        world.say(said)
        if where(said, sound(world.blocks)) is not None:
            return True
    return False


def newest(world: World) -> Block:
    """The newest block; waits for one where there is none yet."""
    for _ in range(100):
        if world.blocks:
            break
        world.wait(0.1)
    return world.blocks[-1]


def test_what_sounds_on_the_line_is_captured_bit_for_bit(world: World) -> None:
    assert captured_exactly(world, 1)


def test_blocks_follow_each_other_on_the_axis_and_in_time(world: World) -> None:
    for _ in range(100):
        world.wait(0.1)
        if len(world.blocks) >= 8:
            break
    assert len(world.blocks) >= 8
    assert {block.samples.shape for block in world.blocks} == {(1, BLOCK_SAMPLES)}
    for one, next_one in pairwise(world.blocks):
        samples = next_one.first_sample - one.first_sample
        assert samples >= BLOCK_SAMPLES
        assert abs(next_one.captured_mono_us - one.captured_mono_us - samples * SAMPLE_US) < 50_000
    assert world.blocks[-1].captured_mono_us + BLOCK_SAMPLES * SAMPLE_US <= world.now_mono_us()


def test_the_notice_is_played_to_its_end_and_heard_back(world: World) -> None:
    heard = False
    for attempt in range(3):
        notice = noise(200 + attempt, 4000)
        before = world.now_mono_us()
        world.codec.play(0, notice)
        started = world.codec.playback(0)
        assert started is not None
        assert started.finished_mono_us is None
        assert started.samples_played == 0
        world.wait(1.6)
        done = world.codec.playback(0)
        assert done is not None
        assert done.samples_played == 4000
        assert done.finished_mono_us is not None
        assert before + 4000 * SAMPLE_US <= done.finished_mono_us <= world.now_mono_us()
        heard = heard or where(notice, sound(world.blocks)) is not None
        if heard:
            break
    assert heard


def test_a_second_notice_replaces_the_first(world: World) -> None:
    world.codec.play(0, noise(3, 40_000))
    world.wait(0.3)
    world.codec.play(0, noise(4, 800))
    world.wait(1.2)
    done = world.codec.playback(0)
    assert done is not None
    assert done.finished_mono_us is not None
    assert done.samples_played == 800


def test_a_stopped_notice_is_silent_and_not_completed(world: World) -> None:
    world.codec.play(0, np.full(80_000, 5000, np.int16))
    world.wait(0.8)
    world.codec.stop(0)
    assert world.codec.playback(0) is None
    world.wait(1.0)
    heard = sound(world.blocks)
    assert heard.any()
    assert not heard[-1600:].any()


@pytest.mark.proof
@pytest.mark.parametrize("idle_s", [5.0, 5.2, 5.4, 5.6, 5.8, 7.0])
def test_a_notice_is_whole_however_long_after_the_last_one_and_capture_goes_on(world: World, idle_s: float) -> None:
    """The output stops 5 s after a notice, and takes 0.4 s to run out; a call may come at any moment of it."""
    notice = noise(6, 800)
    world.codec.play(0, notice)
    world.wait(0.6 + idle_s)
    world.blocks.clear()
    world.codec.play(0, notice)
    for _ in range(70):
        world.wait(0.02)
        assert world.codec.state() is CodecState.LIVE
    done = world.codec.playback(0)
    assert done is not None
    assert done.finished_mono_us is not None
    assert where(notice, sound(world.blocks)) is not None


def test_a_pulled_codec_is_noticed_within_half_a_second_and_comes_back_by_itself(world: World) -> None:
    world.codec.play(0, np.full(80_000, 3000, np.int16))
    world.wait(0.5)
    last = newest(world)
    world.unplug()
    world.wait(0.7)
    assert world.codec.state() is CodecState.LOST
    assert world.codec.playback(0) is None
    seen = len(world.blocks)
    world.wait(0.5)
    assert len(world.blocks) == seen
    world.plug()
    while len(world.blocks) == seen:
        world.wait(0.1)
    back = world.blocks[seen]
    assert back.first_sample > last.first_sample + 8000
    elapsed_us = back.captured_mono_us - last.captured_mono_us
    assert abs((back.first_sample - last.first_sample) * SAMPLE_US - elapsed_us) <= 10_000
    assert world.codec.playback(0) is None
    assert captured_exactly(world, 5)


def test_a_frozen_codec_is_noticed_within_half_a_second_and_comes_back_by_itself(world: World) -> None:
    world.wait(0.3)
    last = newest(world)
    world.freeze()
    world.wait(0.7)
    assert world.codec.state() is CodecState.LOST
    world.codec.play(0, np.full(800, 3000, np.int16))
    assert world.codec.playback(0) is None
    world.wait(1.5)
    seen = len(world.blocks)
    world.plug()
    while len(world.blocks) == seen:
        world.wait(0.1)
    back = world.blocks[seen]
    elapsed_us = back.captured_mono_us - last.captured_mono_us
    assert abs((back.first_sample - last.first_sample) * SAMPLE_US - elapsed_us) <= 10_000
