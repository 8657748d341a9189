"""Real SIP peers (sipp) with real RTP through a bridge of our own, captured by AF_PACKET: rows, evidence, audio.

Every test names the row (outcome, rule), looks at the evidence of the direction and compares the audio with what was
spoken, byte by byte, outside the gaps.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.voip.peers import (
    AGENT_IP,
    CALLER_IP,
    NUMBER,
    Network,
    Peer,
    Spoken,
    Talker,
    pause,
    place,
    play,
    receive,
    replay,
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
