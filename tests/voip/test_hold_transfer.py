"""Hold, resume, transfer, encryption in mid-call: what the dialog says goes onto the axis at its time."""

from typing import Any

import pytest

from firmware.policy.events import Port
from firmware.policy.records import Ended, GapReason
from firmware.voip.output import Encrypted, HoldEnded, HoldStarted, NotRecordableCodec, Transferred
from firmware.voip.settings import LineSlot, OnTransfer
from tests.voip.sink import Kept, run
from tests.voip.wire import Dialogue, Voice, Wire, sdp, settings, talk

CONTINUE: dict[str, Any] = {"on_transfer": OnTransfer.CONTINUE}


def established() -> tuple[Wire, Dialogue, Voice, Voice]:
    wire = Wire()
    call = Dialogue(wire, call_id="first@example.invalid")
    call.establish()
    return wire, call, Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2)


def holds(kept: Kept) -> list[tuple[str, int, int]]:
    return [gap for gap in kept.gaps() if gap[0] == "on_hold"]


@pytest.mark.parametrize("by_agent", [True, False])
@pytest.mark.parametrize("flow", ["sendonly", "inactive", "recvonly"])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_what_is_said_on_hold_is_not_kept(by_agent: bool, flow: str, method: str) -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    held_us = wire.now_us
    call.reinvite(2, flow=flow, by_called=by_agent, method=method)
    before = len(caller.sent)
    talk(wire, 1000, caller, agent)
    resumed_us = wire.now_us
    call.reinvite(3, by_called=by_agent, method=method)
    after = len(caller.sent)
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    ((_, first, samples),) = holds(kept)
    assert samples == (resumed_us + 10_000 - held_us) // 125
    started = [told for told in kept.told if isinstance(told, HoldStarted)]
    ended = [told for told in kept.told if isinstance(told, HoldEnded)]
    assert [(told.at_sample, told.at_mono_us) for told in started] == [(first, held_us)]
    assert [told.at_sample for told in ended] == [first + samples]
    assert kept.audio(0) == bytes(caller.sent[:before] + caller.sent[after:])
    assert kept.audio(1) == bytes(agent.sent[:before] + agent.sent[after:])


def test_the_null_address_of_old_telephones_is_a_hold() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    wire.sip(Port.INSIDE, call.request("INVITE", sdp("0.0.0.0", 30000), cseq=2, by_called=True))
    wire.sip(Port.TRUNK, call.response(200, "OK", call.offer(), cseq=2, by_called=True))
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    ((_, first, samples),) = holds(kept)
    assert first + samples == kept.end.samples


def test_a_hold_that_is_refused_ends_at_its_refusal() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    wire.sip(Port.INSIDE, call.request("INVITE", call.answer(flow="sendonly"), cseq=2, by_called=True))
    talk(wire, 200, caller, agent)
    wire.sip(Port.TRUNK, call.response(488, "Not Acceptable Here", cseq=2, by_called=True))
    wire.sip(Port.INSIDE, call.request("ACK", cseq=2, by_called=True))
    talk(wire, 200, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert [samples for _, _, samples in holds(kept)] == [1600]


def test_a_late_retransmission_of_the_hold_does_not_hold_again() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    call.reinvite(2, flow="sendonly", by_called=True)
    hold = wire.packets[-3]
    talk(wire, 200, caller, agent)
    call.reinvite(3, by_called=True)
    wire.packets.append(hold._replace(at_mono_us=wire.now_us))
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert len(holds(kept)) == 1
    assert kept.audio(0).endswith(bytes(caller.sent[-3200:]))


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("by_agent", [True, False])
def test_a_call_whose_hold_was_answered_twice_is_never_stuck_on_hold(by_agent: bool, method: str) -> None:
    """The 200 is sent again because its ACK was lost or late: at once, and once more in the middle of the resume."""
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    call.reinvite(5, flow="sendonly", by_called=by_agent, method=method)
    answer = next(packet for packet in reversed(wire.packets) if b"SIP/2.0 200" in packet.data)
    wire.packets.append(answer._replace(at_mono_us=wire.now_us))
    talk(wire, 400, caller, agent)
    before_resume = len(wire.packets)
    call.reinvite(6, by_called=by_agent, method=method)
    wire.packets.insert(before_resume + 1, answer._replace(at_mono_us=wire.now_us))
    spoken = len(caller.sent)
    talk(wire, 1000, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert len([told for told in kept.told if isinstance(told, HoldEnded)]) == 1
    assert kept.audio(0).endswith(bytes(caller.sent[spoken:]))
    assert kept.audio(1).endswith(bytes(agent.sent[spoken:]))


def test_an_old_ack_in_the_middle_of_a_hold_never_sticks_the_call_on_hold() -> None:
    """The agent resumes by an INVITE without an offer; its ACK, which holds the answer, comes again while the other
    side asks for a hold of its own."""
    wire, call, caller, agent = established()
    call.reinvite(5, flow="sendonly", by_called=True)
    wire.sip(Port.INSIDE, call.request("INVITE", cseq=6, by_called=True))
    wire.sip(Port.TRUNK, call.response(200, "OK", call.offer(), cseq=6, by_called=True))
    ack = call.request("ACK", call.answer(), cseq=6, by_called=True)
    wire.sip(Port.INSIDE, ack)
    talk(wire, 400, caller, agent)
    wire.sip(Port.TRUNK, call.request("INVITE", call.offer(flow="sendonly"), cseq=7))
    wire.sip(Port.INSIDE, ack)
    wire.sip(Port.INSIDE, call.response(200, "OK", call.answer(flow="recvonly"), cseq=7))
    wire.sip(Port.TRUNK, call.request("ACK", cseq=7))
    talk(wire, 400, Voice(call, Port.TRUNK, 9, ssrc=1))
    call.reinvite(8)
    spoken = len(caller.sent)
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.audio(1).endswith(bytes(agent.sent[spoken:]))
    assert len(holds(kept)) == 2


def test_a_session_refresh_changes_nothing() -> None:
    wire, call, caller, agent = established()
    for cseq in range(2, 8):
        talk(wire, 200, caller, agent)
        call.reinvite(cseq, method="UPDATE" if cseq % 2 else "INVITE")
    call.bye()
    kept = run(settings(), wire.packets).only
    assert holds(kept) == []
    assert kept.audio(0) == bytes(caller.sent)


def test_media_that_moves_to_another_port_is_followed() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    call.port_caller = 26_000
    call.reinvite(2)
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.audio(1) == bytes(agent.sent)
    assert kept.audio(0) == bytes(caller.sent)


def refer(wire: Wire, call: Dialogue, target: str, *, status: int = 202) -> None:
    wire.sip(Port.INSIDE, call.request("REFER", cseq=20, by_called=True, extra=f"Refer-To: <{target}>"))
    wire.sip(Port.TRUNK, call.response(status, "x", method="REFER", cseq=20, by_called=True))


def onward(wire: Wire, **changes: Any) -> Dialogue:
    return Dialogue(wire, "next@example.invalid", called="02079460101", from_tag="f9", to_tag="t9", port_caller=24000,
                    port_called=34000, **changes)  # fmt: skip


@pytest.mark.parametrize("bye_first", [True, False])
def test_a_blind_transfer_that_is_followed_is_one_call(bye_first: bool) -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    refer(wire, call, "sip:02079460101@pbx.invalid")
    if bye_first:
        call.bye()
        wire.wait(1500)
    second = onward(wire)
    second.establish()
    if not bye_first:
        call.bye()
    new_caller, new_agent = Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4)
    talk(wire, 400, new_caller, new_agent)
    second.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.audio(0) == bytes(caller.sent + new_caller.sent)
    assert kept.audio(1) == bytes(agent.sent + new_agent.sent)
    assert [type(told) for told in kept.told if isinstance(told, Transferred)] == [Transferred]
    assert kept.end.ended is Ended.ON_HOOK


def test_a_transferred_caller_who_hears_it_ring_for_long_is_still_in_the_call() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    refer(wire, call, "sip:02079460101@pbx.invalid")
    second = onward(wire)
    second.invite()
    second.ringing()
    call.bye()
    for _ in range(30):
        wire.wait(1000)
        wire.sip(Port.TRUNK, "OPTIONS sip:keepalive SIP/2.0\r\n\r\n")
    second.ok()
    second.ack()
    new_caller = Voice(second, Port.TRUNK, 3, ssrc=3)
    talk(wire, 400, new_caller)
    second.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent + new_caller.sent)


def test_a_held_call_whose_session_is_not_refreshed_is_over() -> None:
    wire = Wire()
    call = Dialogue(wire, extra="Session-Expires: 90;refresher=uac")
    call.establish()
    talk(wire, 400, Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2))
    call.reinvite(2, flow="sendonly", by_called=True)
    kept = run(settings(), wire.packets, linger_us=200_000_000).only
    assert kept.end.ended is Ended.FAULT
    assert 121_000_000 <= kept.end.at_mono_us - wire.now_us <= 124_000_000


def test_a_call_to_the_same_number_long_after_the_transfer_is_its_own() -> None:
    wire, call, caller, agent = established()
    refer(wire, call, "sip:02079460101@pbx.invalid")
    talk(wire, 31_000, caller, agent)
    second = onward(wire)
    second.establish()
    second.bye()
    call.bye()
    sink = run(settings(**CONTINUE), wire.packets)
    assert sink.rows == [("recorded", "trunk_invite_ddi"), ("unknown_direction", "trunk_invite_other_number")]


def test_an_inbound_call_is_never_continued_into_an_outbound_one() -> None:
    wire = Wire()
    outward = Dialogue(wire, "first@example.invalid", side=Port.INSIDE, called="02079460777", port_caller=33000,
                       port_called=23000)  # fmt: skip
    outward.establish()
    inbound = Dialogue(wire, "in@example.invalid", from_tag="i1", to_tag="i2")
    inbound.extra = "Replaces: first@example.invalid;to-tag=t1;from-tag=f1"
    inbound.establish()
    caller = Voice(inbound, Port.TRUNK, 3, ssrc=3)
    talk(wire, 400, caller)
    inbound.bye()
    outward.bye()
    sink = run(settings(**CONTINUE), wire.packets)
    assert sink.rows == [("outbound", "inside_invite"), ("recorded", "trunk_invite_ddi")]
    assert sink.calls[2].audio(0) == bytes(caller.sent)


def test_what_still_comes_between_two_dialogs_of_a_transfer_is_not_kept() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    refer(wire, call, "sip:02079460101@pbx.invalid")
    call.bye()
    before = bytes(caller.sent)
    talk(wire, 400, caller, agent)
    second = onward(wire)
    second.establish()
    new_caller = Voice(second, Port.TRUNK, 3, ssrc=3)
    talk(wire, 400, new_caller)
    second.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.audio(0) == before + bytes(new_caller.sent)


def test_a_transfer_that_is_not_followed_stops_with_its_reason_and_keeps_nothing_more() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    refer(wire, call, "sip:02079460101@pbx.invalid")
    second = onward(wire)
    second.establish()
    call.bye()
    talk(wire, 400, Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4))
    second.bye()
    sink = run(settings(), wire.packets)
    assert sink.rows == [("recorded", "trunk_invite_ddi"), ("unknown_direction", "trunk_invite_transferred")]
    assert sink.calls[1].end.ended is Ended.TRANSFER
    assert sink.calls[1].audio(0) == bytes(caller.sent)
    assert sink.calls[2].pieces == []


@pytest.mark.parametrize("side", list(Port))
def test_an_invite_that_replaces_the_callers_dialog_continues_its_call(side: Port) -> None:
    """From the trunk: the provider moves the caller. From inside: a colleague picks the call up."""
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    second = onward(wire, side=side, extra="Replaces: first@example.invalid;to-tag=t1;from-tag=f1")
    second.establish()
    call.bye()
    new_caller, new_agent = Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4)
    talk(wire, 400, new_caller, new_agent)
    second.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent + new_caller.sent)
    assert kept.audio(1) == bytes(agent.sent + new_agent.sent)


def test_after_a_transfer_the_keys_of_the_new_agents_line_count() -> None:
    lines = (LineSlot(ddi=("02079460100",)), LineSlot(ddi=("02079460101",)))
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    refer(wire, call, "sip:02079460101@pbx.invalid")
    second = onward(wire)
    second.establish()
    call.bye()
    talk(wire, 400, Voice(second, Port.TRUNK, 3, ssrc=3))
    second.bye()
    kept = run(settings(lines=lines, **CONTINUE), wire.packets).only
    (moved,) = [told for told in kept.told if isinstance(told, Transferred)]
    assert (kept.started.line, moved.line, kept.end.line) == (0, 1, 1)
    assert {piece.line for piece in kept.pieces if piece.first_sample > moved.at_sample} == {1}


def test_a_transfer_refused_without_a_word_to_the_agent_returns_to_the_call() -> None:
    wire, call, caller, agent = established()
    refer(wire, call, "sip:02079460101@pbx.invalid")
    second = onward(wire)
    second.invite()
    wire.sip(Port.INSIDE, second.response(603, "Decline"))
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.end.ended is Ended.ON_HOOK


def test_an_attended_transfer_by_refer_with_replaces_is_one_call_and_the_consult_stays_out() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    call.reinvite(2, flow="sendonly", by_called=True)
    consult = Dialogue(wire, "consult@example.invalid", side=Port.INSIDE, called="02079460101", from_tag="g1",
                       to_tag="g2", port_caller=33000, port_called=23000)  # fmt: skip
    consult.establish()
    talk(wire, 400, Voice(consult, Port.TRUNK, 5, ssrc=5), Voice(consult, Port.INSIDE, 6, ssrc=6))
    refer(wire, call, "sip:02079460101@pbx.invalid?Replaces=consult%40example.invalid%3Bto-tag%3Dg2%3Bfrom-tag%3Dg1")
    second = onward(wire, extra="Replaces: consult@example.invalid;to-tag=g2;from-tag=g1")
    second.establish()
    call.bye()
    consult.bye()
    new_caller, new_agent = Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4)
    talk(wire, 400, new_caller, new_agent)
    second.bye()
    sink = run(settings(**CONTINUE), wire.packets)
    assert sink.rows == [("recorded", "trunk_invite_ddi"), ("outbound", "inside_invite_second")]
    assert sink.calls[1].audio(0) == bytes(caller.sent + new_caller.sent)


def test_a_transfer_that_nobody_takes_ends_where_the_callers_dialog_did() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    refer(wire, call, "sip:02079460101@pbx.invalid")
    call.bye()
    ended_us = wire.now_us
    kept = run(settings(**CONTINUE), wire.packets, linger_us=20_000_000).only
    assert kept.end.at_mono_us == ended_us
    assert kept.end.ended is Ended.TRANSFER
    assert kept.audio(0) == bytes(caller.sent)


def test_a_transfer_that_was_refused_returns_to_the_call() -> None:
    wire, call, caller, agent = established()
    refer(wire, call, "sip:02079460101@pbx.invalid", status=603)
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.end.ended is Ended.ON_HOOK


def test_a_transfer_whose_target_did_not_answer_returns_to_the_call() -> None:
    wire, call, caller, agent = established()
    refer(wire, call, "sip:02079460101@pbx.invalid")
    second = onward(wire)
    second.invite()
    wire.sip(Port.INSIDE, second.response(486, "Busy Here"))
    wire.sip(
        Port.TRUNK,
        call.request("NOTIFY", "SIP/2.0 486 Busy Here", cseq=21, extra="Event: refer", kind="message/sipfrag"),
    )
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(**CONTINUE), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.end.ended is Ended.ON_HOOK


def test_a_call_that_turns_to_srtp_keeps_what_was_plain_and_nothing_after() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    plain = bytes(caller.sent)
    secure = {"profile": "RTP/SAVP", "extra": "a=crypto:1 x inline:y"}
    wire.sip(Port.TRUNK, call.request("INVITE", sdp(wire.sbc, 20000, **secure), cseq=2))
    wire.sip(Port.INSIDE, call.response(200, "OK", sdp(wire.pbx, 30000, **secure), cseq=2))
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.audio(0) == plain
    assert kept.pieces[-1].gap is GapReason.FAULT
    assert sum(isinstance(told, Encrypted) for told in kept.told) == 1


def test_a_fax_in_mid_call_is_no_audio() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    image = sdp(wire.sbc, 0) + "m=image 20000 udptl t38\r\n"
    wire.sip(Port.TRUNK, call.request("INVITE", image, cseq=2))
    wire.sip(Port.INSIDE, call.response(200, "OK", image, cseq=2))
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent[:3200])
    assert len(holds(kept)) == 1


def test_a_codec_change_to_one_that_cannot_be_recorded_is_told_and_undone() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    call.reinvite(2, formats="18")
    wire.wait(400)
    call.reinvite(3, formats="0")
    caller.kind = agent.kind = 0
    talk(wire, 400, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert [told.codec for told in kept.told if isinstance(told, NotRecordableCodec)] == ["g729"]
    assert [reason for reason, _, _ in kept.gaps()].count("fault") == 1
    assert kept.audio(0) == bytes(caller.sent)
