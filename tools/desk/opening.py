"""Hearing one imported call: verified again from the copy in the home, opened, put on its time axis, and logged."""

from dataclasses import dataclass
from pathlib import Path

from firmware.store.errors import BadSeal, Malformed
from firmware.store.frame import Piece
from tools.desk import audio, retention
from tools.desk.callfile import open_pieces, read_call
from tools.desk.desk import Desk
from tools.desk.errors import Damaged, NotFound
from tools.desk.findings import Finding, Findings
from tools.desk.keychain import Keychain
from tools.desk.library import CallRow
from tools.desk.spans import Span, silent_spans


@dataclass(frozen=True)
class Heard:
    """``axis``: int16, sample 0 the answer, at ``row.rate_hz``. ``findings``: what of it is not sound; those stretches
    are silence. ``silent``: every stretch without sound, with its reason."""

    row: CallRow
    axis: audio.Sound
    findings: tuple[Finding, ...]
    silent: tuple[Span, ...] = ()


def hear(desk: Desk, call_id: str, use: str) -> Heard:
    """``use``: a word for the log (``listen``, ``extract``). Raises NotFound, Damaged."""
    row = desk.library.get(call_id)
    if row.bag is None or row.file_number is None:
        raise NotFound("This call is known from an index only; write an export order for it to hear it.")
    directory = retention.bag_directory(desk.home, row.device, row.bag)
    findings = Findings()
    pieces = _pieces(desk, row, directory, findings)
    axis = audio.assemble(pieces, row.samples)
    silent = silent_spans(pieces, len(axis), damaged=bool(findings))
    desk.home.log.append("HEARD", desk.now_utc_ms, {"call": row.call_id, "by": desk.home.role, "use": use})
    return Heard(row, axis, tuple(findings.items), silent)


def _pieces(desk: Desk, row: CallRow, directory: Path, findings: Findings) -> list[Piece]:
    """Each frame is verified again, by the signing keys that were verified along the log when the answer came in."""
    device = desk.home.find_device(row.device)
    chain = Keychain(device.genesis_public, device.fingerprint is not None, desk.library.signing_keys(row.device))
    try:
        call = read_call(directory / "data" / f"{row.file_number}.key")
        return list(open_pieces(call, row.device, chain, desk.person, findings))
    except (Malformed, BadSeal):
        raise Damaged("The copy of this call does not open; import its stick again.") from None
