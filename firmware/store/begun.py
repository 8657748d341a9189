"""Answered calls whose ledger row is still to come: what a power cut may not make disappear (FORMAT.md 8, ``BEGUN``).

The line of the answer is in the log before anything of the call is kept; the table carries on what is open in it, so
that a boot need not read the log further back than the table's cursor.
"""

from collections.abc import Sequence

from firmware.policy.records import Direction, Ended, LedgerRow, Outcome
from firmware.store import rotate
from firmware.store.audit import AuditLine, Value
from firmware.store.core import Core
from firmware.store.table import BEGUN, BEGUN_MAX, Begun

INTERRUPTED_RULE = "interrupted"


def begin(core: Core, line: int, started_utc_ms: int, *, opted_out: bool) -> None:
    """An inbound call is answered. Durable when it returns. Raises CardFailed, ErasureUnconfirmed."""
    core.ready()
    if len(core.table.begun) >= BEGUN_MAX:
        return
    fields: dict[str, Value] = {"line": line, "started": started_utc_ms, "opted_out": int(opted_out)}
    appended = core.log.append(core.now_utc_ms(), BEGUN, fields, core.table.seed)
    core.table.begun[appended.seq] = Begun(line, started_utc_ms, opted_out)


def opt_out(core: Core, line: int, started_utc_ms: int) -> None:
    """Its caller refused before anything of it was kept. Raises CardFailed, ErasureUnconfirmed."""
    core.ready()
    change = rotate.begin(core)
    seq = find(change.table.begun, line, started_utc_ms)
    if seq is not None and not change.table.begun[seq].opted_out:
        change.table.begun[seq].opted_out = True
        rotate.commit(core, change)


def find(begun: dict[int, Begun], line: int, started_utc_ms: int) -> int | None:
    """The answer that a row, or a recording, speaks of. A VoIP call may have moved to another line meanwhile."""
    found = [seq for seq, x in begun.items() if x.started_utc_ms == started_utc_ms]
    return min(found, key=lambda seq: begun[seq].line != line, default=None)


def recover(core: Core, lines: Sequence[AuditLine]) -> None:
    """``lines``: those after the table's cursor."""
    for line in lines:
        if line.event == BEGUN:
            started, opted_out = line.integer("started"), line.integer("opted_out") != 0
            core.table.begun[line.seq] = Begun(line.integer("line"), started, opted_out)
        elif "begun" in line.fields:
            core.table.begun.pop(line.integer("begun"), None)


def rows_owed(core: Core) -> list[LedgerRow]:
    """Of calls that a power cut ended before anything of them was kept, by the rules of policy/ledger. The end is the
    last time that is known; the cut came later."""
    saved = core.time.saved.watermark_utc_ms
    return [
        LedgerRow(
            x.line,
            Outcome.OPTED_OUT if x.opted_out else Outcome.NOTICE_NOT_COMPLETED,
            Direction.INBOUND,
            INTERRUPTED_RULE,
            x.started_utc_ms,
            max(x.started_utc_ms, saved),
            False,
            ended=Ended.POWER_CUT,
        )
        for x in core.table.begun.values()
    ]
