"""Keyed digits: found wherever a telephone may key them, to the millisecond, and nowhere else."""

from itertools import pairwise

import numpy as np
import pytest

from firmware.dsp import dtmf_score
from firmware.dsp.dtmf_segment import FEATURES, Burst
from firmware.dsp.ear import Ear
from firmware.policy.events import DigitHeard
from tests.dsp.hearing import ALL, hear, only
from tools.dsp_train import signals
from tools.dsp_train.signals import Press, Wave

US_PER_S = 1_000_000


def keyed(
    keys: str, seed: int, snr_db: float | None = 25.0, dbm0: float = -10.0, **how: object
) -> tuple[Wave, list[Press]]:
    rng = np.random.default_rng(seed)
    x, presses = signals.keyed(keys, rng, dbm0=dbm0, **how)  # type: ignore[arg-type]
    if snr_db is not None:
        x = signals.add_snr(x, 2.0 * signals.rms(dbm0) ** 2, snr_db, rng)
    return x, presses


def keys_heard(x: Wave) -> list[DigitHeard]:
    return [digit for digit in only(hear(x), DigitHeard) if digit.strict and not digit.continued]


def covered(presses: list[Press], digits: list[DigitHeard], slack_us: int = 3000) -> bool:
    """Every press lies inside a reported digit, to ``slack_us``."""
    return all(
        any(
            d.at_mono_us - slack_us <= p.onset_s * US_PER_S and d.end_mono_us + slack_us >= p.end_s * US_PER_S
            for d in digits
        )
        for p in presses
    )


def test_every_key_is_heard_and_its_place_is_known_to_the_millisecond() -> None:
    x, presses = keyed(signals.KEYS, 1)
    digits = keys_heard(x)
    assert len(digits) == 16
    for digit, press in zip(digits, presses, strict=True):
        assert abs(digit.at_mono_us - press.onset_s * US_PER_S) < 1500
        assert abs(digit.end_mono_us - press.end_s * US_PER_S) < 1500


@pytest.mark.parametrize("dbm0", [0.0, -20.0, -40.0])
def test_loud_and_faint_keys_are_heard(dbm0: float) -> None:
    x, presses = keyed("1478036925", 2, snr_db=30.0, dbm0=dbm0)
    assert len(keys_heard(x)) == len(presses)


@pytest.mark.parametrize("twist_db", [-10.0, -6.0, 6.0, 10.0])
def test_a_long_line_that_weakens_one_group_hides_no_key(twist_db: float) -> None:
    x, presses = keyed("1590*73", 3, twist_db=twist_db)
    assert len(keys_heard(x)) == len(presses)


@pytest.mark.parametrize("deviation", [(0.018, -0.018), (-0.018, -0.018), (0.015, 0.015)])
def test_an_old_telephone_off_by_1_8_per_cent_is_heard(deviation: tuple[float, float]) -> None:
    x, presses = keyed("1590*73", 4, deviation=deviation)
    assert len(keys_heard(x)) == len(presses)


@pytest.mark.parametrize("deviation", [(0.035, 0.0), (0.0, -0.035), (0.045, 0.0)])
def test_tones_3_5_per_cent_off_are_no_keys(deviation: tuple[float, float]) -> None:
    x, _ = keyed("1590*73", 5, deviation=deviation)
    assert keys_heard(x) == []


def test_keys_of_40_ms_count_and_blips_of_23_ms_do_not() -> None:
    assert len(keys_heard(keyed("12345678", 6, on_s=0.040, off_s=0.040)[0])) == 8
    assert keys_heard(keyed("12345678", 6, on_s=0.023, off_s=0.060)[0]) == []


def test_a_blip_too_short_for_a_key_is_still_masked() -> None:
    x, presses = keyed("12345678", 7, snr_db=40.0, on_s=0.030, off_s=0.040)
    assert covered(presses, only(hear(x), DigitHeard))


def test_a_break_of_10_ms_does_not_make_two_keys_and_a_pause_of_25_ms_does() -> None:
    assert len(keys_heard(keyed("5555", 8, on_s=0.120, off_s=0.080, break_s=0.010)[0])) == 4
    assert len(keys_heard(keyed("55555555", 8, on_s=0.060, off_s=0.025)[0])) == 8


def test_keys_over_dial_tone_and_hum_are_heard() -> None:
    rng = np.random.default_rng(9)
    x, presses = keyed("02079460123", 9, dbm0=-18.0)
    t = np.arange(len(x)) / signals.RATE_HZ
    x = x + signals.amplitude(-12.0) * (np.sin(2 * np.pi * 350 * t) + np.sin(2 * np.pi * 440 * t))
    x = x + signals.hum(len(x), -5.0, rng)
    assert len(keys_heard(x)) == len(presses)


def test_noise_as_strong_as_the_key_hides_hardly_any() -> None:
    x, presses = keyed("0207946012345678", 10, snr_db=0.0)
    assert len(keys_heard(x)) >= len(presses) - 1


@pytest.mark.parametrize("seed", [15, 16])
def test_a_talker_6_db_below_the_keys_hides_hardly_any_and_adds_none(seed: int) -> None:
    x, presses = keyed("0207946012345678" * 2, seed, snr_db=None, on_s=0.08, off_s=0.08)
    x = x + signals.voice(len(x) / signals.RATE_HZ, np.random.default_rng(seed), -13.0)
    digits = keys_heard(x)
    assert all(any(_meet(digit, press) for press in presses) for digit in digits)
    assert sum(any(_meet(digit, press) for digit in digits) for press in presses) >= len(presses) - 1


def _meet(digit: DigitHeard, press: Press) -> bool:
    return digit.at_mono_us < press.end_s * US_PER_S and digit.end_mono_us > press.onset_s * US_PER_S


def burst(*, milliseconds: float = 80.0, level_db: float = 60.0, column: int = 0) -> Burst:
    return Burst(0, column, 0, round(8 * milliseconds), np.zeros(len(FEATURES)), level_db)


def test_a_spoilt_key_counts_among_its_like_and_not_among_others() -> None:
    """A string from one telephone has one length and one level; what speech adds between its keys has neither."""
    spoilt = dtmf_score.STRICT - dtmf_score.ALIKE_ODDS + 0.1
    assert dtmf_score.verdict(burst(), spoilt, [burst(column=1)] * 4) == (True, True)
    assert dtmf_score.verdict(burst(), spoilt, [burst(column=1)] * 3) == (False, False)
    assert dtmf_score.verdict(burst(), spoilt, [burst(column=1, level_db=64.0)] * 4) == (False, False)
    assert dtmf_score.verdict(burst(), spoilt, [burst(column=1, milliseconds=100.0)] * 4) == (False, False)
    assert dtmf_score.verdict(burst(milliseconds=25.0), 9.0, [burst(milliseconds=25.0)] * 4) == (False, True)


def test_a_monotonous_voice_that_makes_one_pair_again_and_again_is_masked_and_keys_no_card_number() -> None:
    doubtful = dtmf_score.STRICT - 0.1
    assert dtmf_score.verdict(burst(), doubtful, [burst()] * 4) == (False, True)
    assert dtmf_score.verdict(burst(), doubtful, [burst(), burst(column=1)]) == (True, True)


def test_a_key_that_no_telephone_has_needs_more_when_it_is_alone() -> None:
    enough = dtmf_score.STRICT + 0.1
    assert dtmf_score.verdict(burst(), enough, []) == (True, True)
    assert dtmf_score.verdict(burst(column=3), enough, []) == (False, True)
    assert dtmf_score.verdict(burst(column=3), enough, [burst(), burst(column=1)]) == (True, True)
    assert dtmf_score.verdict(burst(column=3), enough + dtmf_score.LONE_ODDS, []) == (True, True)


def test_coding_loses_no_key() -> None:
    x, presses = keyed("02079460123", 11, dbm0=-35.0, snr_db=30.0)
    assert len(keys_heard(signals.a_law(x))) == len(presses)


def test_a_key_held_for_five_seconds_is_reported_in_time_and_without_holes() -> None:
    x, presses = keyed("7", 12, on_s=5.0)
    digits = only(hear(x), DigitHeard)
    assert [digit.continued for digit in digits] == [False] + [True] * (len(digits) - 1)
    assert all(digit.end_mono_us - digit.at_mono_us <= 1_100_000 for digit in digits)
    for before, after in pairwise(digits):
        assert after.at_mono_us == before.end_mono_us
    assert covered(presses, [DigitHeard(0, digits[0].at_mono_us, digits[-1].end_mono_us, True)])


def test_a_digit_is_known_before_the_shortest_look_back_is_over() -> None:
    x, presses = keyed("7", 13, on_s=3.0)
    ear, pcm = Ear(1), signals.to_pcm(np.concatenate([x, np.zeros(16000)]))
    for at in range(0, len(pcm), 800):
        if only(ear.hear(pcm[None, at : at + 800], [at * 125], [ALL]), DigitHeard):
            assert (at + 800) * 125 - presses[0].onset_s * US_PER_S < 2_000_000
            return
    pytest.fail("the digit was never reported")


@pytest.mark.parametrize("seed", [21])
def test_music_and_noise_press_no_keys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert keys_heard(signals.music(30.0, rng)) == []
    assert keys_heard(signals.noise(10 * signals.RATE_HZ, -20.0, rng)) == []


def test_block_length_makes_no_difference() -> None:
    x, _ = keyed("0207946", 14)
    whole = only(hear(x, block=4000), DigitHeard)
    assert whole == only(hear(x, block=800), DigitHeard) == only(hear(x, block=80), DigitHeard)
