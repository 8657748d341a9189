"""The DPO's statement of a month: recorded, deleted, held, opted out, disclosed, faults. Everything is counted from
the recorder's own signed log, so anybody who has the log can count again; nothing is taken from what the desk
remembers.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from firmware.policy.records import Outcome
from firmware.store.audit import AuditLine
from tools.desk.bundle import LOG_BYTES_MAX
from tools.desk.errors import NotFound
from tools.desk.files import read_if_there
from tools.desk.findings import Findings
from tools.desk.home import Device, Home
from tools.desk.keychain import AUDIT_LOG, Keychain, follow, genesis_of

HOLD_EVENTS = ("KEEP", "HOLD", "CONFIRM", "EXTEND", "RELEASE", "LAPSE")
FAULT_EVENTS = ("REFUSED", "STICK_FAILED", "CAPACITY", "METRICS_FAILED")


@dataclass(frozen=True)
class Row:
    """One thing that happened. ``reference``: the log line it rests on."""

    reference: int
    utc_ms: int
    group: str
    what: str


@dataclass(frozen=True)
class Statement:
    device: str
    start_utc_ms: int
    end_utc_ms: int
    supervisor_may_export: bool
    outcomes: Counter[str]
    destroyed: Counter[str]
    disclosed: Counter[str]
    """By recipient and lawful basis."""
    rows: tuple[Row, ...]
    first_seq: int
    last_seq: int
    anchored: bool
    proven: bool
    """False where the recorder's memory is a file: erasure is not proven on that storage."""


def month(text: str) -> tuple[int, int]:
    """``2026-03`` -> (start, end) in UTC ms, the end exclusive. Raises ValueError."""
    start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)


def newest_log(home: Home, device: Device) -> tuple[Path, Keychain]:
    """The longest verified log of this recorder that an import brought, and the answer it lies in. Raises NotFound."""
    best: tuple[Path, Keychain] | None = None
    for folder in sorted((home.path / "bags" / device.device_id).glob("*")):
        log = read_if_there(folder / AUDIT_LOG, LOG_BYTES_MAX)
        if log is None:
            continue
        chain = follow(log, device.device_id, device.genesis_public or genesis_of(log), device.fingerprint, Findings())
        if chain.lines and (best is None or chain.lines[-1].seq > best[1].lines[-1].seq):
            best = folder, chain
    if best is None:
        raise NotFound("No log of this recorder is here yet; write a report order, visit it with the stick and import.")
    return best


def make(
    device: str, chain: Keychain, start_utc_ms: int, end_utc_ms: int, supervisor_may_export: bool, proven: bool
) -> Statement:
    lines = [line for line in chain.lines if start_utc_ms <= line.utc_ms < end_utc_ms]
    orders = {line.fields.get("order"): line for line in chain.lines if line.event == "ORDER"}
    return Statement(
        device=device,
        start_utc_ms=start_utc_ms,
        end_utc_ms=end_utc_ms,
        supervisor_may_export=supervisor_may_export,
        outcomes=_outcomes(chain.lines, start_utc_ms, end_utc_ms),
        destroyed=_destroyed(lines),
        disclosed=_disclosed(lines, orders),
        rows=tuple(row for line in lines for row in _rows(line, orders)),
        first_seq=chain.lines[0].seq,
        last_seq=chain.lines[-1].seq,
        anchored=chain.anchored,
        proven=proven,
    )


def _outcomes(lines: Sequence[AuditLine], start_utc_ms: int, end_utc_ms: int) -> Counter[str]:
    """By the time a call began. A call that was opted out after its row was written counts as opted out."""
    opted_out = {
        line.fields.get("call") for line in lines if line.event == "DESTROYED" and line.fields.get("op") == "opt_out"
    }
    counted: Counter[str] = Counter({outcome.value: 0 for outcome in Outcome})
    for line in lines:
        if line.event == "CALL" and start_utc_ms <= line.integer("started") < end_utc_ms:
            call = line.fields.get("call")
            counted["opted_out" if call is not None and call in opted_out else line.fields["outcome"]] += 1
    return counted


def _destroyed(lines: Iterable[AuditLine]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for line in lines:
        if line.event == "DESTROYED":
            counted[line.fields["op"]] += int(line.fields.get("calls", "1"))
    return counted


def _disclosed(lines: Iterable[AuditLine], orders: dict[str | None, AuditLine]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for line in lines:
        if line.event == "DISCLOSE":
            order = orders.get(line.fields.get("order"))
            facts = order.fields if order is not None else {}
            counted[", ".join(facts.get(key, "not stated") for key in ("recipient", "basis", "purpose"))] += 1
    return counted


def _rows(line: AuditLine, orders: dict[str | None, AuditLine]) -> list[Row]:
    fields = line.fields
    if line.event == "DESTROYED":
        what = f"call {fields['call'][:12]}" if "call" in fields else f"{fields.get('calls', '?')} calls of one day"
        technique = fields.get("technique", "").replace("_", " ")
        proof = "" if fields.get("proven") != "0" else ", not proven on this storage"
        return [
            Row(line.seq, line.utc_ms, "destroyed", f"{fields['op'].replace('_', ' ')}: {what}, {technique}{proof}")
        ]
    if line.event in HOLD_EVENTS:
        return [Row(line.seq, line.utc_ms, "held", f"{line.event.lower()}: call {fields.get('call', '')[:12]}")]
    if line.event == "HOLD_REFUSED":
        of = f"call {fields['call'][:12]}" if "call" in fields else f"a call on line {int(fields.get('line', '0')) + 1}"
        what = f"{fields.get('op', 'hold')} refused, {fields.get('why', 'not stated').replace('_', ' ')}: {of}"
        return [Row(line.seq, line.utc_ms, "not held", what)]
    if line.event == "DISCLOSE":
        order = fields.get("order", "")
        words = orders[order].fields.get("recipient", "not stated") if order in orders else "not stated"
        return [Row(line.seq, line.utc_ms, "disclosed", f"call {fields.get('call', '')[:12]} to {words}")]
    if line.event in FAULT_EVENTS or (line.event == "SELFTEST" and fields.get("failed", "0") != "0"):
        what = ", ".join([line.event.lower().replace("_", " "), *filter(None, [fields.get("code")])])
        return [Row(line.seq, line.utc_ms, "fault", what)]
    return []


def memory_kind(answer: Path) -> str:
    """What the recorder says of its erasable memory; ``file`` where it says nothing: default is not to claim."""
    health = (read_if_there(answer / "data/health.txt", LOG_BYTES_MAX) or b"").decode("ascii", "replace")
    facts = dict(line.split(": ", 1) for line in health.splitlines() if ": " in line)
    return facts.get("memory", "file")


# ------------------------------------------------------------------------------------------------------- as a page


def as_csv(statement: Statement) -> str:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["group", "what", "count or time (UTC)", "log line"])
    for group, counts in _counts(statement):
        for what, count in sorted(counts.items()):
            table.writerow([group, what, count, ""])
    for row in statement.rows:
        table.writerow([row.group, row.what, _when(row.utc_ms), row.reference])
    return out.getvalue()


def as_html(statement: Statement) -> str:
    title = f"Statement of recorder {escape(statement.device)}"
    parts = [f"<h1>{title}</h1>", *(f"<p>{sentence}</p>" for sentence in _sentences(statement))]
    for group, counts in _counts(statement):
        parts.append(_table(group, [(what, str(count)) for what, count in sorted(counts.items())], ("", "number")))
    rows = [(f"{row.group}: {row.what}", f"{_when(row.utc_ms)} (line {row.reference})") for row in statement.rows]
    parts.append(_table("Each event", rows, ("what", "when, UTC")))
    return PAGE.format(title=title, body="\n".join(parts))


def _sentences(statement: Statement) -> list[str]:
    identity = "checked against the pinned fingerprint" if statement.anchored else "<b>not</b> checked"
    may_export = "yes" if statement.supervisor_may_export else "no"
    sentences = [
        f"{_when(statement.start_utc_ms)[:10]} to before {_when(statement.end_utc_ms)[:10]} (UTC).",
        f"Counted from lines {statement.first_seq} to {statement.last_seq} of the recorder's signed log; "
        f"its identity was {identity}.",
        f"A supervisor may order exports for quality and training: {may_export}.",
        "Copies at the desk are destroyed at the calls' limit; copies that were disclosed are outside erasure.",
    ]
    if not statement.proven:
        sentences.append("<b>This recorder keeps its keys in a file: erasure is not proven on this storage.</b>")
    return sentences


PAGE = """<!doctype html>
<html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#16202b}}
table{{border-collapse:collapse;width:100%;margin:0 0 1.5rem}}
caption{{text-align:left;font-weight:bold;padding:.3rem 0}}
td,th{{border-bottom:1px solid #c4ccd4;padding:.3rem .5rem;text-align:left}}td:last-child{{white-space:nowrap}}
@media print{{body{{margin:0}}}}</style></head><body>
{body}
</body></html>
"""


def _counts(statement: Statement) -> list[tuple[str, Counter[str]]]:
    return [
        ("Calls by outcome", statement.outcomes),
        ("Recordings destroyed, by reason", statement.destroyed),
        ("Recordings disclosed, by recipient, lawful basis and purpose", statement.disclosed),
    ]


def _table(caption: str, rows: Sequence[tuple[str, str]], head: tuple[str, str]) -> str:
    if not rows:
        return f"<p><b>{escape(caption)}</b>: none.</p>"
    cells = [(escape(what.replace("_", " ")), escape(value)) for what, value in rows]
    body = "".join(f"<tr><td>{what}</td><td>{value}</td></tr>" for what, value in cells)
    return f"<table><caption>{escape(caption)}</caption><tr><th>{head[0]}</th><th>{head[1]}</th></tr>{body}</table>"


def _when(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
