"""Sounds of a UK telephone line, made from their standards: caller ID (V.23), dial tone, keyed digits. For tapes and
demonstrations.

All return int16 [n] at 8 kHz. Levels are of full scale.
"""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from firmware.units import SAMPLE_RATE_HZ

Sound = NDArray[np.int16]

BAUD = 1200
MARK_HZ, SPACE_HZ = 1300, 2100
"""V.23, as BT SIN 227 takes it for caller display."""
SEIZURE_BITS, MARK_BITS = 180, 70
"""SIN 227: channel seizure 96 to 315 alternating bits, mark 55 to 90 bits."""
DT_AS_HZ = (2130, 2750)
DT_AS_S = 0.1

DTMF_HZ = {
    digit: (row, column)
    for row, digits in ((697, "123A"), (770, "456B"), (852, "789C"), (941, "*0#D"))
    for column, digit in zip((1209, 1336, 1477, 1633), digits, strict=True)
}
"""ITU-T Q.23."""


def silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.int16)


def tones(frequencies_hz: tuple[float, ...], seconds: float, level: float = 0.1) -> Sound:
    """``level`` is the peak of each tone."""
    time_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return _int16(sum((level * np.sin(2 * np.pi * hz * time_s) for hz in frequencies_hz), np.zeros(len(time_s))))


def dial_tone(seconds: float) -> Sound:
    """350 + 440 Hz (BT SIN 350)."""
    return tones((350.0, 440.0), seconds, 0.08)


def keyed(digits: str, on_s: float = 0.08, off_s: float = 0.08, level: float = 0.15) -> Sound:
    parts = [part for digit in digits for part in (tones(DTMF_HZ[digit], on_s, level), silence(off_s))]
    return np.concatenate(parts)


def caller_id(number: str | None, when: datetime, name: str | None = None) -> Sound:
    """Alert tone and caller display message as sent before the first ring; ``number`` None: withheld."""
    parameters = _parameter(0x11, b"\x01") + _parameter(0x01, when.strftime("%m%d%H%M").encode("ascii"))
    parameters += _parameter(0x02, number.encode("ascii")) if number else _parameter(0x04, b"P")
    if name:
        parameters += _parameter(0x07, name.encode("ascii"))
    body = bytes([0x80, len(parameters)]) + parameters
    message = body + bytes([-sum(body) % 256])
    bits = [i % 2 for i in range(SEIZURE_BITS)] + [1] * MARK_BITS
    for byte in message:
        bits += [0, *((byte >> i) & 1 for i in range(8)), 1]
    return np.concatenate([tones(DT_AS_HZ, DT_AS_S, 0.06), silence(0.06), _fsk([*bits, 1, 1, 1]), silence(0.25)])


def mix(length_s: float, *placed: tuple[float, Sound]) -> Sound:
    """Lay sounds at their seconds over silence; they add up where they meet."""
    out = np.zeros(round(length_s * SAMPLE_RATE_HZ), np.int32)
    for at_s, sound in placed:
        start = round(at_s * SAMPLE_RATE_HZ)
        stop = min(len(out), start + len(sound))
        out[start:stop] += sound[: stop - start]
    return np.clip(out, -32768, 32767).astype(np.int16)


def room_noise(seconds: float, seed: int, level: float = 0.0008) -> Sound:
    """What a quiet line sounds like: about -60 dBm0 of noise, so that a live channel is never digital silence."""
    return _int16(np.random.default_rng(seed).normal(0, level, round(seconds * SAMPLE_RATE_HZ)))


def _parameter(kind: int, content: bytes) -> bytes:
    return bytes([kind, len(content)]) + content


def _fsk(bits: list[int], level: float = 0.1) -> Sound:
    """Phase-continuous."""
    edges = np.round(np.arange(len(bits) + 1) * SAMPLE_RATE_HZ / BAUD).astype(int)
    frequency_hz = np.repeat(np.where(np.array(bits) == 1, MARK_HZ, SPACE_HZ), np.diff(edges))
    return _int16(level * np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ))


def _int16(samples: NDArray[np.floating]) -> Sound:
    rounded: Sound = np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    return rounded
