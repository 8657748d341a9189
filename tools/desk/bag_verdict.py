"""What the checks of a call came to, in words that a person who has never seen a hash can weigh."""

from dataclasses import dataclass

from firmware.policy.retention import TWO_MONTHS
from tools.desk.bag_source import Source
from tools.desk.bundle import limit_utc_ms, was_held
from tools.desk.findings import Severity
from tools.desk.local_times import local_text


@dataclass(frozen=True)
class Check:
    """``passed`` None: it could not be checked here."""

    what: str
    passed: bool | None
    words: str


def verdict(source: Source) -> list[Check]:
    """One line per question that a court asks."""
    items = source.findings.items
    forged = [item for item in items if item.severity is Severity.UNVERIFIED]
    damaged = [item for item in items if item.severity is Severity.DAMAGED]
    opened = sum(frame.plaintext is not None for frame in source.frames)
    total = source.call.close.frames
    fingerprint = source.chain.fingerprint
    return [
        Check(
            "Which recorder made it",
            True if source.chain.anchored else None,
            f"{source.row.device}, fingerprint {fingerprint.hex() if fingerprint else 'unknown'}; "
            + (
                "it is the one that the custodian pinned when the recorder was enrolled"
                if source.chain.anchored
                else "nobody has compared it with the recorder's label"
            ),
        ),
        Check(
            "Its signatures",
            not forged,
            "every frame, the closing record and the log are signed by the recorder's keys"
            if not forged
            else f"{len(forged)} findings, named below",
        ),
        Check(
            "Whole and in order",
            opened == total and not items,
            f"{opened} of {total} frames are here, chained from the first to the last"
            if not items
            else f"{opened} of {total} frames are sound and were used",
        ),
        Check(
            "Unchanged",
            not damaged,
            "every frame opens and is what its signed header commits to"
            if not damaged
            else f"{len(damaged)} findings, named below",
        ),
        _within_limit(source),
    ]


def _within_limit(source: Source) -> Check:
    """By the recorder's own clock, in its signed log."""
    what, call_id, lines = "Within its limit when given out", source.row.call_id, source.chain.lines
    given = [line for line in lines if line.event == "DISCLOSE" and line.fields.get("call") == call_id]
    given = [line for line in given if line.fields.get("order") == source.row.bag]
    if not given:
        return Check(what, None, "the log here does not say when it was given out")
    held = was_held(source.chain, call_id, given[0].seq)
    limit = limit_utc_ms(source.row.started_utc_ms, TWO_MONTHS)
    moment = local_text(given[0].utc_ms, source.zone)
    if given[0].utc_ms < limit:
        return Check(what, True, f"{moment}; the limit was {local_text(limit, source.zone)}")
    return Check(what, held, f"{moment}, after {local_text(limit, source.zone)}; {'held' if held else 'and not held'}")
