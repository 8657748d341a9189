"""What the two sides speak, and what is kept of it: codec bytes as they came, or linear samples."""

from typing import Any

import numpy as np
import pytest

from firmware.policy.records import AudioCodec
from firmware.voip.audio import ALAW, MULAW, EarDecoder, linear
from firmware.voip.output import MediaPiece
from tests.voip.plain import established, kept
from tests.voip.wire import rtp, talk


def test_l16_leaves_as_linear_samples_at_its_own_rate() -> None:
    for kind, formats, rate_hz in ((98, "98", 8000), (97, "97", 16000)):
        wire, call, caller, _ = established(formats=formats)
        sent = []
        for number in range(20):
            values = np.arange(number * 320, number * 320 + 20 * rate_hz // 1000, dtype=np.int16)
            sent.append(values)
            caller.put(rtp(kind, number, number * len(values), 5, values.astype(">i2").tobytes()))
            wire.wait(20)
        result = kept(wire, call)
        pieces = [piece for piece in result.pieces if isinstance(piece.payload, np.ndarray)]
        assert {piece.codec for piece in pieces} == {AudioCodec.FLAC}
        assert {piece.rate_hz for piece in pieces} == {rate_hz}
        heard = np.concatenate([piece.payload[0] for piece in pieces if isinstance(piece.payload, np.ndarray)])
        assert np.array_equal(heard, np.concatenate(sent))


def test_two_sides_in_two_encodings_leave_as_what_their_bytes_mean() -> None:
    wire, call, caller, agent = established()
    agent.kind = 0
    talk(wire, 400, caller, agent)
    result = kept(wire, call)
    pieces = [piece for piece in result.pieces if isinstance(piece.payload, np.ndarray)]
    both = np.concatenate([piece.payload for piece in pieces if isinstance(piece.payload, np.ndarray)], axis=1)
    assert np.array_equal(both[0], ALAW[np.frombuffer(bytes(caller.sent), np.uint8)])
    assert np.array_equal(both[1], MULAW[np.frombuffer(bytes(agent.sent), np.uint8)])


def test_g722_is_kept_byte_for_byte_and_the_ear_hears_it_at_8_khz() -> None:
    wire, call, caller, agent = established(formats="9")
    caller.kind = agent.kind = 9
    talk(wire, 400, caller, agent)
    result = kept(wire, call)
    assert result.audio(0) == bytes(caller.sent)
    ear = EarDecoder()
    for piece in result.pieces:
        assert ear.hear(piece).shape == (2, piece.samples)
        assert linear(piece).shape == (2, 2 * piece.samples)


@pytest.mark.parametrize(
    ("table", "code", "value"),
    [(MULAW, 0xFF, 0), (MULAW, 0x00, -32124), (MULAW, 0x80, 32124), (MULAW, 0x7F, 0), (MULAW, 0xEF, 132),
     (ALAW, 0xD5, 8), (ALAW, 0x55, -8), (ALAW, 0x2A, -32256), (ALAW, 0xAA, 32256)],
)  # fmt: skip
def test_g711_tables_hold_the_values_of_the_standard(table: Any, code: int, value: int) -> None:
    assert table[code] == value


def test_a_piece_is_cut_sample_exactly_by_slicing() -> None:
    wire, call, caller, agent = established()
    talk(wire, 200, caller, agent)
    pieces = [piece for piece in kept(wire, call).pieces if isinstance(piece.payload, bytes)]
    piece: MediaPiece = pieces[0]
    assert isinstance(piece.payload, bytes)
    part = piece.payload[2 * 37 : 2 * 101]
    assert part[0::2] == bytes(caller.sent[37:101])
    assert part[1::2] == bytes(agent.sent[37:101])
