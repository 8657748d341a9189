"""The simulated codec beyond the contract: WAV files as lines, and rudeness that can be replayed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.ports import Block, CodecState
from firmware.units import SAMPLE_US
from hw.resample import Resampler
from hw.sim.clock import SimClock
from hw.sim.codec import SILENCE, ArrayAudio, Rudeness, SimCodec, WavAudio
from tests.contract.codec_worlds import write_wav


def noise(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8000, 8000, samples).astype(np.int16)


def run(codec: SimCodec, clock: SimClock, seconds: float) -> list[Block]:
    blocks = []
    for _ in range(round(seconds * 50)):
        clock.advance_ms(20)
        blocks += codec.drain(8)
    return blocks


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_a_wav_sounds_as_the_real_codec_would_hear_it(rate_hz: int, tmp_path: Path) -> None:
    audio = noise(1, 3 * rate_hz)
    write_wav(tmp_path / "line1.wav", audio[:, np.newaxis], rate_hz)
    clock = SimClock(0)
    blocks = run(SimCodec(clock, [WavAudio(tmp_path / "line1.wav"), SILENCE]), clock, 4.0)
    heard = np.concatenate([block.samples for block in blocks], axis=1)
    resampler = Resampler(rate_hz, 1)
    real = np.concatenate([resampler.push(audio[np.newaxis]), resampler.flush()], axis=1)[0]
    assert np.array_equal(heard[0, : len(real)], real)
    assert not heard[0, len(real) :].any()
    assert not heard[1].any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-2000, 30_000), st.integers(1, 3000)), min_size=1, max_size=8))
def test_a_wav_can_be_heard_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]]
) -> None:
    """After a power cut or a lost codec the tape goes on elsewhere; the filter runs in before the place asked for."""
    path = tmp_path_factory.mktemp("tape") / "line1.wav"
    write_wav(path, noise(2, 3 * 48_000)[:, np.newaxis], 48_000)
    whole = WavAudio(path).read(-2000, 36_000).astype(int)
    audio = WavAudio(path)
    for first, samples in reads:
        expected = whole[first + 2000 :][:samples]
        assert np.abs(audio.read(first, samples)[: len(expected)].astype(int) - expected).max(initial=0) <= 1


@pytest.mark.parametrize(("channels", "rate_hz"), [(2, 8000), (1, 11_025)])
def test_a_wav_that_is_no_line_is_one_clear_sentence(channels: int, rate_hz: int, tmp_path: Path) -> None:
    write_wav(tmp_path / "line1.wav", np.zeros((100, channels), np.int16), rate_hz)
    with pytest.raises(ValueError, match="mono at 8, 16 or 48 kHz"):
        WavAudio(tmp_path / "line1.wav")


def test_a_file_that_is_no_sound_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "line1.wav").write_bytes(b"not sound")
    with pytest.raises(ValueError, match="not a sound file"):
        WavAudio(tmp_path / "line1.wav")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whatever_the_seed_a_block_holds_what_sounded_at_its_time(seed: int) -> None:
    """Overflow loses samples and lateness delays blocks; neither moves a sample on the axis."""
    clock = SimClock(0)
    clock.advance_ms(1234)
    audio = noise(3, 40 * 8000)
    rudeness = Rudeness(overflow=0.1, late=0.2)
    codec = SimCodec(clock, [ArrayAudio(audio)], rudeness=rudeness, seed=seed)
    blocks = run(codec, clock, 10.0)
    assert blocks
    end = 0
    for block in blocks:
        assert block.first_sample >= end
        assert block.captured_mono_us == 1_234_000 + block.first_sample * SAMPLE_US
        start = block.captured_mono_us // SAMPLE_US
        assert np.array_equal(block.samples[0], audio[start : start + 800])
        end = block.first_sample + 800


def test_a_seed_replays() -> None:
    def firsts(seed: int) -> list[int]:
        clock = SimClock(0)
        codec = SimCodec(clock, [SILENCE], rudeness=Rudeness(overflow=0.3, late=0.3), seed=seed)
        return [block.first_sample for block in run(codec, clock, 10.0)]

    assert firsts(7) == firsts(7)
    assert firsts(7) != firsts(8)


def test_no_block_comes_before_its_last_sample_was_captured() -> None:
    clock = SimClock(0)
    codec = SimCodec(clock, [SILENCE], rudeness=Rudeness(overflow=0.5, late=0.5), seed=1)
    for _ in range(2000):
        clock.advance_ms(7)
        for block in codec.drain(8):
            assert block.captured_mono_us + 100_000 <= clock.mono_us()


def test_a_loop_that_is_away_for_fifteen_seconds_loses_the_oldest_blocks_as_a_jump() -> None:
    clock = SimClock(0)
    codec = SimCodec(clock, [SILENCE])
    clock.advance_ms(15_000)
    assert codec.state() is CodecState.LIVE
    blocks = codec.drain(1000)
    assert [block.first_sample for block in blocks] == list(range(50 * 800, 150 * 800, 800))


def test_what_was_played_can_be_inspected() -> None:
    clock = SimClock(0)
    codec = SimCodec(clock, [SILENCE, SILENCE], output_latency_us=10_000)
    notice = noise(4, 8000)
    codec.play(1, notice)
    run(codec, clock, 0.4)
    codec.stop(1)
    (played,) = codec.played
    assert played.channel == 1
    assert played.started_mono_us == 10_000
    assert played.ended_mono_us == 400_000
    assert played.samples is notice


def test_without_sidetone_the_line_hears_nothing_of_the_notice() -> None:
    clock = SimClock(0)
    codec = SimCodec(clock, [SILENCE])
    codec.play(0, noise(5, 8000))
    assert not any(block.samples.any() for block in run(codec, clock, 1.5))


def test_after_a_reboot_the_tape_goes_on_where_time_is() -> None:
    clock = SimClock(0)
    audio = noise(6, 20 * 8000)
    clock.advance_ms(5000)
    clock.power_off(3000)
    codec = SimCodec(clock, [ArrayAudio(audio)], audio_zero_mono_us=-8_000_000)
    block = run(codec, clock, 0.2)[0]
    assert block.first_sample == 0
    assert np.array_equal(block.samples[0], audio[8 * 8000 : 8 * 8000 + 800])
