"""The ledger: the audit log's CALL lines as rows, one per call event."""

from collections.abc import Sequence
from dataclasses import replace

from firmware.policy.records import Direction, Ended, Keep, LedgerRow, Outcome
from firmware.store.audit import AuditLine
from firmware.store.table import HOLD_REFUSED, Op

KEEPS = {"KEEP": Keep.HELD, HOLD_REFUSED: Keep.REFUSED, "RELEASE": Keep.RELEASED, "LAPSE": Keep.LAPSED}


def rows(lines: Sequence[AuditLine]) -> list[tuple[int, LedgerRow]]:
    """(audit seq, row), oldest first. An opt-out after the row was written (up to 60 s after on-hook) and what becomes
    of KEEP change what the row says, not how many there are."""
    opted_out = {
        line.fields.get("call") for line in lines if line.event == "DESTROYED" and line.fields.get("op") == "opt_out"
    }
    keeps = _keeps(lines)
    found = [(line.seq, _row(line, opted_out, keeps)) for line in lines if line.event == "CALL"]
    for line in lines:
        if _refuses_keep(line) and "call" not in line.fields:
            _refused_on_line(found, line)
    return found


def _row(line: AuditLine, opted_out: set[str | None], keeps: dict[str, Keep]) -> LedgerRow:
    fields = line.fields
    call = fields.get("call")
    how = fields.get("how")
    gone = call is not None and call in opted_out
    keep = None if call is None else keeps.get(call)
    return LedgerRow(
        line.integer("line"),
        Outcome.OPTED_OUT if gone else Outcome(fields["outcome"]),
        Direction(fields["direction"]),
        fields["rule"],
        line.integer("started"),
        line.integer("ended"),
        fields["sense"] == "1",
        None if call is None else bytes.fromhex(call),
        None if how is None else Ended(how),
        Keep.OVERRULED if gone and keep is Keep.HELD else keep,
    )


def _keeps(lines: Sequence[AuditLine]) -> dict[str, Keep]:
    """By call: the last that is said of its KEEP. The end of a hold that an order began is not among it."""
    found: dict[str, Keep] = {}
    for line in lines:
        call = line.fields.get("call")
        if call is not None and (
            line.event == "KEEP" or _refuses_keep(line) or (line.event in KEEPS and call in found)
        ):
            found[call] = KEEPS[line.event]
    return found


def _refuses_keep(line: AuditLine) -> bool:
    return line.event == HOLD_REFUSED and line.fields.get("op") == Op.KEEP.word


def _refused_on_line(found: list[tuple[int, LedgerRow]], refused: AuditLine) -> None:
    """Of a call of which nothing was ever kept the log has no id: it is the one on its line that had begun and whose
    row comes next; where there is none, the row was there already (up to 60 s after on-hook)."""
    number = refused.integer("line")
    here = [index for index, (_, row) in enumerate(found) if row.line == number]
    begun = [index for index in here if found[index][1].started_utc_ms <= refused.utc_ms]
    after = [index for index in begun if found[index][0] > refused.seq]
    if begun:
        index = after[0] if after else begun[-1]
        found[index] = found[index][0], replace(found[index][1], keep=Keep.REFUSED)
