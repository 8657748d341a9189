"""A reader of what a stick carries away, for the store's tests: parsed, verified and opened as FORMAT.md says.

Verify first, then open: ``trust`` turns an audit log and the pinned genesis key into the keys of all epochs,
``verify_call`` checks a call against them and names what is wrong frame by frame, ``open_call`` yields what was said.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from firmware.policy.records import CallMeta, Outcome
from firmware.store import meta as metas
from firmware.store.audit import AuditLine, parse_line, verify_line
from firmware.store.ciphers import REAL, Ciphers
from firmware.store.entries import (
    OUTCOMES,
    Close,
    HoldInfo,
    Kind,
    Meta,
    Open,
    decode_close,
    decode_hold,
    decode_meta,
    decode_open,
    verify_close,
)
from firmware.store.errors import Malformed
from firmware.store.frame import (
    HEADER_BYTES,
    Header,
    Piece,
    ciphertext_sound,
    decode_pieces,
    open_frame,
    parse_header,
    verify_signature,
)
from firmware.store.keys import Purpose, SealedKey, open_key, open_text, parse_sealed
from firmware.store.layout import BLOCK_BYTES, DEK, HOLD, META, Cursor, digest

INDEX_ENTRY = 16
Keys = Mapping[int, bytes]
"""sign_epoch → Ed25519 public key."""


# -------------------------------------------------------------------------------------------------- records of a .key


@dataclass(frozen=True)
class IndexEntry:
    call_id: bytes
    line: int
    opened_utc_ms: int
    closed_utc_ms: int
    outcome: Outcome
    held: bool


@dataclass(frozen=True)
class CallRecords:
    """What a ``data/<n>.key`` holds. ``raw_*``: the bodies as they were signed over."""

    open: Open
    keys: tuple[SealedKey, ...]
    close: Close
    meta: Meta | None
    raw_open: bytes
    raw_meta: bytes | None


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, body) of FORMAT.md 10. Raises Malformed."""
    at = Cursor(data)
    while at.at < len(data):
        yield at.u8(), at.take(at.u32())


def parse_key_file(data: bytes) -> CallRecords:
    """Exactly one OPEN, one CLOSE and at most one META, all of one call. Raises Malformed."""
    found: dict[int, bytes] = {}
    for kind, body in records(data):
        if kind in found or kind not in (Kind.OPEN, Kind.META, Kind.CLOSE):
            raise Malformed("records")
        found[kind] = body
    if Kind.OPEN not in found or Kind.CLOSE not in found:
        raise Malformed("records missing")
    entry, keys = decode_open(found[Kind.OPEN])
    close = decode_close(found[Kind.CLOSE])
    raw_meta = found.get(Kind.META)
    meta = None if raw_meta is None else decode_meta(raw_meta)
    if close.call_id != entry.call_id or (meta is not None and meta.call_id != entry.call_id):
        raise Malformed("records of different calls")
    return CallRecords(entry, keys, close, meta, found[Kind.OPEN], raw_meta)


def parse_index(data: bytes) -> list[tuple[IndexEntry, Meta | None]]:
    """The records of ``data/index/<n>.key``: META where there is one, CLOSE, entry. Raises Malformed."""
    entries: list[tuple[IndexEntry, Meta | None]] = []
    before: dict[int, bytes] = {}
    for kind, body in records(data):
        if kind in before or kind not in (Kind.META, Kind.CLOSE, INDEX_ENTRY):
            raise Malformed("records")
        before[kind] = body
        if kind == INDEX_ENTRY:
            entries.append(_indexed(before))
            before = {}
    if before:
        raise Malformed("records")
    return entries


def _indexed(found: Mapping[int, bytes]) -> tuple[IndexEntry, Meta | None]:
    entry = _index_entry(found[INDEX_ENTRY])
    meta = decode_meta(found[Kind.META]) if Kind.META in found else None
    if Kind.CLOSE not in found:
        raise Malformed("records missing")
    if {entry.call_id} != {decode_close(found[Kind.CLOSE]).call_id, entry.call_id if meta is None else meta.call_id}:
        raise Malformed("records of different calls")
    return entry, meta


def _index_entry(body: bytes) -> IndexEntry:
    at = Cursor(body)
    call_id, line = at.take(16), at.u8()
    opened, closed = at.unpack("QQ")
    outcome, held = at.u8(), at.flag()
    at.end()
    if not 1 <= outcome <= len(OUTCOMES):
        raise Malformed("outcome")
    return IndexEntry(call_id, line, opened, closed, OUTCOMES[outcome - 1], held)


# ----------------------------------------------------------------------------------------------------- the audit log


@dataclass(frozen=True)
class Trust:
    """What an exported audit log proves under a pinned genesis key."""

    keys: dict[int, bytes]
    lines: list[AuditLine]
    """The part without holes, verified up to the first problem."""
    problems: list[str]


def split_lines(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line]


def trust(device_id: str, genesis_key: bytes, raw_lines: Iterable[bytes], ciphers: Ciphers = REAL) -> Trust:
    """Checks every signature, ``seq``, ``prev`` and the DAYEND counts (FORMAT.md 8 and 10). Never raises on content."""
    chain = _Chain(device_id, genesis_key, ciphers)
    for raw in raw_lines:
        if not chain.take(raw):
            break
    return Trust(chain.keys, chain.lines, chain.problems)


@dataclass
class _Chain:
    device_id: str
    genesis_key: bytes
    ciphers: Ciphers
    epoch: int = 0
    keys: dict[int, bytes] = field(default_factory=dict)
    lines: list[AuditLine] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    last: AuditLine | None = None
    epoch_first_seq: int = 1

    def __post_init__(self) -> None:
        self.keys[0] = self.genesis_key

    def take(self, raw: bytes) -> bool:
        """False where nothing after this line can be believed."""
        try:
            line = parse_line(raw)
            if not verify_line(self.ciphers, self.device_id, line, self.keys[self.epoch]):
                return self._problem(f"line {line.seq}: signature")
            if not self._continues(line):
                return False
            if line.event == "DAYEND":
                return self._next_epoch(line)
        except Malformed:
            return self._problem("a line is malformed")
        return True

    def _continues(self, line: AuditLine) -> bool:
        """Without a hole; before the log's first line only DAYENDs of ended epochs may stand alone."""
        last = self.last
        if last is not None and line.seq <= last.seq:
            return self._problem(f"line {line.seq}: out of order")
        joined = line.prev == last.hash and line.seq == last.seq + 1 if last is not None else line.seq == 1
        older = all(line.event == "DAYEND" for line in self.lines)
        if not joined and not older:
            return self._problem(f"line {line.seq}: chain")
        if not joined:
            self.lines = []
        self.lines.append(line)
        self.last = line
        return True

    def _next_epoch(self, line: AuditLine) -> bool:
        if line.integer("epoch") != self.epoch:
            return self._problem(f"line {line.seq}: epoch")
        if line.integer("lines") != line.seq - self.epoch_first_seq + 1:
            return self._problem(f"line {line.seq}: count")
        self.epoch += 1
        self.epoch_first_seq = line.seq + 1
        self.keys[self.epoch] = _key(line.fields.get("next", ""))
        return True

    def _problem(self, text: str) -> bool:
        self.problems.append(text)
        return False


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise Malformed("key") from None
    if len(key) != 32:
        raise Malformed("key")
    return key


# ----------------------------------------------------------------------------------------------------- verifying a call


@dataclass(frozen=True)
class Frame:
    header: Header
    ciphertext: bytes


@dataclass(frozen=True)
class Verified:
    """``problems``: empty where the call is whole and the device's. ``frames``: those that are sound, in order."""

    frames: list[Frame]
    problems: list[str]


def split_frames(data: bytes) -> tuple[list[Frame], list[str]]:
    """A .tcf file into frames; a damaged stretch is named and stepped over block by block."""
    frames: list[Frame] = []
    problems: list[str] = []
    at = 0
    damaged_from: int | None = None
    while at < len(data):
        try:
            header = parse_header(data[at : at + HEADER_BYTES])
            end = at + header.blocks * BLOCK_BYTES
            if end > len(data):
                raise Malformed("truncated")
        except Malformed as error:
            if damaged_from is None:
                damaged_from = at
                problems.append(f"block {at // BLOCK_BYTES}: {error}")
            at += BLOCK_BYTES
            continue
        damaged_from = None
        frames.append(Frame(header, data[at + HEADER_BYTES : end]))
        at = end
    return frames, problems


def verify_call(device_id: str, call: CallRecords, data: bytes, keys: Keys, ciphers: Ciphers = REAL) -> Verified:
    """CLOSE, META's hash, every frame's CRC and signature, order, chain, completeness. Never raises on content."""
    frames, problems = split_frames(data)
    problems += _close_problems(device_id, call, keys, ciphers)
    sound: list[Frame] = []
    link, expected = digest(call.raw_open), 0
    for frame in frames:
        trouble = _frame_problem(device_id, call, frame, keys, ciphers)
        seq = frame.header.seq
        if trouble is None and seq < expected:
            trouble = "repeated or out of order"
        if trouble is not None:
            problems.append(f"frame {seq}: {trouble}")
            continue
        if seq > expected:
            problems.append(f"frames {expected} to {seq - 1}: missing")
        elif frame.header.previous != link:
            problems.append(f"frame {seq}: chain")
            continue
        sound.append(frame)
        link, expected = frame.header.link, seq + 1
    if expected != call.close.frames:
        problems.append(f"frames: {expected} of {call.close.frames}")
    elif link != call.close.last_hash:
        problems.append("close: hash of the last frame")
    return Verified(sound, problems)


def _close_problems(device_id: str, call: CallRecords, keys: Keys, ciphers: Ciphers) -> list[str]:
    close = call.close
    problems: list[str] = []
    key = keys.get(close.sign_epoch)
    if key is None:
        problems.append("close: its key is not known")
    elif not verify_close(ciphers, device_id, close, key):
        problems.append("close: signature")
    meta_hash = bytes(32) if call.raw_meta is None else digest(call.raw_meta)
    if close.meta_hash != meta_hash:
        problems.append("meta: not the one that was closed with")
    return problems


def _frame_problem(device_id: str, call: CallRecords, frame: Frame, keys: Keys, ciphers: Ciphers) -> str | None:
    header = frame.header
    if header.call_id != call.open.call_id:
        return "of another call"
    if not ciphertext_sound(header, frame.ciphertext):
        return "damaged"
    key = keys.get(header.sign_epoch)
    if key is None:
        return "its key is not known"
    return None if verify_signature(ciphers, device_id, header, key) else "signature"


# ------------------------------------------------------------------------------------------------------- opening a call


def open_dek(device_id: str, call: CallRecords, key_id: bytes, private_key: bytes, ciphers: Ciphers = REAL) -> bytes:
    """Raises BadSeal."""
    purpose = Purpose(DEK, device_id, call.open.call_id, call.open.opened_utc_ms)
    return open_key(ciphers, call.keys, key_id, private_key, purpose)


def open_meta(
    device_id: str, meta: Meta, opened_utc_ms: int, key_id: bytes, private_key: bytes, ciphers: Ciphers = REAL
) -> CallMeta:
    """Raises BadSeal, Malformed."""
    purpose = Purpose(META, device_id, meta.call_id, opened_utc_ms)
    return metas.decode(open_text(ciphers, meta.keys, meta.sealed, key_id, private_key, purpose))


def open_hold_text(
    device_id: str, hold: bytes, opened_utc_ms: int, key_id: bytes, private_key: bytes, ciphers: Ciphers = REAL
) -> bytes:
    """The case and reason of a HOLDINFO body. Raises BadSeal, Malformed."""
    info: HoldInfo = decode_hold(hold)
    at = Cursor(info.sealed)
    keys, sealed = parse_sealed(at), at.prefixed()
    return open_text(ciphers, keys, sealed, key_id, private_key, Purpose(HOLD, device_id, info.call_id, opened_utc_ms))


def pieces(dek: bytes, frames: Sequence[Frame], ciphers: Ciphers = REAL) -> Iterator[Piece]:
    """What was kept, in order: (first_sample, samples, reason, codec, channels, rate_hz, payload). Raises BadSeal at a
    frame whose commitment or seal does not hold, Malformed."""
    for frame in frames:
        yield from decode_pieces(open_frame(ciphers, dek, frame.header, frame.ciphertext))


def record(kind: int, body: bytes) -> bytes:
    """One record of FORMAT.md 10."""
    return struct.pack(">BI", kind, len(body)) + body
