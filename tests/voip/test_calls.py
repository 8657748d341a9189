"""Whole calls through the trunk: one row each, its direction by port, audio as it came."""

import pytest

from firmware.policy.events import Absence, Port
from firmware.policy.records import Ended
from firmware.voip.output import MediaMissing, RtpWithoutDialog
from tests.voip.plain import assert_kept_whole, established, plain_call, spoken, voices
from tests.voip.sink import run
from tests.voip.wire import (
    CALLER,
    PBX,
    PBX6,
    SBC,
    SBC6,
    SECOND_CALLER,
    Dialogue,
    LineSlot,
    Voice,
    Wire,
    settings,
    talk,
)


def test_a_plain_inbound_call_is_kept_byte_for_byte_on_two_channels() -> None:
    wire = Wire()
    caller, agent = plain_call(wire, 3000)
    kept = run(settings(), wire.packets).only
    assert_kept_whole(kept, caller, agent)
    assert kept.caller_id.number == CALLER
    assert kept.caller_id.standard == "sip"
    assert kept.answered is not None
    assert kept.answered.evidence == (
        ("trunk_port", -2300), ("peer", -2300), ("ddi_request_uri", -2300), ("ringing", -2000), ("answered", 0),
    )  # fmt: skip
    assert kept.gaps() == [("lost_samples", 0, 160)]
    assert kept.end.ended is Ended.ON_HOOK
    assert kept.end.samples == 160 + 3 * 8000


def test_over_ipv6_nothing_is_different() -> None:
    wire = Wire(sbc=SBC6, pbx=PBX6)
    caller, agent = plain_call(wire)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_inside_a_vlan_nothing_is_different() -> None:
    wire = Wire(vlan=100)
    caller, agent = plain_call(wire)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_a_capture_that_sees_every_packet_at_both_ports_hears_one_call() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    wire.sip(Port.TRUNK, call.request("INFO", "Signal=5", cseq=5, kind="application/dtmf-relay"))
    call.reinvite(6, flow="sendonly", by_called=True)
    wire.wait(500)
    call.reinvite(7, by_called=True)
    talk(wire, 400, caller, agent)
    call.bye()
    doubled = []
    for packet in wire.packets:
        other = Port.INSIDE if packet.port is Port.TRUNK else Port.TRUNK
        doubled += [packet, packet._replace(port=other, at_mono_us=packet.at_mono_us + 40)]
    kept = run(settings(), doubled).only
    assert_kept_whole(kept, caller, agent)
    assert len(kept.digits) == 1
    assert [reason for reason, _, _ in kept.gaps()].count("on_hold") == 1


def test_an_outbound_call_leaves_a_row_and_no_audio() -> None:
    wire = Wire()
    call = Dialogue(wire, side=Port.INSIDE, caller="+442079460100", called="02079460777")
    call.establish()
    talk(wire, 500, Voice(call, Port.INSIDE, 1), Voice(call, Port.TRUNK, 2))
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("outbound", "inside_invite")
    assert kept.pieces == []


def test_from_does_not_decide_the_direction() -> None:
    """The agent's telephone claims in From to be an outside caller, and calls the contact team's own number."""
    wire = Wire()
    call = Dialogue(wire, side=Port.INSIDE)
    call.establish()
    call.bye()
    assert run(settings(), wire.packets).only.row == ("outbound", "inside_invite")


def test_a_call_for_a_number_outside_the_list_is_not_kept() -> None:
    wire = Wire()
    call = Dialogue(wire, called="02079460555")
    call.establish()
    talk(wire, 500, Voice(call, Port.TRUNK, 1))
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("unknown_direction", "trunk_invite_other_number")
    assert kept.pieces == []


def test_a_trunk_that_registers_names_the_number_in_to() -> None:
    wire = Wire()
    call = Dialogue(wire, called="account7")
    call.extra = "P-Called-Party-ID: <sip:+442079460100@sbc.invalid>"
    call.establish()
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.end.rule == "trunk_invite_ddi"
    assert "ddi_called_party" in kept.evidence


@pytest.mark.parametrize("named", ["02079460555", "+442079460555", "442079460555"])
def test_a_caller_who_writes_our_number_into_to_is_not_recorded_at_another_number(named: str) -> None:
    wire = Wire()
    call = Dialogue(wire)
    text = call.request("INVITE", call.offer(), to_tag="")
    wire.sip(Port.TRUNK, text.replace(f"INVITE sip:{call.called}@", f"INVITE sip:{named}@"))
    call.ok()
    call.ack()
    talk(wire, 500, Voice(call, Port.TRUNK, 1))
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("unknown_direction", "trunk_invite_other_number")
    assert kept.pieces == []


@pytest.mark.parametrize("account", ["account7", "2000123", "s"])
def test_a_call_to_the_trunks_account_is_recorded_by_the_number_in_to(account: str) -> None:
    wire = Wire()
    call = Dialogue(wire)
    text = call.request("INVITE", call.offer(), to_tag="")
    wire.sip(Port.TRUNK, text.replace(f"INVITE sip:{call.called}@", f"INVITE sip:{account}@"))
    call.ok()
    call.ack()
    caller, agent = spoken(call, 500)
    kept = run(settings(), wire.packets).only
    assert_kept_whole(kept, caller, agent)
    assert "ddi_to" in kept.evidence


def test_a_diverted_call_is_inbound_and_says_so() -> None:
    wire = Wire()
    call = Dialogue(wire, extra="Diversion: <sip:02079460111@sbc.invalid>;reason=unconditional")
    call.establish()
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.end.rule == "trunk_invite_ddi"
    assert "diverted" in kept.evidence
    assert kept.caller_id.number == CALLER


def test_the_trunk_asserts_the_number_whatever_the_caller_wrote() -> None:
    wire = Wire()
    call = Dialogue(wire, from_header='"Mallory" <sip:02079460001@sbc.invalid>')
    call.extra = 'P-Asserted-Identity: "A, B" <sip:+442079460999@sbc.invalid>, <tel:+442079460999>'
    call.establish()
    call.bye()
    assert run(settings(), wire.packets).only.caller_id.number == CALLER


def test_a_withheld_number_is_withheld_and_the_call_is_kept() -> None:
    wire = Wire()
    call = Dialogue(wire, from_header='"Anonymous" <sip:anonymous@anonymous.invalid>')
    call.extra = f"P-Asserted-Identity: <sip:{CALLER}@sbc.invalid>\r\nPrivacy: id"
    call.establish()
    caller, agent = spoken(call, 500)
    kept = run(settings(), wire.packets).only
    assert_kept_whole(kept, caller, agent)
    assert kept.caller_id.number is None
    assert kept.caller_id.number_absence is Absence.WITHHELD
    assert kept.caller_id.name is None


def test_a_caller_who_hangs_up_before_the_answer_is_one_unanswered_row() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.wait(200)
    call.ringing()
    wire.wait(3000)
    wire.sip(Port.TRUNK, call.request("CANCEL", to_tag=""))
    wire.sip(Port.INSIDE, call.response(200, "OK", method="CANCEL"))
    wire.sip(Port.INSIDE, call.response(487, "Request Terminated"))
    call.ack()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("unanswered", "trunk_invite_ddi")
    assert kept.end.ended is None


def test_a_caller_who_hangs_up_while_the_answer_is_on_its_way_is_no_fault_of_ours() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.wait(3000)
    wire.sip(Port.TRUNK, call.request("CANCEL", to_tag=""))
    call.ok()
    wire.sip(Port.INSIDE, call.response(200, "OK", method="CANCEL"))
    call.ack()
    wire.wait(20)
    call.bye()
    assert run(settings(), wire.packets).only.row == ("unanswered", "trunk_invite_ddi")


def test_busy_and_moved_are_unanswered() -> None:
    for status in (486, 302, 603, 408):
        wire = Wire()
        call = Dialogue(wire)
        call.invite()
        wire.wait(200)
        wire.sip(Port.INSIDE, call.response(status, "No"))
        call.ack()
        assert run(settings(), wire.packets).only.row == ("unanswered", "trunk_invite_ddi")


def test_a_challenged_invite_is_one_call() -> None:
    wire = Wire()
    call = Dialogue(wire, side=Port.INSIDE)
    call.invite()
    wire.sip(Port.TRUNK, call.response(407, "Proxy Authentication Required", to_tag="x"))
    call.ack()
    call.cseq = 2
    call.establish()
    call.bye()
    assert run(settings(), wire.packets).rows == [("outbound", "inside_invite")]


def test_early_media_is_not_kept() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.wait(100)
    wire.sip(Port.INSIDE, call.response(183, "Session Progress", call.answer()))
    caller, agent = voices(call)
    talk(wire, 1500, caller, agent)
    caller.sent.clear()
    agent.sent.clear()
    call.ok()
    talk(wire, 1500, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert_kept_whole(kept, caller, agent)
    assert kept.gaps() == []
    assert kept.end.samples == 12000


def test_an_answer_in_a_reliable_provisional_response_counts_when_200_has_none() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.sip(Port.INSIDE, call.response(183, "Session Progress", call.answer(), extra="Require: 100rel\r\nRSeq: 1"))
    wire.sip(Port.TRUNK, call.request("PRACK", cseq=2, extra="RAck: 1 1 INVITE"))
    wire.sip(Port.INSIDE, call.response(200, "OK", method="PRACK", cseq=2))
    wire.wait(500)
    wire.sip(Port.INSIDE, call.response(200, "OK"))
    call.ack()
    caller, agent = spoken(call, 400)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_an_invite_without_an_offer_gets_its_answer_in_the_ack() -> None:
    wire = Wire()
    call = Dialogue(wire)
    wire.sip(Port.TRUNK, call.request("INVITE", to_tag=""))
    wire.wait(500)
    wire.sip(Port.INSIDE, call.response(200, "OK", call.answer()))
    wire.sip(Port.TRUNK, call.request("ACK", call.offer()))
    caller, agent = spoken(call, 400)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_retransmissions_of_everything_change_nothing() -> None:
    wire = Wire()
    caller, agent = plain_call(wire)
    doubled = [again for packet in wire.packets for again in (packet, packet)]
    assert_kept_whole(run(settings(), doubled).only, caller, agent)


def test_a_waiting_call_is_its_own_call_on_the_same_line() -> None:
    wire = Wire()
    first = Dialogue(wire)
    first.establish()
    one, two = Voice(first, Port.TRUNK, 1, ssrc=1), Voice(first, Port.INSIDE, 2, ssrc=2)
    talk(wire, 400, one, two)
    second = Dialogue(wire, "two@example.invalid", caller=SECOND_CALLER, port_caller=22000, port_called=32000,
                      from_tag="f2", to_tag="t2")  # fmt: skip
    second.invite()
    first.reinvite(2, flow="sendonly", by_called=True)
    second.ok()
    second.ack()
    three, four = Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4)
    talk(wire, 400, three, four)
    second.bye()
    first.bye()
    sink = run(settings(), wire.packets)
    kept_one, kept_two = sink.calls.values()
    assert sink.rows == [("recorded", "trunk_invite_ddi")] * 2
    assert not kept_one.started.waiting
    assert kept_two.started.waiting
    assert kept_one.started.line == kept_two.started.line == 0
    assert kept_two.caller_id.number == SECOND_CALLER
    assert kept_one.audio(0) == bytes(one.sent)
    assert kept_two.audio(0) == bytes(three.sent)


def test_the_agents_second_dialog_out_is_outbound_and_never_mixed_in() -> None:
    wire = Wire()
    first = Dialogue(wire)
    first.establish()
    one, two = Voice(first, Port.TRUNK, 1, ssrc=1), Voice(first, Port.INSIDE, 2, ssrc=2)
    talk(wire, 400, one, two)
    first.reinvite(2, flow="sendonly", by_called=True)
    out = Dialogue(wire, "out@example.invalid", side=Port.INSIDE, called="02079460777", from_tag="f3", to_tag="t3",
                   port_caller=33000, port_called=23000)  # fmt: skip
    out.establish()
    talk(wire, 400, Voice(out, Port.TRUNK, 3, ssrc=3), Voice(out, Port.INSIDE, 4, ssrc=4))
    out.bye()
    first.reinvite(3, by_called=True)
    talk(wire, 400, one, two)
    first.bye()
    sink = run(settings(), wire.packets)
    assert sink.rows == [("recorded", "trunk_invite_ddi"), ("outbound", "inside_invite_second")]
    kept = sink.calls[1]
    assert kept.audio(0) == bytes(one.sent)
    assert kept.audio(1) == bytes(two.sent)
    assert [reason for reason, _, _ in kept.gaps()].count("on_hold") == 1


def test_the_agent_who_answers_decides_the_line_of_a_shared_number() -> None:
    slots = (LineSlot((Dialogue(Wire()).called,), ("201",)), LineSlot((Dialogue(Wire()).called,), ("202",)))
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    text = call.response(200, "OK", call.answer()).replace("<sip:x@", "<sip:202@")
    wire.sip(Port.INSIDE, text)
    call.ack()
    talk(wire, 200, Voice(call, Port.TRUNK, 1, ssrc=1))
    call.bye()
    kept = run(settings(lines=slots), wire.packets).only
    assert kept.answered is not None
    assert kept.answered.line == 1
    assert {piece.line for piece in kept.pieces} == {1}


def test_media_without_signalling_is_one_unknown_call() -> None:
    wire = Wire()
    call = Dialogue(wire)
    talk(wire, 3000, Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2))
    wire.wait(12_000)
    wire.sip(Port.TRUNK, "OPTIONS sip:x SIP/2.0\r\n\r\n")
    wire.wait(2_000)
    wire.sip(Port.TRUNK, "OPTIONS sip:y SIP/2.0\r\n\r\n")
    kept = run(settings(), wire.packets).only
    assert kept.row == ("unknown_direction", "rtp_without_dialog")
    assert kept.pieces == []
    assert sum(isinstance(told, RtpWithoutDialog) for told in kept.told) == 1


def test_media_that_trails_its_call_is_no_second_call_until_it_does_not_stop() -> None:
    for milliseconds, rows in ((3000, []), (25_000, [("unknown_direction", "rtp_without_dialog")])):
        wire = Wire()
        call = Dialogue(wire)
        call.establish()
        caller = Voice(call, Port.TRUNK, 1, ssrc=1)
        talk(wire, 400, caller)
        call.bye()
        talk(wire, milliseconds, caller)
        assert run(settings(), wire.packets).rows == [("recorded", "trunk_invite_ddi"), *rows]


def test_a_caller_who_is_asked_for_credentials_and_never_comes_back_has_a_row_soon() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.sip(Port.INSIDE, call.response(401, "Unauthorized"))
    call.ack()
    kept = run(settings(), wire.packets, linger_us=10_000_000).only
    assert kept.row == ("unanswered", "trunk_invite_ddi")
    assert kept.end.at_mono_us == wire.now_us


def test_an_invite_that_nobody_answers_has_a_row_after_five_minutes() -> None:
    wire = Wire()
    Dialogue(wire).invite()
    kept = run(settings(), wire.packets, linger_us=400_000_000).only
    assert kept.row == ("unanswered", "trunk_invite_ddi")
    assert kept.end.at_mono_us - wire.now_us < 302_000_000


def test_control_packets_alone_are_no_call() -> None:
    wire = Wire()
    for number in range(80):
        wire.datagram(Port.TRUNK, 20001, 30001, b"\x80\xc8" + number.to_bytes(2, "big") + bytes(24))
        wire.wait(20)
    assert run(settings(), wire.packets).calls == {}


def test_a_recorder_that_starts_in_mid_call_keeps_nothing_of_it() -> None:
    wire = Wire()
    plain_call(wire, 4000)
    answered = next(index for index, packet in enumerate(wire.packets) if b"200 OK" in packet.data)
    assert run(settings(), wire.packets[answered + 40 :]).rows == [("unknown_direction", "rtp_without_dialog")]


def test_a_refresh_of_a_dialog_that_began_before_us_is_the_same_unknown_call() -> None:
    wire = Wire()
    call = Dialogue(wire)
    caller, agent = voices(call)
    talk(wire, 2000, caller, agent)
    call.reinvite(7)
    talk(wire, 2000, caller, agent)
    call.bye()
    assert run(settings(), wire.packets).rows == [("unknown_direction", "rtp_without_dialog")]


def test_a_port_that_is_used_again_belongs_to_the_next_call() -> None:
    wire = Wire()
    plain_call(wire)
    wire.wait(1000)
    second = Dialogue(wire, "two@example.invalid", from_tag="f2", to_tag="t2")
    second.establish()
    caller, agent = Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4)
    talk(wire, 500, caller, agent)
    second.bye()
    assert_kept_whole(run(settings(), wire.packets).calls[2], caller, agent)


@pytest.mark.parametrize("early", [1, 75])
def test_media_behind_address_translation_loses_no_side_when_the_caller_speaks_first(early: int) -> None:
    """Only what comes before the way back is known cannot be had."""
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.sip(Port.INSIDE, call.response(200, "OK", call.answer().replace(PBX, "10.1.1.1")))
    call.ack()
    caller, agent = voices(call)
    talk(wire, 20 * early, caller)
    talk(wire, 4000, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.audio(0).endswith(bytes(caller.sent[160 * early + 160 :]))
    assert kept.audio(1).endswith(bytes(agent.sent))


def test_a_call_seen_by_its_media_only_ends_when_its_dialog_is_heard() -> None:
    wire = Wire()
    call = Dialogue(wire)
    caller, agent = voices(call)
    talk(wire, 2000, caller, agent)
    seen_us = wire.now_us
    call.establish()
    talk(wire, 4000, caller, agent)
    call.bye()
    sink = run(settings(), wire.packets)
    assert sink.rows == [("unknown_direction", "rtp_without_dialog"), ("recorded", "trunk_invite_ddi")]
    assert sink.calls[1].end.at_mono_us <= seen_us


def test_media_behind_address_translation_is_found_by_its_way_back() -> None:
    """The telephone says a private address in SDP and sends from a public one."""
    wire = Wire()
    call = Dialogue(wire)
    call.invite()
    wire.wait(100)
    hidden = call.answer().replace(PBX, "10.1.1.1")
    wire.sip(Port.INSIDE, call.response(200, "OK", hidden))
    call.ack()
    caller, agent = voices(call)
    agent.send()
    talk(wire, 500, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.audio(0) == bytes(caller.sent)


def test_ten_seconds_without_media_are_told_once() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.establish()
    caller = Voice(call, Port.TRUNK, 1, ssrc=1)
    talk(wire, 15_000, caller)
    call.bye()
    kept = run(settings(), wire.packets).only
    (missing,) = [told for told in kept.told if isinstance(told, MediaMissing)]
    assert missing.channel == "agent"
    assert kept.audio(0) == bytes(caller.sent)


def test_a_call_whose_end_was_not_seen_ends_where_its_media_did() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.establish()
    talk(wire, 2000, Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2))
    kept = run(settings(), wire.packets, linger_us=90_000_000).only
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.end.ended is Ended.FAULT


def test_addresses_of_the_two_sides_are_not_the_same() -> None:
    """Guards the fixtures: a wrong port would otherwise pass by symmetry."""
    assert SBC != PBX
