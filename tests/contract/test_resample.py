"""From 48 kHz to the line's 8 kHz: nothing invented, nothing folded, nothing shifted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.resample import LATENCY_SAMPLES_MAX, Resampler, to_rate


def whole(resampler: Resampler, samples: np.ndarray, step: int = 4800) -> np.ndarray:
    parts = [resampler.push(samples[:, at : at + step]) for at in range(0, samples.shape[1], step)]
    return np.concatenate([*parts, resampler.flush()], axis=1)


def noise(channels: int, samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-20_000, 20_000, (channels, samples)).astype(np.int16)


def sine(hz: float, rate_hz: int, samples: int) -> np.ndarray:
    return np.round(10_000 * np.sin(2 * np.pi * hz / rate_hz * np.arange(samples))).astype(np.int16)


def level_db(samples: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt(np.mean(samples.astype(float) ** 2)) / (10_000 / np.sqrt(2)) + 1e-9)


def test_eight_kilohertz_passes_bit_for_bit() -> None:
    samples = noise(2, 8000)
    assert np.array_equal(whole(Resampler(8000, 2), samples, 800), samples)


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_digital_silence_stays_digital_silence(rate_hz: int) -> None:
    """A dead channel is told by its zeros; a resampler that dithers would hide it."""
    assert not whole(Resampler(rate_hz, 1), np.zeros((1, rate_hz), np.int16), rate_hz // 10).any()


def test_a_silent_line_beside_a_loud_one_hears_nothing_of_it() -> None:
    samples = noise(8, 48_000)
    samples[3] = 0
    assert not whole(Resampler(48_000, 8), samples)[3].any()


@pytest.mark.parametrize("rate_hz", [16_000, 48_000])
def test_a_click_stays_where_it_was(rate_hz: int) -> None:
    """DELAY_SAMPLES is 0: capture times need no correction for the filter."""
    factor = rate_hz // 8000
    samples = np.zeros((1, rate_hz), np.int16)
    samples[0, 3000 * factor] = 30_000
    assert np.argmax(np.abs(whole(Resampler(rate_hz, 1), samples, rate_hz // 10)[0])) == 3000


@pytest.mark.parametrize("hz", [100, 300, 1000, 2100, 3000, 3400, 3600])
def test_the_telephone_band_is_flat(hz: int) -> None:
    heard = whole(Resampler(48_000, 1), sine(hz, 48_000, 48_000)[np.newaxis])[0, 1000:-1000]
    assert abs(level_db(heard)) < 0.1


@pytest.mark.parametrize("hz", [4200, 4600, 5000, 7000, 9000, 15_000, 23_000])
def test_nothing_above_the_band_is_folded_into_it(hz: int) -> None:
    """16-bit rounding noise of our own is 98 dB below full scale, 88 dB below this tone."""
    heard = whole(Resampler(48_000, 1), sine(hz, 48_000, 48_000)[np.newaxis])[0, 1000:-1000]
    assert level_db(heard) < -80


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9600), min_size=1, max_size=12), st.integers(0, 99))
def test_portions_make_no_difference(portions: list[int], seed: int) -> None:
    samples = noise(2, sum(portions), seed)
    resampler = Resampler(48_000, 2)
    parts, at = [], 0
    for portion in portions:
        parts.append(resampler.push(samples[:, at : at + portion]))
        at += portion
    parts.append(resampler.flush())
    assert np.array_equal(np.concatenate(parts, axis=1), whole(Resampler(48_000, 2), samples, samples.shape[1]))


def test_what_waits_inside_is_bounded() -> None:
    resampler, out = Resampler(48_000, 1), 0
    for blocks in range(1, 600):
        out += resampler.push(noise(1, 4800, blocks)).shape[1]
        assert 800 * blocks - LATENCY_SAMPLES_MAX <= out <= 800 * blocks


def test_after_a_gap_nothing_rings_on_from_before_it() -> None:
    resampler = Resampler(48_000, 1)
    whole(resampler, noise(1, 48_000))
    assert not whole(resampler, np.zeros((1, 48_000), np.int16)).any()


def test_loud_sound_is_clipped_not_wrapped() -> None:
    square = np.where(np.arange(48_000) // 120 % 2, 32_767, -32_768).astype(np.int16)[np.newaxis]
    heard = whole(Resampler(48_000, 1), square)[0, 100:-100]
    expected = np.where((np.arange(8000) // 20 % 2) == 1, 1, -1)[100:-100]
    middle = np.arange(100, 7900) % 20 == 10
    assert np.all(np.sign(heard[middle]) == expected[middle])
    assert heard.max() == 32_767


def test_the_notice_is_as_long_on_the_codec_as_on_the_line() -> None:
    notice = sine(440, 8000, 20 * 8000)
    played = to_rate(notice, 48_000)
    assert len(played) == 20 * 48_000
    assert to_rate(notice, 8000) is notice
    back = whole(Resampler(48_000, 1), played[np.newaxis])[0]
    assert np.abs(back[200:-200].astype(int) - notice[200:-200]).max() <= 2
