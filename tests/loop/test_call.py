"""A call through the production loop: what of the line's sound reaches the vault, to the sample."""

import numpy as np
import pytest

from firmware.policy.events import Lamp, OnHook, Signal
from firmware.policy.lamps import Pattern
from firmware.policy.records import Direction, GapReason, Outcome
from firmware.ports import Samples
from firmware.store.commands import AppendAudio, CloseCall, KeepCall, LatchOptOut, OpenCall, OptOut, WriteRow
from firmware.units import SAMPLE_RATE_HZ
from tests.loop.bench import LOOK_BACK_S, NOTICE_S, Bench, noise

ANSWER_S = 6.5
FIRST_S = ANSWER_S + 1.0 + 0.1 + 0.02 + NOTICE_S
"""Answer, notice delay (seen at the next step), output latency, notice."""


def inbound(sound: Samples | None = None, **more: object) -> Bench:
    bench = Bench([noise(90) if sound is None else sound], **more)  # type: ignore[arg-type]
    bench.ring(2.0)
    bench.ring(5.0)
    bench.level(ANSWER_S, Signal.LOOP, True)
    return bench


def hang_up(bench: Bench, at_s: float) -> None:
    bench.level(at_s, Signal.LOOP, False)
    bench.run_to(at_s + LOOK_BACK_S + 3)


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def test_an_answered_inbound_call_is_kept_from_the_end_of_the_notice_to_the_on_hook() -> None:
    bench = inbound()
    hang_up(bench, 60.0)
    kept = bench.kept(ANSWER_S)
    heard = np.flatnonzero(kept)
    assert heard[0] == pytest.approx(samples(FIRST_S), abs=samples(0.1))
    assert heard[0] >= samples(ANSWER_S + 1.0 + NOTICE_S)
    assert heard[-1] == samples(60.0) - 1
    assert len(heard) == heard[-1] - heard[0] + 1, "a hole in the middle"
    [row] = bench.rows()
    assert (row.outcome, row.direction, row.rule) == (Outcome.RECORDED, Direction.INBOUND, "rule1_ring_then_off_hook")
    assert bench.gaps() == []
    [closed] = [command for command in bench.writer.commands if isinstance(command, CloseCall)]
    assert closed.meta.samples == samples(60.0 - ANSWER_S)
    assert closed.meta.notice.played_ms == NOTICE_S * 1000


def test_a_payment_pressed_late_takes_the_look_back_with_it_and_not_a_sample_more() -> None:
    bench = inbound()
    bench.press(40.0, Signal.PAYMENT)
    bench.press(60.0, Signal.PAYMENT, for_s=2.0)
    hang_up(bench, 80.0)
    kept = bench.kept(ANSWER_S)
    assert not kept[samples(30.0) : samples(61.5)].any()
    assert kept[samples(30.0) - 1] != 0
    assert kept[samples(61.5)] != 0
    assert bench.gaps() == [(30.0 - ANSWER_S, 61.5 - ANSWER_S, GapReason.PAYMENT)]


@pytest.mark.parametrize("step_ms", [20, 100, 370])
def test_the_same_samples_are_kept_however_late_the_loop_comes_round(step_ms: int) -> None:
    bench = inbound()
    bench.press(33.333, Signal.PAYMENT, for_s=0.05)
    bench.press(50.001, Signal.PAYMENT, for_s=1.7)
    bench.level(70.0, Signal.LOOP, False)
    bench.run_to(84.0, step_ms)
    kept = bench.kept(ANSWER_S)
    assert not kept[samples(23.333) : samples(51.501)].any()
    assert kept[samples(23.333) - 1] != 0
    assert kept[samples(51.501)] != 0


def test_worn_contacts_mute_at_the_first_edge_and_resume_no_earlier() -> None:
    for seed in range(5):
        bench = inbound(bounce_edges_max=6)
        bench.pins._random.seed(seed)
        bench.press(40.0, Signal.PAYMENT)
        bench.press(60.0, Signal.PAYMENT, for_s=2.0)
        hang_up(bench, 80.0)
        assert not bench.kept(ANSWER_S)[samples(30.0) : samples(61.5)].any()
        assert bench.kept(ANSWER_S)[samples(61.52)] != 0


def test_a_press_never_resumes_however_often() -> None:
    bench = inbound()
    for at in (30.0, 32.0, 34.0, 40.0):
        bench.press(at, Signal.PAYMENT, for_s=1.4)
    hang_up(bench, 60.0)
    assert not bench.kept(ANSWER_S)[samples(20.0) :].any()


def test_the_press_that_mutes_does_not_resume_when_it_is_held() -> None:
    bench = inbound()
    bench.press(30.0, Signal.PAYMENT, for_s=5.0)
    hang_up(bench, 60.0)
    assert not bench.kept(ANSWER_S)[samples(20.0) :].any()


def test_a_payment_pressed_while_it_rings_is_in_force_from_the_first_second() -> None:
    bench = inbound()
    bench.press(3.0, Signal.PAYMENT)
    hang_up(bench, 40.0)
    assert not bench.kept(ANSWER_S).any()
    [row] = bench.rows()
    assert row.outcome is Outcome.RECORDED
    assert {reason for _, _, reason in bench.gaps()} == {GapReason.PAYMENT}


def test_the_payment_ends_with_the_call() -> None:
    bench = inbound(noise(150))
    bench.press(15.0, Signal.PAYMENT)
    bench.level(30.0, Signal.LOOP, False)
    bench.ring(60.0)
    bench.level(62.0, Signal.LOOP, True)
    bench.run_to(90.0)
    hang_up(bench, 100.0)
    assert [row.outcome for row in bench.rows()] == [Outcome.RECORDED, Outcome.RECORDED]
    second = [command for command in bench.writer.commands if isinstance(command, AppendAudio)]
    assert {command.call for command in second} == {2}


def test_opt_out_held_destroys_the_call_and_nothing_more_is_kept() -> None:
    bench = inbound()
    bench.run_to(40.0)
    bench.press(40.0, Signal.OPT_OUT, for_s=1.2)
    bench.run_to(41.1)
    before = len([c for c in bench.writer.commands if isinstance(c, AppendAudio)])
    hang_up(bench, 60.0)
    commands = bench.writer.commands
    assert OptOut(0, 1) in commands
    assert LatchOptOut(0, True) in commands
    assert LatchOptOut(0, False) in commands
    assert len([c for c in commands if isinstance(c, AppendAudio)]) == before
    [row] = bench.rows()
    assert row.outcome is Outcome.OPTED_OUT
    assert not any(isinstance(command, CloseCall) for command in commands)


def test_an_opt_out_before_anything_was_kept_leaves_no_call_at_all() -> None:
    bench = inbound()
    bench.press(12.0, Signal.OPT_OUT, for_s=1.2)
    hang_up(bench, 60.0)
    assert not any(isinstance(command, OpenCall | OptOut) for command in bench.writer.commands)
    assert [row.outcome for row in bench.rows()] == [Outcome.OPTED_OUT]


def test_an_opt_out_within_a_minute_after_the_call_still_destroys_it() -> None:
    bench = inbound()
    bench.level(40.0, Signal.LOOP, False)
    bench.press(95.0, Signal.OPT_OUT, for_s=1.2)
    bench.run_to(100.0)
    assert OptOut(0, 1) in bench.writer.commands


def test_an_opt_out_later_than_a_minute_after_the_call_reaches_nothing() -> None:
    bench = inbound()
    bench.level(40.0, Signal.LOOP, False)
    bench.press(101.5, Signal.OPT_OUT, for_s=1.2)
    bench.run_to(110.0)
    assert not any(isinstance(command, OptOut) for command in bench.writer.commands)


def test_a_tap_on_opt_out_leaves_a_gap_of_tap_and_look_back() -> None:
    bench = inbound()
    bench.press(40.0, Signal.OPT_OUT, for_s=0.5)
    hang_up(bench, 60.0)
    assert bench.gaps() == [(30.0 - ANSWER_S, 40.5 - ANSWER_S, GapReason.OPT_OUT_KEY)]
    assert [row.outcome for row in bench.rows()] == [Outcome.RECORDED]


def test_keep_asks_for_a_hold_on_the_running_call_and_on_the_last_one() -> None:
    bench = inbound()
    bench.press(40.0, Signal.KEEP)
    hang_up(bench, 60.0)
    assert bench.writer.commands.count(KeepCall(0, 1)) == 1
    bench.press(80.0, Signal.KEEP)
    bench.run_to(81.0)
    assert bench.writer.commands.count(KeepCall(0, 1)) == 2


def test_keep_after_opt_out_is_refused_and_the_vault_is_told_to_log_it() -> None:
    bench = inbound()
    bench.press(40.0, Signal.OPT_OUT, for_s=1.2)
    bench.press(45.0, Signal.KEEP)
    bench.run_to(46.0)
    assert bench.loop.panel.lines[0].keep is Pattern.FAST
    hang_up(bench, 60.0)
    assert [x for x in bench.writer.commands if isinstance(x, KeepCall)] == [KeepCall(0, 1, opted_out=True)]


def test_keep_in_a_call_of_which_nothing_is_ever_kept_is_handed_on_to_be_refused_and_logged() -> None:
    bench = inbound()
    bench.press(8.0, Signal.KEEP)
    hang_up(bench, 9.0)
    assert [row.outcome for row in bench.rows()] == [Outcome.NOTICE_NOT_COMPLETED]
    assert bench.writer.commands[-2:] == [KeepCall(0, 1), WriteRow(bench.rows()[0], None)]


def test_a_call_without_ring_is_never_kept() -> None:
    bench = Bench([noise(60)])
    bench.level(5.0, Signal.LOOP, True)
    hang_up(bench, 40.0)
    assert [row.outcome for row in bench.rows()] == [Outcome.UNKNOWN_DIRECTION]
    assert all(isinstance(command, WriteRow) for command in bench.writer.commands)


def test_a_call_going_on_when_the_recorder_starts_is_never_kept() -> None:
    bench = Bench([noise(60)], off_hook_at_boot=True)
    bench.press(10.0, Signal.OPT_OUT, for_s=1.2)
    hang_up(bench, 40.0)
    [row] = bench.rows()
    assert (row.outcome, row.rule) == (Outcome.UNKNOWN_DIRECTION, "rule5_started_in_mid_call")
    assert bench.kept(0.0).any() == np.False_
    assert OptOut(0, None) in bench.writer.commands, "the part before the reboot must be destroyed"


def test_an_unanswered_call_has_its_row() -> None:
    bench = Bench([noise(40)])
    bench.ring(2.0)
    bench.run_to(30.0)
    [row] = bench.rows()
    assert (row.outcome, row.direction) == (Outcome.UNANSWERED, Direction.INBOUND)


def test_a_caller_who_hangs_up_during_the_notice_is_not_kept() -> None:
    bench = inbound()
    hang_up(bench, ANSWER_S + 2.0)
    [row] = bench.rows()
    assert row.outcome is Outcome.NOTICE_NOT_COMPLETED
    assert bench.codec.played[-1].ended_mono_us is not None


def test_a_codec_that_is_pulled_leaves_a_gap_and_comes_back_by_itself() -> None:
    bench = inbound()
    bench.run_to(30.0)
    bench.codec.unplug()
    bench.run_to(30.7)
    assert "CODEC_LOST" in bench.loop.panel.faults(0)
    bench.run_to(35.0)
    bench.codec.plug()
    bench.run_to(36.0)
    assert "CODEC_LOST" not in bench.loop.panel.faults(0)
    hang_up(bench, 60.0)
    [(start, end, reason)] = bench.gaps()
    assert reason is GapReason.FAULT
    assert start == pytest.approx(30.0 - ANSWER_S, abs=0.11)
    assert end == pytest.approx(35.3 - ANSWER_S, abs=0.5)
    kept = bench.kept(ANSWER_S)
    assert kept[samples(29.8)] != 0
    assert kept[samples(36.5)] != 0


def test_a_codec_lost_to_the_end_of_the_call_is_a_gap_to_the_on_hook() -> None:
    bench = inbound()
    bench.run_to(30.0)
    bench.codec.unplug()
    hang_up(bench, 60.0)
    assert bench.gaps()[-1][1] == pytest.approx(60.0 - ANSWER_S, abs=0.01)
    assert [row.outcome for row in bench.rows()] == [Outcome.RECORDED]


def test_a_flash_mutes_at_once_and_the_consult_is_never_kept() -> None:
    bench = inbound()
    bench.level(30.0, Signal.LOOP, False)
    bench.level(30.1, Signal.LOOP, True)
    bench.level(40.0, Signal.LOOP, False)
    bench.level(40.1, Signal.LOOP, True)
    hang_up(bench, 60.0)
    kept = bench.kept(ANSWER_S)
    assert not kept[samples(30.0) : samples(40.1)].any()
    assert kept[samples(30.0) - 1] != 0
    assert kept[samples(40.1)] != 0
    assert sorted(row.outcome for row in bench.rows()) == [Outcome.CONSULT, Outcome.RECORDED]
    assert bench.gaps() == [(30.0 - ANSWER_S, 40.1 - ANSWER_S, GapReason.CONSULT)]


def test_lamps_tell_what_is_measured() -> None:
    bench = inbound()
    bench.run_to(12.0)
    blinking = {bench.pins.lit[0, Lamp.REC]}
    bench.run_to(12.5)
    blinking.add(bench.pins.lit[0, Lamp.REC])
    assert blinking == {True, False}, "would be kept, not yet confirmed: blinks"
    bench.run_to(30.0)
    steady = set()
    for at in (30.3, 30.6, 30.9, 31.2):
        bench.run_to(at)
        steady.add(bench.pins.lit[0, Lamp.REC])
    assert steady == {True}
    bench.press(32.0, Signal.PAYMENT)
    bench.run_to(32.1)
    assert bench.pins.lit[0, Lamp.PAYMENT]
    bench.run_to(32.4)
    assert not bench.pins.lit[0, Lamp.REC]


def test_a_payment_that_goes_on_is_reminded_of_by_the_sounder_and_resumes_nothing() -> None:
    bench = inbound(noise(220))
    bench.press(30.0, Signal.PAYMENT)
    bench.run_to(140.0)
    assert not any(change.lamp is None for change in bench.pins.log)
    bench.run_to(155.0)
    assert any(change.lamp is None for change in bench.pins.log)
    hang_up(bench, 200.0)
    assert not bench.kept(ANSWER_S)[samples(20.0) :].any()


def test_eight_lines_do_not_hear_each_other() -> None:
    bench = Bench([noise(60, seed) for seed in range(8)])
    for line in range(8):
        bench.ring(2.0 + line / 10, line)
        bench.level(4.0 + line / 10, Signal.LOOP, True, line)
        bench.level(40.0, Signal.LOOP, False, line)
    bench.press(25.0, Signal.PAYMENT, line=3)
    bench.run_to(55.0)
    assert sorted(row.line for row in bench.rows()) == list(range(8))
    for command in bench.writer.commands:
        if isinstance(command, AppendAudio):
            line = next(c.line for c in bench.writer.commands if isinstance(c, OpenCall) and c.call == command.call)
            start = samples(4.0 + line / 10) + command.first_sample
            assert np.array_equal(command.payload[0], bench.audio[line][start : start + command.samples])  # type: ignore[index]
            if line == 3:
                assert start + command.samples <= samples(15.0)


def test_an_end_that_is_known_late_leaves_no_sound_past_the_length_of_the_call() -> None:
    """A line by sound alone hears its hang-up many seconds late; what was kept meanwhile is part of the call."""
    bench = inbound()
    bench.run_to(60.0)
    line = bench.loop.lines[0]
    line.apply(OnHook(0, round(45.0 * 1_000_000)))
    bench.run_to(75.0)
    [closed] = [command for command in bench.writer.commands if isinstance(command, CloseCall)]
    last = max(c.first_sample + c.samples for c in bench.writer.commands if isinstance(c, AppendAudio))
    assert closed.meta.samples == last


def test_an_opt_out_never_silences_the_calls_that_follow() -> None:
    """OPT-OUT in the minute after a call latches the line in the vault; the next call lifts the latch before it
    opens."""
    bench = inbound(noise(150))
    bench.level(40.0, Signal.LOOP, False)
    bench.press(55.0, Signal.OPT_OUT, for_s=1.2)
    bench.ring(80.0)
    bench.level(82.0, Signal.LOOP, True)
    bench.run_to(110.0)
    hang_up(bench, 120.0)
    opened = [i for i, c in enumerate(bench.writer.commands) if isinstance(c, OpenCall) and c.call == 2]
    lifted = [i for i, c in enumerate(bench.writer.commands) if c == LatchOptOut(0, False)]
    assert opened
    assert any(i < opened[0] for i in lifted)
    assert max(i for i in lifted if i < opened[0]) > bench.writer.commands.index(OptOut(0, 1))


def test_a_loop_that_stood_still_forgets_no_silence_before_the_sound_it_covers_is_judged() -> None:
    bench = inbound(noise(140))
    bench.press(40.0, Signal.PAYMENT)
    bench.press(50.0, Signal.PAYMENT, for_s=2.0)
    bench.run_to(52.5)
    bench.clock.advance_ms(40_000)
    bench.loop.step()
    hang_up(bench, 120.0)
    assert not bench.kept(ANSWER_S)[samples(30.0) : samples(51.5)].any()
    assert not bench.loop.panel.faults()


def test_a_call_that_has_just_ended_is_told_to_whoever_stops_the_recorder() -> None:
    """An orderly stop waits while this is true: a row is written the look-back after its call has ended."""
    bench = Bench([noise(40)])
    bench.level(5.0, Signal.LOOP, True)
    bench.run_to(10.0)
    assert not bench.loop.finishing, "a call that goes on does not hold up a stop"
    bench.level(12.0, Signal.LOOP, False)
    bench.run_to(13.0)
    assert bench.loop.finishing
    assert bench.rows() == []
    bench.run_to(12.0 + LOOK_BACK_S + 3)
    assert not bench.loop.finishing
    assert [row.outcome for row in bench.rows()] == [Outcome.UNKNOWN_DIRECTION]


def test_two_wires_without_a_signal_alarm_while_the_call_goes_on_and_not_after_it() -> None:
    dead = np.concatenate([noise(20), np.zeros(20 * SAMPLE_RATE_HZ, np.int16)])
    bench = inbound(dead, hears=True)
    bench.level(35.0, Signal.LOOP, False)
    bench.run_to(19.0)
    assert "DEAD_CHANNEL" not in bench.loop.panel.faults(0)
    bench.run_to(27.0)
    assert "DEAD_CHANNEL" in bench.loop.panel.faults(0)
    bench.run_to(37.0)
    assert "DEAD_CHANNEL" not in bench.loop.panel.faults(0)


def test_a_call_of_which_the_tap_gives_noise_only_alarms_after_half_a_minute() -> None:
    """A wire of the tap is off: neither the notice nor anybody is heard."""
    bench = inbound(noise(60) // 500, hears=True)
    bench.run_to(30.0)
    assert "DEAD_CHANNEL" not in bench.loop.panel.faults(0)
    bench.run_to(42.0)
    assert "DEAD_CHANNEL" in bench.loop.panel.faults(0)
