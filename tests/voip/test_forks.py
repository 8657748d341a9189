"""One caller, several telephones: forked answers, proxies that try one telephone after the other, repetitions."""

import pytest

from firmware.policy.events import Port
from tests.voip.plain import assert_kept_whole, spoken, voices
from tests.voip.sink import run
from tests.voip.wire import (
    Dialogue,
    Wire,
    settings,
    talk,
)


def test_of_a_forked_answer_the_first_acked_dialog_is_the_call() -> None:
    wire = Wire()
    first = Dialogue(wire, to_tag="t1", port_called=30000)
    second = Dialogue(wire, to_tag="t2", port_called=30100)
    first.invite()
    wire.wait(100)
    first.ok()
    second.ok()
    second.ack()
    wire.wait(20)
    first.ack()
    first.bye()
    caller, agent = voices(second)
    talk(wire, 1000, caller, agent)
    second.bye()
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_each_fork_has_its_own_agreement() -> None:
    """The first telephone answers plainly, the second one, which gets the call, with SRTP."""
    wire = Wire()
    first = Dialogue(wire, to_tag="t1", port_called=30000)
    second = Dialogue(wire, to_tag="t2", port_called=30100)
    keys = "a=crypto:1 x inline:y"
    first.invite(extra=keys)
    wire.wait(100)
    first.ok()
    second.ok(extra=keys)
    second.ack()
    wire.wait(500)
    second.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("not_recordable_encrypted", "trunk_invite_ddi")


def test_a_late_retransmission_of_the_invite_is_no_second_call() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    invite = wire.packets[0]
    wire.wait(500)
    wire.sip(Port.INSIDE, call.response(486, "Busy Here"))
    call.ack()
    wire.wait(100)
    wire.packets.append(invite._replace(at_mono_us=wire.now_us))
    assert run(settings(), wire.packets).rows == [("unanswered", "trunk_invite_ddi")]


def test_a_second_attempt_in_the_same_dialog_id_is_a_second_call() -> None:
    wire = Wire()
    call = Dialogue(wire)
    for cseq in (1, 2):
        call.cseq = cseq
        call.invite()
        wire.wait(500)
        wire.sip(Port.INSIDE, call.response(486, "Busy Here"))
        call.ack()
    assert run(settings(), wire.packets).rows == [("unanswered", "trunk_invite_ddi")] * 2


@pytest.mark.parametrize("status", [486, 302, 408, 480, 603])
def test_the_next_telephone_that_a_proxy_tries_never_vanishes_with_the_one_before(status: int) -> None:
    """Call-ID, tags and CSeq are the same, the branch is not. The refusal comes again, for its ACK was late."""
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.wait(500)
    no = call.response(status, "No", to_tag="busy")
    wire.sip(Port.INSIDE, no)
    wire.wait(50)
    call.invite()
    wire.sip(Port.INSIDE, no)
    wire.wait(50)
    call.ringing()
    wire.wait(1000)
    call.ok()
    call.ack()
    caller, agent = spoken(call, 400)
    sink = run(settings(), wire.packets)
    assert sink.rows == [("unanswered", "trunk_invite_ddi"), ("recorded", "trunk_invite_ddi")]
    assert_kept_whole(sink.calls[2], caller, agent)


@pytest.mark.parametrize("status", [401, 486])
def test_of_telephones_that_ring_together_the_one_that_refuses_does_not_end_the_call(status: int) -> None:
    """Also the case of a proxy that cancels one telephone and tries the next before the 487 is here. Each branch was
    given a media port of its own."""
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    first = call.branches["INVITE", 1, False]
    call.port_caller = 20500
    call.invite()
    wire.wait(500)
    wire.sip(Port.INSIDE, call.response(status, "No", to_tag="busy", branch=first))
    wire.wait(500)
    call.ok()
    call.ack()
    caller, agent = spoken(call, 400)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_when_every_telephone_has_refused_the_call_is_one_unanswered_row() -> None:
    wire = Wire()
    call = Dialogue(wire)
    branches = []
    for _ in range(3):
        call.invite()
        branches.append(call.branches["INVITE", 1, False])
    for branch in branches:
        wire.wait(500)
        wire.sip(Port.INSIDE, call.response(486, "Busy Here", to_tag=f"x{branch}", branch=branch))
    kept = run(settings(), wire.packets).only
    assert kept.row == ("unanswered", "trunk_invite_ddi")
    assert kept.end.at_mono_us == wire.now_us


def test_a_caller_sent_elsewhere_by_an_answer_that_we_missed_never_vanishes() -> None:
    """The 302 was lost on the way to us; the caller goes on with the next CSeq (RFC 3261 8.1.3.4)."""
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.wait(500)
    call.cseq = 2
    call.establish()
    caller, agent = spoken(call, 400)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)
