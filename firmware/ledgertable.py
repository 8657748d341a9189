"""The ledger for people and for scripts: one row per call event, as a table of at most 100 columns or as JSON
objects."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from firmware.policy.records import LedgerRow

HEAD = ("seq", "line", "outcome", "direction", "rule", "started", "ended")


def rows(ledger: Iterable[tuple[int, LedgerRow]], line_names: Sequence[str]) -> list[dict[str, Any]]:
    """``seq`` is the row's number in the audit log; times are ISO 8601 UTC."""
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
        )
        for row in found
    ]
    widths = [max(len(str(line[i])) for line in [HEAD, *cells]) for i in range(len(HEAD))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [HEAD, *cells]
    ]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines) if cells else "No calls yet."


def utc_text(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _local(text: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)
