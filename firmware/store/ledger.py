"""The ledger: the audit log's CALL lines as rows, one per call event."""

from collections.abc import Sequence

from firmware.policy.records import Direction, Ended, LedgerRow, Outcome
from firmware.store.audit import AuditLine


def rows(lines: Sequence[AuditLine]) -> list[tuple[int, LedgerRow]]:
    """(audit seq, row), oldest first. An opt-out after the row was written (up to 60 s after on-hook) changes what the
    row says, not how many there are."""
    opted_out = {
        line.fields.get("call") for line in lines if line.event == "DESTROYED" and line.fields.get("op") == "opt_out"
    }
    return [(line.seq, _row(line, opted_out)) for line in lines if line.event == "CALL"]


def _row(line: AuditLine, opted_out: set[str | None]) -> LedgerRow:
    fields = line.fields
    call = fields.get("call")
    how = fields.get("how")
    return LedgerRow(
        line.integer("line"),
        Outcome.OPTED_OUT if call is not None and call in opted_out else Outcome(fields["outcome"]),
        Direction(fields["direction"]),
        fields["rule"],
        line.integer("started"),
        line.integer("ended"),
        fields["sense"] == "1",
        None if call is None else bytes.fromhex(call),
        None if how is None else Ended(how),
    )
