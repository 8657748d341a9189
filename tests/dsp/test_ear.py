"""The ear as a whole: what it must not hear, what it must not say, and that lines do not disturb each other."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from firmware.dsp import dtmf, dtmf_segment
from firmware.dsp.ear import Ear, Listening
from firmware.policy.events import (
    CallerIdHeard,
    ChannelQuality,
    DigitHeard,
    Event,
    NoticeMatched,
    OffHook,
    OnHook,
    OptOutKeyHeard,
    RingBurst,
    Tone,
    ToneHeard,
)
from tests.dsp.hearing import ALL, CALL, IDLE, PAYMENT, hear, only
from tools.dsp_train import scenes, signals
from tools.dsp_train.signals import Wave

CARD = "4929000000000014"


def keyed(keys: str, seed: int = 1, **how: float) -> Wave:
    rng = np.random.default_rng(seed)
    return signals.add_snr(signals.keyed(keys, rng, **how)[0], signals.rms(-10) ** 2, 25.0, rng)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ what it must not hear


def test_payment_audio_never_reaches_the_digit_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything the inner classifier is ever given is spied on: while the line is muted it is zeros."""
    seen: list[NDArray[np.float32]] = []
    fed: list[NDArray[np.float32]] = []
    analyse, feed = dtmf_segment.analyse, dtmf.DtmfReceiver.feed

    def spy_analyse(band: NDArray[np.float32], *rest: object) -> list[dtmf_segment.Burst]:
        seen.append(band)
        return analyse(band, *rest)  # type: ignore[arg-type]

    def spy_feed(self: dtmf.DtmfReceiver, x: NDArray[np.float32]) -> list[dtmf.Digit]:
        fed.append(x.copy())
        return feed(self, x)

    monkeypatch.setattr(dtmf, "analyse", spy_analyse)
    monkeypatch.setattr(dtmf.DtmfReceiver, "feed", spy_feed)
    events = hear(keyed(CARD), PAYMENT)
    assert only(events, DigitHeard) == []
    assert fed
    assert all(not x.any() for x in fed)
    assert seen == []
    hear(keyed(CARD), CALL)
    assert seen, "the spy sees what is analysed when the line may be heard"


def test_a_digit_that_was_under_way_when_the_payment_began_is_forgotten() -> None:
    ear, pcm = Ear(1), signals.to_pcm(keyed(CARD))
    events: list[Event] = []
    for at in range(0, len(pcm) - 800, 800):
        events += ear.hear(pcm[None, at : at + 800], [at * 125], [CALL if at < 3200 else PAYMENT])
    muted_us = 3200 * 125
    assert all(digit.end_mono_us <= muted_us for digit in only(events, DigitHeard))


def test_listening_again_after_a_payment_hears_nothing_of_it() -> None:
    ear, pcm = Ear(1), signals.to_pcm(np.concatenate([keyed(CARD), np.zeros(16000)]))
    keyed_until = len(pcm) - 16000
    events: list[Event] = []
    for at in range(0, len(pcm) - 800, 800):
        events += ear.hear(pcm[None, at : at + 800], [at * 125], [PAYMENT if at < keyed_until else CALL])
    assert only(events, DigitHeard) == []


def test_caller_id_of_a_line_in_a_call_is_not_decoded() -> None:
    data = signals.message([(0x01, b"11240655"), (0x02, b"02079460123")])
    x = signals.caller_id_burst(signals.fsk_bits(data, 300, 80), signals.V23_HZ, -20.0)
    assert only(hear(x, CALL), CallerIdHeard) == []
    assert len(only(hear(x, IDLE), CallerIdHeard)) == 1


def test_supervisory_tones_are_heard_during_a_payment() -> None:
    x = np.concatenate([np.zeros(8000), signals.uk_tone("busy", 4.0, -20.0, np.random.default_rng(2))])
    assert [tone.tone for tone in only(hear(x, PAYMENT), ToneHeard)] == [Tone.BUSY]


# ------------------------------------------------------------------------------------------------- what it must not say


def test_no_digit_value_is_in_any_event_or_its_repr() -> None:
    """Two strings of the same rhythm give events that differ in nothing but microseconds of onset and end."""

    def told(keys: str) -> list[tuple[str, dict[str, object]]]:
        events = hear(keyed(keys), CALL)
        return [(type(event).__name__, dataclasses.asdict(event)) for event in events]

    first, second = told(CARD), told("5105105105105100")
    assert [name for name, _ in first] == [name for name, _ in second]
    for (_, a), (_, b) in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert not {"value", "digit", "key", "row", "column"} & a.keys()
    digits = [fields for name, fields in first if name == "DigitHeard"]
    assert len(digits) == 16
    assert all(set(fields) == {"line", "at_mono_us", "end_mono_us", "strict", "continued"} for fields in digits)
    text = repr(hear(keyed(CARD), CALL))
    assert CARD not in text
    assert "value" not in text


def test_the_inner_detector_hides_its_values_from_repr() -> None:
    receiver = dtmf.DtmfReceiver(1)
    pcm = signals.to_pcm(np.concatenate([keyed("7777"), np.zeros(8000)])).astype(np.float32)
    digits = [d for at in range(0, len(pcm), 8000) for d in receiver.feed(pcm[None, at : at + 8000])]
    assert [d.value for d in digits if d.strict] == list("7777")
    assert "'7'" not in repr(digits)
    assert "row" not in repr(digits)
    assert "column" not in repr([d.burst for d in digits])


def test_the_telephones_answer_to_call_waiting_is_not_a_key() -> None:
    rng = np.random.default_rng(3)
    alert = signals.decimate(signals.tones((2130.0, 2750.0), (-20.0, -20.0), 0.082, rng))
    answer = signals.keyed("D", rng, on_s=0.07, lead_s=0.06)[0]
    x = np.concatenate([np.zeros(8000), alert, answer])
    assert only(hear(x, ALL), DigitHeard) == []
    assert len(only(hear(answer, ALL), DigitHeard)) == 1


# ----------------------------------------------------------------------------------------------------- the opt-out key


@pytest.mark.parametrize("listening", [CALL, PAYMENT], ids=["call", "payment"])
def test_the_opt_out_key_held_for_a_second_is_heard_even_in_a_payment(listening: Listening) -> None:
    x = keyed("9", on_s=1.3)
    (event,) = only(hear(x, listening, ear=Ear(1, opt_out_digit="9")), OptOutKeyHeard)
    assert abs(event.at_mono_us - 150_000) < 50_000


@pytest.mark.parametrize(("key", "on_s"), [("9", 0.8), ("8", 3.0), ("6", 3.0)])
def test_a_short_press_or_another_key_opts_nobody_out(key: str, on_s: float) -> None:
    assert only(hear(keyed(key, on_s=on_s), CALL, ear=Ear(1, opt_out_digit="9")), OptOutKeyHeard) == []


def test_without_a_configured_key_there_is_no_opt_out_key() -> None:
    assert only(hear(keyed("9", on_s=3.0), CALL), OptOutKeyHeard) == []


# ---------------------------------------------------------------------------------------------------------- many lines


def test_eight_lines_hear_what_each_hears_alone() -> None:
    rng = np.random.default_rng(4)
    sounds = [keyed("123456", 10), signals.uk_tone("ringing", 5.0, -20.0, rng), signals.voice(5.0, rng)]
    sounds += [signals.music(5.0, rng), keyed("7", 11, on_s=2.0), signals.uk_tone("nu", 3.0, -25.0, rng)]
    sounds += [signals.noise(40000, -30.0, rng), np.zeros(40000)]
    n = 48000
    pcm = np.stack([signals.to_pcm(np.concatenate([x, np.zeros(n)])[:n]) for x in sounds])
    together: list[Event] = []
    ear = Ear(8)
    for at in range(0, n, 800):
        together += ear.hear(pcm[:, at : at + 800], [at * 125] * 8, [ALL] * 8)
    for line in range(8):
        alone = hear(pcm[line].astype(np.float64), ALL, tail_s=0.0)
        mine = [dataclasses.replace(event, line=0) for event in together if event.line == line]  # type: ignore[type-var]
        assert [event for event in mine if not isinstance(event, ChannelQuality)] == [
            event for event in alone if not isinstance(event, ChannelQuality)
        ]


def test_packets_of_twenty_milliseconds_are_heard_like_blocks() -> None:
    x = keyed("0207946", 12)
    assert only(hear(x, CALL, block=160), DigitHeard) == only(hear(x, CALL), DigitHeard)


def test_what_was_gathered_before_a_payment_is_heard_and_what_comes_after_is_not() -> None:
    ear, pcm = Ear(1), signals.to_pcm(keyed("1", lead_s=0.1))[:4000]
    events: list[Event] = []
    for at in range(0, 4000, 160):
        events += ear.hear(pcm[None, at : at + 160], [at * 125], [CALL])
    for at in range(4000, 40000, 160):
        events += ear.hear(pcm[None, :160] * 0, [at * 125], [PAYMENT])
    assert len(only(events, DigitHeard)) <= 1
    assert all(digit.end_mono_us <= 500_000 for digit in only(events, DigitHeard))


def test_capture_time_stays_right_across_lost_samples() -> None:
    """3 s of samples are lost between two keys: both keep the capture time of their own block."""
    ear, pcm = Ear(1), signals.to_pcm(keyed("5", lead_s=0.3))
    pcm = np.concatenate([pcm, np.zeros(8000, dtype=np.int16)])[:8000]
    events: list[Event] = []
    for base_us in (0, 4_000_000):
        for at in range(0, 8000, 800):
            events += ear.hear(pcm[None, at : at + 800], [base_us + at * 125], [CALL])
    first, second = only(events, DigitHeard)
    assert abs(first.at_mono_us - 300_000) < 1500
    assert abs(second.at_mono_us - 4_300_000) < 1500


# --------------------------------------------------------------------------------------------------------- the notice

NOTICE = signals.to_pcm(signals.voice(6.4, np.random.default_rng(50)))


def played(gain: float = 0.5, snr_db: float = 20.0, until: int | None = None) -> Wave:
    """The notice 1.2 s after the answer, over a telephone system's A-law."""
    rng = np.random.default_rng(51)
    x = np.concatenate([np.zeros(9600), NOTICE[:until] * gain, np.zeros(40000)])
    return signals.a_law(signals.add_snr(x, float(np.mean((NOTICE * gain) ** 2)), snr_db, rng))


@pytest.mark.parametrize(("gain", "snr_db"), [(0.5, 20.0), (0.05, 20.0), (0.5, 8.0)])
def test_the_upstream_notice_is_matched_and_placed(gain: float, snr_db: float) -> None:
    (match,) = only(hear(played(gain, snr_db), ear=Ear(1, upstream_notice=NOTICE), tail_s=3.0), NoticeMatched)
    assert abs(match.offset_ms - 1200) <= 2
    assert abs(match.at_mono_us - (1_200_000 + len(NOTICE) * 125)) <= 2000


def test_a_notice_that_was_cut_short_or_another_one_is_not_matched() -> None:
    ear = Ear(1, upstream_notice=NOTICE)
    assert only(hear(played(until=4 * 8000), ear=ear, tail_s=3.0), NoticeMatched) == []
    other = signals.voice(10.0, np.random.default_rng(52))
    assert only(hear(other, ear=Ear(1, upstream_notice=NOTICE), tail_s=3.0), NoticeMatched) == []


# ------------------------------------------------------------------------------------------------------------- quality


def quality(x: Wave) -> list[ChannelQuality]:
    return only(hear(x, CALL, tail_s=0.0), ChannelQuality)


def test_level_noise_clipping_and_hum_are_measured_in_dbm0() -> None:
    rng = np.random.default_rng(6)
    t = np.arange(24000) / signals.RATE_HZ
    tone = signals.amplitude(-10.0) * np.sin(2 * np.pi * 1000 * t)
    assert all(abs(q.level_dbm0 + 10.0) < 0.1 for q in quality(tone))
    assert all(abs(q.noise_dbm0 + 50.0) < 1.5 for q in quality(signals.noise(24000, -50.0, rng)))
    assert all(abs(q.hum_dbm0 + 30.0) < 1.0 for q in quality(signals.hum(24000, -30.0, rng)))
    loud = quality(tone * 6.0)
    assert all(q.clipped_samples > 1000 for q in loud)
    assert all(q.clipped_samples == 0 for q in quality(tone))


def test_a_dead_line_is_digital_zero_and_a_quiet_one_is_not() -> None:
    assert all(q.digital_zero and q.silent for q in quality(np.zeros(16000)))
    assert not any(q.digital_zero for q in quality(signals.noise(16000, -70.0, np.random.default_rng(7))))


def test_silence_and_voice_are_told_apart() -> None:
    rng = np.random.default_rng(8)
    x = np.concatenate([np.zeros(32000), signals.voice(6.0, rng), np.zeros(32000)])
    told = [q.silent for q in quality(x + signals.noise(len(x), -55.0, rng))]
    assert all(told[:3])
    assert not any(told[5:9])
    assert all(told[-2:])


# ------------------------------------------------------------------------------------------ a line without sense wires


def ringing_current(rng: np.random.Generator, bursts: int) -> Wave:
    one = signals.decimate(signals.tones((25.0, 75.0, 125.0), (-15.0, -33.0, -39.0), 0.4, rng))
    return np.concatenate([np.concatenate([one, np.zeros(1600), one, np.zeros(16000)]) for _ in range(bursts)])


def click(rng: np.random.Generator) -> Wave:
    y = np.zeros(400)
    y[:60] = signals.amplitude(-3.0) * np.exp(-np.arange(60) / 10.0) * rng.choice([-1.0, 1.0])
    return y


@pytest.mark.parametrize("dbm0", [-60.0, -40.0, -30.0])
def test_noise_and_hum_are_nobody(dbm0: float) -> None:
    rng = np.random.default_rng(58)
    x = signals.noise(160_000, dbm0, rng) + signals.hum(160_000, -50.0, rng)
    assert all(second.silent for second in only(hear(x), ChannelQuality))


@pytest.mark.parametrize("hum_dbm0", [None, -26.0])
def test_a_talker_in_noise_or_over_hum_is_somebody_and_his_pauses_are_not(hum_dbm0: float | None) -> None:
    rng = np.random.default_rng(59)
    talk = signals.voice(5.0, rng, -16.0)
    x = np.concatenate([np.zeros(32_000), talk, np.zeros(32_000), talk, np.zeros(32_000)])
    x = x + (signals.noise(len(x), -26.0, rng) if hum_dbm0 is None else signals.hum(len(x), hum_dbm0, rng))
    heard = [second.silent for second in only(hear(x, tail_s=0.0), ChannelQuality)]
    assert not any(heard[5:8] + heard[14:17])
    assert all(heard[1:4] + heard[11:13] + heard[20:22])


@pytest.mark.parametrize("talkers", [8, 14])
def test_a_talker_before_a_room_of_voices_is_somebody_and_the_room_is_not(talkers: int) -> None:
    rng = np.random.default_rng([60, talkers])
    talk = signals.voice(6.0, rng, -16.0)
    x = np.concatenate([np.zeros(40_000), talk, np.zeros(48_000), talk, np.zeros(48_000)])
    room = scenes.babble(len(x), [signals.voice(30.0, rng) for _ in range(talkers)], rng, talkers)
    silent = [second.silent for second in only(hear(x + room * signals.rms(-31.0)), ChannelQuality)]
    assert not any(silent[5:11] + silent[17:23])
    assert sum(silent[:5] + silent[11:17] + silent[23:29]) >= 12


def test_a_line_that_goes_dead_in_noise_or_talk_is_nobody_from_then_on() -> None:
    rng = np.random.default_rng(61)
    for x in (signals.noise(80_000, -35.0, rng), signals.voice(10.0, rng) + signals.noise(80_000, -50.0, rng)):
        heard = only(hear(x, tail_s=10.0), ChannelQuality)
        assert all(second.silent for second in heard[10:])


def by_sound(x: Wave) -> list[Event]:
    rng = np.random.default_rng(60)
    events = hear(x + signals.noise(len(x), -60.0, rng), ALL, ear=Ear(1, audio_only=True), tail_s=0.0)
    return [event for event in events if isinstance(event, RingBurst | OffHook | OnHook)]


def test_an_inbound_call_is_rung_answered_and_over() -> None:
    rng = np.random.default_rng(61)
    ring = ringing_current(rng, 2)[:-8000]
    talk = signals.voice(12.0, rng)
    x = np.concatenate(
        [np.zeros(24000), ring, click(rng), np.zeros(4000), talk, np.zeros(4000), click(rng), np.zeros(96000)]
    )
    events = by_sound(x)
    assert len(only(events, RingBurst)) == 4
    answer_us = (24000 + len(ring)) * 125
    end_us = answer_us + (400 + 4000 + len(talk) + 4000) * 125
    (answered,), (over,) = only(events, OffHook), only(events, OnHook)
    assert abs(answered.at_mono_us - answer_us) < 100_000
    assert abs(over.at_mono_us - end_us) < 300_000


def test_ringing_that_nobody_answers_and_clicks_of_an_idle_line_are_no_call() -> None:
    rng = np.random.default_rng(62)
    x = np.concatenate([np.zeros(16000), ringing_current(rng, 3), np.zeros(120000)])
    assert only(by_sound(x), OffHook) == []
    idle = np.concatenate([np.zeros(16000), click(rng), np.zeros(24000), click(rng), np.zeros(80000)])
    assert by_sound(idle) == []


def test_a_hold_of_twelve_seconds_does_not_end_the_call() -> None:
    rng = np.random.default_rng(63)
    ring = ringing_current(rng, 1)[:-8000]
    talk = [signals.voice(6.0, rng), np.zeros(12 * 8000), signals.voice(6.0, rng), np.zeros(4000)]
    x = np.concatenate([np.zeros(16000), ring, click(rng), np.zeros(3000), *talk, click(rng), np.zeros(96000)])
    events = by_sound(x)
    assert (len(only(events, OffHook)), len(only(events, OnHook))) == (1, 1)


def test_a_hold_after_a_last_word_that_ends_like_a_click_does_not_end_the_call() -> None:
    rng = np.random.default_rng(64)
    ring = ringing_current(rng, 1)[:-8000]
    word = [signals.voice(6.0, rng), np.zeros(800), click(rng), np.zeros(14 * 8000)]
    talk = [*word, signals.voice(6.0, rng), np.zeros(4000)]
    x = np.concatenate([np.zeros(16000), ring, click(rng), np.zeros(3000), *talk, click(rng), np.zeros(96000)])
    (answered,), (over,) = only(by_sound(x), OffHook), only(by_sound(x), OnHook)
    assert over.at_mono_us - answered.at_mono_us > 26_000_000


@pytest.mark.parametrize("cut_s", [5.4, 6.2])
def test_an_outbound_call_begins_where_its_answer_cut_the_ringing_tone(cut_s: float) -> None:
    """In the burst the answer makes no click that could be heard, in the pause it does."""
    rng = np.random.default_rng(63)
    dial, ringing = signals.uk_tone("dial", 2.0, -20.0, rng), signals.uk_tone("ringing", cut_s, -20.0, rng)
    before = np.concatenate([np.zeros(24000), dial, np.zeros(8000), ringing])
    talk = [click(rng)] if cut_s < 6.0 else []
    talk += [np.zeros(7200), signals.voice(8.0, rng), np.zeros(4000), click(rng), np.zeros(80000)]
    (answered,) = only(by_sound(np.concatenate([before, *talk])), OffHook)
    assert abs(answered.at_mono_us - len(before) * 125) < 150_000
