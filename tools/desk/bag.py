"""The evidence bag: one call as it leaves the house, for somebody who has none of our software.

A BagIt 1.0 bag (RFC 8493) with SHA-512 payload and tag manifests::

    index.html  VERIFY.txt            what a person opens first
    data/1.tcf  data/1.key            the call as the recorder sealed and signed it, untouched
    data/1.keys                       the keys of this one call
    data/call.wav  data/call.flac     the same sound, gaps as silence; BWF and FLAC
    data/call.json  data/gaps.csv
    data/audit.log  data/health.txt   the recorder's log of the 24 h around the call, and what it says of its health
    data/disclosure.log data/order.txt   by which order the call left the recorder
    data/disclosure.json              to whom it goes, on which basis, who answers for it
    data/ENROL.txt                    the recorder's first signing key
    data/ringread.py  data/FORMAT.md  the offline verifier, and the format it was written from

**Why the call's key and not frames opened by us.** Every call has a random key of its own (DEK); META has another. With
them the recipient repeats the whole way from the signed ciphertext to the sound with the same verifier that the
custodian uses, and nobody has to believe what the desk decrypted; nothing of any other call opens with them. Where only
a part may leave (subject access), single frames are opened instead: see access.py.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import bagit

from firmware.evidence.order import Basis, Purpose, RecipientKind
from firmware.policy.retention import TWO_MONTHS
from tools.desk import audio, bag_page, bag_slice
from tools.desk.bag_seal import Sealing, seal
from tools.desk.bag_source import Source, read_source
from tools.desk.bag_verdict import Check, verdict
from tools.desk.bundle import limit_utc_ms
from tools.desk.bwf import Origin, broadcast_wav
from tools.desk.desk import Desk
from tools.desk.errors import AlreadyThere, MediumFailed, Refused
from tools.desk.files import make_directory, read_file, write_file
from tools.desk.findings import Finding
from tools.desk.retention import destroy_file
from tools.desk.times import utc_ms_text

ROOT = Path(__file__).resolve().parents[2]
VERIFIER = ROOT / "tools" / "ringread.py"
FORMAT_PAGE = ROOT / "firmware" / "store" / "FORMAT.md"
OWN_FILE_BYTES_MAX = 1024 * 1024
COPY_BYTES_MAX = 4 * 1024**3
TEXT_CHARACTERS_MAX = 200
WORK_DIRECTORY = "work"
SUPERVISOR_PURPOSES = (Purpose.QUALITY, Purpose.TRAINING)


@dataclass(frozen=True)
class Disclosure:
    """product.md N8 and N10: to whom, on which basis, what for, and who answers for it."""

    recipient: RecipientKind
    basis: Basis
    purpose: Purpose
    authoriser: str
    case: str | None = None


@dataclass(frozen=True)
class Made:
    """``path``: a directory, a ZIP or an age file, of the bag ``name``. ``sha256``: of the bag's tag manifest, which
    covers everything."""

    path: Path
    name: str
    sha256: str
    findings: tuple[Finding, ...]


def make_bag(desk: Desk, call_id: str, disclosure: Disclosure, out: Path, sealing: Sealing) -> Made:
    """Raises NotFound, Damaged, AlreadyThere, Refused, MediumFailed. The disclosure is in the desk's log before the
    first byte is written."""
    check_disclosure(disclosure, desk.home.role)
    source = read_source(desk, call_id)
    files = _files(desk, source, disclosure)
    return leave(desk, source, disclosure, "BAG", out, sealing, files, _tag_files(source, disclosure, desk.now_utc_ms))


def check_disclosure(disclosure: Disclosure, role: str) -> None:
    """``role``: of the home. A supervisor gives out what a supervisor may order. Raises Refused."""
    inside = disclosure.recipient is RecipientKind.INTERNAL and disclosure.purpose in SUPERVISOR_PURPOSES
    if role == "supervisor" and not inside:
        raise Refused(
            "A supervisor gives calls out for quality and training inside the house only; ask the custodian. Nothing "
            "left the house."
        )
    for name, text in (("authoriser", disclosure.authoriser), ("case reference", disclosure.case)):
        if text is None:
            continue
        if not text.strip() or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable():
            raise Refused(f"The {name} must be a short printable text; nothing left the house.")


def leave(
    desk: Desk,
    source: Source,
    disclosure: Disclosure,
    event: str,
    out: Path,
    sealing: Sealing,
    files: Mapping[str, bytes],
    tags: Mapping[str, str],
) -> Made:
    """Log, write, validate, seal, log. ``event``: BAG or ACCESS. ``files``: payload by name; ``tags``: beside it."""
    if out.exists():
        raise AlreadyThere(f"{out} exists already and was left as it is; nothing left the house.")
    _log(desk, source, disclosure, event, hashlib.sha256(files["disclosure.json"]).hexdigest())
    work = _fresh_work(desk)
    directory = work / bag_name(source, event)
    try:
        _write(directory, files, source, event == "BAG")
        sha256 = _bag(directory, tags, source, desk.now_utc_ms)
        seal(directory, out, sealing)
    finally:
        _destroy(work)
    desk.library.update(source.row.call_id, disclosed=True)
    desk.home.log.append(
        f"{event}_MADE", desk.now_utc_ms, {"call": source.row.call_id, "by": desk.home.role, "sha256": sha256}
    )
    return Made(out, directory.name, sha256, tuple(source.findings.items))


def bag_name(source: Source, event: str) -> str:
    kind = "evidence" if event == "BAG" else "access"
    return f"tacet-{kind}-{source.row.device}-{source.row.call_id[:8]}"


def _log(desk: Desk, source: Source, disclosure: Disclosure, event: str, record_sha256: str) -> None:
    fields = {
        "call": source.row.call_id,
        "by": desk.home.role,
        "recipient": disclosure.recipient.value,
        "basis": disclosure.basis.value,
        "purpose": disclosure.purpose.value,
        "record": record_sha256,
    }
    desk.home.log.append(event, desk.now_utc_ms, fields)


# ----------------------------------------------------------------------------------------------------- its content


def _files(desk: Desk, source: Source, disclosure: Disclosure) -> dict[str, bytes]:
    return {
        **sounds(source, source.axis),
        **records(desk, source, disclosure),
        "1.keys": _call_keys(source),
        "call.json": json_bytes(description(source, disclosure)),
        "gaps.csv": gaps_csv(source),
    }


def sounds(source: Source, axis: audio.Sound) -> dict[str, bytes]:
    row = source.row
    origin = Origin(
        row.device,
        row.call_id,
        row.started_utc_ms,
        f"Telephone call on {row.line_name}, answered {utc_ms_text(row.started_utc_ms)}. Times in UTC. Stretches that "
        "were not recorded are silence of their true length; gaps.csv names them.",
    )
    return {
        "call.wav": broadcast_wav(axis, source.rate_hz, origin),
        "call.flac": audio.flac(axis, source.rate_hz),
    }


def records(desk: Desk, source: Source, disclosure: Disclosure) -> dict[str, bytes]:
    """The recorder's log around the call, its health, its order, and the record of this disclosure."""
    row, lines = source.row, source.chain.lines
    epochs = {frame.header.sign_epoch for frame in source.frames} | {source.call.close.sign_epoch}
    around = bag_slice.near(lines, row.started_utc_ms, row.ended_utc_ms)
    health = bag_slice.health_text(around, source.file("data/health.txt").decode("ascii", "replace"))
    genesis = source.chain.genesis or b""
    enrol = (
        f"tacet/enrol/1\ndevice: {row.device}\ngenesis_public: {genesis.hex()}\n"
        f"fingerprint: {hashlib.sha256(genesis).hexdigest()}\n"
    )
    record = {
        "call": row.call_id,
        "recorder": row.device,
        "disclosed_utc": utc_ms_text(desk.now_utc_ms),
        "disclosed_by": desk.home.role,
        "within_limit": within_limit(source, desk.now_utc_ms),
        "held": row.held,
        **asdict(disclosure),
    }
    return {
        "audit.log": bag_slice.slice_around(lines, row.started_utc_ms, row.ended_utc_ms, epochs),
        "disclosure.log": bag_slice.slice_of_order(lines, row.bag or ""),
        "order.txt": source.file("data/order.txt"),
        "health.txt": health.encode("utf-8"),
        "ENROL.txt": enrol.encode("ascii"),
        "disclosure.json": json_bytes(record),
        "ringread.py": read_file(VERIFIER, OWN_FILE_BYTES_MAX),
        "FORMAT.md": read_file(FORMAT_PAGE, OWN_FILE_BYTES_MAX),
    }


def within_limit(source: Source, now_utc_ms: int) -> bool:
    """Whether the call had not yet reached two calendar months when it left the house."""
    return now_utc_ms < limit_utc_ms(source.row.started_utc_ms, TWO_MONTHS)


def _call_keys(source: Source) -> bytes:
    lines = ["tacet-call-keys/1", f"device: {source.row.device}", f"call: {source.row.call_id}"]
    lines.append(f"dek: {source.dek.hex()}")
    if source.meta_key is not None:
        lines.append(f"meta: {source.meta_key.hex()}")
    return ("\n".join(lines) + "\n").encode("ascii")


def description(source: Source, disclosure: Disclosure) -> dict[str, Any]:
    row = source.row
    return {
        "format": "tacet-call/1",
        "call": row.call_id,
        "recorder": row.device,
        "fingerprint": hashlib.sha256(source.chain.genesis or b"").hexdigest(),
        "line": row.line_name,
        "outcome": row.outcome,
        "direction": row.direction,
        "number": row.number,
        "number_absence": row.number_absence,
        "caller_name": row.caller_name,
        "answered_utc": utc_ms_text(row.started_utc_ms),
        "ended_utc": utc_ms_text(row.ended_utc_ms),
        "rate_hz": source.rate_hz,
        "samples": len(source.axis),
        "held": row.held,
        "meta": row.meta,
        "gaps": [
            {"first_sample": span.first, "samples": span.samples, "reason": span.reason, "meaning": span.meaning}
            for span in source.silent
        ],
        "verification": [asdict(check) for check in checks(source)],
        "findings": [str(finding) for finding in source.findings.items],
        "disclosure": asdict(disclosure),
    }


def checks(source: Source) -> list[Check]:
    return verdict(source)


def gaps_csv(source: Source) -> bytes:
    rate = source.rate_hz
    rows = [
        f"{span.first},{span.samples},{span.first / rate:.6f},{span.end / rate:.6f},{span.reason}"
        for span in source.silent
    ]
    return ("\n".join(["first_sample,samples,start_s,end_s,reason", *rows]) + "\n").encode("ascii")


def json_bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _tag_files(source: Source, disclosure: Disclosure, now_utc_ms: int) -> dict[str, str]:
    return {
        "index.html": bag_page.index_html(source, asdict(disclosure), checks(source), now_utc_ms),
        "VERIFY.txt": bag_page.verify_text(source, checks(source)),
    }


# ------------------------------------------------------------------------------------------------- on the disk


def _write(directory: Path, files: Mapping[str, bytes], source: Source, frames: bool) -> None:
    make_directory(directory)
    for name, data in files.items():
        write_file(directory / name, data)
    if frames:
        for suffix in ("tcf", "key"):
            _copy(source.call.tcf.with_suffix(f".{suffix}"), directory / f"1.{suffix}")


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target, follow_symlinks=False)
    except OSError as error:
        raise MediumFailed(f"{source} could not be copied: {error.strerror}; nothing left the house.") from None


def _bag(directory: Path, tags: Mapping[str, str], source: Source, now_utc_ms: int) -> str:
    """Makes it a bag, adds the files beside the payload, validates. Returns the SHA-256 of the tag manifest."""
    try:
        made = bagit.make_bag(str(directory), _bag_info(source, now_utc_ms), checksums=["sha512"])
        (directory / "bagit.txt").write_bytes(b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
        for name, text in tags.items():
            write_file(directory / name, text.encode("utf-8"))
        made.save()
        _spaced(directory / "tagmanifest-sha512.txt")
        bagit.Bag(str(directory)).validate()
    except (bagit.BagError, OSError) as error:
        raise MediumFailed(f"The bag did not come out whole ({error}); nothing left the house.") from None
    return hashlib.sha256((directory / "tagmanifest-sha512.txt").read_bytes()).hexdigest()


def _spaced(manifest: Path) -> None:
    """bagit writes one space where sha512sum wants two; RFC 8493 allows both."""
    lines = manifest.read_text(encoding="utf-8").splitlines()
    text = "".join("  ".join(line.split(maxsplit=1)) + "\n" for line in sorted(lines, key=lambda line: line[129:]))
    manifest.write_bytes(text.encode("utf-8"))


def _bag_info(source: Source, now_utc_ms: int) -> dict[str, str]:
    row = source.row
    return {
        "Source-Organization": row.device,
        "External-Identifier": row.call_id,
        "External-Description": f"One telephone call, answered {utc_ms_text(row.started_utc_ms)}, with its evidence",
        "Bagging-Date": utc_ms_text(now_utc_ms)[:10],
        "Bag-Software-Agent": "Tacet evidence desk",
        "Bag-Count": "1 of 1",
    }


def _fresh_work(desk: Desk) -> Path:
    """A private place in the home; what an interrupted run left there is destroyed first."""
    work = desk.home.path / WORK_DIRECTORY
    _destroy(work)
    return make_directory(work)


def _destroy(work: Path) -> None:
    for root, _, names in os.walk(work):
        for name in names:
            destroy_file(Path(root) / name)
    shutil.rmtree(work, ignore_errors=True)
