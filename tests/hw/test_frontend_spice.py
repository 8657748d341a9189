"""The line front end, simulated: what else takes a telephone exchange and an oscilloscope to find out.

Every limit holds at nominal values and at the corners of the parts' tolerances.
"""

import pytest

from hw.electronics import simulate
from hw.electronics.simulate import CODEC_LIMIT_V, CORNERS, DIGITAL_HIGH_V, DIGITAL_LOW_V, NOMINAL, Tolerances

corners = pytest.mark.parametrize("tolerances", CORNERS, ids=["nominal", "low_zener", "high_zener", "high_inductance"])


@corners
def test_ringing_of_75_v_does_not_reach_the_codec(tolerances: Tolerances) -> None:
    assert simulate.ringing(75, tolerances)["codec"] < CODEC_LIMIT_V


@corners
def test_ringing_from_25_v_is_detected_within_a_burst_of_200_ms(tolerances: Tolerances) -> None:
    assert simulate.ringing(25, tolerances)["ringx"] < DIGITAL_LOW_V
    assert simulate.ring_detect_time(25, tolerances) < 0.100


@pytest.mark.parametrize("bells", [1, 4])
@pytest.mark.parametrize("volts_rms", [25, 75])
def test_ringing_current_is_never_taken_for_an_answer(volts_rms: float, bells: int) -> None:
    assert simulate.ringing(volts_rms, bells=bells)["loopn"] > DIGITAL_HIGH_V


@corners
def test_dialling_pulses_are_not_ringing(tolerances: Tolerances) -> None:
    assert simulate.dialling(tolerances) > DIGITAL_HIGH_V


@pytest.mark.parametrize(
    ("volts_rms", "hertz"), [(1.1, 1000), (1.1, 300), (14, 50)], ids=["speech", "low speech", "hum"]
)
def test_speech_and_hum_are_not_ringing(volts_rms: float, hertz: float) -> None:
    assert simulate.noise(volts_rms, hertz) > DIGITAL_HIGH_V


@pytest.mark.parametrize("reverse", [False, True], ids=["normal", "reversed"])
def test_off_hook_is_seen_from_18_ma_in_either_polarity(reverse: bool) -> None:
    assert simulate.loop(18, reverse=reverse) < DIGITAL_LOW_V
    assert simulate.loop(5, reverse=reverse) > DIGITAL_HIGH_V


def test_an_answer_is_seen_in_a_tenth_of_a_second() -> None:
    assert 0 < simulate.answer_time() < 0.100


@pytest.mark.parametrize("volts", [50, 100])
def test_an_idle_line_is_loaded_with_more_than_a_megohm(volts: float) -> None:
    assert volts / simulate.leakage(volts) > 1e6


@corners
def test_the_telephone_band_is_flat_within_one_decibel(tolerances: Tolerances) -> None:
    for response in (simulate.receive_response(tolerances), simulate.transmit_response(tolerances)):
        assert all(abs(gain) <= 1.0 for gain in response.values()), response


def test_levels_on_the_line_and_at_the_codec() -> None:
    levels = simulate.levels()
    assert levels["bridging"] <= 1.0  # what the tap costs a call
    assert -20 <= levels["receive"] <= -10  # 0 dBm on the line: room for a loud talker, far above the codec's noise
    assert -18 <= levels["notice"] <= -9  # the notice is as loud as speech


def test_the_line_is_on_the_wire_again_20_ms_after_power_fails() -> None:
    """The contacts of a G6K need 3 ms more at most (data sheet)."""
    assert 0 < simulate.relay_release_time() + 0.003 < 0.020


def test_a_wrong_part_would_be_noticed() -> None:
    """The checks can fail: with 12 V diodes dialling rings, without enough inductance the band is not flat."""
    assert simulate.dialling(Tolerances(zener_v=12)) < DIGITAL_HIGH_V
    assert abs(simulate.receive_response(Tolerances(inductance_h=0.2))[300]) > 1.0
    assert NOMINAL.zener_v == 27
