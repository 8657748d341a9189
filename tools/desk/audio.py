"""From verified pieces to one time axis: sample 0 is the answer, the last sample the on-hook, everything that was not
kept is silence of its true length."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import soundfile
from G722 import G722  # type: ignore[import-not-found]
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec
from firmware.store.frame import Piece
from firmware.units import SAMPLE_RATE_HZ
from tools.desk import g711
from tools.desk.errors import Damaged

Sound = NDArray[np.int16]

G722_BITS_PER_S = 64_000
"""Mode 1 of ITU-T G.722, the only one that RFC 3551 carries."""

CALL_SAMPLES_MAX = 24 * 3600 * 16000
"""A day at 16 kHz: more cannot be one telephone call, and must not exhaust the PC."""


class Decoder:
    """Pieces of one call, in order, to int16 [channels, samples] at 8 kHz.

    G.722 is heard in its lower band, 0 to 4 kHz: all of a call has one time axis at the line's rate, and the codec's
    own bytes stay untouched in the answer. Its decoder keeps its state from piece to piece: one that begins anew
    at each piece clicks.
    """

    def __init__(self) -> None:
        self._g722: list[G722] = []

    def decode(self, piece: Piece) -> Sound:
        """Raises Damaged."""
        payload = bytes(piece.payload)
        if piece.codec is AudioCodec.FLAC:
            sound = _flac(payload)
        elif piece.codec is AudioCodec.PCMU:
            sound = _interleaved(g711.decode_pcmu(payload), piece.channels)
        elif piece.codec is AudioCodec.PCMA:
            sound = _interleaved(g711.decode_pcma(payload), piece.channels)
        else:
            sound = self._lower_band(np.frombuffer(payload, np.uint8), piece.channels)
        if sound.shape != (piece.channels, piece.samples):
            raise Damaged("A piece of audio has another length than it says.")
        return sound

    def _lower_band(self, codes: NDArray[np.uint8], channels: int) -> Sound:
        self._g722 += [G722(SAMPLE_RATE_HZ, G722_BITS_PER_S) for _ in range(channels - len(self._g722))]
        sides = _interleaved(codes, channels)
        pairs = zip(self._g722, sides, strict=False)
        return np.stack([np.array(decoder.decode(side.tobytes()), np.int16) for decoder, side in pairs])


def _flac(payload: bytes) -> Sound:
    try:
        samples, _ = soundfile.read(io.BytesIO(payload), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError:
        raise Damaged("A piece of audio is no FLAC stream.") from None
    return np.ascontiguousarray(samples.T)


def _interleaved(samples: NDArray[Any], channels: int) -> NDArray[Any]:
    if channels < 1 or len(samples) % channels:
        raise Damaged("A piece of audio does not divide into its channels.")
    return samples.reshape(-1, channels).T


def mono(sound: Sound) -> Sound:
    """Both directions of a call added, limited to 16 bits."""
    if sound.shape[0] == 1:
        only: Sound = sound[0]
        return only
    total = sound.astype(np.int32).sum(axis=0)
    limited: Sound = np.clip(total, -32768, 32767).astype(np.int16)
    return limited


def assemble(pieces: Iterable[Piece], samples: int) -> Sound:
    """int16 [samples]; ``samples`` 0 (a call cut by a power failure): up to the end of the last piece."""
    kept = [piece for piece in pieces if piece.reason is None]
    length = samples or max((piece.first_sample + piece.samples for piece in kept), default=0)
    if length > CALL_SAMPLES_MAX:
        raise Damaged("The call claims to last longer than a day.")
    axis, decoder = np.zeros(length, np.int16), Decoder()
    for piece in kept:
        end = min(piece.first_sample + piece.samples, length)
        if end > piece.first_sample:
            axis[piece.first_sample : end] = mono(decoder.decode(piece))[: end - piece.first_sample]
    return axis


def wav(axis: Sound, rate_hz: int) -> bytes:
    return _encoded(axis, rate_hz, "WAV")


def flac(axis: Sound, rate_hz: int) -> bytes:
    return _encoded(axis, rate_hz, "FLAC")


def _encoded(axis: Sound, rate_hz: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, axis, rate_hz, format=kind, subtype="PCM_16")
    return buffer.getvalue()
