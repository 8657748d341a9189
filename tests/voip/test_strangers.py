"""Whoever is not the provider pushes out no call, takes no word of one, and fills nothing."""

from itertools import product

import pytest

from firmware.policy.events import Port
from tests.voip.plain import assert_kept_whole, established, voices
from tests.voip.sink import run
from tests.voip.wire import (
    CALLER,
    SBC,
    SECOND_CALLER,
    STRANGER,
    Dialogue,
    Limits,
    Voice,
    Wire,
    settings,
    talk,
)


def test_a_call_from_a_stranger_at_the_trunk_port_is_not_kept() -> None:
    wire = Wire(sbc=STRANGER)
    call = Dialogue(wire)
    call.establish()
    talk(wire, 500, Voice(call, Port.TRUNK, 1))
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("unknown_direction", "trunk_invite_other_peer")
    assert kept.pieces == []


def test_a_flood_of_invites_never_pushes_out_an_answered_call() -> None:
    wire = Wire()
    first = Dialogue(wire)
    first.establish()
    caller, agent = voices(first)
    for number in range(200):
        Dialogue(wire, f"flood{number}@example.invalid", from_tag=f"x{number}", port_caller=40000 + number).invite()
        if number % 10 == 0:
            talk(wire, 20, caller, agent)
    first.bye()
    sink = run(settings(limits=Limits(dialogs=16)), wire.packets)
    assert_kept_whole(sink.calls[1], caller, agent)
    assert len(sink.calls) == 201
    assert sink.rows.count(("fault", "trunk_invite_ddi")) == 185
    assert sink.rows.count(("unanswered", "trunk_invite_ddi")) == 15


@pytest.mark.parametrize("method", ["INVITE", "reINVITE"])
def test_a_flood_from_strangers_never_pushes_out_a_ringing_call(method: str) -> None:
    """Whether they begin calls or pretend to be in the middle of one; and the next caller still gets in."""
    wire = Wire()
    ringing = Dialogue(wire)
    ringing.invite()
    ringing.ringing()
    wire.sbc = STRANGER
    for number in range(50):
        stranger = Dialogue(wire, f"flood{number}@example.invalid", from_tag=f"x{number}", port_caller=40000 + number)
        to_tag = "y" if method == "reINVITE" else ""
        wire.sip(Port.TRUNK, stranger.request("INVITE", stranger.offer(), to_tag=to_tag))
    wire.sbc = SBC
    second = Dialogue(wire, "two@example.invalid", caller=SECOND_CALLER, port_caller=22000, port_called=32000,
                      from_tag="f2", to_tag="t2")  # fmt: skip
    second.establish()
    ringing.ok()
    ringing.ack()
    voices = [Voice(call, side, seed, ssrc=seed) for seed, (call, side) in
              enumerate(product((ringing, second), (Port.TRUNK, Port.INSIDE)), 1)]  # fmt: skip
    talk(wire, 400, *voices)
    second.bye()
    ringing.bye()
    sink = run(settings(limits=Limits(dialogs=16)), wire.packets)
    kept = [call for call in sink.calls.values() if call.row == ("recorded", "trunk_invite_ddi")]
    assert [call.caller_id.number for call in kept] == [CALLER, SECOND_CALLER]
    assert [call.audio(0) for call in kept] == [bytes(voices[0].sent), bytes(voices[2].sent)]
    assert method != "INVITE" or len(sink.calls) == 52


def test_when_strangers_come_while_every_place_is_taken_by_peers_each_leaves_a_row_and_takes_none() -> None:
    wire = Wire()
    calls = [Dialogue(wire, f"{number}@example.invalid", from_tag=f"f{number}", port_caller=20000 + 2 * number)
             for number in range(4)]  # fmt: skip
    for call in calls:
        call.invite()
    wire.sbc = STRANGER
    for number in range(3):
        Dialogue(wire, f"x{number}@example.invalid", from_tag=f"x{number}", port_caller=40000 + number).invite()
    wire.sbc = SBC
    for call in calls:
        wire.sip(Port.INSIDE, call.response(486, "Busy Here"))
    sink = run(settings(limits=Limits(dialogs=4)), wire.packets)
    assert sink.rows == [("unanswered", "trunk_invite_ddi")] * 4 + [("fault", "too_many_calls")] * 3


@pytest.mark.parametrize("to_tag", ["", "y"])
def test_a_stranger_who_names_the_media_address_of_a_call_takes_no_word_of_it(to_tag: str) -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    for number, body in enumerate((call.offer(), call.answer())):
        wire.sbc = STRANGER
        thief = Dialogue(wire, f"thief{number}@example.invalid", from_tag=f"x{number}")
        wire.sip(Port.TRUNK, thief.request("INVITE", body, to_tag=to_tag))
        wire.sbc = SBC
        talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).calls[1]
    assert_kept_whole(kept, caller, agent)


def test_more_answered_calls_than_the_limit_leave_a_row_each() -> None:
    wire = Wire()
    for number in range(5):
        Dialogue(wire, f"{number}@example.invalid", from_tag=f"x{number}", port_caller=40000 + 2 * number,
                 port_called=50000 + 2 * number).establish()  # fmt: skip
    sink = run(settings(limits=Limits(dialogs=3)), wire.packets)
    assert sink.rows[3:] == [("fault", "too_many_calls")] * 2
