"""The words of a caller-ID message: bytes in, fields out. Junk in, None out; never an exception.

Parameters: EN 300 659-3 and SIN 227 (0x80 call set-up), Bellcore GR-30 SDMF (0x04) and MDMF (0x80). A message is
believed only when its checksum, its lengths and the form of every field that matters are right.
"""

from dataclasses import dataclass

CALL_SETUP = 0x80
MESSAGE_WAITING = 0x82
SINGLE_DATA = 0x04
SINGLE_DATA_WAITING = 0x06
TYPES = (CALL_SETUP, MESSAGE_WAITING, SINGLE_DATA, SINGLE_DATA_WAITING)

DATE, NUMBER, CALLED_LINE, NUMBER_ABSENCE = 0x01, 0x02, 0x03, 0x04
NAME, NAME_ABSENCE, COMPLEMENTARY_NUMBER, CALL_TYPE = 0x07, 0x08, 0x10, 0x11

NUMBER_MAX = 24
"""E.164 has 15 digits; international prefixes and PBX codes make it longer. EN 300 659-3 allows 20."""

NAME_MAX = 80
CALL_TYPES = {0x00: "voice", 0x01: "voice", 0x02: "ring_back", 0x03: "name_delivery", 0x81: "message_waiting"}
"""EN 300 659-3 5.4.10; 0x00 as voice is in one decoder's table: both accepted."""

NUMBER_CHARACTERS = frozenset("0123456789+*#")
ABSENCES = ("P", "O")
"""P withheld, O unavailable: different in law, kept apart."""


@dataclass(frozen=True, repr=False)
class ClipMessage:
    """Fields as sent. ``absence`` and ``name_absence`` are P or O. Not shown by repr: it holds a number."""

    message_type: int
    number: str | None = None
    absence: str | None = None
    name: str | None = None
    name_absence: str | None = None
    date: str | None = None
    call_type: str | None = None

    @property
    def is_call(self) -> bool:
        """A call, not a message-waiting lamp."""
        return self.message_type in (CALL_SETUP, SINGLE_DATA) and self.call_type != "message_waiting"


def parse(message: bytes) -> ClipMessage | None:
    """The whole message with its checksum byte, or None when anything about it is not right."""
    if len(message) < 3 or len(message) != message[1] + 3 or sum(message) & 0xFF:
        return None
    body = message[2:-1]
    if message[0] == SINGLE_DATA:
        return _single(body)
    if message[0] in (CALL_SETUP, MESSAGE_WAITING):
        return _multiple(message[0], body)
    return ClipMessage(message[0]) if message[0] == SINGLE_DATA_WAITING else None


def _single(body: bytes) -> ClipMessage | None:
    text = body.decode("latin-1")
    date, rest = text[:8], text[8:]
    if not valid_date(date):
        return None
    if rest in ABSENCES:
        return ClipMessage(SINGLE_DATA, absence=rest, date=date)
    return ClipMessage(SINGLE_DATA, number=rest, date=date) if _valid_number(rest) else None


def _multiple(message_type: int, body: bytes) -> ClipMessage | None:
    fields = _fields(body)
    if fields is None:
        return None
    text = {kind: value.decode("latin-1") for kind, value in fields.items()}
    checks = (
        DATE not in text or valid_date(text[DATE]),
        NUMBER not in text or _valid_number(text[NUMBER]),
        NUMBER_ABSENCE not in text or text[NUMBER_ABSENCE] in ABSENCES,
        NAME not in text or _valid_name(text[NAME]),
        NAME_ABSENCE not in text or text[NAME_ABSENCE] in ABSENCES,
        CALL_TYPE not in text or len(text[CALL_TYPE]) == 1,
        not (NUMBER in text and NUMBER_ABSENCE in text),
    )
    if not all(checks):
        return None
    call_type = CALL_TYPES.get(fields[CALL_TYPE][0]) if CALL_TYPE in fields else None
    return ClipMessage(
        message_type,
        text.get(NUMBER),
        text.get(NUMBER_ABSENCE),
        text.get(NAME),
        text.get(NAME_ABSENCE),
        text.get(DATE),
        call_type,
    )


def _fields(body: bytes) -> dict[int, bytes] | None:
    """Parameters by type; unknown ones are kept by length, a repeated or overlong one spoils the message."""
    fields: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        if at + 2 > len(body):
            return None
        kind, length = body[at], body[at + 1]
        value = body[at + 2 : at + 2 + length]
        if len(value) != length or kind in fields:
            return None
        fields[kind] = value
        at += 2 + length
    return fields


def valid_date(text: str) -> bool:
    """MMDDHHMM of some day of some year."""
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return False
    month, day, hour, minute = (int(text[i : i + 2]) for i in (0, 2, 4, 6))
    days = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1 <= month <= 12 and 1 <= day <= days[month - 1] and hour < 24 and minute < 60


def _valid_number(text: str) -> bool:
    return 1 <= len(text) <= NUMBER_MAX and set(text) <= NUMBER_CHARACTERS


def _valid_name(text: str) -> bool:
    return 1 <= len(text) <= NAME_MAX and all(" " <= c <= "~" or c >= "\xa0" for c in text)
