"""The part of a recorder's log that goes with one call: verifiable by itself, and nothing more than it needs.

A slice is a log in the form of FORMAT.md 10: the DAYEND lines before it, which carry the signing keys from the pinned
one to its days, then lines without a hole.
"""

from collections import Counter
from collections.abc import Sequence

from firmware.store.audit import AuditLine

AROUND_MS = 12 * 3_600_000
"""Before and after the call: its health statement covers the 24 h around it."""


def slice_around(lines: Sequence[AuditLine], start_utc_ms: int, end_utc_ms: int, sign_epochs: set[int]) -> bytes:
    """Lines from 12 h before to 12 h after the call, further where a signing key of the call is handed over later (a
    call that was closed at the boot after a power cut)."""
    inside = [line.seq for line in near(lines, start_utc_ms, end_utc_ms)]
    if not inside:  # the log of those days is gone; the signing keys of its days are not
        return run(lines, lines[-1].seq, lines[-1].seq) if lines else b""
    hand_overs = [line.seq for line in lines if hands_over(line, sign_epochs)]
    return run(lines, min(inside), max(inside + hand_overs))


def hands_over(line: AuditLine, sign_epochs: set[int]) -> bool:
    return line.event == "DAYEND" and int(line.fields.get("epoch", -1)) + 1 in sign_epochs


def slice_of_order(lines: Sequence[AuditLine], order_id: str) -> bytes:
    """From the order to the last call that was given out for it."""
    seqs = [line.seq for line in lines if line.fields.get("order") == order_id]
    return run(lines, min(seqs, default=0), max(seqs, default=0))


def run(lines: Sequence[AuditLine], first_seq: int, last_seq: int) -> bytes:
    """DAYEND lines before ``first_seq``, then everything up to ``last_seq``."""
    kept = [
        line for line in lines if (line.seq < first_seq and line.event == "DAYEND") or first_seq <= line.seq <= last_seq
    ]
    return b"".join(line.raw + b"\n" for line in kept)


def near(lines: Sequence[AuditLine], start_utc_ms: int, end_utc_ms: int) -> list[AuditLine]:
    return [line for line in lines if start_utc_ms - AROUND_MS <= line.utc_ms <= end_utc_ms + AROUND_MS]


def health_text(lines: Sequence[AuditLine], at_export: str) -> str:
    """``lines``: of the 24 h. Words of the log, so that it can be made again from the slice by hand."""
    outcomes = Counter(line.fields.get("outcome", "") for line in lines if line.event == "CALL")
    others = [line for line in lines if line.event not in ("BEGUN", "CALL", "DAYEND")]
    clocks = sorted({line.fields["clock"] for line in others if line.event == "BOOT" and "clock" in line.fields})
    text = [
        "Health of the recorder from 12 hours before to 12 hours after the call, from data/audit.log (times in UTC ms)",
        "",
        f"starts of the recorder: {sum(line.event == 'BOOT' for line in others)}",
        f"its clock at those starts: {', '.join(clocks) or 'no start in these hours'}",
        f"call events: {sum(outcomes.values())}",
        *(f"  {outcome}: {count}" for outcome, count in sorted(outcomes.items())),
        "",
        "every other line of those hours:",
        *(f"  {line.seq} {line.utc_ms} {line.event} {_fields(line)}" for line in others),
        "",
        "as the recorder stated itself when it gave the call out:",
        *(f"  {line}" for line in at_export.splitlines()),
    ]
    return "\n".join(text) + "\n"


def _fields(line: AuditLine) -> str:
    return " ".join(f"{name}={value}" for name, value in line.fields.items())
