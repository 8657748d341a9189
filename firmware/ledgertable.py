"""The ledger for people and for scripts: one row per call event, as a table of at most 100 columns or as JSON
objects."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from firmware import columns
from firmware.policy.records import Ended, LedgerRow

DEFAULT_ZONE = "Europe/London"
HEAD = ("seq", "line", "outcome", "direction", "rule", "started", "length", "keep")


def rows(ledger: Iterable[tuple[int, LedgerRow]], line_names: Sequence[str]) -> list[dict[str, Any]]:
    """``seq`` is the row's number in the audit log; times are ISO 8601 UTC; ``keep``: what became of the KEEP key, None
    where nobody pressed it; ``sense``: None in the row of a call that a power cut ended, which the vault writes without
    knowing how the line is wired."""
    return [
        {
            "seq": seq,
            "line": line_names[row.line] if row.line < len(line_names) else f"line{row.line + 1}",
            "outcome": row.outcome.value,
            "direction": row.direction.value,
            "rule": row.rule,
            "started_utc": utc_text(row.started_utc_ms),
            "ended_utc": utc_text(row.ended_utc_ms),
            "sense": None if row.ended is Ended.POWER_CUT else row.sense,
            "keep": None if row.keep is None else row.keep.value,
        }
        for seq, row in ledger
    ]


def table(found: Sequence[dict[str, Any]], zone: str = DEFAULT_ZONE) -> str:
    """Local times, as everything that a person reads; DEFAULT_ZONE's where this machine does not know ``zone``."""
    if not found:
        return "No calls yet."
    try:
        local = ZoneInfo(zone)
    except (ValueError, LookupError, OSError):
        local = ZoneInfo(DEFAULT_ZONE)
    cells = [
        (
            str(row["seq"]),
            row["line"],
            row["outcome"],
            row["direction"],
            row["rule"],
            f"{_local(row['started_utc'], local):%Y-%m-%d %H:%M:%S}",
            _length(row),
            row["keep"] or "",
        )
        for row in found
    ]
    kept = len(HEAD) if any(cell[-1] for cell in cells) else len(HEAD) - 1
    return columns.table(HEAD[:kept], [cell[:kept] for cell in cells], shrink=(HEAD.index("line"), HEAD.index("rule")))


def utc_text(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _length(row: dict[str, Any]) -> str:
    """Minutes and seconds."""
    lasted = datetime.fromisoformat(row["ended_utc"]) - datetime.fromisoformat(row["started_utc"])
    minutes, seconds = divmod(round(lasted.total_seconds()), 60)
    return f"{minutes}:{seconds:02d}"


def _local(text: str, zone: ZoneInfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)
