"""Supervisory tones: each for what it is, on bad lines too, and none where there is none."""

import numpy as np
import pytest

from firmware.dsp.ear import Ear
from firmware.dsp.tone_plan import EUROPE
from firmware.policy.events import Tone, ToneEnded, ToneHeard
from tests.dsp.hearing import CALL, hear, only
from tools.dsp_train import signals
from tools.dsp_train.signals import Wave

SECONDS = {"dial": 2.0, "special_dial": 4.0, "ringing": 7.0, "busy": 4.0, "congestion": 5.0, "nu": 2.5}
KINDS = [*SECONDS, "call_waiting", "dtas"]
DECIDED_S = {"dial": 0.7, "nu": 1.3, "busy": 1.2, "congestion": 1.6, "ringing": 3.2}


def sounded(
    kind: str, seed: int = 1, *, dbm0: float = -20.0, snr_db: float = 25.0, scale_hz: float = 1.0, scale_s: float = 1.0
) -> Wave:
    """One second of quiet, the tone, one second of quiet; noise throughout."""
    rng = np.random.default_rng(seed)
    tone = signals.uk_tone(kind, SECONDS.get(kind, 8.0), dbm0, rng, scale_hz=scale_hz, scale_s=scale_s)
    x = np.concatenate([np.zeros(8000), tone, np.zeros(8000)])
    return signals.add_snr(x, signals.rms(dbm0) ** 2, snr_db, rng)


def heard(x: Wave, ear: Ear | None = None) -> list[ToneHeard]:
    return only(hear(x, CALL, ear=ear), ToneHeard)


def kinds(x: Wave) -> set[str]:
    return {tone.tone.value for tone in heard(x)}


def expected(kind: str) -> set[str]:
    """A stuttered dial tone is dial tone first."""
    return {"dial", "special_dial"} if kind == "special_dial" else {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_every_tone_is_heard_for_what_it_is(kind: str) -> None:
    assert kinds(sounded(kind)) == expected(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "how",
    [{"dbm0": 0.0}, {"dbm0": -40.0}, {"snr_db": 6.0}, {"scale_hz": 0.95}, {"scale_hz": 1.05}],
    ids=str,
)
def test_a_bad_line_makes_no_other_tone_of_it(kind: str, how: dict[str, float]) -> None:
    assert kinds(sounded(kind, 2, **how)) == expected(kind)


@pytest.mark.parametrize("kind", ["ringing", "busy", "congestion"])
@pytest.mark.parametrize("scale_s", [0.9, 1.1])
def test_cadences_ten_per_cent_off_are_known(kind: str, scale_s: float) -> None:
    assert kinds(sounded(kind, 3, scale_s=scale_s)) == {kind}


@pytest.mark.parametrize("kind", list(DECIDED_S))
def test_a_tone_is_certain_in_time_and_its_onset_is_right(kind: str) -> None:
    first = heard(sounded(kind, 4))[0]
    assert first.at_mono_us - 1_000_000 <= DECIDED_S[kind] * 1_000_000
    assert abs(first.onset_mono_us - 1_000_000) < 40_000


@pytest.mark.parametrize("kind", ["dial", "nu", "busy"])
def test_the_end_of_a_tone_is_told(kind: str) -> None:
    events = hear(np.concatenate([sounded(kind, 5), np.zeros(16000)]), CALL)
    (end,) = only(events, ToneEnded)
    assert end.tone.value == kind
    assert abs(end.at_mono_us - (1.0 + SECONDS[kind]) * 1_000_000) < 450_000


def test_the_alert_tone_is_placed_to_twenty_milliseconds() -> None:
    (alert,) = heard(sounded("dtas", 6))
    assert alert.tone is Tone.DT_AS
    assert abs(alert.onset_mono_us - 1_000_000) < 20_000
    assert abs(alert.at_mono_us - 1_100_000) < 20_000


@pytest.mark.parametrize("twist_db", [-7.0, 7.0])
@pytest.mark.parametrize("deviation", [(0.011, 0.011), (-0.011, 0.011), (0.011, -0.011)])
def test_the_alert_tone_is_heard_at_the_limits_of_its_standard_and_in_noise(
    twist_db: float, deviation: tuple[float, float]
) -> None:
    rng = np.random.default_rng(10)
    hz, dbm0 = (2130.0 * (1 + deviation[0]), 2750.0 * (1 + deviation[1])), (-20 + twist_db / 2, -20 - twist_db / 2)
    tone = signals.decimate(signals.tones(hz, dbm0, 0.1, rng))
    x = np.concatenate([np.zeros(8000), tone, np.zeros(4000)])
    power = signals.rms(dbm0[0]) ** 2 + signals.rms(dbm0[1]) ** 2
    assert kinds(signals.add_snr(x, power, 10.0, rng)) == {"dtas"}


@pytest.mark.parametrize("note_s", [0.08, 0.1, 0.12])
def test_a_major_third_in_a_melody_is_no_alert(note_s: float) -> None:
    """C and E of the fourth octave above middle C are 2093 and 2637 Hz, 1.7 and 4.1 % below the alert tone."""
    rng = np.random.default_rng(11)
    thirds = [(2093.0, 2637.0), (1760.0, 2217.5), (2093.0, 2637.0), (1568.0, 1975.5)]
    x = signals.decimate(np.concatenate([signals.tones(hz, (-18.0, -18.0), note_s, rng, 0.004) for hz in thirds * 8]))
    assert kinds(x) == set()


@pytest.mark.parametrize("length_s", [0.02, 0.25])
def test_two_high_tones_of_another_length_are_no_alert(length_s: float) -> None:
    rng = np.random.default_rng(7)
    tone = signals.decimate(signals.tones((2130.0, 2750.0), (-20.0, -20.0), length_s, rng))
    assert heard(np.concatenate([np.zeros(8000), tone, np.zeros(4000)])) == []


@pytest.mark.parametrize("seed", [31])
def test_music_voices_and_noise_are_no_tones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert kinds(signals.music(30.0, rng)) == set()
    assert kinds(signals.voice(30.0, rng)) == set()
    assert kinds(signals.noise(80000, -20.0, rng)) == set()


def test_keys_with_the_rhythm_of_busy_are_not_busy() -> None:
    """DTMF bursts with busy-like rhythm gave false hang-ups where only the cadence was looked at."""
    x, _ = signals.keyed("1111111", np.random.default_rng(8), on_s=0.375, off_s=0.375)
    assert kinds(x) == set()


def test_another_network_is_another_table() -> None:
    rng = np.random.default_rng(9)
    on, off = signals.decimate(signals.tones((425.0,), (-20.0,), 0.5, rng)), np.zeros(4000)
    x = np.concatenate([np.zeros(8000), on, off, on, off, on, off])
    assert [tone.tone for tone in heard(x, Ear(1, tone_plan=EUROPE))] == [Tone.BUSY]
    assert heard(x) == []


@pytest.mark.parametrize("note_hz", [350.0, 371.0, 419.0, 440.0, 466.0])
def test_one_held_note_is_not_the_two_of_dial_or_ringing_tone(note_hz: float) -> None:
    rng = np.random.default_rng(9)
    note = signals.decimate(signals.tones((note_hz, 2.0 * note_hz), (-16.0, -26.0), 0.9, rng, 0.01))
    x = np.concatenate([np.zeros(8000), note, np.zeros(8000)])
    assert not kinds(signals.add_snr(x, signals.rms(-16.0) ** 2, 30.0, rng)) & {"dial", "ringing"}
