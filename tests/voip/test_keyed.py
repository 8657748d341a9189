"""Keys of a VoIP call: RFC 4733 events and SIP INFO are heard as presence, and never as a digit."""

from itertools import pairwise

from firmware.policy.events import Port
from tests.voip.plain import established, kept, without_silence
from tests.voip.sink import run
from tests.voip.wire import settings, talk


def test_keyed_digits_are_heard_as_presence_with_their_times_and_never_their_value() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    onsets = []
    for code in (4, 9, 9):
        onsets.append(wire.now_us)
        caller.key(code, 100)
        wire.wait(100)
        caller.stamp += 800
    talk(wire, 200, caller, agent)
    result = kept(wire, call)
    assert len(result.digits) == 3
    for digit, onset in zip(result.digits, onsets, strict=True):
        assert abs(digit.at_mono_us - onset) <= 20_000
        assert abs(digit.end_mono_us - digit.at_mono_us - 100_000) <= 20_000
        assert set(vars(digit)) == {"line", "at_mono_us", "end_mono_us", "strict", "continued"}
    assert without_silence(result.audio(0)) == bytes(caller.sent)


def test_a_key_whose_end_packets_are_lost_is_heard_all_the_same() -> None:
    wire, call, caller, agent = established()
    caller.key(5, 100, end=False)
    talk(wire, 1000, agent)
    assert len(kept(wire, call).digits) == 1


def test_a_key_held_down_is_told_every_second() -> None:
    wire, call, caller, _ = established()
    caller.key(5, 3500)
    result = kept(wire, call)
    spans = [(digit.at_mono_us, digit.end_mono_us) for digit in result.digits]
    assert len(spans) == 4
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    assert [digit.continued for digit in result.digits] == [False, True, True, True]
    assert spans[-1][1] - spans[0][0] == 3_500_000


def test_only_the_caller_may_opt_out_and_only_by_holding_the_configured_key() -> None:
    for side, code, milliseconds, expected in (("c", 11, 1200, 1), ("c", 11, 800, 0), ("c", 10, 1200, 0),
                                               ("a", 11, 1200, 0)):  # fmt: skip
        wire, call, caller, agent = established()
        talk(wire, 100, caller, agent)
        (caller if side == "c" else agent).key(code, milliseconds)
        assert len(kept(wire, call, opt_out_digit="#").opt_outs) == expected
        off = run(settings(), wire.packets).only
        assert off.opt_outs == []


def test_a_digit_told_by_sip_info_is_a_presence() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    wire.sip(Port.TRUNK, call.request("INFO", "Signal=5\r\nDuration=160", cseq=5, kind="application/dtmf-relay"))
    (digit,) = kept(wire, call).digits
    assert digit.at_mono_us < wire.now_us < digit.end_mono_us
