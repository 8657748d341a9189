"""What the recorder writes into the answer bag: calls as they lie in the ring, the index, the log. FORMAT.md 10.

Every function is a generator that gives the writer back between files and, through the courier, between frames.
"""

import struct
from collections.abc import Generator, Iterator, Sequence

from firmware.evidence.bag import AnswerBag
from firmware.store.auditlog import AuditDamaged
from firmware.store.errors import Refused
from firmware.store.vault import CallEntry, Vault

OPEN, CLOSE, META, INDEX_ENTRY = 1, 2, 4, 16
"""Record kinds of FORMAT.md 10."""

INDEX_CALLS_PER_FILE = 1000
CHUNK_BYTES = 64 * 1024


def record(kind: int, body: bytes) -> bytes:
    return struct.pack(">BI", kind, len(body)) + body


def add_call(vault: Vault, bag: AnswerBag, number: int, call_id: bytes) -> Generator[None, None, bool]:
    """Frames first, the sealed key last: a call that is opted out or erased while it is copied leaves only
    ciphertext without a key on the stick. Returns whether the call was handed out whole."""
    try:
        frames = vault.sealed(call_id).frames()
    except Refused:
        return False
    yield from bag.add(f"{number}.tcf", frames)
    try:
        sealed = vault.sealed(call_id)
    except Refused:
        return False
    records = record(OPEN, sealed.open_entry)
    if sealed.meta_entry is not None:
        records += record(META, sealed.meta_entry)
    yield from bag.add(f"{number}.key", iter([records + record(CLOSE, sealed.close_entry)]))
    return True


def add_index(vault: Vault, bag: AnswerBag) -> Generator[None, None, int]:
    """Times, lines, outcomes and sealed numbers of all closed calls; never a key to audio. Returns how many.

    CLOSE goes with each, because its signature covers the META: a number in an index is the recorder's own word."""
    entries = vault.calls()
    for number, start in enumerate(range(0, len(entries), INDEX_CALLS_PER_FILE), 1):
        part = entries[start : start + INDEX_CALLS_PER_FILE]
        yield from bag.add(f"index/{number}.key", _gathered(_index_records(vault, part)))
    return len(entries)


def _index_records(vault: Vault, entries: Sequence[CallEntry]) -> Iterator[bytes]:
    for entry in entries:
        try:
            sealed = vault.sealed(entry.call_id)
        except Refused:  # opted out or erased since the list was made: it is not there any more, and not in the index
            continue
        if sealed.meta_entry is not None:
            yield record(META, sealed.meta_entry)
        yield record(CLOSE, sealed.close_entry)
        yield record(INDEX_ENTRY, entry.index_body())


def add_report(vault: Vault, bag: AnswerBag, site_toml: bytes) -> Generator[None, None, None]:
    yield from bag.add("audit.log", _lines(_readable(vault.audit_lines())))
    yield from bag.add("certificates.txt", _lines(_readable(vault.certificates())))
    health = "".join(f"{name}: {value}\n" for name, value in vault.health().items())
    yield from bag.add("health.txt", iter([health.encode("ascii")]))
    yield from bag.add("site.toml", iter([site_toml]))


def _readable(lines: Iterator[bytes]) -> Iterator[bytes]:
    """A damaged log ends where it is damaged, which the desk sees; the calls are given out all the same."""
    try:
        yield from lines
    except AuditDamaged:
        return


def _lines(lines: Iterator[bytes]) -> Iterator[bytes]:
    return _gathered(line + b"\n" for line in lines)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces gathered into chunks that are worth a write to a stick."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)
