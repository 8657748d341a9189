"""From the pinned genesis key to the signing key of each day, along the DAYEND lines of the audit log (FORMAT.md 8)."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field

from firmware.store.audit import AuditLine, parse_line, verify_line
from firmware.store.ciphers import REAL
from firmware.store.errors import Malformed
from tools.desk.findings import Findings

AUDIT_LOG = "data/audit.log"
KEPT_MS_MIN = 300 * 86_400_000
"""A recorder keeps its log for twelve months: one that neither reaches back to line 1 nor that far was cut."""

PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass
class Keychain:
    """``keys``: epoch -> public key, as far as the chain holds. ``lines``: the verified part of the log, in order.

    ``anchored``: the genesis key is the pinned one; without it the whole is consistent and nobody knows whose."""

    genesis: bytes | None = None
    anchored: bool = False
    keys: dict[int, bytes] = field(default_factory=dict)
    lines: list[AuditLine] = field(default_factory=list)

    @property
    def fingerprint(self) -> bytes | None:
        return hashlib.sha256(self.genesis).digest() if self.genesis is not None else None


def genesis_of(log: bytes) -> bytes | None:
    """The key that line 1 of a log names; None where the log begins later."""
    try:
        first = parse_line(log.partition(b"\n")[0])
    except Malformed:
        return None
    key = first.fields.get("pk", "")
    return bytes.fromhex(key) if first.event == "PROVISIONED" and PUBLIC_KEY.fullmatch(key) else None


def follow(
    log: bytes,
    device_id: str,
    genesis: bytes | None,
    pinned: bytes | None,
    findings: Findings,
    trusted: tuple[int, bytes] | None = None,
) -> Keychain:
    """``genesis``: the key as the stick tells it; ``pinned``: the fingerprint it must have, where one is known.
    ``trusted``: (seq, hash) of a line whose signature was verified at an earlier import. A log that contains it needs
    no signature of an earlier line checked again: their hashes lead up to it."""
    chain = Keychain(genesis)
    if genesis is None:
        findings.unverified(AUDIT_LOG, "the recorder's first signing key is not on the stick; no signature was checked")
        return chain
    if pinned is not None:
        chain.anchored = hmac.compare_digest(hashlib.sha256(genesis).digest(), pinned)
        if not chain.anchored:
            findings.unverified(
                AUDIT_LOG, "the recorder's fingerprint is not the pinned one: another recorder, or a forgery"
            )
            return chain
    chain.keys[0] = genesis
    _walk(_parsed(log, findings), device_id, chain, findings, trusted)
    return chain


def _parsed(log: bytes, findings: Findings) -> list[AuditLine]:
    lines = []
    raw_lines = log.split(b"\n")
    if raw_lines.pop() != b"":
        findings.damaged(AUDIT_LOG, "its last line is cut")
    for count, raw in enumerate(raw_lines, 1):
        try:
            lines.append(parse_line(raw))
        except Malformed:
            findings.damaged(f"{AUDIT_LOG} line {count}", "not a line of the log; nothing after it is vouched for")
            break
    return lines


def _walk(
    lines: list[AuditLine],
    device_id: str,
    chain: Keychain,
    findings: Findings,
    trusted: tuple[int, bytes] | None,
) -> None:
    """First the DAYEND lines that outlived their log, then lines without a hole."""
    if not lines:
        findings.unverified(AUDIT_LOG, "the log is missing: nothing vouches for what was given out")
        return
    tail = max(len(lines) - 1, 0)
    while tail > 0 and lines[tail - 1].seq + 1 == lines[tail].seq:
        tail -= 1
    if lines[tail].seq > 1 and lines[-1].utc_ms - lines[tail].utc_ms < KEPT_MS_MIN:
        findings.unverified(AUDIT_LOG, "its beginning is missing")
    known_to = next((at for at, line in enumerate(lines) if trusted == (line.seq, line.hash)), -1)
    epoch, in_epoch = 0, None
    for at, line in enumerate(lines):
        before = lines[at - 1] if at > tail else None
        if line.seq == 1 or (before is not None and before.event == "DAYEND"):
            in_epoch = 1
        else:
            in_epoch = in_epoch + 1 if before is not None and in_epoch is not None else None
        led_up_to = tail <= at <= known_to
        wrong = _misplaced(line, before, epoch, in_epoch, prefix=at < tail)
        if wrong is None and not led_up_to and not verify_line(REAL, device_id, line, chain.keys[epoch]):
            wrong = "its signature is not by the key of its day"
        if wrong is not None:
            findings.unverified(f"{AUDIT_LOG} line {at + 1}", f"{wrong}; nothing after it is vouched for")
            return
        if line.event == "DAYEND":
            epoch += 1
            chain.keys[epoch] = bytes.fromhex(line.fields["next"])
        chain.lines.append(line)


def _misplaced(
    line: AuditLine, before: AuditLine | None, epoch: int, in_epoch: int | None, *, prefix: bool
) -> str | None:
    if prefix and line.event != "DAYEND":
        return "lines are missing after it"
    if before is not None and not hmac.compare_digest(line.prev, before.hash):
        return "it does not follow from the line before"
    if line.event != "DAYEND":
        return None
    if line.fields.get("epoch") != str(epoch) or not PUBLIC_KEY.fullmatch(line.fields.get("next", "")):
        return "the hand-over of the signing key does not fit"
    if in_epoch is not None and line.fields.get("lines") != str(in_epoch):
        return "lines of its day are missing"
    return None
