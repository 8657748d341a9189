"""RTP (RFC 3550), redundancy (RFC 2198) and named events (RFC 4733): headers read, nothing kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from firmware.policy.records import AudioCodec
from firmware.units import SAMPLE_RATE_HZ
from firmware.voip.sdp import STATIC_PAYLOADS, Media

HEADER = Struct("!BBHII")
"""V P X CC, M PT, sequence, time stamp, SSRC."""

EVENT = Struct("!BBH")
"""Event code, E R volume, duration (RFC 4733 2.3)."""

RTCP_TYPES = range(72, 77)
"""RTCP packet types 200 to 204 as they look in the payload type field, where RTP and RTCP share a port (RFC 5761 4)."""

ZRTP_PLAIN = (b"Hello   ", b"HelloACK", b"Ping    ", b"PingACK ", b"Error   ", b"ErrorACK")
"""ZRTP messages that agree on nothing (RFC 6189 5.1.1): a telephone says Hello to one that does not know ZRTP, and
speaks plainly then."""

REDUNDANT_BLOCKS_MAX = 8


class Coding(NamedTuple):
    """A recordable encoding. ``unit_bytes``: bytes per 8 kHz sample; ``clock``: RTP clock ticks per 8 kHz sample."""

    codec: AudioCodec
    rate_hz: int
    unit_bytes: int
    clock: int
    silence: bytes
    """One 8 kHz sample of it. G.722 adapts, so no byte is exact silence: 0xFF decodes to at most 3 of 32767 (measured
    over 1 s); what an encoder sends for zeros, 0xFA, drifts to 200 when it is repeated."""


PCMU = Coding(AudioCodec.PCMU, 8000, 1, 1, b"\xff")
PCMA = Coding(AudioCodec.PCMA, 8000, 1, 1, b"\xd5")
G722 = Coding(AudioCodec.G722, 16000, 1, 1, b"\xff")
L16_8 = Coding(AudioCodec.FLAC, 8000, 2, 1, b"\0\0")
L16_16 = Coding(AudioCodec.FLAC, 16000, 4, 2, b"\0\0\0\0")

NAMED_UNRECORDABLE = ("g729", "opus", "g723", "ilbc", "amr", "gsm")
IGNORED_ENCODINGS = ("telephone-event", "cn", "red", "tone")


@dataclass(frozen=True)
class PayloadTypes:
    """What the payload types of one direction mean."""

    codings: dict[int, Coding]
    events: frozenset[int]
    noise: frozenset[int]
    redundant: frozenset[int]
    unrecordable: dict[int, str]
    """Payload type to a word of the closed list of ``NotRecordableCodec``."""
    preferred: Coding | None
    """The first recordable encoding of the receiver: what its channel's silence is written in before any audio."""


def coding_of(name: str, rate_hz: int, channels: int) -> Coding | None:
    if channels != 1:
        return None
    if name == "l16":
        return {8000: L16_8, 16000: L16_16}.get(rate_hz)
    if rate_hz != SAMPLE_RATE_HZ:
        return None
    return {"pcmu": PCMU, "pcma": PCMA, "g722": G722}.get(name)


def unrecordable_word(name: str) -> str:
    for word in NAMED_UNRECORDABLE:
        if name.startswith(word):
            return word
    return "other"


def payload_types(receiver: Media, sender: Media) -> PayloadTypes:
    """The receiver's numbers count (RFC 3264 5.1); the sender's and the static ones (RFC 3551) fill what it left
    out."""
    return _types({**STATIC_PAYLOADS, **sender.payloads, **receiver.payloads}, receiver.payloads)


def _types(table: dict[int, tuple[str, int, int]], listed: Iterable[int]) -> PayloadTypes:
    codings: dict[int, Coding] = {}
    unrecordable: dict[int, str] = {}
    for number, (name, rate_hz, channels) in table.items():
        coding = coding_of(name, rate_hz, channels)
        if coding is not None:
            codings[number] = coding
        elif name and name not in IGNORED_ENCODINGS:
            unrecordable[number] = unrecordable_word(name)
    preferred = next((codings[number] for number in listed if number in codings), None)
    return PayloadTypes(
        preferred=preferred,
        codings=codings,
        events=frozenset(number for number, entry in table.items() if entry[0] == "telephone-event"),
        noise=frozenset(number for number, entry in table.items() if entry[0] == "cn"),
        redundant=frozenset(number for number, entry in table.items() if entry[0] == "red"),
        unrecordable=unrecordable,
    )


STATIC_TYPES = _types(STATIC_PAYLOADS, ())
"""Before anything was agreed."""


def agreed_encoding(first: Media, second: Media) -> str | None:
    """A word for what the two sides will speak when nothing recordable is common to both; None where something is.

    The answer lists what will be used (RFC 3264 6.1), so the first voice encoding of each side counts.
    """
    for media in (first, second):
        voices = [entry for entry in media.payloads.values() if entry[0] not in IGNORED_ENCODINGS]
        if voices and all(coding_of(*entry) is None for entry in voices):
            return unrecordable_word(voices[0][0])
    return None


def payload_span(data: bytes, offset: int, end: int) -> tuple[int, int] | None:
    """(start, end) of the payload behind CSRCs, extension and padding; None where the lengths do not fit."""
    first = data[offset]
    start = offset + 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > end:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if first & 0x20 and end > offset:
        end -= data[end - 1]
    return (start, end) if start <= end else None


def redundant_blocks(payload: bytes) -> list[tuple[int, int, bytes]] | None:
    """(payload type, time stamp offset, block), oldest first, the primary last with offset 0 (RFC 2198 3)."""
    heads: list[tuple[int, int, int]] = []
    position = 0
    while position < len(payload) and payload[position] & 0x80:
        if position + 4 > len(payload) or len(heads) >= REDUNDANT_BLOCKS_MAX:
            return None
        word = int.from_bytes(payload[position : position + 4], "big")
        heads.append((word >> 24 & 0x7F, word >> 10 & 0x3FFF, word & 0x3FF))
        position += 4
    if position >= len(payload):
        return None
    primary = payload[position] & 0x7F
    position += 1
    blocks = []
    for number, back, length in heads:
        if position + length > len(payload):
            return None
        blocks.append((number, back, payload[position : position + length]))
        position += length
    blocks.append((primary, 0, payload[position:]))
    return blocks


def turns_encrypted(data: bytes, offset: int, end: int) -> bool:
    """A packet that is not RTP: DTLS (RFC 7983 7), or ZRTP that goes beyond asking who knows it. Its cookie stands
    at byte 4, its message type at byte 16 (RFC 6189 5, 5.2)."""
    if 20 <= data[offset] <= 63:
        return True
    return data[offset + 4 : offset + 8] == b"ZRTP" and data[offset + 16 : min(offset + 24, end)] not in ZRTP_PLAIN
