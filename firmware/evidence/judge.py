"""Whether an order is obeyed. One pure function says yes; every other answer is a refusal with a code.

The signatures are checked first and over the raw text, so that nothing of an unsigned order is ever read. What the
device knows (its id, its trusted time, whether the id was seen) comes in as :class:`Circumstances`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from firmware.evidence.note import Note, Verify, signed_by
from firmware.evidence.order import VALIDITY_MS_MAX, Op, Order, Purpose, RecipientKind
from firmware.store.keys import RequestKey, Role


class Refusal(StrEnum):
    """Why an order changed nothing. The words for each are in replies.py; they also stand in the audit log."""

    NO_ORDER = "no_order"
    UNREADABLE = "unreadable"
    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    OTHER_DEVICE = "other_device"
    OTHER_WORLD = "other_world"
    VALIDITY_TOO_LONG = "validity_too_long"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    ALREADY_USED = "already_used"
    ORDERS_FULL = "orders_full"
    TOO_MANY = "too_many"
    ROLE = "role"
    NEEDS_TWO_PERSONS = "needs_two_persons"
    PURPOSE_NOT_ALLOWED = "purpose_not_allowed"
    UNKNOWN_LINE = "unknown_line"
    CLOCK_UNKNOWN = "clock_unknown"
    TIME_REFUSED = "time_refused"
    NOT_FOUND = "not_found"
    HELD = "held"
    NOT_HELD = "not_held"
    ALREADY_HELD = "already_held"
    HOLD_FULL = "hold_full"
    OPTED_OUT = "opted_out"
    REVIEW_DATE = "review_date"
    ATTACHMENT = "attachment"
    SETTINGS_REFUSED = "settings_refused"
    KEYS_REFUSED = "keys_refused"
    NO_ROOM = "no_room"


ANY_ROLE = frozenset(Role)
CUSTODIAN_ONLY = frozenset({Role.CUSTODIAN})

MAY_SIGN: dict[Op, frozenset[Role]] = {
    Op.INDEX: ANY_ROLE,
    Op.REPORT: ANY_ROLE,
    Op.EXPORT: ANY_ROLE,
    Op.HOLD: CUSTODIAN_ONLY,
    Op.CONFIRM: CUSTODIAN_ONLY,
    Op.EXTEND: CUSTODIAN_ONLY,
    Op.RELEASE: CUSTODIAN_ONLY,
    Op.ERASE: CUSTODIAN_ONLY,
    Op.KEYS: CUSTODIAN_ONLY,
    Op.NOTICE: CUSTODIAN_ONLY,
    Op.TIME: CUSTODIAN_ONLY,
    Op.SETTINGS: CUSTODIAN_ONLY,
}
"""The table of evidence.md: at least one signer must have one of these roles."""

TWO_PERSONS = frozenset({Op.RELEASE, Op.KEYS})
SUPERVISOR_PURPOSES = frozenset({Purpose.QUALITY, Purpose.TRAINING})
SUPERVISOR_RECIPIENTS = frozenset({RecipientKind.INTERNAL})


@dataclass(frozen=True)
class Circumstances:
    device_id: str
    simulation: bool
    now_utc_ms: int
    clock_suspect: bool
    seen: bool
    supervisor_may_export: bool
    line_names: tuple[str, ...]
    may_export: bool
    """False while the time of day is unknown (fault CLOCK_UNKNOWN): nobody could say what is past its limit."""


def key_name(key: RequestKey) -> str:
    """The name under which a request key signs: its role and id, so that a note tells who signed it."""
    return f"{key.role.name.lower()}-{key.key_id.hex()}"


def signers(note: Note, keys: Sequence[RequestKey], verify: Verify) -> tuple[RequestKey, ...]:
    """The enrolled persons whose good signature the note carries. Raises BadSignature."""
    return tuple(key for key in keys if signed_by(note, key_name(key), key.public_key, verify))


def judge(order: Order, signed: Sequence[RequestKey], now: Circumstances) -> Refusal | None:
    """None: obey. ``signed`` holds the signers as checked by :func:`signers`; nobody's signature means UNSIGNED."""
    if not signed:
        return Refusal.UNSIGNED
    if order.device != now.device_id:
        return Refusal.OTHER_DEVICE
    if order.simulation != now.simulation:
        return Refusal.OTHER_WORLD
    if order.not_after_utc_ms - order.not_before_utc_ms > VALIDITY_MS_MAX:
        return Refusal.VALIDITY_TOO_LONG
    return _timely(order, now) or _entitled(order, signed, now) or _in_scope(order, now)


def _timely(order: Order, now: Circumstances) -> Refusal | None:
    """A TIME order is judged by the time it brings while the clock is suspect: a clock that is wrong must not be
    able to refuse its own cure. The vault refuses a time before the last one it was sure of, so an old order is of
    no use to anybody."""
    cures = order.op is Op.TIME and now.clock_suspect
    reference_utc_ms = order.time_utc_ms if cures and order.time_utc_ms is not None else now.now_utc_ms
    if reference_utc_ms < order.not_before_utc_ms:
        return Refusal.NOT_YET_VALID
    if reference_utc_ms > order.not_after_utc_ms:
        return Refusal.EXPIRED
    if now.seen:
        return Refusal.ALREADY_USED
    return None


def _entitled(order: Order, signed: Sequence[RequestKey], now: Circumstances) -> Refusal | None:
    roles = {key.role for key in signed}
    if not roles & MAY_SIGN[order.op]:
        return Refusal.ROLE
    if order.op in TWO_PERSONS and len({key.public_key for key in signed}) < 2:
        return Refusal.NEEDS_TWO_PERSONS
    if order.op is Op.EXPORT and Role.CUSTODIAN not in roles:
        if not now.supervisor_may_export:
            return Refusal.ROLE
        if order.purpose not in SUPERVISOR_PURPOSES or order.recipient not in SUPERVISOR_RECIPIENTS:
            return Refusal.PURPOSE_NOT_ALLOWED
    return None


def _in_scope(order: Order, now: Circumstances) -> Refusal | None:
    if order.op is Op.EXPORT and not now.may_export:
        return Refusal.CLOCK_UNKNOWN
    if any(name not in now.line_names for name in order.lines):
        return Refusal.UNKNOWN_LINE
    if order.op in (Op.HOLD, Op.CONFIRM, Op.EXTEND):
        assert order.review_utc_ms is not None
        if order.review_utc_ms <= now.now_utc_ms:
            return Refusal.REVIEW_DATE
    return None
