"""One line of the audit log: compose, parse, verify (FORMAT.md 8). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from firmware.store.ciphers import Ciphers
from firmware.store.errors import Malformed
from firmware.store.layout import AUDIT, bound, digest

LINE_BYTES_MAX = 1000
GENESIS_PREV = bytes(32)
Value = int | str | bytes

_WORD = re.compile(r"[a-z][a-z0-9_]*")
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_EVENT = re.compile(r"[A-Z][A-Z_]*")
_VALUE = re.compile(r"[a-z0-9_]*|-[0-9]+")
_LINE = re.compile(rb"([1-9][0-9]{0,18})\|([0-9]{1,15})\|([A-Z_]+)\|([a-z0-9_=;-]*)\|([0-9a-f]{64})\|([0-9a-f]{128})")


@dataclass(frozen=True)
class AuditLine:
    seq: int
    utc_ms: int
    event: str
    fields: dict[str, str]
    prev: bytes
    signature: bytes
    raw: bytes
    """Without the newline."""

    @cached_property
    def hash(self) -> bytes:
        return digest(self.raw)

    def integer(self, key: str) -> int:
        """Raises Malformed."""
        try:
            return int(self.fields[key])
        except (KeyError, ValueError):
            raise Malformed("audit field") from None


@dataclass(frozen=True)
class Signer:
    ciphers: Ciphers
    device_id: str
    seed: bytes | bytearray

    def sign(self, line: bytes) -> bytes:
        return self.ciphers.sign(self.seed, bound(AUDIT, self.device_id, line))


def compose(seq: int, utc_ms: int, event: str, fields: Mapping[str, Value], prev: bytes, signer: Signer) -> bytes:
    """The line without its newline. Words, integers and hex only: anything else is our own error."""
    assert _EVENT.fullmatch(event), "an event is upper case"
    pairs = ";".join(f"{_key(key)}={_value(value)}" for key, value in fields.items())
    unsigned = f"{seq}|{utc_ms}|{event}|{pairs}|{prev.hex()}".encode("ascii")
    line = unsigned + b"|" + signer.sign(unsigned).hex().encode("ascii")
    assert len(line) < LINE_BYTES_MAX
    return line


def parse_line(raw: bytes) -> AuditLine:
    """Raises Malformed. The signature is not checked."""
    match = _LINE.fullmatch(raw)
    if match is None:
        raise Malformed("audit line")
    seq, utc, event, pairs, prev, signature = (group.decode("ascii") for group in match.groups())
    fields = dict(_pair(pair) for pair in pairs.split(";")) if pairs else {}
    return AuditLine(int(seq), int(utc), event, fields, bytes.fromhex(prev), bytes.fromhex(signature), raw)


def verify_line(ciphers: Ciphers, device_id: str, line: AuditLine, public_key: bytes) -> bool:
    unsigned = line.raw.rpartition(b"|")[0]
    return ciphers.verify(public_key, bound(AUDIT, device_id, unsigned), line.signature)


def _key(key: str) -> str:
    assert _KEY.fullmatch(key), "an audit key is a word"
    return key


def _value(value: Value) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        assert _WORD.fullmatch(value), "an audit value is a word of a closed list, an integer or hex: no free text"
        return value
    return str(int(value))


def _pair(pair: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
        raise Malformed("audit field")
    return key, value
