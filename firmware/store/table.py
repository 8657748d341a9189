"""The key table: everything that must change together, encrypted under a root that lives only in erasable memory
(FORMAT.md 3)."""

import struct
from dataclasses import dataclass, field, replace
from enum import IntEnum

from firmware.policy.holds import Refusal
from firmware.policy.retention import Period, PeriodRefused
from firmware.policy.trusted_time import ClockRecord, ClockState
from firmware.store.ciphers import KEY_BYTES, NONCE_BYTES, Ciphers
from firmware.store.errors import BadSeal, Malformed
from firmware.store.identity import Identity
from firmware.store.keys import RECIPIENTS_MAX, REQUEST_KEYS_MAX, Recipient, RequestKey, Role
from firmware.store.layout import KT, Cursor, bound, prefixed

FORM, FORM_WITHOUT_BEGUN = 2, 1
FILE_BYTES = 32 * 1024
HEADER_BYTES = 12
ORDERS_MAX = 256
TODO_MAX = 64
DOCUMENTS_MAX = 8
BAGS_MAX = 300
HOLD_BAGS_MAX = 6
BEGUN_MAX = 100
"""Answered calls whose row is still to come: more than can be on 64 lines. One more is not written down."""
CERTIFICATES_MAX = 100
"""Of one ROTATE: the 62 days that a box without power may find past their limit, or the calls of one opt-out."""
NO_CALL = bytes(16)


class BagType(IntEnum):
    DAY = 1
    HOLD = 2


class TodoOp(IntEnum):
    RING = 1
    HOLD = 2


class Op(IntEnum):
    """Why something was destroyed; the ``op`` of a certificate and of an INTENT."""

    OPT_OUT = 1
    ERASE = 2
    KEEP = 3
    HOLD = 4
    RELEASE = 5
    EXPIRY = 6
    CAPACITY = 7

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class BagRow:
    bag_id: int
    type: BagType
    day: int
    key: bytes
    entries: int

    def __repr__(self) -> str:
        return f"BagRow({self.bag_id}, {self.type.name}, day {self.day})"


@dataclass(frozen=True)
class Todo:
    """Blocks to be overwritten: positions of ``ring`` (this call's frames only) or blocks of ``hold``; end is
    exclusive."""

    op: TodoOp
    call_id: bytes
    first: int
    end: int


@dataclass(frozen=True)
class Certificate:
    """A destruction (FORMAT.md 9), or a refused hold, whose audit line is still to be appended."""

    op: Op
    call_id: bytes
    day: int
    calls: int
    ids: bytes


@dataclass
class Begun:
    """An inbound call that was answered and whose ledger row is not written yet."""

    line: int
    started_utc_ms: int
    opted_out: bool = False


BEGUN = "BEGUN"
"""The audit line of an answer (FORMAT.md 8)."""
HOLD_REFUSED = "HOLD_REFUSED"
"""The audit line of a hold that was asked for and does not come about (FORMAT.md 8)."""
REFUSED_OPS = (Op.KEEP, Op.HOLD)
REFUSED_WHY = (Refusal.QUOTA_FULL, Refusal.NOT_KEPT)
"""Of such a line while the table owes it (FORMAT.md 3), numbered from 1."""


def refused_hold(op: Op, call_id: bytes, why: Refusal) -> Certificate:
    """What the table owes the log of it: a certificate by its layout, not by its meaning."""
    return Certificate(op, call_id, 0, REFUSED_WHY.index(why) + 1, bytes(32))


@dataclass
class Line:
    opted_out: bool = False
    owed_row_utc_ms: int = 0
    """Start of an opted-out call whose ledger row the loop has still to write; 0: none."""
    owed_call: bytes = NO_CALL
    interrupted: bytes = NO_CALL
    """The call that the last boot found open: what OPT-OUT acts on while the line is still off-hook."""


@dataclass(frozen=True)
class Document:
    name: str
    first_block: int
    length: int
    sha256: bytes


@dataclass(frozen=True)
class AuditCursor:
    """Where the next audit line goes, and what it must continue."""

    position: int = 0
    tail: int = 0
    next_seq: int = 1
    head: bytes = bytes(32)


@dataclass(repr=False)
class Table:
    gen: int
    clock: ClockRecord
    period: Period
    seed: bytes
    boot_no: int = 0
    ring_head: int = 0
    ring_tail: int = 0
    audit: AuditCursor = AuditCursor()
    sign_epoch: int = 0
    epoch_first_seq: int = 1
    epoch_day: int = 0
    previous_table: bytes = bytes(32)
    dayend: bytes = b""
    certificates: list[Certificate] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    recipients: tuple[Recipient, ...] = ()
    request_keys: tuple[RequestKey, ...] = ()
    orders: dict[bytes, int] = field(default_factory=dict)
    """Id of a seen order → UTC seconds until which it must be remembered."""
    todo: list[Todo] = field(default_factory=list)
    documents: dict[str, Document] = field(default_factory=dict)
    bags: dict[int, BagRow] = field(default_factory=dict)
    begun: dict[int, Begun] = field(default_factory=dict)
    """By the seq of its ``BEGUN`` line."""

    def encode(self) -> bytes:
        return b"".join(
            (
                struct.pack(">HI", FORM, self.boot_no),
                _clock_bytes(self.clock),
                struct.pack(">BB", self.period.months, self.period.days),
                struct.pack(">QQ", self.ring_head, self.ring_tail),
                struct.pack(">QQQ", self.audit.position, self.audit.tail, self.audit.next_seq) + self.audit.head,
                struct.pack(">IQI", self.sign_epoch, self.epoch_first_seq, self.epoch_day),
                self.seed,
                self.previous_table,
                prefixed(self.dayend),
                _counted("B", [_certificate_bytes(entry) for entry in self.certificates]),
                _counted(
                    "B",
                    [
                        struct.pack(">BQ", x.opted_out, x.owed_row_utc_ms) + x.owed_call + x.interrupted
                        for x in self.lines
                    ],
                ),
                _counted("B", [x.key_id + struct.pack(">B", x.suite) + x.public_key for x in self.recipients]),
                _counted("B", [x.key_id + x.public_key + struct.pack(">B", x.role) for x in self.request_keys]),
                _counted("H", [order + struct.pack(">I", until) for order, until in self.orders.items()]),
                _counted("B", [struct.pack(">B16sQQ", x.op, x.call_id, x.first, x.end) for x in self.todo]),
                _counted("B", [_document_bytes(document) for document in self.documents.values()]),
                _counted(
                    "H",
                    [struct.pack(">IBI32sH", x.bag_id, x.type, x.day, x.key, x.entries) for x in self.bags.values()],
                ),
                _counted(
                    "B",
                    [struct.pack(">QBBQ", seq, x.line, x.opted_out, x.started_utc_ms) for seq, x in self.begun.items()],
                ),
            )
        )


def copy(table: Table) -> Table:
    """The draft of the next table: no list is shared."""
    return replace(
        table,
        certificates=[],
        dayend=b"",
        lines=[replace(line) for line in table.lines],
        orders=dict(table.orders),
        todo=list(table.todo),
        documents=dict(table.documents),
        bags=dict(table.bags),
        begun={seq: replace(begun) for seq, begun in table.begun.items()},
    )


def decode(body: bytes, gen: int) -> Table:
    """Raises Malformed."""
    at = Cursor(body)
    try:
        table = _decode(at, gen)
    except (ValueError, PeriodRefused) as error:
        raise Malformed(f"table: {error}") from None
    at.end()
    return table


def _decode(at: Cursor, gen: int) -> Table:
    form, boot_no = at.unpack("HI")
    if form not in (FORM_WITHOUT_BEGUN, FORM):
        raise Malformed("format")
    clock = ClockRecord(at.u64(), ClockState(at.u8()), at.u32(), at.u32(), at.u64())
    period = Period(months=at.u8(), days=at.u8())
    ring_head, ring_tail = at.unpack("QQ")
    audit = AuditCursor(at.u64(), at.u64(), at.u64(), at.take(32))
    sign_epoch, epoch_first_seq, epoch_day = at.unpack("IQI")
    table = Table(gen, clock, period, at.take(KEY_BYTES), boot_no, ring_head, ring_tail, audit, sign_epoch)
    table.epoch_first_seq = epoch_first_seq
    table.epoch_day = epoch_day
    table.previous_table = at.take(32)
    table.dayend = at.prefixed()
    table.certificates = [_certificate(at) for _ in range(at.u8())]
    table.lines = [Line(at.flag(), at.u64(), at.take(16), at.take(16)) for _ in range(at.u8())]
    table.recipients = tuple(Recipient(at.take(8), at.u8(), at.take(32)) for _ in range(at.u8()))
    table.request_keys = tuple(RequestKey(at.take(8), at.take(32), Role(at.u8())) for _ in range(at.u8()))
    table.orders = {at.take(16): at.u32() for _ in range(at.u16())}
    table.todo = [Todo(TodoOp(op), *fields) for op, *fields in (at.unpack("B16sQQ") for _ in range(at.u8()))]
    documents = [Document(at.text(at.u8()), at.u32(), at.u32(), at.take(32)) for _ in range(at.u8())]
    table.documents = {document.name: document for document in documents}
    rows = [at.unpack("IBI32sH") for _ in range(at.u16())]
    table.bags = {row[0]: BagRow(row[0], BagType(row[1]), *row[2:]) for row in rows}
    if form == FORM:
        table.begun = dict(_begun(at) for _ in range(at.u8()))
    return table


def seal(ciphers: Ciphers, identity: Identity, table: Table, root: bytes) -> bytes:
    """The used bytes of a table file."""
    body = table.encode()
    assert len(table.recipients) <= RECIPIENTS_MAX
    assert len(table.request_keys) <= REQUEST_KEYS_MAX
    assert len(table.orders) <= ORDERS_MAX
    assert len(table.todo) <= TODO_MAX
    assert len(table.bags) <= BAGS_MAX
    assert len(table.certificates) <= CERTIFICATES_MAX
    assert len(table.begun) <= BEGUN_MAX
    header = struct.pack(">4sII", b"KT01", table.gen, len(body))
    key = table_key(ciphers, identity.device_id, root, table.gen)
    sealed = header + ciphers.seal(key, bytes(NONCE_BYTES), body, header + identity.encode())
    assert len(sealed) <= FILE_BYTES
    return sealed


def unseal(ciphers: Ciphers, identity: Identity, raw: bytes, gen: int, root: bytes) -> tuple[Table, bytes] | None:
    """The table and its used bytes, or None where this copy is not generation ``gen`` under ``root``."""
    magic, found, length = struct.unpack(">4sII", raw[:HEADER_BYTES])
    end = HEADER_BYTES + length + 16
    if magic != b"KT01" or found != gen or end > len(raw):
        return None
    key = table_key(ciphers, identity.device_id, root, gen)
    header = raw[:HEADER_BYTES]
    try:
        body = ciphers.open(key, bytes(NONCE_BYTES), raw[HEADER_BYTES:end], header + identity.encode())
    except BadSeal:
        return None
    return decode(body, gen), raw[:end]


def table_key(ciphers: Ciphers, device_id: str, root: bytes, gen: int) -> bytes:
    return ciphers.hkdf(root, device_id.encode("ascii"), bound(KT, device_id, struct.pack(">I", gen)))


def file_of(gen: int, mirror: str) -> str:
    return f"kt{gen & 1}.{mirror}"


def _clock_bytes(clock: ClockRecord) -> bytes:
    return struct.pack(
        ">QBIIQ", clock.watermark_utc_ms, clock.state, clock.budget_s, clock.suspect_s, clock.claim_utc_ms
    )


def _certificate_bytes(entry: Certificate) -> bytes:
    return struct.pack(">B16sII32s", entry.op, entry.call_id, entry.day, entry.calls, entry.ids)


def _certificate(at: Cursor) -> Certificate:
    op, *fields = at.unpack("B16sII32s")
    entry = Certificate(Op(op), *fields)
    if entry.op in REFUSED_OPS and not 1 <= entry.calls <= len(REFUSED_WHY):
        raise Malformed("reason of a refused hold")
    return entry


def _begun(at: Cursor) -> tuple[int, Begun]:
    seq, line, opted_out, started = at.u64(), at.u8(), at.flag(), at.u64()
    return seq, Begun(line, started, opted_out)


def _document_bytes(document: Document) -> bytes:
    name = document.name.encode("ascii")
    place = struct.pack(">II", document.first_block, document.length)
    return struct.pack(">B", len(name)) + name + place + document.sha256


def _counted(form: str, entries: list[bytes]) -> bytes:
    return struct.pack(">" + form, len(entries)) + b"".join(entries)
