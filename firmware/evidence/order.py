"""What an order may say: closed lists, fields and bounds. Parsing is pure and total; whether it is obeyed is judge's.

An order is the text of a signed note: its first line is ``tacet/order/1``, every further line ``name: value``. See
ORDERS.md. ``Order`` is what the lines mean; :func:`parse` and :func:`compose` are each other's inverse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from firmware.evidence.fields import (
    DEVICE_ID,
    LINE_NAME,
    VERSION,
    FieldError,
    NewKey,
    Readers,
    free_text,
    hexadecimal,
    matching,
    parse_key,
    parse_utc,
    read_fields,
    words,
    yes_no,
)

ORDER_TYPE = "tacet/order/1"
ORDER_FILE = "TACET/ORDER.txt"
NOTICE_FILE = "TACET/NOTICE.wav"
SITE_FILE = "TACET/SITE.toml"
VALIDITY_MS_MAX = 14 * 86_400_000
"""evidence.md: ``not_after`` at most 14 days after ``not_before``."""


class Op(StrEnum):
    INDEX = "INDEX"
    EXPORT = "EXPORT"
    HOLD = "HOLD"
    CONFIRM = "CONFIRM"
    EXTEND = "EXTEND"
    RELEASE = "RELEASE"
    ERASE = "ERASE"
    KEYS = "KEYS"
    NOTICE = "NOTICE"
    TIME = "TIME"
    SETTINGS = "SETTINGS"
    REPORT = "REPORT"


class Purpose(StrEnum):
    """product.md N10, and the caller's own right of access, which needs no purpose of ours."""

    QUALITY = "quality"
    TRAINING = "training"
    SERVICE_QUALITY = "service-quality"
    CLARIFY_CONTENT = "clarify-content"
    COMPLAINT = "complaint"
    OFFICER_PROTECTION = "officer-protection"
    NUISANCE = "nuisance"
    ABUSE = "abuse"
    INJUNCTION = "injunction"
    THREATS = "threats"
    FRAUD = "fraud"
    CRIME_PREVENTION = "crime-prevention"
    SUBJECT_ACCESS = "subject-access"


class Basis(StrEnum):
    """UK GDPR Article 6(1)(a) to (f), and the disclosure to law enforcement under DPA 2018 Schedule 2 paragraph 2."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal-obligation"
    VITAL_INTERESTS = "vital-interests"
    PUBLIC_TASK = "public-task"
    LEGITIMATE_INTERESTS = "legitimate-interests"
    LAW_ENFORCEMENT = "law-enforcement"


class RecipientKind(StrEnum):
    """product.md N8, and the caller."""

    INTERNAL = "internal"
    DEPARTMENT = "department"
    OMBUDSMAN = "ombudsman"
    COUNCILLOR = "councillor"
    MP = "mp"
    POLICE = "police"
    COURT = "court"
    CALLER = "caller"


class Ground(StrEnum):
    """Why one call is erased before its limit."""

    ERASURE_REQUEST = "erasure-request"
    OBJECTION = "objection"
    CARD_DATA = "card-data"
    COURT_ORDER = "court-order"


@dataclass(frozen=True)
class Order:
    device: str
    order_id: bytes
    simulation: bool
    not_before_utc_ms: int
    not_after_utc_ms: int
    op: Op
    purpose: Purpose | None = None
    basis: Basis | None = None
    recipient: RecipientKind | None = None
    case: str | None = None
    reason: str | None = None
    ground: Ground | None = None
    from_utc_ms: int | None = None
    to_utc_ms: int | None = None
    review_utc_ms: int | None = None
    time_utc_ms: int | None = None
    version: str | None = None
    sha256: bytes | None = None
    calls: tuple[bytes, ...] = ()
    lines: tuple[str, ...] = ()
    recipient_keys: tuple[NewKey, ...] = ()
    request_keys: tuple[NewKey, ...] = ()


# ------------------------------------------------------------------------------------------------------- fields

_READERS: Readers = {
    "device": ("device", matching(DEVICE_ID)),
    "id": ("order_id", hexadecimal(16)),
    "simulation": ("simulation", yes_no),
    "not_before": ("not_before_utc_ms", parse_utc),
    "not_after": ("not_after_utc_ms", parse_utc),
    "op": ("op", Op),
    "purpose": ("purpose", Purpose),
    "basis": ("basis", Basis),
    "recipient": ("recipient", RecipientKind),
    "case": ("case", free_text),
    "reason": ("reason", free_text),
    "ground": ("ground", Ground),
    "from": ("from_utc_ms", parse_utc),
    "to": ("to_utc_ms", parse_utc),
    "review": ("review_utc_ms", parse_utc),
    "time": ("time_utc_ms", parse_utc),
    "version": ("version", matching(VERSION)),
    "sha256": ("sha256", hexadecimal(32)),
}
_LISTS: Readers = {
    "call": ("calls", hexadecimal(16)),
    "line": ("lines", matching(LINE_NAME)),
    "recipient_key": ("recipient_keys", parse_key),
    "request_key": ("request_keys", parse_key),
}
_COMMON = frozenset({"device", "id", "simulation", "not_before", "not_after", "op"})


@dataclass(frozen=True)
class _Shape:
    needs: frozenset[str]
    may: frozenset[str] = frozenset()


def _shape(needs: str = "", may: str = "") -> _Shape:
    return _Shape(frozenset(needs.split()), frozenset(may.split()))


SHAPES: Mapping[Op, _Shape] = {
    Op.INDEX: _shape(),
    Op.REPORT: _shape(),
    Op.EXPORT: _shape("purpose basis recipient", "case from to line call"),
    Op.HOLD: _shape("call case reason review"),
    Op.CONFIRM: _shape("call case reason review"),
    Op.EXTEND: _shape("call reason review", "case"),
    Op.RELEASE: _shape("call reason", "case"),
    Op.ERASE: _shape("call ground", "case"),
    Op.KEYS: _shape("recipient_key request_key"),
    Op.NOTICE: _shape("sha256 version"),
    Op.TIME: _shape("time"),
    Op.SETTINGS: _shape("sha256"),
}
"""Which fields each op needs and may carry beside the common ones; anything else is refused."""


def parse(lines: Sequence[str]) -> Order:
    """Raises FieldError."""
    if not lines or lines[0] != ORDER_TYPE:
        raise FieldError(f"its first line is not {ORDER_TYPE}")
    values = read_fields(lines[1:], _READERS, _LISTS)
    op = values.get("op")
    if not isinstance(op, Op):
        raise FieldError("the field op is missing")
    present = {name for name, (attribute, _) in (*_READERS.items(), *_LISTS.items()) if attribute in values}
    shape = SHAPES[op]
    for name in sorted((_COMMON | shape.needs) - present):
        raise FieldError(f"the field {name} is missing")
    for name in sorted(present - _COMMON - shape.needs - shape.may):
        raise FieldError(f"the field {name} has no place in this op")
    order = Order(**values)  # type: ignore[arg-type]  # each reader gives its attribute's type
    _check(order)
    return order


def _check(order: Order) -> None:
    """Rules between fields. Raises FieldError."""
    if order.not_after_utc_ms <= order.not_before_utc_ms:
        raise FieldError("it ends before it begins")
    if order.op is Op.EXPORT:
        window = (order.from_utc_ms is not None, order.to_utc_ms is not None)
        if order.calls and (any(window) or order.lines):
            raise FieldError("it names both calls and a time window")
        if not order.calls and not all(window):
            raise FieldError("it names neither calls nor a whole time window")
        if order.from_utc_ms is not None and order.to_utc_ms is not None and order.to_utc_ms <= order.from_utc_ms:
            raise FieldError("its time window ends before it begins")
    if order.op is Op.ERASE and len(order.calls) != 1:
        raise FieldError("it must name exactly one call")


def compose(order: Order) -> list[str]:
    """The lines of the order, in a fixed order of fields. Raises FieldError when it could not be read back."""
    lines = [ORDER_TYPE]
    for name, (attribute, _) in _READERS.items():
        value = getattr(order, attribute)
        if value is not None:
            lines.append(f"{name}: {words(value)}")
    for name, (attribute, _) in _LISTS.items():
        lines += [f"{name}: {words(value)}" for value in getattr(order, attribute)]
    if parse(lines) != order:
        raise FieldError("it cannot be written exactly (times are in whole seconds)")
    return lines
