"""A dead or one-sided call is noticed while it is going on, and an ordinary one never is."""

from collections.abc import Iterable

from firmware.policy.sides import Second, SidesHeard, WiresHeard

VOICE, QUIET, ZERO = Second(zero=False, voice=True), Second(zero=False, voice=False), Second(zero=True, voice=False)


def one_sided(seconds: Iterable[tuple[Second, Second]]) -> list[bool]:
    """Caller and agent, second by second."""
    sides, out = SidesHeard(), []
    for caller, agent in seconds:
        sides.add(caller, agent)
        out.append(sides.one_sided)
    return out


def test_an_agent_whose_microphone_is_dead_is_noticed_and_his_first_sound_ends_it() -> None:
    dead, back = [(VOICE, ZERO)] * 20, [(QUIET, QUIET)]
    assert one_sided(dead + back) == [False] * 19 + [True, False]


def test_a_caller_who_is_digital_silence_is_noticed() -> None:
    assert one_sided([(ZERO, VOICE)] * 20)[-1]


def test_an_agent_of_whom_there_is_only_noise_is_noticed_after_a_minute() -> None:
    assert one_sided([(VOICE, QUIET)] * 60) == [False] * 59 + [True]


def test_a_queue_or_a_notice_that_the_caller_listens_to_is_no_alarm() -> None:
    assert not any(one_sided([(QUIET, VOICE)] * 600))


def test_a_mute_key_and_a_long_silence_of_both_are_no_alarm() -> None:
    assert not any(one_sided([(VOICE, ZERO)] * 19 + [(QUIET, VOICE)] + [(QUIET, ZERO)] * 120))


def test_turns_are_no_alarm() -> None:
    assert not any(one_sided(([(VOICE, QUIET)] * 40 + [(QUIET, VOICE)] * 15) * 10))


def test_neither_side_there_is_a_dead_channel_within_five_seconds() -> None:
    sides = SidesHeard()
    dead = []
    for second in [(ZERO, ZERO)] * 5 + [(QUIET, ZERO)]:
        sides.add(*second)
        dead.append(sides.dead)
    assert dead == [False] * 4 + [True, False]


def wires(seconds: Iterable[Second]) -> list[bool]:
    heard = WiresHeard()
    return [heard.dead(second) for second in seconds]


def test_two_wires_without_any_signal_are_dead_within_five_seconds() -> None:
    assert wires([VOICE] * 3 + [ZERO] * 5 + [QUIET]) == [False] * 7 + [True, False]


def test_a_call_in_which_nobody_is_heard_from_the_answer_on_is_dead_until_somebody_is() -> None:
    assert wires([QUIET] * 31 + [VOICE] + [QUIET] * 100) == [False] * 29 + [True] * 2 + [False] * 101
