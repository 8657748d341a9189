"""Stretches of a call's time axis that hold no sound, each with its reason. Pure.

Gaps that the recorder sealed carry their own reason. What no piece covers has none of its own: before the first piece
the notice was spoken; elsewhere a frame is damaged, or nothing was kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firmware.store.frame import Piece

NOTICE, DAMAGED, NOT_KEPT = "notice", "damaged", "not_kept"

LABELS = {
    "payment": "Payment",
    "opt_out_key": "Opt-out key",
    "keyed_digits": "Keyed digits",
    "on_hold": "On hold",
    "consult": "Consultation",
    "fault": "Fault",
    "lost_samples": "Lost samples",
    NOTICE: "Notice",
    DAMAGED: "Damaged",
    NOT_KEPT: "Not kept",
    "removed": "Removed",
}
"""What a person reads for each reason; ``removed``: cut from a copy that left the house."""

MEANINGS = {
    "payment": "A card payment was being made; the recording was off.",
    "opt_out_key": "The OPT-OUT key was touched; the look-back before it is gone too.",
    "keyed_digits": "Telephone keys were pressed; keyed digits are never kept.",
    "on_hold": "The caller was on hold.",
    "consult": "The agent consulted somebody else.",
    "fault": "The recorder had a fault; the alarm list names it.",
    "lost_samples": "The sound adapter lost samples.",
    NOTICE: "The spoken notice was played; nothing may be recorded before its end.",
    DAMAGED: "The stored frame is damaged and was not used.",
    NOT_KEPT: "Nothing was kept of this stretch.",
    "removed": "This stretch was removed from the copy to protect somebody else.",
}


@dataclass(frozen=True, order=True)
class Span:
    """``first`` and ``samples`` count from the answer, at the call's own rate."""

    first: int
    samples: int
    reason: str

    @property
    def end(self) -> int:
        return self.first + self.samples

    @property
    def label(self) -> str:
        return LABELS.get(self.reason, self.reason.replace("_", " "))

    @property
    def meaning(self) -> str:
        return MEANINGS.get(self.reason, "")


def silent_spans(pieces: Iterable[Piece], samples: int, *, damaged: bool) -> tuple[Span, ...]:
    """In order of time, touching ones of one reason joined. ``samples``: length of the call, 0 where it is not known
    (then up to the last piece). ``damaged``: a check of the frames found something."""
    found: list[Span] = []
    covered = 0
    for piece in pieces:
        if piece.first_sample > covered:
            found.append(Span(covered, piece.first_sample - covered, _cause(covered, damaged)))
        if piece.reason is not None:
            found.append(Span(piece.first_sample, piece.samples, piece.reason.word))
        covered = max(covered, piece.first_sample + piece.samples)
    if samples > covered:
        found.append(Span(covered, samples - covered, DAMAGED if damaged else NOT_KEPT))
    return joined(found)


def _cause(first: int, damaged: bool) -> str:
    if damaged:
        return DAMAGED
    return NOTICE if first == 0 else NOT_KEPT


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Touching or overlapping spans of one reason made one."""
    result: list[Span] = []
    for span in spans:
        last = result[-1] if result else None
        if last is not None and last.reason == span.reason and span.first <= last.end:
            result[-1] = Span(last.first, max(last.end, span.end) - last.first, span.reason)
        else:
            result.append(span)
    return tuple(result)
