"""Sound on its time axis, in every coding a line can have."""

import numpy as np
import pytest
from G722 import G722

from firmware.policy.records import AudioCodec, GapReason
from firmware.store.frame import Piece
from hw.flac import FlacEncoder
from tests.desk.rig import noise
from tools.desk import g711
from tools.desk.audio import assemble, mono
from tools.desk.errors import Damaged


def piece(first: int, samples: int, codec: AudioCodec, payload: bytes, channels: int = 2) -> Piece:
    return Piece(first, samples, None, codec, channels, 8000, payload)


def test_g711_is_the_table_of_the_standard() -> None:
    """ITU-T G.711, tables 1a and 2a, scaled to 16 bits as G.191 does: ends and middle of both laws."""
    assert g711.decode_pcmu(bytes((0x00, 0x7F, 0x80, 0xFF, 0x8F))).tolist() == [-32124, 0, 32124, 0, 16764]
    assert g711.decode_pcma(bytes((0x55, 0xD5, 0x2A, 0xAA, 0x5A))).tolist() == [-8, 8, -32256, 32256, -248]


@pytest.mark.parametrize("codec", [AudioCodec.PCMU, AudioCodec.PCMA])
def test_both_sides_of_a_call_are_heard_together(codec: AudioCodec) -> None:
    decode = g711.decode_pcmu if codec is AudioCodec.PCMU else g711.decode_pcma
    caller, agent = (np.random.default_rng(seed).integers(0, 256, 800, dtype=np.uint8) for seed in (1, 2))
    payload = np.stack([caller, agent], axis=1).tobytes()
    axis = assemble([piece(100, 800, codec, payload)], 1000)
    both = decode(caller.tobytes()).astype(np.int32) + decode(agent.tobytes())
    assert np.array_equal(axis[100:900], np.clip(both, -32768, 32767))
    assert not axis[:100].any()
    assert not axis[900:].any()


def test_g722_goes_on_from_piece_to_piece_without_a_click() -> None:
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)).astype(np.int16)
    codes = G722(8000, 64000).encode(tone)
    whole = assemble([piece(0, 8000, AudioCodec.G722, bytes(codes), 1)], 8000)
    cut = [piece(at, 800, AudioCodec.G722, bytes(codes[at : at + 800]), 1) for at in range(0, 8000, 800)]
    assert np.array_equal(assemble(cut, 8000), whole)
    alike = [np.corrcoef(whole[400:7600], tone[400 - lag : 7600 - lag])[0, 1] for lag in range(40)]
    assert max(alike) > 0.99, "the tone is heard, some samples late as the filters of G.722 are"


def test_a_call_may_change_its_coding_in_the_middle() -> None:
    sound = noise(1600, 3).reshape(2, 800)
    pieces = [
        piece(0, 800, AudioCodec.PCMA, bytes(1600)),
        Piece(800, 800, GapReason.PAYMENT, AudioCodec.PCMA, 2, 8000),
        piece(1600, 800, AudioCodec.FLAC, FlacEncoder().encode(sound, 8000)),
    ]
    axis = assemble(pieces, 0)
    assert len(axis) == 2400
    assert np.array_equal(axis[1600:], mono(sound))
    assert not axis[800:1600].any()


@pytest.mark.parametrize(
    "bad",
    [
        piece(0, 800, AudioCodec.PCMA, bytes(1599)),
        piece(0, 800, AudioCodec.PCMA, bytes(1598)),
        piece(0, 800, AudioCodec.FLAC, b"fLaC" + bytes(60)),
        piece(0, 800, AudioCodec.G722, bytes(1601)),
        piece(1 << 50, 800, AudioCodec.PCMA, bytes(1600)),
    ],
)
def test_audio_that_is_not_what_it_says_is_damaged(bad: Piece) -> None:
    with pytest.raises(Damaged):
        assemble([bad], 0)
