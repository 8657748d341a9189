"""The ledger for people and for scripts: one row per call event, as a table of at most 100 columns or as JSON
objects."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from firmware.policy.records import LedgerRow

HEAD = ("seq", "line", "outcome", "direction", "rule", "started", "ended", "keep")


def rows(ledger: Iterable[tuple[int, LedgerRow]], line_names: Sequence[str]) -> list[dict[str, Any]]:
    """``seq`` is the row's number in the audit log; times are ISO 8601 UTC; ``keep``: what became of the KEEP key, None
    where nobody pressed it."""
    return [
        {
            "seq": seq,
            "line": line_names[row.line] if row.line < len(line_names) else f"line{row.line + 1}",
            "outcome": row.outcome.value,
            "direction": row.direction.value,
            "rule": row.rule,
            "started_utc": utc_text(row.started_utc_ms),
            "ended_utc": utc_text(row.ended_utc_ms),
            "sense": row.sense,
            "keep": None if row.keep is None else row.keep.value,
        }
        for seq, row in ledger
    ]


def table(found: Sequence[dict[str, Any]], zone: str = "Europe/London") -> str:
    """Local times, as everything that a person reads."""
    local = ZoneInfo(zone)
    cells = [
        (
            str(row["seq"]),
            row["line"],
            row["outcome"],
            row["direction"],
            row["rule"],
            f"{_local(row['started_utc'], local):%Y-%m-%d %H:%M:%S}",
            f"{_local(row['ended_utc'], local):%H:%M:%S}",
            row["keep"] or "",
        )
        for row in found
    ]
    head = HEAD if any(cell[-1] for cell in cells) else HEAD[:-1]
    widths = [max(len(str(line[i])) for line in [head, *cells]) for i in range(len(head))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)).rstrip()
        for line in [head, *cells]
    ]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines) if cells else "No calls yet."


def utc_text(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _local(text: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)
