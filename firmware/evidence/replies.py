"""REPLY.txt: what the recorder did with an order, in plain English. One sentence each: what happened, what is safe,
what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from firmware.evidence.judge import Refusal

_WORDS: dict[Refusal, tuple[str, str]] = {
    Refusal.NO_ORDER: (
        "There is no order on this stick (the file TACET/ORDER.txt is missing).",
        "Write an order with the evidence desk and plug the stick in again.",
    ),
    Refusal.UNREADABLE: (
        "The file TACET/ORDER.txt could not be read from this stick, or it is no ordinary file.",
        "Write the order again, on another stick if this one is failing.",
    ),
    Refusal.MALFORMED: (
        "The order is not in the form that this recorder knows.",
        "Write it with the evidence desk and do not edit the file afterwards.",
    ),
    Refusal.UNSIGNED: (
        "Nobody whose key is enrolled in this recorder has signed the order.",
        "Sign it with the custodian's or the supervisor's key of this recorder.",
    ),
    Refusal.BAD_SIGNATURE: (
        "The order was changed after it was signed.",
        "Write and sign it again with the evidence desk.",
    ),
    Refusal.OTHER_DEVICE: (
        "The order is for another recorder.",
        "Check the device id on the recorder's label and write the order for that id.",
    ),
    Refusal.OTHER_WORLD: (
        "The order is for a simulation and this is a real recorder, or the other way round.",
        "Use the desk home that provisioned this recorder.",
    ),
    Refusal.VALIDITY_TOO_LONG: (
        "The order is valid for more than 14 days, which no order may be.",
        "Write it again with a shorter validity.",
    ),
    Refusal.NOT_YET_VALID: (
        "The order is not valid yet by the recorder's clock.",
        "Wait until its first day, or check the clock of the PC it was written on.",
    ),
    Refusal.EXPIRED: ("The order is no longer valid.", "Write a new one."),
    Refusal.ALREADY_USED: (
        "The order has been used before; each order is carried out once.",
        "Write a new one, even where the first attempt did not finish.",
    ),
    Refusal.ORDERS_FULL: (
        "The recorder remembers as many orders as it can until the oldest are no longer valid.",
        "Try again in a few days, and write orders with a shorter validity.",
    ),
    Refusal.ROLE: (
        "The person who signed the order is not entitled to give it.",
        "Ask the custodian to sign it.",
    ),
    Refusal.NEEDS_TWO_PERSONS: (
        "The order needs the signatures of two different persons and has one.",
        "Have a second enrolled person sign the same order (`order cosign`).",
    ),
    Refusal.PURPOSE_NOT_ALLOWED: (
        "A supervisor may export for quality and training inside the house only.",
        "Ask the custodian to sign the order.",
    ),
    Refusal.UNKNOWN_LINE: (
        "The order names a telephone line that this recorder does not have.",
        "Use the line's name as in the site settings.",
    ),
    Refusal.CLOCK_UNKNOWN: (
        "The recorder's clock cannot be trusted at the moment, so no call can be given out.",
        "Bring a TIME order first, or connect the network.",
    ),
    Refusal.TIME_REFUSED: (
        "The time in the order lies before a time the recorder is sure of.",
        "Check the clock of the PC and write the order again.",
    ),
    Refusal.NOT_FOUND: (
        "The recorder does not have the call: it was never here, has reached its limit, was erased or opted out.",
        "Look the call up in the newest index.",
    ),
    Refusal.HELD: (
        "The call is under a legal hold and held calls are never erased.",
        "Have the hold released by two persons first.",
    ),
    Refusal.NOT_HELD: ("The call is not under a hold.", "Look the call up in the newest index."),
    Refusal.ALREADY_HELD: (
        "The call is under a confirmed hold already.",
        "Extend the hold if its review date is to change.",
    ),
    Refusal.TOO_MANY: (
        "The order covers more calls than one answer may have.",
        "Order a shorter time, or one line at a time.",
    ),
    Refusal.HOLD_FULL: (
        "The space for held calls is full, so the hold could not be placed; the holds in force stay in force.",
        "Export this call now, and release holds that are no longer needed.",
    ),
    Refusal.OPTED_OUT: (
        "The caller opted out of this call; nothing of it was kept.",
        "There is nothing to hold or export.",
    ),
    Refusal.REVIEW_DATE: (
        "The review date of the hold has passed already.",
        "Write the order with a review date in the future.",
    ),
    Refusal.ATTACHMENT: (
        "The file that belongs to the order is missing on the stick or is not the one that was signed.",
        "Write the order again with the evidence desk; it puts both files onto the stick.",
    ),
    Refusal.SETTINGS_REFUSED: (
        "The site settings in the order are not acceptable to this recorder.",
        "Correct the setting named below and write the order again.",
    ),
    Refusal.NO_ROOM: (
        "The recorder has no room for the file.",
        "Bring a shorter one.",
    ),
    Refusal.KEYS_REFUSED: (
        "The keys in the order are not a complete and safe set.",
        "There must be at least two recipients and at least one custodian.",
    ),
}
assert set(_WORDS) == set(Refusal)


@dataclass(frozen=True)
class Stamp:
    """Who answers, when (local time, its zone said), and which order, where one could be read."""

    device_id: str
    when: str
    order_id: str | None
    erasure_proven: bool = True


def refused(code: Refusal, detail: str | None, stamp: Stamp) -> bytes:
    """``detail``: one more sentence made by the device; of the stick it may name at most a key of signed settings."""
    happened, action = _WORDS[code]
    middle = [detail] if detail else []
    safe = "Nothing was changed and nothing was given out."
    return _letter("REFUSED", [happened, *middle, safe, action], stamp, code)


def failed(lying: bool, stamp: Stamp) -> bytes:
    """The stick, not the order, was the trouble, and it is well enough for a letter."""
    happened = (
        "The stick gave back other bytes than were written onto it; do not use it again."
        if lying
        else "The stick did not take the whole answer: it is full, failing, or was pulled out."
    )
    used = (
        "If the recorder had begun to carry the order out, that order is used and anything else it asked for is done."
    )
    safe = "What is here without a tagmanifest-sha512.txt is incomplete. Recording was not disturbed."
    return _letter("FAILED", [happened, safe, used, "Write a new order onto another stick."], stamp, None)


def counted(calls: int) -> str:
    return "1 call was" if calls == 1 else f"{calls} calls were"


def done(sentences: Sequence[str], stamp: Stamp) -> bytes:
    return _letter("DONE", sentences, stamp, None)


def _letter(word: str, sentences: Sequence[str], stamp: Stamp, code: Refusal | None) -> bytes:
    lines = [word, "", *sentences, "", f"Recorder {stamp.device_id}, {stamp.when}."]
    if stamp.order_id is not None:
        lines.append(f"Order: {stamp.order_id}")
    if code is not None:
        lines.append(f"Code: {code.value}")
    if not stamp.erasure_proven:
        lines.append("Keys are kept in a file: erasure is not proven on this storage.")
    return ("\r\n".join(lines) + "\r\n").encode("utf-8")
