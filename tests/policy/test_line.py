"""The truth table of the direction rules, and what happens to a call by flash, waiting call, tone and key."""

from itertools import count

import pytest

from firmware.policy import events as ev
from firmware.policy.gate import judge
from firmware.policy.ledger import Kept, outcome
from firmware.policy.line import Act, DestroyCall, Line, LineSettings, NoticeSource, Phase, PlayNotice
from firmware.policy.records import Direction, GapReason, Outcome
from firmware.units import US_PER_S

NUMBER = "02079460123"


def s(seconds: float) -> int:
    return round(seconds * US_PER_S)


def line(**more: object) -> Line:
    numbers = count(1)
    return Line(0, LineSettings(**more), lambda: next(numbers))  # type: ignore[arg-type]


def ring(at: float) -> ev.Event:
    return ev.RingBurst(0, s(at))


def off(at: float) -> ev.Event:
    return ev.OffHook(0, s(at))


def on(at: float) -> ev.Event:
    return ev.OnHook(0, s(at))


def tone(at: float, which: ev.Tone = ev.Tone.DIAL) -> ev.Event:
    return ev.ToneHeard(0, s(at), which, s(at - 0.6))


def digit(at: float) -> ev.Event:
    return ev.DigitHeard(0, s(at), s(at + 0.07), True)


def heard(at: float, number: str | None = NUMBER) -> ev.Event:
    absence = None if number else ev.Absence.WITHHELD
    return ev.CallerIdHeard(0, s(at), number, absence)


def notice(at: float) -> ev.Event:
    return ev.NoticeFinished(0, s(at), 2000)


def flash(at: float) -> list[ev.Event]:
    return [ev.LoopOpened(0, s(at)), ev.HookFlash(0, s(at + 0.1), s(at))]


def tell(subject: Line, *events: ev.Event | list[ev.Event]) -> list[Act]:
    acts: list[Act] = []
    for event in events:
        for one in event if isinstance(event, list) else [event]:
            acts += subject.pass_time(one.at_mono_us)
            acts += subject.apply(one)
    return acts


TRUTH = [
    ("ring then off-hook", [ring(1), off(3), notice(6), on(30)], Direction.INBOUND, "rule1_ring_then_off_hook"),
    (
        "caller ID, ring, off-hook",
        [heard(0.5), ring(1), off(3), notice(6), on(9)],
        Direction.INBOUND,
        "rule1_ring_then_off_hook",
    ),
    ("ring long past, off-hook", [ring(1), off(9.5), on(30)], Direction.UNKNOWN, "rule4_off_hook_without_ring"),
    ("off-hook, dial tone", [off(1), tone(2), on(30)], Direction.OUTBOUND, "rule2_dial_tone_after_off_hook"),
    (
        "off-hook, special dial tone",
        [off(1), tone(2, ev.Tone.SPECIAL_DIAL), on(9)],
        Direction.OUTBOUND,
        "rule2_dial_tone_after_off_hook",
    ),
    ("off-hook, dialling", [off(1), digit(2), on(30)], Direction.OUTBOUND, "rule2_dialling_after_off_hook"),
    (
        "ring, off-hook, dial tone",
        [ring(1), off(3), tone(3.8), on(30)],
        Direction.OUTBOUND,
        "rule3_dial_tone_after_ring",
    ),
    ("off-hook, nothing else", [off(1), on(30)], Direction.UNKNOWN, "rule4_off_hook_without_ring"),
    ("off-hook, busy tone", [off(1), tone(2, ev.Tone.BUSY), on(30)], Direction.UNKNOWN, "rule4_off_hook_without_ring"),
    ("off-hook at boot", [ev.OffHookAtBoot(0, 0), on(30)], Direction.UNKNOWN, "rule5_started_in_mid_call"),
    (
        "off-hook at boot, dial tone",
        [ev.OffHookAtBoot(0, 0), tone(2), on(30)],
        Direction.UNKNOWN,
        "rule5_started_in_mid_call",
    ),
    ("off-hook during caller ID", [heard(1.0), off(1.4), on(30)], Direction.UNKNOWN, "rule6_off_hook_during_caller_id"),
    (
        "reversal alone, off-hook",
        [ev.Reversal(0, s(1)), off(3), on(30)],
        Direction.UNKNOWN,
        "rule4_off_hook_without_ring",
    ),
]


@pytest.mark.parametrize(("events", "direction", "rule"), [row[1:] for row in TRUTH], ids=[row[0] for row in TRUTH])
def test_direction(events: list[ev.Event], direction: Direction, rule: str) -> None:
    subject = line()
    tell(subject, *events)
    [call] = [call for call in subject.calls if call.answered_mono_us is not None]
    assert (call.direction, call.rule) == (direction, rule)
    if direction is not Direction.INBOUND:
        assert judge(call.view(), [], False, s(2), 80_000) == [], "only inbound may be kept"


def test_caller_id_without_ringing_is_not_a_call() -> None:
    subject = line()
    tell(subject, heard(1.0))
    subject.pass_time(s(60))
    assert subject.calls == []


def test_the_number_of_the_call_before_is_never_given_to_the_next() -> None:
    subject = line()
    tell(subject, heard(0.5), ring(1), off(3), notice(6), on(30), ring(60), off(62), notice(65), on(90))
    first, second = subject.calls
    assert first.number_and_absence() == (NUMBER, None)
    assert second.number_and_absence() == (None, ev.Absence.NONE_SENT)


def test_a_withheld_number_is_recorded_as_withheld() -> None:
    subject = line()
    tell(subject, heard(0.5, None), ring(1), off(3), notice(6))
    assert subject.calls[0].number_and_absence() == (None, ev.Absence.WITHHELD)


def test_a_bellcore_number_between_the_rings_is_the_calls() -> None:
    subject = line()
    tell(subject, ring(1), heard(2.2), ring(5), off(6), notice(9))
    assert subject.calls[0].number_and_absence() == (NUMBER, None)


def waiting_call() -> Line:
    subject = line()
    tell(subject, heard(0.5), ring(1), off(3), notice(6), tone(20, ev.Tone.CALL_WAITING), heard(21, None), flash(25))
    return subject


def test_a_waiting_call_gets_its_own_row_its_own_notice_and_its_own_number() -> None:
    subject = waiting_call()
    first, second = subject.calls
    assert subject.phase is Phase.ANSWERED
    assert (second.direction, second.rule) == (Direction.INBOUND, "call_waiting_swap")
    assert second.permitted_from_mono_us is None
    assert second.number_and_absence() == (None, ev.Absence.WITHHELD)
    assert any(isinstance(act, PlayNotice) and act.call == second.call for act in subject.pass_time(s(27)))
    [gap] = list(judge(first.view(), [], False, s(26), 8000))
    assert gap.reason is GapReason.ON_HOLD


def test_the_first_caller_goes_on_in_the_same_row_after_the_swap_back() -> None:
    subject = waiting_call()
    tell(subject, notice(30), flash(40))
    first, second = subject.calls
    assert subject.current is first
    assert all(span.keep for span in judge(first.view(), [], False, s(41), 8000))
    assert [span.reason for span in judge(second.view(), [], False, s(41), 8000)] == [GapReason.ON_HOLD]


def test_opt_out_survives_the_swap_and_reaches_only_the_caller_it_was_meant_for() -> None:
    subject = line()
    acts = tell(subject, ring(1), off(3), notice(6), ev.KeyHeld(0, s(11), ev.Key.OPT_OUT, s(10)))
    assert DestroyCall(0, 1) in acts
    tell(subject, tone(20, ev.Tone.CALL_WAITING), flash(25), notice(30), flash(40), flash(50))
    first, second = subject.calls
    assert first.opted_out
    assert not second.opted_out
    assert judge(first.view(), [], False, s(45), 8000) == []


def test_opt_out_during_a_consult_reaches_the_caller_who_waits() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), flash(20))
    assert subject.phase is Phase.CONSULT
    assert tell(subject, ev.KeyHeld(0, s(25), ev.Key.OPT_OUT, s(24)))[0] == DestroyCall(0, 1)


def test_a_consult_is_a_row_of_its_own_and_a_failed_one_returns_to_recording() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), flash(20), tone(21), digit(22), flash(30))
    first, consult = subject.calls
    assert outcome(consult, Kept()) is Outcome.CONSULT
    assert subject.phase is Phase.TALKING
    assert [span.reason for span in judge(first.view(), [], False, s(19.5), 96_000)] == [None, GapReason.CONSULT, None]


def test_hanging_up_in_a_consult_transfers_the_caller_and_ends_both_rows() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), flash(20), on(30))
    assert [call.ended_mono_us for call in subject.calls] == [s(30), s(30)]
    assert subject.calls[0].ended.value == "transfer"


def test_a_glitch_of_the_wire_mutes_only_itself() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), ev.LoopOpened(0, s(20)), ev.LoopRestored(0, s(20.03), s(20)))
    spans = judge(subject.calls[0].view(), [], False, s(19), 16_000)
    assert [(span.reason, span.stop - span.start) for span in spans] == [
        (None, 8000),
        (GapReason.CONSULT, 240),
        (None, 7760),
    ]


def test_a_dial_tone_that_lasts_ends_the_call_where_it_began() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), tone(30))
    subject.pass_time(s(32))
    first, after = subject.calls
    assert first.ended_mono_us == s(29.4)
    assert after.direction is Direction.OUTBOUND


def test_a_moment_of_dial_tone_in_speech_ends_nothing() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), tone(30), ev.ToneEnded(0, s(30.5), ev.Tone.DIAL))
    subject.pass_time(s(40))
    assert subject.calls[0].ended_mono_us is None


@pytest.mark.parametrize("which", [ev.Tone.BUSY, ev.Tone.NU, ev.Tone.CONGESTION, ev.Tone.DIAL])
def test_without_loop_sense_an_end_tone_ends_the_call_where_it_began(which: ev.Tone) -> None:
    subject = line(sense=False)
    tell(subject, ring(1), off(3), notice(6), tone(30, which))
    assert subject.calls[0].ended_mono_us == s(29.4)
    assert subject.phase is Phase.IDLE


def test_without_loop_sense_an_outbound_call_is_outbound_and_no_unknown_one() -> None:
    subject = line(sense=False)
    tell(subject, ev.OffHook(0, s(3), outbound_heard=True), on(60))
    (call,) = subject.calls
    assert (call.direction, call.rule) == (Direction.OUTBOUND, "rule2_dial_tone_after_off_hook")


@pytest.mark.parametrize("suffices", [True, False])
def test_without_loop_sense_a_missed_call_and_then_an_outbound_one_is_not_recorded(suffices: bool) -> None:
    subject = line(sense=False, notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=suffices)
    tell(subject, ring(1), ev.OffHook(0, s(3), outbound_heard=True), on(60))
    (call,) = subject.calls
    assert (call.direction, call.rule) == (Direction.OUTBOUND, "rule3_dial_tone_after_ring")
    assert judge(call.view(), [], False, s(10), 800) == []


@pytest.mark.parametrize("which", [ev.Tone.CALL_WAITING, ev.Tone.DT_AS])
@pytest.mark.parametrize("during_notice", [True, False])
def test_without_loop_sense_nobody_is_kept_who_may_be_a_second_caller(which: ev.Tone, during_notice: bool) -> None:
    subject = line(sense=False)
    if during_notice:
        tell(subject, ring(1), off(3), tone(5, which), notice(6))
    else:
        tell(subject, ring(1), off(3), notice(6), tone(20, which))
    (call,) = subject.calls
    kept = judge(call.view(), subject.silences(), False, s(30), 800)
    assert [span.reason for span in kept] == [GapReason.ON_HOLD]
    before = judge(call.view(), subject.silences(), False, s(10), 800)
    assert [span.reason for span in before] == [GapReason.ON_HOLD if during_notice else None]


def test_an_upstream_claim_alone_keeps_the_call_only_where_the_site_says_so() -> None:
    for suffices in (True, False):
        subject = line(notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=suffices)
        tell(subject, ring(1), off(3))
        assert (subject.calls[0].permitted_from_mono_us == s(3)) is suffices


@pytest.mark.parametrize("sense", [True, False])
@pytest.mark.parametrize("which", [ev.Tone.DIAL, ev.Tone.SPECIAL_DIAL])
def test_a_missed_call_and_then_an_outbound_one_is_not_recorded_on_an_upstream_claim(
    which: ev.Tone, sense: bool
) -> None:
    subject = line(sense=sense, notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True)
    tell(subject, ring(1), off(3), tone(4, which), ev.ToneEnded(0, s(4.4), which), digit(5), digit(6), on(60))
    (call,) = subject.calls
    assert (call.direction, call.rule) == (Direction.OUTBOUND, "rule3_dial_tone_after_ring")
    assert judge(call.view(), [], False, s(10), 800) == []


def test_where_the_look_back_is_short_what_was_kept_of_a_missed_call_ends_at_the_dial_tone() -> None:
    subject = line(notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True, look_back_us=s(2))
    tell(subject, ring(1), off(3), tone(7), ev.ToneEnded(0, s(7.4), ev.Tone.DIAL), digit(9), on(60))
    first, after = subject.calls
    assert first.ended_mono_us == s(6.4)
    assert after.direction is Direction.OUTBOUND


def test_a_moment_of_dial_tone_late_in_a_claimed_call_ends_nothing() -> None:
    subject = line(notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True)
    tell(subject, ring(1), off(3), tone(30), ev.ToneEnded(0, s(30.5), ev.Tone.DIAL))
    subject.pass_time(s(40))
    assert subject.calls[0].ended_mono_us is None
    assert subject.calls[0].direction is Direction.INBOUND


def test_an_upstream_notice_that_was_heard_permits_from_its_end() -> None:
    subject = line(notice_source=NoticeSource.UPSTREAM)
    tell(subject, ring(1), off(3), ev.NoticeMatched(0, s(12), 1500))
    call = subject.calls[0]
    assert (call.permitted_from_mono_us, call.notice_source, call.notice_offset_ms) == (s(12), "upstream_matched", 1500)


def test_six_keyed_digits_switch_the_line_to_payment_mode_by_themselves() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), *[digit(20 + i) for i in range(6)])
    assert subject.privacy.card_suspected
    spans = judge(subject.calls[0].view(), subject.silences(), False, s(26), 8000)
    assert [span.reason for span in spans] == [GapReason.PAYMENT]
    tell(subject, ev.KeyPressed(0, s(40), ev.Key.PAYMENT), ev.KeyHeld(0, s(41.5), ev.Key.PAYMENT, s(40)))
    assert not subject.privacy.card_suspected
    assert all(span.keep for span in judge(subject.calls[0].view(), subject.silences(), False, s(42), 8000))


def test_every_keyed_digit_is_cut_with_a_pad_and_the_mask_holds_once_three_came() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), digit(20), digit(30), digit(31), digit(32))
    spans = judge(subject.calls[0].view(), subject.silences(), False, s(19), 8 * 16_000)
    gaps = [(span.start, span.stop) for span in spans if span.reason is GapReason.KEYED_DIGITS]
    assert gaps[0] == (8000 - 64, 8000 + 560 + 64)
    assert gaps[-1][1] - gaps[-1][0] >= 16_000, "the mask must hold for two seconds"


def test_opt_out_after_the_caller_has_gone_means_the_caller_and_not_the_dial_tone() -> None:
    subject = line()
    tell(subject, ring(1), off(3), notice(6), tone(30))
    subject.pass_time(s(32))
    assert subject.current is not None
    assert subject.current.direction is Direction.OUTBOUND
    assert DestroyCall(0, 1) in tell(subject, ev.KeyHeld(0, s(36), ev.Key.OPT_OUT, s(35)))


def test_a_suspected_card_ends_with_the_call_although_the_latching_key_was_never_down() -> None:
    subject = line(payment_latching=True)
    tell(subject, ring(1), off(3), notice(6), *[digit(20 + i) for i in range(6)], on(40))
    assert subject.privacy.payment_since_mono_us is None


def test_an_opt_out_in_the_morning_does_not_reach_the_call_that_a_power_cut_ended_at_night() -> None:
    subject = line()
    tell(subject, ev.OffHookAtBoot(0, 0), on(30))
    assert tell(subject, ev.KeyHeld(0, s(12 * 3600), ev.Key.OPT_OUT, s(12 * 3600 - 1))) == []
