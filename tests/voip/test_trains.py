"""Packets that are taken together: nothing of a call depends on it."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from firmware.voip.datagrams import Packets, Train
from firmware.voip.output import MediaPiece
from firmware.voip.trunk import Trunk
from tests.voip.plain import established
from tests.voip.sink import run
from tests.voip.wire import Voice, Wire, rtp, settings, talk

MISHAPS = ("lost", "doubled", "late", "jump", "key", "noise", "ssrc", "codec", "length", "marker")


def mishap(word: str, voice: Voice, wire: Wire, chance: random.Random) -> None:
    """What may come between two packets of speech."""
    if word == "lost":
        voice.frame()
    elif word == "doubled":
        packet = voice.frame()
        voice.put(packet)
        wire.wait(chance.randrange(60))
        voice.put(packet)
    elif word == "late":
        packet = voice.frame()
        for _ in range(chance.randrange(1, 9)):
            voice.send()
        voice.put(packet)
    elif word == "jump":
        voice.stamp += chance.randrange(20_000)
    elif word == "key":
        voice.key(5, 60)
    elif word == "noise":
        voice.put(rtp(13, voice.sequence, voice.stamp, voice.ssrc, b"\x40"))
        voice.sequence += 1
    elif word == "ssrc":
        voice.ssrc += 1
    elif word == "codec":
        voice.kind = 8 - voice.kind
    else:
        samples = 160 if word == "marker" else chance.choice((80, 240, 480))
        packet = bytearray(voice.frame(samples))
        packet[1] |= 0x80 if word == "marker" else 0
        voice.put(bytes(packet))


def one_by_one(_trunk: Trunk, packets: Packets, trains: list[Train]) -> list[Train]:
    alone = [Train(train.flow, at, at + 1) for train in trains for at in range(train.begin, train.end)]
    return sorted(alone, key=lambda train: packets.indices[train.begin])


def told(piece: MediaPiece) -> tuple[object, ...]:
    payload = piece.payload.tolist() if isinstance(piece.payload, np.ndarray) else piece.payload
    return piece.first_sample, piece.samples, piece.codec, piece.gap, piece.lost_caller, piece.lost_agent, payload


@hypothesis_settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), words=st.lists(st.sampled_from(MISHAPS), max_size=12))
def test_packets_that_are_taken_together_are_taken_as_one_by_one(seed: int, words: list[str]) -> None:
    """Property: whole trains of packets are taken at once, and nothing of a call depends on it."""
    wire, call, caller, agent = established(formats="8 0 13 101")
    chance = random.Random(seed)
    caller.sequence = agent.sequence = chance.randrange(65_536)
    for word in [*words, "lost"]:
        talk(wire, 20 * chance.randrange(40), caller, agent)
        mishap(word, chance.choice((caller, agent)), wire, chance)
    talk(wire, 400, caller, agent)
    call.bye()
    together = run(settings(), wire.packets).only
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trunk, "_in_order", one_by_one)
        alone = run(settings(), wire.packets).only
    assert [told(piece) for piece in together.pieces] == [told(piece) for piece in alone.pieces]
    assert (together.digits, together.end) == (alone.digits, alone.end)
