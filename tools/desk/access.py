"""The subject access pack: a caller's call as a copy from which other people's stretches are removed.

The original is untouched, here and on the recorder; the pack is tied to it by hashes. The key of the call is not given
out, because it would open what was removed. Instead every frame that no removed stretch touches is opened one by one
(FORMAT.md 7: a frame, its salt and its signed header verify without the key); of the others the signed header alone is
there, so that it shows what is missing, how much, and where::

    data/1.opened     per frame: header 192, opened u8, and where that is 1: salt 32, u32 length, plaintext
    data/1.key        OPEN, META and CLOSE as the recorder signed them; what is sealed in them stays sealed
    data/keys.log     the lines of the recorder's log that hand over its signing keys
    data/removed.csv  the removed stretches
    data/original.json   hashes of the original's files
"""

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from firmware.store.ciphers import REAL
from firmware.store.frame import decode_pieces
from firmware.store.layout import FRAME_SALT
from tools.desk import bag_page, bag_slice
from tools.desk.bag import (
    COPY_BYTES_MAX,
    Disclosure,
    Made,
    check_disclosure,
    checks,
    description,
    gaps_csv,
    json_bytes,
    leave,
    records,
    sounds,
)
from tools.desk.bag_seal import Sealing
from tools.desk.bag_source import Frame, Source, read_source
from tools.desk.desk import Desk
from tools.desk.errors import Refused
from tools.desk.files import read_file
from tools.desk.pictures import waveform_path
from tools.desk.spans import Span, joined

REMOVED = "removed"
SPANS_MAX = 500
_STRETCH = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?)-([0-9]{1,5}(?:\.[0-9]{1,3})?)")


def make_access_pack(
    desk: Desk, call_id: str, stretches: Sequence[str], disclosure: Disclosure, out: Path, sealing: Sealing
) -> Made:
    """``stretches``: ``12.5-15`` in seconds from the answer. Raises as :func:`tools.desk.bag.make_bag`."""
    check_disclosure(disclosure, desk.home.role)
    source = read_source(desk, call_id)
    removed = marked(stretches, source)
    axis = source.axis.copy()
    for span in removed:
        axis[span.first : span.end] = 0
    spans = tuple(sorted((*outside(source.silent, removed), *removed)))
    copy = replace(source, axis=axis, silent=spans)
    files = _files(desk, source, copy, removed, disclosure)
    tags = {
        "index.html": _page(copy, disclosure, desk.now_utc_ms, len(removed)),
        "VERIFY.txt": bag_page.access_text(copy, len(removed)),
    }
    return leave(desk, copy, disclosure, "ACCESS", out, sealing, files, tags)


def marked(stretches: Sequence[str], source: Source) -> tuple[Span, ...]:
    """Raises Refused."""
    if len(stretches) > SPANS_MAX:
        raise Refused(f"More than {SPANS_MAX} stretches are to be removed; nothing left the house.")
    spans = []
    for text in stretches:
        match = _STRETCH.fullmatch(text.strip())
        if match is None or float(match[2]) <= float(match[1]):
            raise Refused("A stretch to remove looks like 12.5-15 (seconds from the answer); nothing left the house.")
        first, end = (int(np.floor(float(match[1]) * source.rate_hz)), int(np.ceil(float(match[2]) * source.rate_hz)))
        if first >= len(source.axis):
            raise Refused("A stretch to remove lies behind the end of the call; nothing left the house.")
        spans.append(Span(first, min(end, len(source.axis)) - first, REMOVED))
    return joined(sorted(spans))


def outside(silent: Sequence[Span], removed: Sequence[Span]) -> list[Span]:
    """The parts of the silent spans that no removed one covers: why a removed stretch was silent stays untold."""
    left = list(silent)
    for cut in removed:
        parts = []
        for span in left:
            if span.first < cut.first:
                parts.append(Span(span.first, min(span.end, cut.first) - span.first, span.reason))
            if span.end > cut.end:
                start = max(span.first, cut.end)
                parts.append(Span(start, span.end - start, span.reason))
        left = parts
    return left


# ----------------------------------------------------------------------------------------------------- its content


def _files(
    desk: Desk, source: Source, copy: Source, removed: Sequence[Span], disclosure: Disclosure
) -> dict[str, bytes]:
    kept = records(desk, copy, disclosure)
    rate = source.rate_hz
    table = [f"{span.first},{span.samples},{span.first / rate:.6f},{span.end / rate:.6f}" for span in removed]
    return {
        **sounds(copy, copy.axis),
        **{name: kept[name] for name in ("ENROL.txt", "disclosure.json", "ringread.py", "FORMAT.md")},
        "keys.log": _keys_log(source),
        "1.key": read_file(source.call.tcf.with_suffix(".key"), COPY_BYTES_MAX),
        "1.opened": b"".join(opened(source, frame, removed) for frame in source.frames),
        "call.json": json_bytes(_described(copy, disclosure)),
        "gaps.csv": gaps_csv(copy),
        "removed.csv": ("\n".join(["first_sample,samples,start_s,end_s", *table]) + "\n").encode("ascii"),
        "original.json": json_bytes(_original(source)),
    }


def _described(copy: Source, disclosure: Disclosure) -> dict[str, object]:
    """Without what is about the staff or the wiring: quality, evidence of the verdict, presses."""
    whole = description(copy, disclosure)
    meta = whole.pop("meta")
    return {**whole, "notice": meta.get("notice")}


def _original(source: Source) -> dict[str, object]:
    tcf = source.call.tcf
    return {
        "call": source.row.call_id,
        "frames": source.call.close.frames,
        "frames_sha256": _sha256_of(tcf),
        "key_file_sha256": _sha256_of(tcf.with_suffix(".key")),
        "last_header_sha256": source.call.close.last_hash.hex(),
    }


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def opened(source: Source, frame: Frame, removed: Sequence[Span]) -> bytes:
    """One record of ``1.opened``."""
    if frame.plaintext is None or _touched(frame.plaintext, removed):
        return frame.header.raw + b"\0"
    seq = struct.pack(">I", frame.header.seq)
    salt = REAL.mac(REAL.expand(source.dek, FRAME_SALT), seq)
    return frame.header.raw + b"\1" + salt + struct.pack(">I", len(frame.plaintext)) + frame.plaintext


def _touched(plaintext: bytes, removed: Sequence[Span]) -> bool:
    pieces = list(decode_pieces(plaintext))
    return any(
        piece.first_sample < span.end and span.first < piece.first_sample + piece.samples
        for piece in pieces
        for span in removed
    )


def _keys_log(source: Source) -> bytes:
    """No line about anybody's call: the first line of the log, or the hand-overs up to this call's keys."""
    epochs = {frame.header.sign_epoch for frame in source.frames} | {source.call.close.sign_epoch}
    lines = source.chain.lines
    last = [line for line in lines if bag_slice.hands_over(line, epochs)]
    if not last:
        return bag_slice.run(lines, 1, 1)
    return bag_slice.run(lines, last[-1].seq, last[-1].seq)


def _page(copy: Source, disclosure: Disclosure, now_utc_ms: int, removed: int) -> str:
    count = f"{removed} stretch was" if removed == 1 else f"{removed} stretches were"
    remark = f"{count} removed from this copy to protect other people. " if removed else ""
    return bag_page.page(
        copy,
        asdict(disclosure),
        checks(copy),
        now_utc_ms,
        spans=copy.silent,
        axis_path=waveform_path(copy.axis, bag_page.PICTURE_WIDTH, bag_page.PICTURE_HEIGHT),
        title="Copy of a telephone call",
        good="Every frame of the recording was there, in order, signed by this recorder, and unchanged.",
        remark=remark + "The recording itself is untouched; data/original.json ties this copy to it.",
    )
