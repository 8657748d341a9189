"""Codec bytes to linear samples: for the ear (tones, digits keyed in the audio) and for stretches in two encodings.

G.711 by the tables of ITU-T G.711; G.722 by the ``G722`` package (a C implementation of ITU-T G.722).
"""

import numpy as np
from G722 import G722  # type: ignore[import-not-found]
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec
from firmware.units import SAMPLE_RATE_HZ
from firmware.voip.output import MediaPiece
from firmware.voip.rtp import Coding

Samples = NDArray[np.int16]


def _mulaw_table() -> Samples:
    """G.711 table 2a/2b: 8-bit mu-law to 14-bit linear, shifted to 16 bits."""
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code & 0x70) >> 4)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> Samples:
    """G.711 table 1a/1b: 8-bit A-law to 13-bit linear, shifted to 16 bits."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = (code & 0x70) >> 4, code & 0x0F
    magnitude = np.where(exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


MULAW = _mulaw_table()
ALAW = _alaw_table()


def decode_mono(coding: Coding, data: bytes) -> Samples:
    """int16 [samples] at ``coding.rate_hz``. G.722 begins from its reset state at each call (it settles within
    milliseconds)."""
    if coding.codec is AudioCodec.PCMU:
        return MULAW[np.frombuffer(data, dtype=np.uint8)]
    if coding.codec is AudioCodec.PCMA:
        return ALAW[np.frombuffer(data, dtype=np.uint8)]
    if coding.codec is AudioCodec.G722:
        return _g722(data)
    return np.frombuffer(data, dtype=">i2").astype(np.int16)


def _g722(data: bytes) -> Samples:
    return np.array(G722(16000, 64000).decode(data), dtype=np.int16)


def linear(piece: MediaPiece) -> Samples:
    """int16 [2, samples * rate_hz / 8000] of a piece (caller, agent); zeros where it is a gap."""
    if piece.payload is None:
        return np.zeros((2, piece.samples * piece.rate_hz // 8000), dtype=np.int16)
    if isinstance(piece.payload, np.ndarray):
        return piece.payload
    codes = np.frombuffer(piece.payload, dtype=np.uint8).reshape(-1, 2).T
    if piece.codec is AudioCodec.PCMU:
        return np.take(MULAW, codes)
    if piece.codec is AudioCodec.PCMA:
        return np.take(ALAW, codes)
    return np.stack([_g722(channel.tobytes()) for channel in codes])


class EarDecoder:
    """Pieces of one call, in order, to what the ear hears: int16 [2, samples] at SAMPLE_RATE_HZ.

    Keeps the state of G.722 from piece to piece: a decoder that begins anew at each cut clicks, and a click is no
    digit but spoils one. Of wide audio the lower band is heard (0 to 4 kHz), where tones and digits are.
    """

    def __init__(self) -> None:
        self._narrow = [G722(SAMPLE_RATE_HZ, 64000) for _ in range(2)]

    def hear(self, piece: MediaPiece) -> Samples:
        if piece.codec is AudioCodec.G722 and isinstance(piece.payload, bytes):
            channels = (piece.payload[0::2], piece.payload[1::2])
            return np.stack(
                [np.array(g722.decode(data), dtype=np.int16) for g722, data in zip(self._narrow, channels, strict=True)]
            )
        samples = linear(piece)
        if piece.rate_hz == SAMPLE_RATE_HZ:
            return samples
        pairs = samples.reshape(2, -1, piece.rate_hz // SAMPLE_RATE_HZ).astype(np.int32)
        halves: Samples = (pairs.sum(axis=2) // pairs.shape[2]).astype(np.int16)
        return halves
