"""SDP (RFC 8866) and what an offer and its answer agree on (RFC 3264): address, direction, codecs, encryption."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

LINES_MAX = 1024
MEDIA_MAX = 16
PAYLOAD_TYPES_MAX = 64


class Flow(StrEnum):
    """Which way a side is willing to have media flow (RFC 3264 5.1)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"


_FLOWS = frozenset(Flow)

STATIC_PAYLOADS = {
    0: ("pcmu", 8000, 1),
    3: ("gsm", 8000, 1),
    4: ("g723", 8000, 1),
    8: ("pcma", 8000, 1),
    9: ("g722", 8000, 1),
    10: ("l16", 44100, 2),
    11: ("l16", 44100, 1),
    13: ("cn", 8000, 1),
    18: ("g729", 8000, 1),
    19: ("cn", 8000, 1),
}
"""RFC 3551 table 4; 19 is the old number of comfort noise."""


@dataclass(frozen=True, repr=False)
class Media:
    """One m= line. ``address`` is packed (4 or 16 bytes), None for a host name or a null address."""

    kind: str
    port: int
    protocol: str
    address: bytes | None
    null_address: bool
    flow: Flow
    payloads: dict[int, tuple[str, int, int]]
    """Payload type to (encoding name in lower case, clock rate, channels)."""
    keyed: bool
    """a=crypto, a=fingerprint or a=zrtp-hash is there."""

    def __repr__(self) -> str:
        return "Media(...)"

    @property
    def secure(self) -> bool:
        """The protocol itself demands SRTP (RTP/SAVP, RTP/SAVPF, UDP/TLS/RTP/SAVP...)."""
        return "SAVP" in self.protocol

    @property
    def held(self) -> bool:
        """Not sendrecv, or the null address of RFC 2543 hold."""
        return self.flow is not Flow.SENDRECV or self.null_address


@dataclass(frozen=True, repr=False)
class Session:
    media: tuple[Media, ...]

    def __repr__(self) -> str:
        return "Session(...)"


def parse_sdp(data: bytes) -> Session | None:
    """None where it is not SDP; linear time, never raises."""
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")[:LINES_MAX]
    if not lines or not lines[0].startswith("v="):
        return None
    blocks: list[list[tuple[str, str]]] = [[]]
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or len(key) != 1:
            continue
        if key == "m":
            if len(blocks) > MEDIA_MAX:
                break
            blocks.append([])
        blocks[-1].append((key, value.strip()))
    session = blocks[0]
    defaults = (_last(session, "c"), _flow(session), _is_keyed(session))
    return Session(tuple(_media(block, *defaults) for block in blocks[1:]))


def _media(block: list[tuple[str, str]], session_connection: str, session_flow: Flow | None, keyed: bool) -> Media:
    words = block[0][1].split()
    kind = words[0].lower() if words else ""
    port = _number(words[1].split("/")[0], 65535) if len(words) > 1 else 0
    protocol = words[2].upper() if len(words) > 2 else ""
    address, null = _address(_last(block, "c") or session_connection)
    flow = _flow(block) or session_flow or Flow.SENDRECV
    payloads = _payloads(words[3:], block)
    return Media(kind, port, protocol, address, null, flow, payloads, keyed or _is_keyed(block))


def _is_keyed(block: list[tuple[str, str]]) -> bool:
    names = {_attribute(value)[0] for key, value in block if key == "a"}
    return bool(names & {"crypto", "fingerprint", "zrtp-hash"})


def _last(block: list[tuple[str, str]], wanted: str) -> str:
    found = ""
    for key, value in block:
        if key == wanted:
            found = value
    return found


def _attribute(value: str) -> tuple[str, str]:
    name, _, text = value.partition(":")
    return name.strip().lower(), text.strip()


def _number(text: str, limit: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 and int(text) <= limit else 0


def _address(connection: str) -> tuple[bytes | None, bool]:
    words = connection.split()
    if len(words) < 3:
        return None, False
    try:
        address = ipaddress.ip_address(words[2].split("/")[0])
    except ValueError:
        return None, False
    if int(address) == 0:
        return None, True
    return address.packed, False


def _flow(block: list[tuple[str, str]]) -> Flow | None:
    for key, value in reversed(block):
        word = value.lower()
        if key == "a" and word in _FLOWS:
            return Flow(word)
    return None


def _payloads(formats: list[str], block: list[tuple[str, str]]) -> dict[int, tuple[str, int, int]]:
    payloads: dict[int, tuple[str, int, int]] = {}
    for word in formats[:PAYLOAD_TYPES_MAX]:
        number = _number(word, 127)
        if word.isdigit() and number in STATIC_PAYLOADS:
            payloads[number] = STATIC_PAYLOADS[number]
        elif number:
            payloads[number] = ("", 0, 1)
    for key, value in block:
        name, text = _attribute(value) if key == "a" else ("", "")
        if name != "rtpmap":
            continue
        words = text.split(None, 1)
        number = _number(words[0], 127) if words else 0
        if len(words) == 2 and words[0].isdigit() and (number in payloads):
            payloads[number] = _encoding(words[1])
    return payloads


def _encoding(text: str) -> tuple[str, int, int]:
    parts = text.strip().split("/")
    rate = _number(parts[1], 9_999_999) if len(parts) > 1 else 0
    channels = _number(parts[2], 32) if len(parts) > 2 else 1
    return parts[0].strip().lower(), rate, channels or 1


def agreed_audio(offer: Session, answer: Session) -> tuple[Media, Media] | None:
    """The first audio line that both sides left open (port not 0), as (offerer's, answerer's); None where none is."""
    for offered, answered in zip(offer.media, answer.media, strict=False):
        if offered.kind == "audio" and answered.kind == "audio" and offered.port and answered.port:
            return offered, answered
    return None


def first_audio(session: Session) -> Media | None:
    for media in session.media:
        if media.kind == "audio" and media.port:
            return media
    return None


def is_encrypted(first: Media, second: Media) -> bool:
    """Whether RTP between the two cannot be read: an SRTP profile, or keys or ZRTP offered and taken by both."""
    return first.secure or second.secure or (first.keyed and second.keyed)
