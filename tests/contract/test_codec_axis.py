"""From callbacks to blocks: the sample axis stays the clock's, whatever a device does to its callbacks.

``Device`` is the model of one: it captures a ramp that numbers its own frames, so every sample that comes out says
when it was captured, and every claim of the axis can be held against it.
"""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.ports import Block
from firmware.units import BLOCK_SAMPLES, SAMPLE_US
from hw.capture import DRIFT_US, SUSPECT_US, Callback, CaptureAxis

BLOCK_US = 100_000


@dataclass
class Device:
    """Mono at 8 kHz. Sample k has the value k % 30,000 and was captured at ``start_us`` + k * 125 us * ``pace``."""

    start_us: int = 7_000_000
    pace: float = 1.0
    frame: int = 0
    index: int = 0
    blocks: list[Block] = field(default_factory=list)
    axis: CaptureAxis = field(default_factory=lambda: CaptureAxis(8000, 1))

    def captured_us(self, frame: int) -> float:
        return self.start_us + frame * SAMPLE_US * self.pace

    def deliver(self, late_us: float = 0.0, not_before_us: float = 0.0) -> float:
        """One callback of 100 ms; returns when it ran."""
        samples = ((self.frame + np.arange(800)) % 30_000).astype(np.int16)[np.newaxis]
        self.frame += 800
        ran_us = max(self.captured_us(self.frame) + late_us, not_before_us)
        self.blocks += self.axis.feed(Callback(round(ran_us), self.index, samples))
        self.index += 800
        return ran_us

    def run(self, callbacks: int) -> None:
        for _ in range(callbacks):
            self.deliver()

    def lose(self, frames: int) -> None:
        """The device drops samples and says nothing."""
        self.frame += frames

    def errors_us(self) -> list[float]:
        """Per block: the captured time it claims against the truth, by the number in its first sample."""
        return [block.captured_mono_us - self.captured_us(self.true_frame(block)) for block in self.blocks]

    def true_frame(self, block: Block) -> int:
        """Which frame the block begins with: the number in it is modulo 30,000 (3.75 s), the axis tells the rest."""
        number = int(block.samples[0, 0])
        turns = round((block.first_sample - number) / 30_000)
        return number + 30_000 * turns

    def check_whole(self) -> None:
        """Blocks are in order, without overlap, each of one piece."""
        end = 0
        times = [block.captured_mono_us for block in self.blocks]
        assert times == sorted(times)
        for block in self.blocks:
            assert block.samples.shape == (1, BLOCK_SAMPLES)
            assert block.first_sample >= end
            end = block.first_sample + BLOCK_SAMPLES
            steps = np.diff(block.samples[0].astype(int)) % 30_000
            assert (steps == 1).all()


def test_a_healthy_device_gives_a_block_for_a_callback() -> None:
    device = Device()
    device.run(100)
    assert [block.first_sample for block in device.blocks] == list(range(0, 80_000, 800))
    assert device.errors_us() == [0.0] * 100


def test_a_stall_of_half_a_second_costs_no_sample_and_moves_no_time() -> None:
    """480 ms were measured under load; the device's buffer holds 1 s."""
    device = Device()
    device.run(50)
    ran = device.deliver(late_us=480_000)
    for _ in range(5):
        ran = device.deliver(not_before_us=ran + 100)
    device.run(50)
    assert [block.first_sample for block in device.blocks] == list(range(0, 106 * 800, 800))
    assert max(map(abs, device.errors_us())) <= 2 * DRIFT_US


def test_a_stall_of_two_seconds_that_comes_back_in_a_burst_is_no_loss() -> None:
    device = Device()
    device.run(50)
    ran = device.deliver(late_us=2_000_000)
    for _ in range(20):
        ran = device.deliver(not_before_us=ran + 100)
    device.run(50)
    assert [block.first_sample for block in device.blocks] == list(range(0, 121 * 800, 800))


def test_callbacks_that_stay_late_for_most_of_a_second_are_late_and_not_lost() -> None:
    """A busy machine may fall behind and stay behind for a while at the device's own pace."""
    device = Device()
    device.run(50)
    for _ in range(8):
        device.deliver(late_us=400_000)
    device.run(50)
    assert [block.first_sample for block in device.blocks] == list(range(0, 108 * 800, 800))


def test_a_loss_is_measured_by_the_least_late_of_the_callbacks_after_it() -> None:
    device = Device()
    device.run(50)
    device.lose(8000)
    for number in range(20):
        device.deliver(late_us=12_000 if number % 3 else 0)
    device.check_whole()
    assert device.blocks[50].first_sample - device.blocks[49].first_sample - 800 == 8000


@pytest.mark.parametrize("lost", [160, 400, 801, 1600, 8000, 80_000])
def test_samples_lost_without_a_word_are_a_jump_at_the_place_where_they_are_missing(lost: int) -> None:
    device = Device()
    device.run(50)
    device.lose(lost)
    device.run(50)
    device.check_whole()
    firsts = [block.first_sample for block in device.blocks]
    jumps = [(at, b - a - 800) for at, (a, b) in enumerate(pairwise(firsts)) if b - a != 800]
    assert jumps == [(49, lost)]
    assert max(map(abs, device.errors_us())) <= 2 * DRIFT_US


def test_losses_too_small_to_see_one_by_one_are_seen_when_they_add_up() -> None:
    """10 ms lost in every second: each is under the suspicion's limit, together they are 1 % of the call."""
    device = Device()
    for _ in range(60):
        device.run(10)
        device.lose(80)
    device.run(20)
    lost = device.frame - sum(block.samples.shape[1] for block in device.blocks)
    on_axis = device.blocks[-1].first_sample + 800 - 800 * len(device.blocks)
    assert abs(on_axis - lost) <= SUSPECT_US // SAMPLE_US + 80 + 620 * DRIFT_US // SAMPLE_US


def test_a_queue_that_overflowed_is_a_jump_known_to_the_sample() -> None:
    device = Device()
    device.run(10)
    device.lose(3 * 800)
    device.index += 3 * 800
    device.run(10)
    assert [block.first_sample for block in device.blocks] == [*range(0, 8000, 800), *range(10_400, 18_400, 800)]


@pytest.mark.parametrize("burst", [7, 14])
@pytest.mark.parametrize("after_us", [0, 40_000, 90_000])
def test_the_burst_of_a_pulled_card_is_not_taken_for_sound(burst: int, after_us: int) -> None:
    """7 to 14 callbacks within 0.3 s (measured), then none: what they hold was never on the line."""
    device = Device()
    device.run(50)
    start = device.captured_us(device.frame) + after_us
    for number in range(burst):
        samples = np.full((1, 800), 31_000, np.int16)
        callback = Callback(round(start + number * 300_000 / burst), device.index, samples)
        device.blocks += device.axis.feed(callback)
        device.index += 800
    false = [block for block in device.blocks if block.samples[0, 0] == 31_000]
    assert len(false) <= 1
    assert max(map(abs, device.errors_us()[:50])) <= 2 * DRIFT_US


def test_after_a_return_the_axis_goes_on_with_the_time_between_missing() -> None:
    device = Device()
    device.run(50)
    device.axis.restart()
    device.lose(8 * 8000)
    device.index = 0
    device.run(50)
    device.check_whole()
    firsts = [block.first_sample for block in device.blocks]
    assert firsts[50] - firsts[49] - 800 == 8 * 8000
    assert max(map(abs, device.errors_us())) <= 2 * DRIFT_US


def test_a_stream_whose_first_callback_was_late_is_put_right_by_the_next() -> None:
    device = Device()
    ran = device.deliver(late_us=480_000)
    for _ in range(5):
        ran = device.deliver(not_before_us=ran + 100)
    device.run(20)
    assert [block.first_sample for block in device.blocks] == list(range(0, 26 * 800, 800))
    assert max(map(abs, device.errors_us()[6:])) <= 2 * DRIFT_US
    device.check_whole()


@pytest.mark.parametrize("pace", [1.0003, 0.9997])
def test_a_crystal_that_is_off_loses_nothing_in_a_quarter_of_an_hour(pace: float) -> None:
    """Common crystals are within 100 ppm; 300 ppm are 0.27 s in that time, which is drift and not loss."""
    device = Device(pace=pace)
    device.run(9_000)
    firsts = [block.first_sample for block in device.blocks]
    assert firsts == list(range(0, 9_000 * 800, 800))
    claimed = np.array([block.captured_mono_us for block in device.blocks])
    truth = device.start_us + np.array(firsts) * SAMPLE_US * pace
    assert np.abs(claimed - truth).max() < 1000


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.integers(12, 40)),
            st.tuples(st.just("lose"), st.integers(400, 40_000)),
            st.tuples(st.just("late"), st.integers(15_000, 900_000)),
            st.tuples(st.just("jitter"), st.integers(0, 8_000)),
        ),
        max_size=12,
    )
)
def test_whatever_happens_no_block_claims_another_time_than_its_own(events: list[tuple[str, int]]) -> None:
    """Within 10 ms: half of the shortest muting that anybody can press."""
    device = Device()
    device.run(40)
    for what, amount in events:
        if what == "run":
            device.run(amount)
        elif what == "lose":
            device.lose(amount)
            device.run(15)
        elif what == "late":
            ran = device.deliver(late_us=amount)
            while ran > device.captured_us(device.frame + 800):
                ran = device.deliver(not_before_us=ran + 200)
            device.run(12)
        else:
            for number in range(12):
                device.deliver(late_us=amount if number % 2 else 0)
    device.run(15)
    device.check_whole()
    assert max(map(abs, device.errors_us())) <= 10_000


@pytest.mark.parametrize("seed", [*range(20), 2407])
def test_at_48_kilohertz_capture_times_do_not_go_back_while_a_late_start_is_put_right(seed: int) -> None:
    """The resampler gives no block for one callback and two for the next, with two corrections between: seed 2407."""
    axis, times, ran, rng = CaptureAxis(48_000, 1), [], 0, random.Random(seed)
    for number in range(25):
        ran += rng.choice([1, 5000, 30_000])
        ran = max(ran, 1_100_000 + 100_000 * number + rng.choice([0, 0, rng.randint(0, 500_000)]))
        blocks = axis.feed(Callback(ran, number * 4800, np.zeros((1, 4800), np.int16)))
        times += [block.captured_mono_us for block in blocks]
    assert times == sorted(times)


@pytest.mark.parametrize("channels", [1, 2, 8])
def test_48_kilohertz_loses_less_than_a_block_at_a_jump(channels: int) -> None:
    axis = CaptureAxis(48_000, channels)
    rng = np.random.default_rng(5)
    blocks, now, index = [], 1_000_000, 0
    for number in range(60):
        samples = rng.integers(-9000, 9000, (channels, 4800)).astype(np.int16)
        now += BLOCK_US * (11 if number == 30 else 1)
        index += 4800 * (10 if number == 30 else 0)
        blocks += axis.feed(Callback(now, index, samples))
        index += 4800
    firsts = [block.first_sample for block in blocks]
    assert all(block.samples.shape == (channels, 800) for block in blocks)
    at = next(number for number, (a, b) in enumerate(pairwise(firsts)) if b - a != 800)
    assert firsts[at + 1] == 40 * 800
    assert 0 <= 30 * 800 - (firsts[at] + 800) < 800
    assert [block.captured_mono_us for block in blocks] == [1_000_000 + first * SAMPLE_US for first in firsts]
