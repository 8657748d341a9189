"""One call of an answer: its ``.key`` and ``.tcf`` files checked against the keychain, and opened with a private key.

Checking needs no secret; opening verifies first and adds what only the DEK shows (the commitment of each frame).
"""

import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from firmware.policy.records import CallMeta
from firmware.store import meta as metas
from firmware.store.ciphers import REAL
from firmware.store.entries import OUTCOMES, Close, Open, decode_close, decode_meta, decode_open, verify_close
from firmware.store.errors import BadSeal, Malformed
from firmware.store.frame import (
    HEADER_BYTES,
    Header,
    Piece,
    ciphertext_sound,
    decode_pieces,
    open_frame,
    parse_header,
    verify_signature,
)
from firmware.store.keys import Purpose, SealedKey, open_key, open_text
from firmware.store.layout import BLOCK_BYTES, DEK, META, Cursor, digest
from tools.desk.errors import MediumFailed
from tools.desk.files import read_file
from tools.desk.findings import Findings
from tools.desk.keychain import Keychain
from tools.desk.keys import Unlocked

RECORD_OPEN, RECORD_CLOSE, RECORD_META, RECORD_INDEX = 1, 2, 4, 16
KEY_FILE_BYTES_MAX = 1024 * 1024
INDEX_FILE_BYTES_MAX = 64 * 1024 * 1024


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """``kind u8 ‖ u32 len ‖ body`` one behind the other (FORMAT.md 10). Raises Malformed."""
    at = Cursor(data)
    while at.at < len(data):
        kind = at.u8()
        yield kind, at.take(at.u32())


@dataclass(frozen=True)
class CallFile:
    """The parsed ``.key`` file. ``tcf`` is the path of the frames."""

    tcf: Path
    open: Open
    open_body: bytes
    dek: tuple[SealedKey, ...]
    meta_body: bytes | None
    close: Close

    @property
    def name(self) -> str:
        return f"call {self.open.call_id.hex()}"


def read_call(key_path: Path) -> CallFile:
    """Raises Malformed (the failure class), MediumFailed."""
    found = dict(records(read_file(key_path, KEY_FILE_BYTES_MAX)))
    if RECORD_OPEN not in found or RECORD_CLOSE not in found:
        raise Malformed("OPEN or CLOSE is missing")
    opened, dek = decode_open(found[RECORD_OPEN])
    close = decode_close(found[RECORD_CLOSE])
    if close.call_id != opened.call_id:
        raise Malformed("OPEN and CLOSE are of different calls")
    tcf = key_path.with_suffix(".tcf")
    return CallFile(tcf, opened, found[RECORD_OPEN], dek, found.get(RECORD_META), close)


@dataclass(frozen=True)
class Sealed:
    """A frame as it lies in the file; ``sound``: no finding against it."""

    header: Header
    ciphertext: bytes
    sound: bool


def check_call(call: CallFile, device_id: str, chain: Keychain, findings: Findings) -> Iterator[Sealed]:
    """Every frame whose header parses, in file order; what is wrong goes to ``findings``. Run it to its end: only
    then are the last frame and the CLOSE compared."""
    _check_close(call, device_id, chain, findings)
    expected, link = 0, digest(call.open_body)
    for frame in _frames(call, findings):
        before = len(findings.items)
        _check_frame(call, frame, expected, link, device_id, chain, findings)
        sound = len(findings.items) == before
        yield Sealed(frame[0], frame[1], sound)
        expected, link = frame[0].seq + 1, frame[0].link
    if expected != call.close.frames:
        findings.unverified(call.name, f"it was closed with {call.close.frames} frames and ends after {expected}")
    elif not hmac.compare_digest(link, call.close.last_hash):
        findings.unverified(call.name, "its last frame is not the one that it was closed with")


def _check_close(call: CallFile, device_id: str, chain: Keychain, findings: Findings) -> None:
    key = chain.keys.get(call.close.sign_epoch)
    if key is None:
        findings.unverified(call.name, f"the signing key of its CLOSE (epoch {call.close.sign_epoch}) is not known")
    elif not verify_close(REAL, device_id, call.close, key):
        findings.unverified(call.name, "the signature of its CLOSE is wrong")
    meta_hash = digest(call.meta_body) if call.meta_body is not None else bytes(32)
    if not hmac.compare_digest(meta_hash, call.close.meta_hash):
        findings.unverified(call.name, "its META is not the one that it was closed with")


def _frames(call: CallFile, findings: Findings) -> Iterator[tuple[Header, bytes]]:
    """Where a header is damaged the search goes on block by block: what is sound stays usable."""
    try:
        file = call.tcf.open("rb")
    except OSError as error:
        raise MediumFailed(f"{call.tcf} could not be read: {error.strerror}.") from None
    with file:
        offset, lost_from = 0, None
        while head := _read_at(file, offset, HEADER_BYTES):
            try:
                header = parse_header(head)
                ciphertext = file.read(header.ct_len)
                if len(ciphertext) != header.ct_len:
                    raise Malformed("cut")
            except Malformed:
                lost_from = offset if lost_from is None else lost_from
                offset += BLOCK_BYTES
                continue
            if lost_from is not None:
                findings.damaged(call.name, f"bytes {lost_from} to {offset} of {call.tcf.name} hold no frame")
                lost_from = None
            yield header, ciphertext
            offset += HEADER_BYTES + header.ct_len
        if lost_from is not None:
            findings.damaged(call.name, f"bytes {lost_from} to the end of {call.tcf.name} hold no whole frame")


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _check_frame(
    call: CallFile,
    frame: tuple[Header, bytes],
    expected: int,
    link: bytes,
    device_id: str,
    chain: Keychain,
    findings: Findings,
) -> None:
    header, ciphertext = frame
    where = f"{call.name} frame {header.seq}"
    if header.call_id != call.open.call_id:
        findings.unverified(where, "it belongs to another call")
    if header.seq != expected:
        findings.unverified(where, f"it is out of order: frame {expected} should be here")
    elif not hmac.compare_digest(header.previous, link):
        findings.unverified(where, "it does not follow from the frame before")
    key = chain.keys.get(header.sign_epoch)
    if key is None:
        findings.unverified(where, f"its signing key (epoch {header.sign_epoch}) is not known")
    elif not verify_signature(REAL, device_id, header, key):
        findings.unverified(where, "its signature is wrong")
    if not ciphertext_sound(header, ciphertext):
        findings.damaged(where, "its ciphertext was changed")


# ------------------------------------------------------------------------------------------------------- opening


def open_dek(call: CallFile, device_id: str, person: Unlocked) -> bytes:
    """Raises BadSeal: not sealed to this person, or bound to another call or recorder."""
    purpose = Purpose(DEK, device_id, call.open.call_id, call.open.opened_utc_ms)
    return open_key(REAL, call.dek, *_private(person), purpose)


def open_meta(body: bytes, device_id: str, opened_utc_ms: int, person: Unlocked) -> CallMeta:
    """Raises BadSeal, Malformed."""
    entry = decode_meta(body)
    purpose = Purpose(META, device_id, entry.call_id, opened_utc_ms)
    return metas.decode(open_text(REAL, entry.keys, entry.sealed, *_private(person), purpose))


def _private(person: Unlocked) -> tuple[bytes, bytes]:
    return person.person.recipient().key_id, person.seal.private_bytes_raw()


def open_pieces(
    call: CallFile, device_id: str, chain: Keychain, person: Unlocked, findings: Findings
) -> Iterator[Piece]:
    """Pieces of all frames that are sound and open; each frame is verified before it is opened. Raises BadSeal when
    the call is not sealed to this person."""
    dek = open_dek(call, device_id, person)
    for frame in check_call(call, device_id, chain, findings):
        if not frame.sound:
            continue
        try:
            pieces = list(decode_pieces(open_frame(REAL, dek, frame.header, frame.ciphertext)))
        except (BadSeal, Malformed):
            findings.damaged(f"{call.name} frame {frame.header.seq}", "it does not open")
            continue
        yield from pieces


# --------------------------------------------------------------------------------------------------------- index


@dataclass(frozen=True)
class IndexEntry:
    """INDEXENTRY of FORMAT.md 10, with the META and the CLOSE that stand before it."""

    call_id: bytes
    line: int
    opened_utc_ms: int
    closed_utc_ms: int
    outcome: int
    held: int
    meta_body: bytes | None
    close: Close


_INDEX = struct.Struct(">16sBQQBB")


def read_index(path: Path) -> Iterator[IndexEntry]:
    """Raises Malformed, MediumFailed. Nothing is verified here."""
    before: dict[int, bytes] = {}
    for kind, body in records(read_file(path, INDEX_FILE_BYTES_MAX)):
        if kind != RECORD_INDEX:
            before[kind] = body
            continue
        if len(body) != _INDEX.size or RECORD_CLOSE not in before:
            raise Malformed("index entry")
        close = decode_close(before[RECORD_CLOSE])
        call_id, line, opened, closed, outcome, held = _INDEX.unpack(body)
        yield IndexEntry(call_id, line, opened, closed, outcome, held, before.get(RECORD_META), close)
        before = {}


def check_index_entry(entry: IndexEntry, device_id: str, chain: Keychain) -> str | None:
    """What is wrong with it; None when the recorder's signature covers what it says."""
    key = chain.keys.get(entry.close.sign_epoch)
    if key is None:
        return "its signing key is not known"
    if not verify_close(REAL, device_id, entry.close, key):
        return "the signature of its CLOSE is wrong"
    meta_hash = digest(entry.meta_body) if entry.meta_body is not None else bytes(32)
    if not hmac.compare_digest(meta_hash, entry.close.meta_hash):
        return "its META is not the one that it was closed with"
    told = (entry.close.call_id, entry.close.closed_utc_ms, OUTCOMES.index(entry.close.outcome) + 1)
    if told != (entry.call_id, entry.closed_utc_ms, entry.outcome):
        return "it does not say what its CLOSE says"
    return None
