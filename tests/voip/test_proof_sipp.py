"""Real SIP peers (sipp) with real RTP through a bridge of our own, captured by AF_PACKET: rows, evidence, audio.

Every test names the row (outcome, rule), looks at the evidence of the direction and compares the audio with what was
spoken, byte by byte, outside the gaps.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.voip.output import NotRecordableCodec
from firmware.voip.settings import OnTransfer
from tests.voip.peers import (
    AGENT_IP,
    AGENT_IP6,
    CALLER_IP,
    CALLER_IP6,
    NUMBER,
    Network,
    Peer,
    Spoken,
    Talker,
    event_payload_type,
    pause,
    place,
    play,
    receive,
    replay,
    resend_tagged,
    sdp,
    send,
    settings_here,
    voice,
    within,
)
from tests.voip.sink import Kept, Sink

pytestmark = pytest.mark.proof
INBOUND = ("recorded", "trunk_invite_ddi")
SILENCE = (b"\xd5", b"\xff")


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network(f"tv{os.getpid() % 10000}")
    made.up()
    yield made
    made.down()


@pytest.fixture
def voices(tmp_path: Path) -> tuple[Spoken, Spoken]:
    return voice(tmp_path / "caller.pcap", 1, ssrc=0x51), voice(tmp_path / "agent.pcap", 2, ssrc=0x61)


TALK = Talker()
SECOND_URI = "sip:02079460101@agent.invalid"


def caller_peer(network: Network, steps: list[str], **changes: object) -> Peer:
    return Peer(network.caller, CALLER_IP, AGENT_IP, steps, True, **changes)  # type: ignore[arg-type]


def agent_peer(network: Network, steps: list[str], **changes: object) -> Peer:
    return Peer(network.agent, AGENT_IP, CALLER_IP, steps, False, **changes)  # type: ignore[arg-type]


def calling(spoken: Spoken | None, *, offer: str = "", extra: str = "", talk_ms: int = 1600) -> list[str]:
    """Invites, talks, hangs up."""
    return [
        send(TALK.request("INVITE", 1, offer or sdp(), first=True, extra=extra), retransmit=True),
        receive(response=100, optional=True),
        receive(response=180, optional=True),
        receive(response=200),
        send(TALK.request("ACK", 1)),
        *([play(spoken)] if spoken else []),
        pause(talk_ms),
        send(TALK.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]


def answering(spoken: Spoken | None, *, answer: str = "") -> list[str]:
    return [
        receive(request="INVITE"),
        send(TALK.response(180, "Ringing")),
        pause(200),
        send(TALK.response(200, "OK", answer or sdp()), retransmit=True),
        receive(request="ACK"),
        *([play(spoken)] if spoken else []),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]


def spoken_in(kept: Kept, channel: int) -> bytes:
    """What one side said: its channel without the gaps and without the silence filled in."""
    audio = kept.audio(channel)
    for byte in SILENCE:
        audio = audio.replace(byte, b"")
    return audio


def assert_inbound(kept: Kept, caller: bytes | None, agent: bytes | None) -> None:
    assert kept.row == INBOUND
    assert {"trunk_port", "peer", "answered"} <= set(kept.evidence)
    assert any(word.startswith("ddi_") for word in kept.evidence)
    assert kept.evidence["trunk_port"] < 0 <= kept.evidence["answered"]
    assert kept.caller_id.number == NUMBER
    for channel, expected in ((0, caller), (1, agent)):
        if expected is not None:
            assert spoken_in(kept, channel) == expected


def one_call(
    network: Network, folder: Path, agent_steps: list[str], caller_steps: list[str], **changes: object
) -> Sink:
    path = place(network, folder, (agent_peer(network, agent_steps), caller_peer(network, caller_steps)))
    return replay(path, settings_here(**changes))


def test_plain(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    kept = one_call(network, tmp_path, answering(agent), calling(caller)).only
    assert_inbound(kept, caller.audio, agent.audio)
    assert kept.evidence["ringing"] < 0
    assert 1500 * 8 < kept.end.samples < 2500 * 8


def test_withheld(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    extra = f"P-Asserted-Identity: <sip:{NUMBER}@caller.invalid>\nPrivacy: id"
    kept = one_call(network, tmp_path, answering(agent), calling(caller, extra=extra)).only
    assert kept.row == INBOUND
    assert kept.caller_id.number is None
    assert kept.caller_id.number_absence == "withheld"
    assert (spoken_in(kept, 0), spoken_in(kept, 1)) == (caller.audio, agent.audio)


def test_cancelled(network: Network, tmp_path: Path) -> None:
    caller_steps = [
        send(TALK.request("INVITE", 1, sdp(), first=True), retransmit=True),
        receive(response=100, optional=True),
        receive(response=180),
        pause(500),
        send(TALK.request("CANCEL", 1, first=True), retransmit=True),
        receive(response=200),
        receive(response=487),
        send(TALK.request("ACK", 1)),
    ]
    agent_steps = [
        receive(request="INVITE"),
        send(TALK.response(180, "Ringing")),
        receive(request="CANCEL"),
        send(within(200, "OK")),
        send(TALK.response(487, "Request Terminated").replace("[last_CSeq:]", "CSeq: 1 INVITE")),
        receive(request="ACK"),
    ]
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert kept.row == ("unanswered", "trunk_invite_ddi")
    assert kept.pieces == []


@pytest.mark.parametrize(("status", "reason"), [(486, "Busy Here"), (302, "Moved Temporarily")])
def test_refused(network: Network, tmp_path: Path, status: int, reason: str) -> None:
    extra = "Contact: <sip:02079460111@other.invalid>" if status == 302 else ""
    caller_steps = [
        send(TALK.request("INVITE", 1, sdp(), first=True), retransmit=True),
        receive(response=status),
        send(TALK.request("ACK", 1)),
    ]
    agent_steps = [
        receive(request="INVITE"),
        send(TALK.response(status, reason, extra=extra), retransmit=True),
        receive(request="ACK"),
    ]
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert kept.row == ("unanswered", "trunk_invite_ddi")


def test_early_media(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """The agent's side plays an announcement from 183 on, which goes on through the answer."""
    caller, agent = voices
    agent_steps = [
        receive(request="INVITE"),
        send(TALK.response(183, "Session Progress", sdp())),
        play(agent),
        pause(600),
        send(TALK.response(200, "OK", sdp()), retransmit=True),
        receive(request="ACK"),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    caller_steps = calling(caller)
    caller_steps[2] = receive(response=183)
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert_inbound(kept, caller.audio, None)
    late = spoken_in(kept, 1)
    assert agent.audio.endswith(late)
    assert 20 * 160 <= len(late) <= 32 * 160


def test_hold_and_resume(network: Network, tmp_path: Path) -> None:
    """The agent holds for half a second; what the caller says meanwhile is not kept."""
    caller, agent = voice(tmp_path / "c.pcap", 1, frames=90), voice(tmp_path / "a.pcap", 2, frames=20, ssrc=0x61)
    again = voice(tmp_path / "b.pcap", 3, frames=20, ssrc=0x62)
    agent_steps = [
        receive(request="INVITE"),
        send(TALK.response(200, "OK", sdp()), retransmit=True),
        receive(request="ACK"),
        play(agent),
        pause(600),
        send(TALK.request("INVITE", 2, sdp(flow="sendonly"), by_agent=True), retransmit=True),
        receive(response=200),
        send(TALK.request("ACK", 2, by_agent=True)),
        pause(500),
        send(TALK.request("INVITE", 3, sdp(), by_agent=True), retransmit=True),
        receive(response=200),
        send(TALK.request("ACK", 3, by_agent=True)),
        play(again),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    caller_steps = [
        *calling(caller)[:6],
        receive(request="INVITE"),
        send(within(200, "OK", sdp(flow="recvonly"))),
        receive(request="ACK"),
        receive(request="INVITE"),
        send(within(200, "OK", sdp())),
        receive(request="ACK"),
        pause(800),
        send(TALK.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert_inbound(kept, None, agent.audio + again.audio)
    (hold,) = [gap for gap in kept.gaps() if gap[0] == "on_hold"]
    assert 400 * 8 <= hold[2] <= 700 * 8
    before = caller.audio[: hold[1]]
    heard = spoken_in(kept, 0)
    common = next(n for n, pair in enumerate(zip(heard, caller.audio, strict=False)) if pair[0] != pair[1])
    assert heard[common:]
    assert caller.audio.endswith(heard[common:])
    assert 500 * 8 <= common <= len(before)


def test_codec_change(network: Network, tmp_path: Path) -> None:
    """A re-INVITE from A-law to mu-law: one call, one axis, every byte."""
    first, second = voice(tmp_path / "1.pcap", 1, frames=25), voice(tmp_path / "2.pcap", 2, frames=25, kind=0)
    other, last = voice(tmp_path / "3.pcap", 3, frames=25), voice(tmp_path / "4.pcap", 4, frames=25, kind=0)
    caller_steps = [
        *calling(first)[:6],
        pause(700),
        send(TALK.request("INVITE", 2, sdp(formats="0")), retransmit=True),
        receive(response=200),
        send(TALK.request("ACK", 2)),
        play(second),
        pause(800),
        send(TALK.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    agent_steps = [
        *answering(other)[:6],
        receive(request="INVITE"),
        send(within(200, "OK", sdp(formats="0"))),
        receive(request="ACK"),
        play(last),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert_inbound(kept, first.audio + second.audio, other.audio + last.audio)
    codecs = [piece.codec.name for piece in kept.pieces if piece.payload is not None]
    assert codecs == sorted(codecs)
    assert set(codecs) == {"PCMA", "PCMU"}


def test_ssrc_change(network: Network, tmp_path: Path) -> None:
    caller = voice(tmp_path / "c.pcap", 1, ssrc_change=30)
    agent = voice(tmp_path / "a.pcap", 2, ssrc=0x61, ssrc_change=20)
    kept = one_call(network, tmp_path, answering(agent), calling(caller)).only
    assert_inbound(kept, caller.audio, agent.audio)
    assert sum(piece.lost_caller for piece in kept.pieces) < 600 * 8


def test_out_of_order(network: Network, tmp_path: Path) -> None:
    order = list(range(60))
    for index in range(3, 57, 5):
        order[index], order[index + 1] = order[index + 1], order[index]
    order[20], order[23] = order[23], order[20]
    caller, agent = voice(tmp_path / "c.pcap", 1, order=order), voice(tmp_path / "a.pcap", 2, order=order, ssrc=0x61)
    kept = one_call(network, tmp_path, answering(agent), calling(caller)).only
    assert_inbound(kept, caller.audio, agent.audio)


def test_five_per_cent_loss(network: Network, tmp_path: Path) -> None:
    chance = random.Random(7)
    lost_caller = {n for n in range(1, 59) if chance.random() < 0.05} | {10, 11}
    lost_agent = {n for n in range(1, 59) if chance.random() < 0.05} | {30}
    caller = voice(tmp_path / "c.pcap", 1, lost=lost_caller)
    agent = voice(tmp_path / "a.pcap", 2, lost=lost_agent, ssrc=0x61)
    kept = one_call(network, tmp_path, answering(agent), calling(caller)).only
    assert_inbound(kept, caller.audio, agent.audio)
    inside = [piece for piece in kept.pieces if piece.first_sample < 8000]
    assert sum(piece.lost_caller for piece in inside) >= 160 * len([n for n in lost_caller if 10 <= n <= 40])


def test_forked_answer(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """Two telephones answer at once; the caller takes the second."""
    caller, agent = voices
    caller_steps = [
        send(TALK.request("INVITE", 1, sdp(), first=True), retransmit=True),
        receive(response=200),
        receive(response=200),
        send(Talker(agent_tag="a2").request("ACK", 1)),
        send(TALK.request("ACK", 1)),
        send(TALK.request("BYE", 2), retransmit=True),
        receive(response=200),
        play(caller),
        pause(1500),
        send(Talker(agent_tag="a2").request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    agent_steps = [
        receive(request="INVITE"),
        send(TALK.response(200, "OK", sdp())),
        send(TALK.response(200, "OK", sdp(), tag="a2")),
        receive(request="ACK"),
        receive(request="ACK"),
        receive(request="BYE"),
        send(within(200, "OK")),
        play(agent),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert_inbound(kept, caller.audio, agent.audio)
    assert kept.end.samples > 1400 * 8


def test_retransmissions(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """The agent's side is slow to answer and the caller's slow to acknowledge: INVITE and 200 come several times."""
    caller, agent = voices
    agent_steps = answering(agent)
    agent_steps[1:3] = [pause(800)]
    caller_steps = calling(caller)
    caller_steps[4:4] = [pause(800)]
    path = place(network, tmp_path, (agent_peer(network, agent_steps), caller_peer(network, caller_steps)))
    assert path.read_bytes().count(b"INVITE sip:") >= 2
    assert path.read_bytes().count(b"SIP/2.0 200 OK") >= 3
    assert_inbound(replay(path, settings_here()).only, caller.audio, agent.audio)


def test_call_waiting(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """A second caller on the same line: its own row, its own audio, none of the other's."""
    caller, agent = voices
    second, answer = voice(tmp_path / "c2.pcap", 5, ssrc=0x71), voice(tmp_path / "a2.pcap", 6, ssrc=0x81)
    pair = (agent_peer(network, answering(agent)), caller_peer(network, calling(caller, talk_ms=3000)))
    waiting = (
        agent_peer(network, answering(answer), port=5062, media_port=7000),
        caller_peer(network, calling(second), port=5062, remote_port=5062, media_port=7000),
    )
    sink = replay(place(network, tmp_path, pair, waiting, apart_s=0.8), settings_here())
    first, other = sink.calls.values()
    assert_inbound(first, caller.audio, agent.audio)
    assert_inbound(other, second.audio, answer.audio)
    assert (first.started.waiting, other.started.waiting) == (False, True)
    assert first.started.line == other.started.line


@pytest.mark.parametrize("on_transfer", ["stop", "continue"])
def test_blind_transfer(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken], on_transfer: str) -> None:
    """The agent refers the caller to another number of ours; the caller's provider calls there anew."""
    caller, agent = voices
    next_caller, next_agent = voice(tmp_path / "c2.pcap", 5, ssrc=0x71), voice(tmp_path / "a2.pcap", 6, ssrc=0x81)
    agent_steps = [
        *answering(agent)[:6],
        pause(1400),
        send(
            TALK.request("REFER", 2, by_agent=True, extra="Refer-To: <sip:02079460101@agent.invalid>"), retransmit=True
        ),
        receive(response=202),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    caller_steps = [
        *calling(caller)[:6],
        receive(request="REFER"),
        send(within(202, "Accepted")),
        pause(900),
        send(TALK.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    onward = Talker(caller_tag="c7", agent_tag="a7", agent_uri=SECOND_URI)
    new_caller = [
        send(
            onward.request("INVITE", 1, sdp(), first=True, extra="Referred-By: <sip:x@agent.invalid>"), retransmit=True
        ),
        receive(response=200),
        send(onward.request("ACK", 1)),
        play(next_caller),
        pause(1600),
        send(onward.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    new_agent = [
        receive(request="INVITE"),
        send(onward.response(200, "OK", sdp()), retransmit=True),
        receive(request="ACK"),
        play(next_agent),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    path = place(
        network,
        tmp_path,
        (agent_peer(network, agent_steps), caller_peer(network, caller_steps)),
        (
            agent_peer(network, new_agent, port=5062, media_port=7000),
            caller_peer(network, new_caller, port=5062, remote_port=5062, media_port=7000),
        ),
        apart_s=1.9,
    )
    sink = replay(path, settings_here(on_transfer=OnTransfer(on_transfer)))
    if on_transfer == "continue":
        assert_inbound(sink.only, caller.audio + next_caller.audio, agent.audio + next_agent.audio)
        assert sum(type(told).__name__ == "Transferred" for told in sink.only.told) == 1
        return
    first, other = sink.calls.values()
    assert_inbound(first, caller.audio, agent.audio)
    assert first.end.ended == "transfer"
    assert other.row == ("unknown_direction", "trunk_invite_transferred")
    assert other.pieces == []


def test_attended_transfer_goes_on_as_the_same_call(
    network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]
) -> None:
    """The caller's provider calls the second agent with Replaces naming the caller's dialog."""
    caller, agent = voices
    next_caller, next_agent = voice(tmp_path / "c2.pcap", 5, ssrc=0x71), voice(tmp_path / "a2.pcap", 6, ssrc=0x81)
    onward = Talker(caller_tag="c7", agent_tag="a7", agent_uri=SECOND_URI)
    replaces = "Replaces: first@caller.invalid;to-tag=a1;from-tag=c1"
    new_caller = [
        send(onward.request("INVITE", 1, sdp(), first=True, extra=replaces), retransmit=True),
        receive(response=200),
        send(onward.request("ACK", 1)),
        play(next_caller),
        pause(1600),
        send(onward.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    new_agent = [
        receive(request="INVITE"),
        send(onward.response(200, "OK", sdp()), retransmit=True),
        receive(request="ACK"),
        play(next_agent),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    path = place(
        network,
        tmp_path,
        (
            agent_peer(network, answering(agent)),
            caller_peer(network, calling(caller, talk_ms=2200), call_id="first@caller.invalid"),
        ),
        (
            agent_peer(network, new_agent, port=5062, media_port=7000),
            caller_peer(network, new_caller, port=5062, remote_port=5062, media_port=7000),
        ),
        apart_s=1.9,
    )
    kept = replay(path, settings_here(on_transfer=OnTransfer.CONTINUE)).only
    assert_inbound(kept, caller.audio + next_caller.audio, agent.audio + next_agent.audio)


def test_over_tcp(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    path = place(
        network,
        tmp_path,
        (
            agent_peer(network, answering(agent), options=["-t", "t1"]),
            caller_peer(network, calling(caller), options=["-t", "t1"]),
        ),
    )
    assert_inbound(replay(path, settings_here()).only, caller.audio, agent.audio)


def test_over_ipv6(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    path = place(
        network,
        tmp_path,
        (
            Peer(network.agent, AGENT_IP6, CALLER_IP6, answering(agent), False),
            Peer(network.caller, CALLER_IP6, AGENT_IP6, calling(caller), True),
        ),
    )
    assert_inbound(replay(path, settings_here()).only, caller.audio, agent.audio)


def test_in_a_vlan(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """The packets of a real call once more through the bridge's ports, now with a tag, captured again."""
    caller, agent = voices
    plain = place(network, tmp_path, (agent_peer(network, answering(agent)), caller_peer(network, calling(caller))))
    tagged = tmp_path / "tagged.pcapng"
    resend_tagged(network, plain, tagged)
    kept = replay(tagged, settings_here()).only
    assert_inbound(kept, caller.audio, agent.audio)


def test_compact_headers(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    names = {"Via:": "v:", "From:": "f:", "To:": "t:", "Call-ID:": "i:", "Contact:": "m:", "Content-Type:": "c:",
             "Content-Length:": "l:"}  # fmt: skip
    steps = []
    for step in calling(caller):
        for long, short in names.items():
            step = step.replace(f"\n{long}", f"\n{short}")
        steps.append(step)
    kept = one_call(network, tmp_path, answering(agent), steps).only
    assert_inbound(kept, caller.audio, agent.audio)


def test_prack(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """The answer is in the reliable 183; the 200 has none."""
    caller, agent = voices
    caller_steps = [
        send(TALK.request("INVITE", 1, sdp(), first=True, extra="Supported: 100rel"), retransmit=True),
        receive(response=183),
        send(TALK.request("PRACK", 2, extra="RAck: 1 1 INVITE"), retransmit=True),
        receive(response=200),
        receive(response=200),
        *calling(caller)[4:],
    ]
    agent_steps = [
        receive(request="INVITE"),
        send(TALK.response(183, "Session Progress", sdp(), extra="Require: 100rel\nRSeq: 1")),
        receive(request="PRACK"),
        send(within(200, "OK")),
        pause(300),
        send(TALK.response(200, "OK").replace("[last_CSeq:]", "CSeq: 1 INVITE").replace(
            f"[last_To:];tag={TALK.agent_tag}", "[last_To:]")),
        receive(request="ACK"),
        *answering(agent)[5:],
    ]  # fmt: skip
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert_inbound(kept, caller.audio, agent.audio)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_session_refresh(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken], method: str) -> None:
    caller, agent = voices
    caller_steps = [
        *calling(caller, extra="Session-Expires: 90;refresher=uac")[:6],
        pause(700),
        send(TALK.request(method, 2, sdp(), extra="Session-Expires: 90;refresher=uac"), retransmit=True),
        receive(response=200),
        *([send(TALK.request("ACK", 2))] if method == "INVITE" else []),
        pause(900),
        send(TALK.request("BYE", 9), retransmit=True),
        receive(response=200),
    ]
    agent_steps = [
        *answering(agent)[:6],
        receive(request=method),
        send(within(200, "OK", sdp(), extra="Session-Expires: 90;refresher=uac")),
        *([receive(request="ACK")] if method == "INVITE" else []),
        receive(request="BYE"),
        send(within(200, "OK")),
    ]
    kept = one_call(network, tmp_path, agent_steps, caller_steps).only
    assert_inbound(kept, caller.audio, agent.audio)
    assert all(reason != "on_hold" for reason, _, _ in kept.gaps())


def test_srtp(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    secure = sdp(profile="RTP/SAVP", extra=crypto)
    kept = one_call(network, tmp_path, answering(agent, answer=secure), calling(caller, offer=secure)).only
    assert kept.row == ("not_recordable_encrypted", "trunk_invite_ddi")
    assert kept.audio_samples() == 0
    assert sum(type(told).__name__ == "Encrypted" for told in kept.told) == 1


def test_srtp_offered_and_declined(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
    kept = one_call(network, tmp_path, answering(agent), calling(caller, offer=sdp(extra=crypto))).only
    assert_inbound(kept, caller.audio, agent.audio)


def test_outbound(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    path = place(
        network,
        tmp_path,
        (
            Peer(network.caller, CALLER_IP, AGENT_IP, answering(caller), False),
            Peer(network.agent, AGENT_IP, CALLER_IP, calling(agent), True),
        ),
    )
    kept = replay(path, settings_here()).only
    assert kept.row == ("outbound", "inside_invite")
    assert kept.evidence["inside_port"] < 0
    assert kept.pieces == []


def test_another_number(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    steps = [step.replace("02079460100", "02079460555") for step in calling(caller)]
    kept = one_call(network, tmp_path, answering(agent), steps).only
    assert kept.row == ("unknown_direction", "trunk_invite_other_number")
    assert kept.pieces == []


def test_another_peer(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    kept = one_call(network, tmp_path, answering(agent), calling(caller), peers=("10.77.0.99",)).only
    assert kept.row == ("unknown_direction", "trunk_invite_other_peer")
    assert kept.pieces == []


def test_keyed_digits(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    """sipp's own RFC 4733 captures: two keys are heard as two presences, no value anywhere."""
    caller, agent = voices
    keys = [Path(f"/usr/share/sip-tester/dtmf_2833_{key}.pcap") for key in ("1", "7")]
    steps = [*calling(caller)[:6], pause(1300)]
    for key in keys:
        steps += [play(Spoken(key)), pause(700)]
    steps += calling(None)[-2:]
    offer = sdp(formats="8 101").replace("101", event_payload_type(keys[0]))
    kept = one_call(
        network, tmp_path, answering(agent, answer=offer),
        [step.replace(sdp(), offer) for step in steps],
    ).only  # fmt: skip
    assert_inbound(kept, caller.audio, agent.audio)
    assert len(kept.digits) == 2
    assert all(40_000 <= digit.end_mono_us - digit.at_mono_us <= 400_000 for digit in kept.digits)


def test_a_long_invite_in_fragments(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    extra = "\n".join(f"X-Padding-{n}: {'x' * 200}" for n in range(12))
    kept = one_call(network, tmp_path, answering(agent), calling(caller, extra=extra)).only
    assert_inbound(kept, caller.audio, agent.audio)


def test_multipart(network: Network, tmp_path: Path, voices: tuple[Spoken, Spoken]) -> None:
    caller, agent = voices
    body = f"--cut\nContent-Type: application/sdp\n\n{sdp()}\n--cut\nContent-Type: text/plain\n\nx\n--cut--\n"
    first = send(TALK.request("INVITE", 1, body, first=True, kind='multipart/mixed;boundary="cut"'), retransmit=True)
    kept = one_call(network, tmp_path, answering(agent), [first, *calling(caller)[1:]]).only
    assert_inbound(kept, caller.audio, agent.audio)


def test_g722(network: Network, tmp_path: Path) -> None:
    caller, agent = voice(tmp_path / "c.pcap", 1, kind=9), voice(tmp_path / "a.pcap", 2, kind=9, ssrc=0x61)
    wide = sdp(formats="9")
    kept = one_call(network, tmp_path, answering(agent, answer=wide), calling(caller, offer=wide)).only
    assert_inbound(kept, caller.audio.replace(b"\xd5", b""), agent.audio.replace(b"\xd5", b""))
    assert {piece.codec.name for piece in kept.pieces if piece.payload is not None} == {"G722"}


def test_a_codec_that_cannot_be_recorded(network: Network, tmp_path: Path) -> None:
    caller, agent = voice(tmp_path / "c.pcap", 1, kind=18), voice(tmp_path / "a.pcap", 2, kind=18, ssrc=0x61)
    narrow = sdp(formats="18")
    kept = one_call(network, tmp_path, answering(agent, answer=narrow), calling(caller, offer=narrow)).only
    assert kept.row == ("fault", "trunk_invite_ddi")
    assert [told.codec for told in kept.told if isinstance(told, NotRecordableCodec)] == ["g729"]
