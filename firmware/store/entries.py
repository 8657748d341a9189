"""The bodies of a bag's entries: OPEN, META, CLOSE, HOLDINFO, INTENT (FORMAT.md 5 and 6)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from firmware.policy.records import AudioCodec, Direction, Ended, LedgerRow, Outcome
from firmware.store.ciphers import SIGNATURE_BYTES, Ciphers
from firmware.store.errors import Malformed
from firmware.store.keys import SealedKey, parse_sealed
from firmware.store.layout import CLOSE, Cursor, bound, flag, prefixed
from firmware.store.table import Op

E = TypeVar("E", bound=IntEnum)
T = TypeVar("T")

CALL_ID_BYTES = 16
EXTENTS_MAX = 16

OUTCOMES = tuple(Outcome)
DIRECTIONS = tuple(Direction)
ENDINGS = tuple(Ended)
assert (len(OUTCOMES), len(DIRECTIONS), len(ENDINGS)) == (9, 4, 5), "FORMAT.md 6 numbers them in this order from 1"


class Kind(IntEnum):
    OPEN = 1
    CLOSE = 2
    HOLDINFO = 3
    META = 4
    INTENT = 5


@dataclass(frozen=True)
class Open:
    call_id: bytes
    opened_utc_ms: int
    line: int
    codec: AudioCodec
    channels: int
    rate_hz: int
    first: int
    """Position of the ring's head at the opening: no frame of the call lies before it."""
    sealed_dek: bytes
    """``sealed("tacet/dek/1")``, as bytes."""

    def encode(self) -> bytes:
        head = struct.pack(
            ">16sQBBBHQ",
            self.call_id,
            self.opened_utc_ms,
            self.line,
            self.codec,
            self.channels,
            self.rate_hz,
            self.first,
        )
        return head + self.sealed_dek


def decode_open(body: bytes) -> tuple[Open, tuple[SealedKey, ...]]:
    """Raises Malformed."""
    at = Cursor(body)
    call_id, opened, line, codec, channels, rate, first = at.unpack("16sQBBBHQ")
    start = at.at
    keys = parse_sealed(at)
    at.end()
    return Open(call_id, opened, line, _member(AudioCodec, codec), channels, rate, first, body[start:]), keys


@dataclass(frozen=True)
class Meta:
    call_id: bytes
    keys: tuple[SealedKey, ...]
    sealed: bytes


def decode_meta(body: bytes) -> Meta:
    """Raises Malformed."""
    at = Cursor(body)
    meta = Meta(at.take(CALL_ID_BYTES), parse_sealed(at), at.prefixed())
    at.end()
    return meta


@dataclass(frozen=True)
class Close:
    call_id: bytes
    closed_utc_ms: int
    ended: Ended
    outcome: Outcome
    direction: Direction
    sense: bool
    rule: str
    frames: int
    last_seq: int
    last_hash: bytes
    first: int
    end: int
    meta_hash: bytes
    sign_epoch: int
    signature: bytes = b""

    def unsigned(self) -> bytes:
        rule = self.rule.encode("ascii")
        head = struct.pack(
            ">16sQBBBBB",
            self.call_id,
            self.closed_utc_ms,
            ENDINGS.index(self.ended) + 1,
            OUTCOMES.index(self.outcome) + 1,
            DIRECTIONS.index(self.direction) + 1,
            self.sense,
            len(rule),
        )
        counts = struct.pack(">II32sQQ", self.frames, self.last_seq, self.last_hash, self.first, self.end)
        return head + rule + counts + self.meta_hash + struct.pack(">I", self.sign_epoch)

    def encode(self) -> bytes:
        assert len(self.signature) == SIGNATURE_BYTES
        return self.unsigned() + self.signature

    def row(self, line: int, started_utc_ms: int) -> LedgerRow:
        """The ledger row that this CLOSE promised; written at boot where a cut came between the two."""
        return LedgerRow(
            line,
            self.outcome,
            self.direction,
            self.rule,
            started_utc_ms,
            self.closed_utc_ms,
            self.sense,
            self.call_id,
            self.ended,
        )


def close_message(device_id: str, unsigned: bytes) -> bytes:
    return bound(CLOSE, device_id, unsigned)


def verify_close(ciphers: Ciphers, device_id: str, close: Close, public_key: bytes) -> bool:
    return ciphers.verify(public_key, close_message(device_id, close.unsigned()), close.signature)


def decode_close(body: bytes) -> Close:
    """Raises Malformed. The signature is not checked here."""
    at = Cursor(body)
    call_id, closed, ended, outcome, direction, sense, length = at.unpack("16sQBBBBB")
    rule = at.text(length)
    frames, last_seq, last_hash, first, end, meta_hash, sign_epoch, signature = at.unpack("II32sQQ32sI64s")
    at.end()
    return Close(
        call_id,
        closed,
        _numbered(ENDINGS, ended),
        _numbered(OUTCOMES, outcome),
        _numbered(DIRECTIONS, direction),
        flag(sense),
        rule,
        frames,
        last_seq,
        last_hash,
        first,
        end,
        meta_hash,
        sign_epoch,
        signature,
    )


@dataclass(frozen=True)
class Extent:
    """A run of blocks in the hold area."""

    first: int
    blocks: int


NO_SEALED_TEXT = bytes(3)
"""u8 0 recipients, u16 0 bytes of text."""


@dataclass(frozen=True)
class HoldInfo:
    call_id: bytes
    provisional: bool
    placed_utc_ms: int
    review_utc_ms: int
    exported: bool
    extents: tuple[Extent, ...]
    sealed: bytes = NO_SEALED_TEXT

    def encode(self) -> bytes:
        assert len(self.extents) <= EXTENTS_MAX
        head = struct.pack(
            ">16sBQQBB",
            self.call_id,
            self.provisional,
            self.placed_utc_ms,
            self.review_utc_ms,
            self.exported,
            len(self.extents),
        )
        return head + b"".join(struct.pack(">II", x.first, x.blocks) for x in self.extents) + self.sealed


def decode_hold(body: bytes) -> HoldInfo:
    """Raises Malformed."""
    at = Cursor(body)
    call_id, provisional = at.take(CALL_ID_BYTES), at.flag()
    placed, review = at.unpack("QQ")
    exported = at.flag()
    extents = tuple(Extent(at.u32(), at.u32()) for _ in range(at.u8()))
    start = at.at
    parse_sealed(at)
    at.prefixed()
    at.end()
    return HoldInfo(call_id, provisional, placed, review, exported, extents, body[start:])


@dataclass(frozen=True)
class Intent:
    op: Op
    call_id: bytes
    line: int
    placed_utc_ms: int
    review_utc_ms: int = 0
    sealed: bytes = b""

    def encode(self) -> bytes:
        head = struct.pack(">B16sBQQ", self.op, self.call_id, self.line, self.placed_utc_ms, self.review_utc_ms)
        return head + prefixed(self.sealed)


def decode_intent(body: bytes) -> Intent:
    """Raises Malformed."""
    at = Cursor(body)
    op, call_id, line = _member(Op, at.u8()), at.take(CALL_ID_BYTES), at.u8()
    intent = Intent(op, call_id, line, at.u64(), at.u64(), at.prefixed())
    at.end()
    return intent


def _member(kind: type[E], number: int) -> E:
    try:
        return kind(number)
    except ValueError:
        raise Malformed(kind.__name__) from None


def _numbered(members: tuple[T, ...], number: int) -> T:
    if not 1 <= number <= len(members):
        raise Malformed("number outside its list")
    return members[number - 1]


def subject(kind: Kind, body: bytes) -> bytes:
    """The call that an entry speaks of."""
    start = 1 if kind is Kind.INTENT else 0
    return body[start : start + CALL_ID_BYTES]
