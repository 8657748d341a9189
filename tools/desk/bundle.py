"""An answer bag on a stick or in the home: found, checked as a bag (``bagit``), its log followed, its calls named."""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import bagit

from firmware.evidence.fields import FieldError
from firmware.evidence.note import NOTE_BYTES_MAX, NoteError, parse
from firmware.evidence.order import Op, Order
from firmware.evidence.order import parse as parse_order
from firmware.evidence.pack import enrol_path
from firmware.policy.retention import TWO_MONTHS, Period, limit_day, utc_day
from firmware.store.audit import AuditLine
from firmware.store.errors import Malformed
from firmware.units import MS_PER_DAY
from tools.desk.callfile import CallFile, IndexEntry, check_index_entry, read_call, read_index
from tools.desk.errors import DeskError
from tools.desk.files import read_if_there
from tools.desk.findings import Findings
from tools.desk.keychain import AUDIT_LOG, Keychain, follow, genesis_of

LOG_BYTES_MAX = 512 * 1024 * 1024
SMALL_BYTES_MAX = 64 * 1024
ORDER_ID = re.compile(r"[0-9a-f]{32}")
HOLD_EVENTS = frozenset({"HOLD", "CONFIRM", "EXTEND", "KEEP"})
HOLD_ENDS = frozenset({"RELEASE", "LAPSE", "HOLD_REFUSED"})
DEVICE_DIRECTORY = re.compile(r"[A-Z0-9][A-Z0-9-]{2,22}[A-Z0-9]")

TAGS = {"bagit.txt", "bag-info.txt", "manifest-sha512.txt"}
"""What the recorder's tag manifest covers. It is written last: without it the export did not finish."""

logging.getLogger("bagit").addHandler(logging.NullHandler())
"""What it finds is told once, by us."""


@dataclass
class Bundle:
    """A checked answer. ``calls``: those whose ``.key`` file parses; frames are checked when they are read."""

    directory: Path
    device_id: str
    order_id: bytes
    findings: Findings
    chain: Keychain
    order: Order | None = None
    calls: list[CallFile] = field(default_factory=list)
    index: list[IndexEntry] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        return self.chain.lines[-1].seq if self.chain.lines else 0

    def lines(self, event: str) -> list[AuditLine]:
        return [line for line in self.chain.lines if line.event == event]


def find_bundles(top: Path) -> list[Path]:
    """``TACET/<device>/<order id>`` below a stick, in the order of the names; or ``top`` itself when it is one."""
    if (top / "bagit.txt").is_file() and ORDER_ID.fullmatch(top.name):
        return [top]
    return [
        directory
        for device in sorted(top.glob("TACET/*"))
        if DEVICE_DIRECTORY.fullmatch(device.name) and not device.is_symlink()
        for directory in sorted(device.iterdir() if device.is_dir() else ())
        if ORDER_ID.fullmatch(directory.name) and directory.is_dir() and not directory.is_symlink()
    ]


def enrolled_genesis(stick: Path, device_id: str) -> bytes | None:
    """The recorder's first signing key as ENROL.txt tells it."""
    data = read_if_there(stick / enrol_path(device_id), SMALL_BYTES_MAX)
    match = re.search(rb"(?m)^genesis_public: ([0-9a-f]{64})$", data or b"")
    return bytes.fromhex(match[1].decode("ascii")) if match else None


def read_bundle(
    directory: Path, genesis: bytes | None, pinned: bytes | None, trusted: tuple[int, bytes] | None = None
) -> Bundle:
    """``genesis``: the recorder's first key where it is known from elsewhere (ENROL.txt, the home); ``pinned``: the
    fingerprint it must have; ``trusted``: a line of the log that was verified before. Frames are not read here except
    by the checksums of the bag."""
    findings = Findings()
    device_id = directory.parent.name
    _check_bag(directory, findings)
    log = read_if_there(directory / AUDIT_LOG, LOG_BYTES_MAX) or b""
    chain = follow(log, device_id, genesis or genesis_of(log), pinned, findings, trusted)
    bundle = Bundle(directory, device_id, bytes.fromhex(directory.name), findings, chain)
    _read_order(bundle)
    _read_calls(bundle)
    _check_index(bundle)
    _check_disclosures(bundle)
    _check_certificates(bundle)
    return bundle


def _check_bag(directory: Path, findings: Findings) -> None:
    if any(path.is_symlink() for path in directory.rglob("*")):
        findings.unverified(directory.name, "it contains a link, which no recorder writes")
        return
    try:
        bag = bagit.Bag(str(directory))
        bag.validate()
    except bagit.BagValidationError as error:
        for detail in error.details or [error]:
            findings.damaged(directory.name, _bag_fault(detail))
    except (bagit.BagError, OSError, ValueError) as error:
        findings.damaged(directory.name, f"it is no complete bag: {error}")
    else:
        if not set(bag.entries) >= TAGS:
            words = "its tag manifest is missing or cut: the recorder did not finish it, or it was changed"
            findings.damaged(directory.name, words)


def _bag_fault(detail: Exception) -> str:
    """Two checksums of 128 digits help nobody."""
    if isinstance(detail, bagit.ChecksumMismatch):
        return f"{detail.path} is not what was written: its checksum differs"
    return str(detail)


def _read_order(bundle: Bundle) -> None:
    data = read_if_there(bundle.directory / "data/order.txt", NOTE_BYTES_MAX)
    try:
        bundle.order = parse_order(parse(data or b"").lines)
    except (NoteError, FieldError):
        bundle.findings.damaged("data/order.txt", "the order that was answered is missing or malformed")
        return
    if bundle.order.order_id != bundle.order_id or bundle.order.device != bundle.device_id:
        bundle.findings.unverified("data/order.txt", "it is not the order that this answer is filed under")


def _read_calls(bundle: Bundle) -> None:
    data = bundle.directory / "data"
    for path in sorted(data.glob("*.key"), key=lambda path: (len(path.name), path.name)):
        try:
            bundle.calls.append(read_call(path))
        except (Malformed, DeskError) as error:
            bundle.findings.damaged(f"data/{path.name}", f"the call cannot be opened: {error}")
    for path in sorted(data.glob("index/*.key"), key=lambda path: (len(path.name), path.name)):
        try:
            bundle.index += read_index(path)
        except (Malformed, DeskError) as error:
            bundle.findings.damaged(f"data/index/{path.name}", f"the index is damaged: {error}")


def _check_index(bundle: Bundle) -> None:
    """Entries that the recorder's signature does not cover are named and left out."""
    sound = []
    rows = {line.fields.get("call"): line for line in bundle.lines("CALL")}
    for entry in bundle.index:
        wrong = check_index_entry(entry, bundle.device_id, bundle.chain) if bundle.chain.keys else None
        row = rows.get(entry.call_id.hex())
        if wrong is None and row is not None and row.fields.get("line") != str(entry.line):
            wrong = "its line is not the one in the log"
        if wrong is None:
            sound.append(entry)
        else:
            bundle.findings.unverified(f"index entry {entry.call_id.hex()}", wrong)
    bundle.index = sound


def _check_certificates(bundle: Bundle) -> None:
    """Each must be a line of the log that was just verified."""
    known = {line.raw for line in bundle.lines("DESTROYED")}
    listed = read_if_there(bundle.directory / "data/certificates.txt", LOG_BYTES_MAX) or b""
    if bundle.chain.lines and any(line not in known for line in listed.split(b"\n") if line):
        bundle.findings.unverified("data/certificates.txt", "it has a certificate that is not in the log")


def _check_disclosures(bundle: Bundle) -> None:
    """Completeness by the log: every call that the log says was given out is here, none is here that it does not
    name, and each was within its limit when it was given out."""
    if not bundle.chain.lines or bundle.order is None or bundle.order.op is not Op.EXPORT:
        return
    order = bundle.order_id.hex()
    given = {line.fields.get("call"): line for line in bundle.lines("DISCLOSE") if line.fields.get("order") == order}
    here = {call.open.call_id.hex(): call for call in bundle.calls}
    if len(here) != len(bundle.calls):
        bundle.findings.unverified(bundle.directory.name, "a call is there twice")
    gone = {line.fields.get("call") for line in bundle.lines("DESTROYED")}
    for call_id in sorted(str(call) for call in set(given) - set(here) - gone):
        bundle.findings.damaged(f"call {call_id}", "the log says that it was given out, and it is not here")
    for call_id, call in here.items():
        if call_id not in given:
            bundle.findings.unverified(call.name, "the log does not say that it was given out for this order")
        elif given[call_id].utc_ms >= limit_utc_ms(call.open.opened_utc_ms, TWO_MONTHS) and not was_held(
            bundle.chain, call_id, given[call_id].seq
        ):
            bundle.findings.unverified(call.name, "it was past its limit when it was given out")


def was_held(chain: Keychain, call_id: str, before_seq: int) -> bool:
    """By the last word of the log on it."""
    said = hold_lines(line for line in chain.lines if line.seq < before_seq and line.fields.get("call") == call_id)
    return bool(said) and said[-1].event not in HOLD_ENDS


def hold_lines(lines: Iterable[AuditLine]) -> list[AuditLine]:
    """Those that begin, change or end a hold."""
    return [line for line in lines if line.event in HOLD_EVENTS | HOLD_ENDS]


def limit_utc_ms(opened_utc_ms: int, period: Period) -> int:
    """The moment at which the call must be gone."""
    return limit_day(utc_day(opened_utc_ms), period) * MS_PER_DAY
