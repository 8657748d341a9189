"""RTP to the call's axis: what was lost, late, doubled, silent on purpose, or begun anew."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from firmware.policy.events import Packet, Port
from firmware.voip.output import MediaMissing
from tests.voip.plain import A_SILENCE, established, kept, without_silence
from tests.voip.wire import Limits, rtp, speech, talk


def test_one_side_lost_is_silence_in_its_channel_and_counted() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    caller.frame()
    agent.send()
    wire.wait(20)
    talk(wire, 200, caller, agent)
    result = kept(wire, call)
    assert result.audio(1) == bytes(agent.sent)
    assert result.audio(0) == bytes(caller.sent[:1600]) + A_SILENCE * 160 + bytes(caller.sent[1760:])
    assert result.gaps() == []
    assert sum(piece.lost_caller for piece in result.pieces) == 160
    assert sum(piece.lost_agent for piece in result.pieces) == 0


def test_both_sides_lost_is_a_gap_of_exactly_that_length_and_nothing_shifts() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    for voice in (caller, agent):
        voice.frame()
    wire.wait(20)
    talk(wire, 200, caller, agent)
    result = kept(wire, call)
    assert result.gaps() == [("lost_samples", 1600, 160)]
    assert result.audio(0) == bytes(caller.sent[:1600] + caller.sent[1760:])


def test_jitter_moves_nothing() -> None:
    wire, call, caller, agent = established()
    chance = random.Random(3)
    start = wire.now_us
    for number in range(100):
        wire.now_us = start + number * 20_000 + chance.randrange(0, 60_000)
        caller.send()
        agent.send()
    wire.now_us = start + 100 * 20_000 + 60_000
    wire.packets.sort(key=lambda packet: packet.at_mono_us)
    result = kept(wire, call)
    assert without_silence(result.audio(0)) == bytes(caller.sent)
    assert without_silence(result.audio(1)) == bytes(agent.sent)
    starts = [piece.first_sample for piece in result.pieces if piece.lost_caller or piece.lost_agent or piece.gap]
    assert all(start < 800 or start > 15_000 for start in starts)


@hypothesis_settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.3),
    copies=st.floats(0, 0.3),
    spread_ms=st.integers(0, 400),
)
def test_any_order_within_the_wait_gives_the_same_axis(seed: int, loss: float, copies: float, spread_ms: int) -> None:
    """Property: what arrived is kept at its place, once; what did not is counted; nothing shifts."""
    wire, call, caller, _ = established()
    chance = random.Random(seed)
    start = wire.now_us
    frames = [caller.frame() for _ in range(60)]
    arrived = [number == 0 or chance.random() >= loss for number in range(60)]
    packets: list[Packet] = []
    for number, frame in enumerate(frames):
        if not arrived[number]:
            continue
        for _ in range(1 + (chance.random() < copies)):
            delay = chance.randrange(0, 1000 * spread_ms + 1) if number else 0
            wire.now_us = start + number * 20_000 + delay
            caller.put(frame)
            packets.append(wire.packets.pop())
    wire.packets += sorted(packets, key=lambda packet: packet.at_mono_us)
    wire.now_us = start + 60 * 20_000 + 1000 * spread_ms
    result = kept(wire, call)
    samples = result.end.samples
    axis = bytearray(A_SILENCE * samples)
    for piece in result.pieces:
        if isinstance(piece.payload, bytes):
            axis[piece.first_sample : piece.first_sample + piece.samples] = piece.payload[0::2]
    expected = bytearray(A_SILENCE * samples)
    for number in range(60):
        if arrived[number]:
            expected[number * 160 : number * 160 + 160] = caller.sent[number * 160 : number * 160 + 160]
    assert axis == expected


def test_a_new_ssrc_neither_ends_nor_shifts_the_call() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    caller.ssrc, caller.sequence, caller.stamp = 77, 1, 5
    talk(wire, 400, caller, agent)
    result = kept(wire, call)
    assert result.audio(0) == bytes(caller.sent)
    assert result.gaps() == []


def test_a_stream_whose_first_packets_were_held_up_lies_where_it_belongs_and_loses_nothing() -> None:
    """300 ms of the caller's audio arrive in one burst, as after an address had to be resolved."""
    wire, call, caller, agent = established()
    burst = [caller.frame() for _ in range(15)]
    talk(wire, 300, agent)
    for frame in burst:
        caller.put(frame)
    talk(wire, 600, caller, agent)
    result = kept(wire, call)
    assert without_silence(result.audio(0)) == bytes(caller.sent)
    axis = result.audio(0)
    assert abs(axis.index(bytes(caller.sent[:160])) - 160) <= 800


def test_audio_never_lies_later_on_the_axis_than_it_arrived_by_more_than_100_ms() -> None:
    """A sender with a clock 2 % fast: what was said before the release of a key must not lie behind it."""
    wire, call, caller, _ = established()
    start, answered_us = wire.now_us, wire.now_us
    arrivals: dict[bytes, int] = {}
    for number in range(1500):
        wire.now_us = start + int(number * 20_000 * 0.98)
        arrivals[caller.frame()[12:]] = (wire.now_us - answered_us) // 125
        caller.put(rtp(8, number, number * 160, 9, bytes(caller.sent[-160:])))
    result = kept(wire, call)
    axis = result.audio(0)
    assert result.gaps() == []
    found = [(axis.find(audio), arrived) for audio, arrived in arrivals.items() if audio in axis]
    assert len(found) > 1300
    assert max(position - arrived for position, arrived in found) <= 800 + 16 * 4  # looked at every 16 packets


@pytest.mark.parametrize("early_ms", [-40, 40])
def test_the_jitter_of_a_new_streams_first_packet_makes_no_hole_and_no_overlap(early_ms: int) -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    caller.ssrc, caller.sequence, caller.stamp = 77, 1, 5
    wire.wait(-early_ms)
    talk(wire, 400, caller)
    wire.wait(early_ms)
    result = kept(wire, call)
    assert result.audio(0).startswith(bytes(caller.sent))
    assert sum(piece.lost_caller for piece in result.pieces) <= 40 * 8


def test_silence_suppression_is_not_loss() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    for _ in range(10):
        agent.send()
        wire.wait(20)
    caller.stamp += 10 * 160
    talk(wire, 400, caller, agent)
    result = kept(wire, call)
    assert sum(piece.lost_caller for piece in result.pieces) == 0
    assert result.audio(0) == bytes(caller.sent[:3200]) + A_SILENCE * 1600 + bytes(caller.sent[3200:])


def test_both_silent_with_comfort_noise_is_kept_as_silence_not_as_loss() -> None:
    wire, call, caller, agent = established(formats="8 13 101")
    talk(wire, 400, caller, agent)
    for voice in (caller, agent):
        voice.put(rtp(13, voice.sequence, voice.stamp, voice.ssrc, b"\x40"))
        voice.sequence += 1
        voice.stamp += 8000 * 3
    wire.wait(3000)
    talk(wire, 400, caller, agent)
    result = kept(wire, call)
    assert result.gaps() == []
    assert without_silence(result.audio(0)) == bytes(caller.sent)
    assert sum(piece.lost_caller + piece.lost_agent for piece in result.pieces) == 0


def test_two_people_who_say_nothing_for_minutes_are_still_in_their_call() -> None:
    wire, call, caller, agent = established(formats="8 13 101")
    talk(wire, 400, caller, agent)
    for voice in (caller, agent):
        voice.put(rtp(13, voice.sequence, voice.stamp, voice.ssrc, b"\x40"))
        voice.sequence += 1
        voice.stamp += 8000 * 150
    for _ in range(150):
        wire.wait(1000)
        wire.sip(Port.TRUNK, "OPTIONS sip:keepalive SIP/2.0\r\n\r\n")
    talk(wire, 400, caller, agent)
    result = kept(wire, call)
    assert without_silence(result.audio(0)) == bytes(caller.sent)
    assert not any(isinstance(told, MediaMissing) for told in result.told)


def test_a_side_that_falls_silent_for_hours_costs_no_more_than_one_gap() -> None:
    wire, call, caller, agent = established(formats="8 13 101")
    talk(wire, 400, caller, agent)
    for voice in (caller, agent):
        voice.put(rtp(13, voice.sequence, voice.stamp, voice.ssrc, b"\x40"))
    call.reinvite(2, flow="sendonly")
    wire.wait(3_600_000)
    call.reinvite(3)
    wire.wait(50_000)
    result = kept(wire, call)
    assert len(result.pieces) < 50
    assert result.end.samples > 3600 * 8000


def test_redundancy_gives_back_what_was_lost() -> None:
    """RFC 2198: each packet carries the one before."""
    wire, call, caller, _ = established(formats="8 99 101")
    before = b""
    for number in range(30):
        caller.frame()
        audio = bytes(caller.sent[-160:])
        head = ((0x80 | 8) << 24 | 160 << 10 | 160).to_bytes(4, "big") if before else b""
        payload = head + bytes([8]) + before + audio
        if number not in (7, 15, 22):
            caller.put(rtp(99, caller.sequence - 1, caller.stamp - 160, caller.ssrc, payload))
        before = audio
        wire.wait(20)
    assert kept(wire, call).audio(0) == bytes(caller.sent)


def test_header_extension_sources_and_padding_are_not_audio() -> None:
    wire, call, caller, _ = established()
    for _ in range(10):
        plain = caller.frame()
        first, body = plain[:12], plain[12:]
        odd = bytes([0x80 | 0x30 | 2]) + first[1:] + bytes(8) + struct.pack("!HHI", 0xBEDE, 1, 0) + body + b"\0\0\0\4"
        caller.put(odd)
        wire.wait(20)
    assert kept(wire, call).audio(0) == bytes(caller.sent)


def test_rtcp_and_stun_on_the_media_port_are_not_audio() -> None:
    wire, call, caller, agent = established()
    for _ in range(10):
        caller.put(struct.pack("!BBHI", 0x80, 200, 6, 1) + bytes(20))
        caller.put(struct.pack("!HHI", 1, 0, 0x2112A442) + bytes(12))
        talk(wire, 20, caller, agent)
    result = kept(wire, call)
    assert result.audio(0) == bytes(caller.sent)
    assert result.told[1:] == []


def test_a_packet_that_comes_seconds_late_takes_nothing_else_with_it() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    late = caller.frame()
    wire.wait(20)
    talk(wire, 2000, caller, agent)
    caller.put(late)
    talk(wire, 600, caller, agent)
    result = kept(wire, call)
    assert without_silence(result.audio(0)) == bytes(caller.sent[:1600] + caller.sent[1760:])
    assert result.end.late_packets == 1


@pytest.mark.parametrize("delay", [2, 3, 10, 40, 60, 300])
@pytest.mark.parametrize("at_once", [1, 4])
def test_copies_of_every_packet_never_turn_the_audio_into_pieces_of_old_and_new(delay: int, at_once: int) -> None:
    """A second path or a mirror port with a delay of up to 6 s, its packets one by one or four at a time; the caller
    pauses for longer than that and speaks on."""
    wire, call, caller, agent = established()
    second_path: dict[int, bytes] = {}
    for number in range(900):
        talks = not 300 <= number < 700
        if talks:
            again = second_path[number + delay] = caller.frame()
            caller.put(again)
        else:
            caller.stamp += 160
        agent.send()
        wire.wait(1)
        if number % at_once == at_once - 1:
            for due in sorted(due for due in second_path if due <= number):
                caller.put(second_path.pop(due))
        wire.wait(19)
    result = kept(wire, call)
    assert without_silence(result.audio(0)) == bytes(caller.sent)
    assert result.audio(1) == bytes(agent.sent)


def test_a_sender_that_begins_anew_with_its_first_numbers_is_not_taken_for_its_own_copy() -> None:
    wire, call, caller, agent = established()
    first = caller.sequence, caller.stamp
    talk(wire, 6000, caller, agent)
    before = len(caller.sent)
    caller.sequence, caller.stamp = first
    talk(wire, 4000, caller, agent)
    result = kept(wire, call)
    audio = without_silence(result.audio(0))
    assert audio.startswith(bytes(caller.sent[:before]))
    assert audio.endswith(bytes(caller.sent[before + 17 * 160 :]))


def test_a_sender_that_begins_anew_with_another_codec_and_its_first_numbers_loses_no_word() -> None:
    wire, call, caller, agent = established()
    first = caller.sequence, caller.stamp
    talk(wire, 500, caller, agent)
    for voice in (caller, agent):
        voice.kind = 0
        voice.sequence, voice.stamp = first
    talk(wire, 500, caller, agent)
    result = kept(wire, call)
    assert result.audio(0) == bytes(caller.sent)
    assert result.audio(1) == bytes(agent.sent)


def test_copies_of_the_stream_before_do_not_shift_the_new_one() -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    copies = [caller.frame() for _ in range(20)]
    for copy in copies:
        caller.put(copy)
        wire.wait(20)
    caller.ssrc, caller.sequence, caller.stamp = 77, 1, 5
    for copy in copies:
        talk(wire, 20, caller, agent)
        caller.put(copy)
    talk(wire, 400, caller, agent)
    assert without_silence(kept(wire, call).audio(0)) == bytes(caller.sent)


@pytest.mark.parametrize("overtaken", [2, 6, 20, 45])
def test_a_packet_that_overtakes_others_costs_none_of_their_words(overtaken: int) -> None:
    wire, call, caller, agent = established()
    frames = [caller.frame() for _ in range(200)]
    frames.insert(100, frames.pop(100 + overtaken))
    for frame in frames:
        caller.put(frame)
        agent.send()
        wire.wait(20)
    result = kept(wire, call)
    assert result.audio(0) == bytes(caller.sent)
    assert result.audio(1) == bytes(agent.sent)


@pytest.mark.parametrize("block", [2, 5, 10, 20])
def test_blocks_of_packets_in_reverse_order_cost_no_word(block: int) -> None:
    wire, call, caller, agent = established()
    talk(wire, 400, caller, agent)
    frames = [caller.frame() for _ in range(10 * block)]
    for number in range(0, len(frames), block):
        for frame in reversed(frames[number : number + block]):
            caller.put(frame)
            agent.send()
            wire.wait(20)
    talk(wire, 400, caller, agent)
    assert without_silence(kept(wire, call).audio(0)) == bytes(caller.sent)


def test_packets_that_come_again_do_not_pile_up_until_nothing_more_is_taken() -> None:
    wire, call, caller, agent = established()
    for _ in range(400):
        again = caller.frame()
        caller.put(again)
        talk(wire, 40, caller, agent)
        caller.put(again)
        agent.send()
        wire.wait(20)
    result = kept(wire, call, limits=Limits(channel_packets=200))
    assert result.audio(0) == bytes(caller.sent)
    assert result.audio(1) == bytes(agent.sent)


def test_a_sender_whose_clock_is_off_is_followed_for_an_hour() -> None:
    """300 ppm, six times what RFC 3551 expects: positions stay within a second of the arrival, nearly all is kept."""
    wire, call, caller, _ = established()
    start = wire.now_us
    for number in range(180_000 // 4):
        wire.now_us = start + int(number * 20_000 * 1.0003)
        caller.put(rtp(8, number, number * 160, 9, b"\x33" * 160))
    result = kept(wire, call, limits=Limits(piece_samples=8000))
    heard = result.audio(0).count(b"\x33")
    assert heard > 0.999 * 45_000 * 160


def test_a_flood_on_one_media_port_keeps_memory_and_the_axis_bounded() -> None:
    wire, call, caller, _ = established()
    for number in range(20_000):
        caller.put(rtp(8, number, number * 160, 9, b"\x33" * 160))
        wire.now_us += 10
    result = kept(wire, call)
    assert result.end.late_packets > 19_000
    assert result.end.samples < 4000


def test_a_packet_as_long_as_no_telephone_sends_is_not_taken() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    caller.put(rtp(8, caller.sequence, caller.stamp, caller.ssrc, b"\x44" * 30_000))
    talk(wire, 200, caller, agent)
    result = kept(wire, call)
    assert result.audio(0) == bytes(caller.sent)
    assert result.end.late_packets == 1


def test_the_test_voices_never_say_silence() -> None:
    assert A_SILENCE not in speech(1, 10_000)
    assert b"\xff" not in speech(1, 10_000)
