"""The one place where the explorer looks behind the vault's door: what a rebuild must equal, and what is saved."""

from firmware.store.audit import AuditLine
from firmware.store.vault import Vault


def persisted_utc_ms(vault: Vault) -> int:
    """T as the table in force has it: what a boot without any clock starts from."""
    return vault._core.table.clock.watermark_utc_ms


def canonical(vault: Vault) -> tuple[object, ...]:
    """All that card and memory determine (I23), without what overwriting in the background moves on."""
    core = vault._core
    table = core.table
    calls = tuple(
        (
            c.call_id,
            c.opened_utc_ms,
            c.line,
            c.meta_hash,
            c.close,
            c.hold,
            c.day_bag is not None,
            c.hold_bag is not None,
        )
        for c in sorted(core.calls.values(), key=lambda call: call.call_id)
    )
    lines = tuple((line.opted_out, line.owed_row_utc_ms, line.interrupted) for line in table.lines)
    documents = tuple(sorted(table.documents.values(), key=lambda document: document.name))
    bags = tuple(sorted((row.bag_id, row.type, row.day, row.key) for row in table.bags.values()))
    return (
        calls,
        lines,
        documents,
        bags,
        tuple(sorted(table.orders.items())),
        table.recipients,
        table.request_keys,
        table.sign_epoch,
        table.period,
        core.ring.head,
    )


def idle(vault: Vault) -> bool:
    """All intents are carried out and all overwriting is done (I25)."""
    core = vault._core
    intents = any(listed for call in core.calls.values() for listed in call.intents.values())
    return not intents and not core.table.todo and core.unfinished is None


def recent_log(vault: Vault, from_seq: int) -> list[AuditLine]:
    """The log's lines from ``from_seq`` on, read backwards from its end: all of it is too long to read each time."""
    log = vault._core.log
    start = log._segment_start(log.cursor.position)
    lines = log._segment_lines(start)
    while start > log.cursor.tail and (not lines or lines[0].seq > from_seq):
        start -= log._segment
        lines = log._segment_lines(start) + lines
    return [line for line in lines if line.seq >= from_seq]
