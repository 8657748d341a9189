"""Which outcome a call event has, and its ledger row. Every call event gets exactly one, from the closed list."""

from dataclasses import dataclass

from firmware.policy.call import Call
from firmware.policy.records import Direction, GapReason, LedgerRow, Outcome


@dataclass(frozen=True)
class Kept:
    """What the recorder did with one call. ``reasons``: every gap reason that occurred in it."""

    samples: int = 0
    reasons: frozenset[GapReason] = frozenset()


TECHNICAL = frozenset({GapReason.FAULT, GapReason.LOST_SAMPLES})


def outcome(call: Call, kept: Kept) -> Outcome:
    if call.opted_out:
        return Outcome.OPTED_OUT
    if call.not_recordable is not None and not kept.samples:
        return call.not_recordable
    if call.direction is Direction.OUTBOUND:
        return Outcome.OUTBOUND
    if call.direction is Direction.CONSULT:
        return Outcome.CONSULT
    if call.answered_mono_us is None:
        return Outcome.UNANSWERED
    if call.direction is Direction.UNKNOWN:
        return Outcome.UNKNOWN_DIRECTION
    if call.permitted_from_mono_us is None:
        return Outcome.NOTICE_NOT_COMPLETED
    if not kept.samples and kept.reasons <= TECHNICAL:
        return Outcome.FAULT if kept.reasons else Outcome.NOTICE_NOT_COMPLETED
    return Outcome.RECORDED


def row(call: Call, result: Outcome, started_utc_ms: int, ended_utc_ms: int, sense: bool) -> LedgerRow:
    """``started_utc_ms`` is the answer, or the first ring of a call that nobody answered."""
    return LedgerRow(
        line=call.line,
        outcome=result,
        direction=call.direction,
        rule=call.rule,
        started_utc_ms=started_utc_ms,
        ended_utc_ms=ended_utc_ms,
        sense=sense,
    )
