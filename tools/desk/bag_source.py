"""What a bag is made of: one imported call, verified from the first signing key on, and opened."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo

from firmware.policy.records import CallMeta
from firmware.store.ciphers import REAL
from firmware.store.entries import decode_meta
from firmware.store.errors import BadSeal, Malformed
from firmware.store.frame import Header, Piece, decode_pieces, open_frame
from firmware.store.keys import Purpose, open_key
from firmware.store.layout import META
from tools.desk import audio, retention
from tools.desk.bundle import LOG_BYTES_MAX, SMALL_BYTES_MAX
from tools.desk.callfile import CallFile, check_call, open_dek, open_meta, read_call
from tools.desk.desk import Desk
from tools.desk.errors import Damaged, NotFound
from tools.desk.files import read_file, read_if_there
from tools.desk.findings import Findings
from tools.desk.keychain import AUDIT_LOG, Keychain, follow, genesis_of
from tools.desk.library import CallRow
from tools.desk.local_times import zone_of
from tools.desk.spans import Span, silent_spans


@dataclass(frozen=True, repr=False)
class Frame:
    """``plaintext`` is None where the frame is damaged or does not open."""

    header: Header
    plaintext: bytes | None


@dataclass(frozen=True, repr=False)
class Source:
    """``directory``: the answer in the home. ``dek`` opens the frames of this call, ``meta_key`` its META; neither
    opens anything of another call. ``silent``: stretches without sound. ``zone``: the site's, for what people read."""

    row: CallRow
    directory: Path
    chain: Keychain
    call: CallFile
    dek: bytes
    meta_key: bytes | None
    meta: CallMeta | None
    frames: tuple[Frame, ...]
    axis: audio.Sound
    silent: tuple[Span, ...]
    findings: Findings
    zone: ZoneInfo

    @property
    def rate_hz(self) -> int:
        return self.row.rate_hz

    def file(self, name: str) -> bytes:
        """A small file of the answer; empty where it is not there."""
        return read_if_there(self.directory / name, SMALL_BYTES_MAX) or b""


def read_source(desk: Desk, call_id: str) -> Source:
    """Raises NotFound (nothing of its audio is here), Damaged."""
    row = desk.library.get(call_id)
    if row.bag is None or row.file_number is None:
        raise NotFound("This call is known from an index only; write an export order for it first.")
    directory = retention.bag_directory(desk.home, row.device, row.bag)
    findings = Findings()
    device = desk.home.find_device(row.device)
    log = read_file(directory / AUDIT_LOG, LOG_BYTES_MAX)
    chain = follow(log, row.device, device.genesis_public or genesis_of(log), device.fingerprint, findings)
    try:
        call = read_call(directory / "data" / f"{row.file_number}.key")
        dek = open_dek(call, row.device, desk.person)
        meta_key, meta = _meta(call, row, desk)
    except (Malformed, BadSeal):
        raise Damaged("The copy of this call does not open; import its stick again.") from None
    frames = tuple(_frames(call, row.device, chain, dek, findings))
    pieces = list(_pieces(frames, call, findings))
    axis = audio.assemble(pieces, row.samples)
    silent = silent_spans(pieces, len(axis), damaged=bool(findings))
    row = replace(row, samples=len(axis))
    return Source(row, directory, chain, call, dek, meta_key, meta, frames, axis, silent, findings, zone_of(desk.home))


def _meta(call: CallFile, row: CallRow, desk: Desk) -> tuple[bytes | None, CallMeta | None]:
    """The key of META and what META says. Raises BadSeal, Malformed."""
    if call.meta_body is None:
        return None, None
    entry = decode_meta(call.meta_body)
    purpose = Purpose(META, row.device, entry.call_id, call.open.opened_utc_ms)
    key_id, private = desk.person.person.recipient().key_id, desk.person.seal.private_bytes_raw()
    key = open_key(REAL, entry.keys, key_id, private, purpose)
    return key, open_meta(call.meta_body, row.device, call.open.opened_utc_ms, desk.person)


def _frames(call: CallFile, device_id: str, chain: Keychain, dek: bytes, findings: Findings) -> Iterator[Frame]:
    for sealed in check_call(call, device_id, chain, findings):
        plaintext = None
        if sealed.sound:
            try:
                plaintext = open_frame(REAL, dek, sealed.header, sealed.ciphertext)
            except BadSeal:
                findings.damaged(f"{call.name} frame {sealed.header.seq}", "it does not open")
        yield Frame(sealed.header, plaintext)


def _pieces(frames: tuple[Frame, ...], call: CallFile, findings: Findings) -> Iterator[Piece]:
    for frame in frames:
        if frame.plaintext is None:
            continue
        try:
            yield from list(decode_pieces(frame.plaintext))
        except Malformed:
            findings.damaged(f"{call.name} frame {frame.header.seq}", "its pieces are malformed")
