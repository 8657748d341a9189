"""What each op does to the vault. The order has been judged, remembered and logged before anything here runs.

An op answers with :class:`Result`: sentences for REPLY.txt, the calls to hand out, documents that changed, or the
refusal of the vault, which alone knows whether a call is held or gone.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from firmware.evidence import pack
from firmware.evidence.fields import FieldError
from firmware.evidence.judge import Refusal
from firmware.evidence.local import day_text, local_text
from firmware.evidence.order import Op, Order
from firmware.evidence.site import NOTICE_DOCUMENT, NOTICE_VERSION_DOCUMENT, SITE_DOCUMENT, SiteFacts
from firmware.policy.retention import Period
from firmware.store.errors import Refused
from firmware.store.vault import CallEntry, Vault

CALLS_MAX = 10_000
"""At most so many calls in one answer: a FAT directory ends at 65,536 entries and a call takes up to four."""

VAULT_REFUSALS: dict[str, Refusal] = {
    "not_kept": Refusal.NOT_FOUND,
    "not_found": Refusal.NOT_FOUND,
    "past_limit": Refusal.NOT_FOUND,
    "opted_out": Refusal.OPTED_OUT,
    "hold_quota_full": Refusal.HOLD_FULL,
    "held": Refusal.HELD,
    "already_held": Refusal.ALREADY_HELD,
    "not_held": Refusal.NOT_HELD,
    "confirmed_hold": Refusal.HELD,
    "review_not_ahead": Refusal.REVIEW_DATE,
    "review_not_later": Refusal.REVIEW_DATE,
    "bag_full": Refusal.HOLD_FULL,
    "documents_full": Refusal.NO_ROOM,
    "time_refused": Refusal.TIME_REFUSED,
    "clock_unknown": Refusal.CLOCK_UNKNOWN,
    "text_too_long": Refusal.MALFORMED,
    "recipients": Refusal.KEYS_REFUSED,
    "request_keys": Refusal.KEYS_REFUSED,
    "document_too_long": Refusal.ATTACHMENT,
}


@dataclass
class Result:
    sentences: list[str] = field(default_factory=list)
    export: list[CallEntry] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    refusal: Refusal | None = None


@dataclass(frozen=True)
class Attachment:
    """The checked file of a NOTICE or SETTINGS order; ``site``: what new settings say."""

    data: bytes
    site: SiteFacts | None


NOTHING_ATTACHED = Attachment(b"", None)


def carry_out(
    vault: Vault, order: Order, chosen: Sequence[CallEntry], attached: Attachment
) -> Generator[None, None, Result]:
    """``chosen``: what :func:`select` found for an EXPORT. Yields between calls."""
    result = Result(export=list(chosen))
    if order.op in _PER_CALL:
        yield from _each_call(vault, order, result)
        return result
    try:
        _WHOLE[order.op](vault, order, attached, result)
    except Refused as refused:
        result.refusal = VAULT_REFUSALS[refused.code]
    yield
    return result


# -------------------------------------------------------------------------------------------------------- export


def select(vault: Vault, order: Order, line_names: Sequence[str]) -> list[CallEntry]:
    """The retained calls that an EXPORT asks for, oldest first; empty for every other op."""
    if order.op is not Op.EXPORT:
        return []
    here = vault.calls()
    if order.calls:
        wanted = set(order.calls)
        return [entry for entry in here if entry.call_id in wanted]
    assert order.from_utc_ms is not None
    assert order.to_utc_ms is not None
    lines = {line_names.index(name) for name in order.lines} or set(range(len(line_names)))
    return [
        entry for entry in here if entry.line in lines and order.from_utc_ms <= entry.opened_utc_ms < order.to_utc_ms
    ]


def _tell_missing(vault: Vault, order: Order, attached: Attachment, result: Result) -> None:
    missing = len(order.calls) - len(result.export)
    if order.calls and missing:
        result.sentences.append(
            f"{missing} of the calls named are not here: never kept, at their limit, erased or opted out."
        )
    elif not result.export:
        result.sentences.append("No call on this recorder began in that time.")


# --------------------------------------------------------------------------------------------- one call at a time


def _hold(vault: Vault, order: Order, call_id: bytes) -> str:
    assert order.review_utc_ms is not None
    vault.hold(call_id, _info(order), order.review_utc_ms)
    return f"is held; review by {day_text(order.review_utc_ms)}."


def _confirm(vault: Vault, order: Order, call_id: bytes) -> str:
    assert order.review_utc_ms is not None
    vault.confirm(call_id, _info(order), order.review_utc_ms)
    return f"has its provisional hold confirmed; review by {day_text(order.review_utc_ms)}."


def _extend(vault: Vault, order: Order, call_id: bytes) -> str:
    assert order.review_utc_ms is not None
    vault.extend(call_id, order.review_utc_ms)
    return f"stays held; review by {day_text(order.review_utc_ms)}."


def _release(vault: Vault, order: Order, call_id: bytes) -> str:
    vault.release(call_id)
    return "is released from its hold and follows its ordinary limit (at once, if that is past)."


def _erase(vault: Vault, order: Order, call_id: bytes) -> str:
    vault.erase(call_id)
    return "is destroyed; the certificate is in data/certificates.txt."


_PER_CALL: dict[Op, Callable[[Vault, Order, bytes], str]] = {
    Op.HOLD: _hold,
    Op.CONFIRM: _confirm,
    Op.EXTEND: _extend,
    Op.RELEASE: _release,
    Op.ERASE: _erase,
}


def _info(order: Order) -> bytes:
    """What the vault seals to the recipients with the hold: the case and the reason, readable on the desk alone."""
    return f"case: {order.case}\nreason: {order.reason}\n".encode()


def _each_call(vault: Vault, order: Order, result: Result) -> Generator[None, None, None]:
    refusals: list[Refusal] = []
    for call_id in order.calls:
        try:
            result.sentences.append(f"Call {call_id.hex()} {_PER_CALL[order.op](vault, order, call_id)}")
        except Refused as refused:
            refusals.append(VAULT_REFUSALS[refused.code])
            result.sentences.append(f"Call {call_id.hex()} was left as it is: {refusals[-1].value}.")
        yield
    if len(refusals) == len(order.calls):
        result.refusal = refusals[0]


# ---------------------------------------------------------------------------------------------------- the others


def _put_notice(vault: Vault, order: Order, attached: Attachment, result: Result) -> None:
    assert order.version is not None
    vault.put_document(NOTICE_DOCUMENT, attached.data)
    vault.put_document(NOTICE_VERSION_DOCUMENT, order.version.encode("ascii"))
    result.changed.append(NOTICE_DOCUMENT)
    result.sentences.append(f"The new notice, version {order.version}, is in force from the next call on.")


def _put_settings(vault: Vault, order: Order, attached: Attachment, result: Result) -> None:
    """The period first: were the power cut between the two, no call would be kept for longer than either says."""
    assert attached.site is not None
    vault.change_retention(Period(attached.site.retention_months, attached.site.retention_days))
    vault.put_document(SITE_DOCUMENT, attached.data)
    result.changed.append(SITE_DOCUMENT)
    result.sentences.append("The new site settings are in force.")


def check_keys(order: Order) -> str | None:
    """The sentence that says what is wrong with the key sets of a KEYS order; None when they are complete and safe."""
    try:
        pack.recipients(order.recipient_keys)
        pack.request_keys(order.request_keys)
    except FieldError as error:
        return f"{str(error).capitalize()}."
    return None


def _change_keys(vault: Vault, order: Order, attached: Attachment, result: Result) -> None:
    vault.change_keys(pack.recipients(order.recipient_keys), pack.request_keys(order.request_keys))
    result.sentences.append(
        f"New calls are sealed to {len(order.recipient_keys)} recipients and {len(order.request_keys)} persons may "
        "give orders from now on; calls sealed before stay sealed to the earlier recipients until their limit."
    )


def _settle_time(vault: Vault, order: Order, attached: Attachment, result: Result) -> None:
    assert order.time_utc_ms is not None
    vault.settle_time(order.time_utc_ms)
    result.sentences.append(f"The clock was settled at {local_text(order.time_utc_ms, 'UTC')}.")


def _nothing(vault: Vault, order: Order, attached: Attachment, result: Result) -> None:
    """INDEX and REPORT: every answer carries both."""


_WHOLE: dict[Op, Callable[[Vault, Order, Attachment, Result], None]] = {
    Op.INDEX: _nothing,
    Op.REPORT: _nothing,
    Op.EXPORT: _tell_missing,
    Op.NOTICE: _put_notice,
    Op.SETTINGS: _put_settings,
    Op.KEYS: _change_keys,
    Op.TIME: _settle_time,
}
assert set(_WHOLE) | set(_PER_CALL) == set(Op)
