"""Broadcast Wave: a WAV whose ``bext`` chunk says which recorder made it, and when (EBU Tech 3285, version 1).

Description never holds a telephone number: such files are mailed about by name and description.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime

from firmware.units import MS_PER_DAY
from tools.desk.audio import Sound

BEXT = struct.Struct("<256s32s32s10s8sIIH64s190s")
"""EBU Tech 3285 clause 2.3: Description, Originator, OriginatorReference, OriginationDate, OriginationTime,
TimeReference (low, high), Version, UMID, Reserved. CodingHistory follows."""
VERSION = 1
FORMAT = struct.Struct("<HHIIHH")
PCM = 1


@dataclass(frozen=True)
class Origin:
    """``reference``: at most 32 ASCII characters, here the call id. ``answered_utc_ms``: the moment of sample 0."""

    device_id: str
    reference: str
    answered_utc_ms: int
    description: str


def broadcast_wav(axis: Sound, rate_hz: int, origin: Origin) -> bytes:
    """RIFF WAVE, mono, 16 bit: bext, fmt, data."""
    form = FORMAT.pack(PCM, 1, rate_hz, 2 * rate_hz, 2, 16)
    data = axis.astype("<i2").tobytes()
    chunks = _chunk(b"bext", _bext(origin, rate_hz)) + _chunk(b"fmt ", form) + _chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _bext(origin: Origin, rate_hz: int) -> bytes:
    answered = datetime.fromtimestamp(origin.answered_utc_ms // 1000, UTC)
    reference = origin.answered_utc_ms % MS_PER_DAY * rate_hz // 1000
    history = f"A=PCM,F={rate_hz},W=16,M=mono,T=Tacet {origin.device_id}; silence stands for gaps\r\n"
    fixed = BEXT.pack(
        origin.description.encode("ascii"),
        origin.device_id.encode("ascii"),
        origin.reference.encode("ascii"),
        answered.strftime("%Y-%m-%d").encode("ascii"),
        answered.strftime("%H:%M:%S").encode("ascii"),
        reference & 0xFFFFFFFF,
        reference >> 32,
        VERSION,
        bytes(64),
        bytes(190),
    )
    return fixed + history.encode("ascii")
