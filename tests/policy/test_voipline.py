"""Keys and events of a VoIP line reach the caller they are meant for."""

from itertools import count

from firmware.policy import events as ev
from firmware.policy.call import Call
from firmware.policy.keyed import DestroyCall, LineSettings, NoticeSource
from firmware.policy.records import Direction, Ended, Outcome
from firmware.units import US_PER_S
from firmware.voip import output as vo
from firmware.voipline import VoipLine


def s(seconds: float) -> int:
    return round(seconds * US_PER_S)


def line() -> VoipLine:
    numbers = count(1)
    settings = LineSettings(voip=True, notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True)
    return VoipLine(0, settings, lambda: next(numbers))


def answered(subject: VoipLine, at: float, direction: Direction = Direction.INBOUND) -> Call:
    rule = vo.Rule.TRUNK_INVITE_DDI if direction is Direction.INBOUND else vo.Rule.INSIDE_INVITE
    call = subject.started(vo.CallStarted(1, 0, s(at - 1), direction, rule, ()))
    subject.answered(call, vo.CallAnswered(1, 0, s(at), direction, rule, ()))
    return call


def end(subject: VoipLine, call: Call, at: float) -> None:
    rule = vo.Rule.TRUNK_INVITE_DDI
    subject.ended(
        call,
        vo.CallEnded(
            1, 0, s(at), call.direction, rule, Outcome.RECORDED, Ended.ON_HOOK, 8000, s(0), call.answered_mono_us
        ),
    )


def test_the_caller_on_hold_who_keys_the_opt_out_destroys_his_own_call_and_nobody_elses() -> None:
    subject = line()
    first = answered(subject, 1)
    subject.hold(first, vo.HoldStarted(1, 0, s(10), 0))
    second = answered(subject, 11)
    acts = subject.heard(first, ev.OptOutKeyHeard(0, s(20)))
    assert DestroyCall(0, first.call) in acts
    assert (first.opted_out, second.opted_out) == (True, False)


def test_the_opt_out_key_means_the_caller_who_is_spoken_with() -> None:
    subject = line()
    first = answered(subject, 1)
    subject.hold(first, vo.HoldStarted(1, 0, s(10), 0))
    second = answered(subject, 11)
    acts = subject.apply(ev.KeyHeld(0, s(20), ev.Key.OPT_OUT, s(19)))
    assert DestroyCall(0, second.call) in acts
    assert not first.opted_out


def test_an_outbound_call_beside_it_does_not_put_the_caller_out_of_reach() -> None:
    subject = line()
    caller = answered(subject, 1)
    answered(subject, 5, Direction.OUTBOUND)
    end(subject, caller, 10)
    assert DestroyCall(0, caller.call) in subject.apply(ev.KeyHeld(0, s(20), ev.Key.OPT_OUT, s(19)))


def test_opt_out_after_a_reboot_in_mid_call_destroys_the_part_before_it() -> None:
    subject = line()
    subject.interrupted()
    answered(subject, 5, Direction.UNKNOWN)
    assert DestroyCall(0, None) in subject.apply(ev.KeyHeld(0, s(20), ev.Key.OPT_OUT, s(19)))
