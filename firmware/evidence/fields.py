"""Values and fields of the notes that cross the stick: how each is spelled, and the reader of ``name: value`` lines.

One spelling per value, so that what is read back and written again is the same bytes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

TEXT_CHARACTERS_MAX = 200
YEAR_MIN, YEAR_MAX = 2000, 2200

Reader = Callable[[str], object]
Readers = Mapping[str, tuple[str, Reader]]
"""Field name -> (attribute, reader). A reader raises ValueError."""


class FieldError(ValueError):
    """The text is not in the form it claims; the sentence names the field, never its value."""


@dataclass(frozen=True)
class NewKey:
    """One line of a KEYS order or of a provisioning pack. ``kind``: suite number for a recipient, role for a
    request key."""

    key_id: bytes
    kind: str
    public_key: bytes

    def text(self) -> str:
        return f"{self.key_id.hex()} {self.kind} {self.public_key.hex()}"


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
DEVICE_ID = re.compile(r"[A-Z0-9](?:[A-Z0-9-]{2,22})[A-Z0-9]")
LINE_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
VERSION = re.compile(r"[A-Za-z0-9._-]{1,32}")


def is_device_id(text: str) -> bool:
    """4 to 24 of A-Z, 0-9 and inner hyphens: safe as a directory name on FAT, where case means nothing."""
    return DEVICE_ID.fullmatch(text) is not None


def utc_text(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_utc(text: str) -> int:
    """Milliseconds. ``YYYY-MM-DDTHH:MM:SSZ`` only; raises ValueError."""
    if not _TIME.fullmatch(text):
        raise ValueError("not a UTC time")
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    if not YEAR_MIN <= moment.year < YEAR_MAX:
        raise ValueError("not a plausible year")
    return int(moment.timestamp()) * 1000


def hexadecimal(length: int) -> Callable[[str], bytes]:
    def read(text: str) -> bytes:
        if not re.fullmatch(f"[0-9a-f]{{{2 * length}}}", text):
            raise ValueError("not lower-case hex of the right length")
        return bytes.fromhex(text)

    return read


def matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError("not in the permitted form")
        return text

    return read


def free_text(text: str) -> str:
    if not text or text != text.strip() or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
        raise ValueError("not a short printable text")
    return text


def yes_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("neither yes nor no")
    return text == "yes"


def parse_key(text: str) -> NewKey:
    """``<key id, 16 hex> <suite number or role> <public key, 64 hex>``. Raises ValueError."""
    parts = text.split(" ")
    if len(parts) != 3:
        raise ValueError("not three words")
    return NewKey(hexadecimal(8)(parts[0]), matching(VERSION)(parts[1]), hexadecimal(32)(parts[2]))


def words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, int):
        return utc_text(value)
    if isinstance(value, NewKey):
        return value.text()
    return str(value)


def read_fields(
    lines: Sequence[str],
    single: Readers,
    lists: Readers,
) -> dict[str, object]:
    """``name: value`` lines into attribute values by the readers; raises FieldError for an unknown, repeated or
    unreadable field."""
    values: dict[str, object] = {}
    many: dict[str, list[object]] = {}
    for line in lines:
        name, colon, text = line.partition(": ")
        if not colon or (name not in single and name not in lists):
            raise FieldError("a line is not a known field")
        attribute, reader = single[name] if name in single else lists[name]
        try:
            value = reader(text)
        except ValueError:
            raise FieldError(f"the field {name} is not in its permitted form") from None
        if name in lists:
            many.setdefault(attribute, []).append(value)
        elif attribute in values:
            raise FieldError(f"the field {name} is there twice")
        else:
            values[attribute] = value
    for attribute, items in many.items():
        if len(set(items)) != len(items):
            raise FieldError("an item is there twice")
        values[attribute] = tuple(items)
    return values
