"""Offline reader and verifier of what a Tacet recorder hands out on a stick. One file; Python and ``cryptography``.

Written from the page ``firmware/store/FORMAT.md`` alone and importing nothing of Tacet's, so that a third party can
repeat every check and open every frame without our software:

    python ringread.py STICK --key CUSTODIAN.key --fingerprint F --out DIR
    python ringread.py BAG --call-keys BAG/data/1.keys --fingerprint F --out DIR     (an evidence bag)
    python ringread.py PACK --opened --fingerprint F --out DIR                       (a subject access pack)

For each call it writes ``DIR/<call id>/``: the audio of each frame as numbered files (``000012-0.flac``: piece 0 of
frame 12), ``pieces.csv`` and ``gaps.csv`` (sample positions counted from the answer), ``meta.json``; and
``DIR/report.txt``, which names every frame and what was found. What is damaged is named; what is sound is written.

Exit codes: 0 all sound and verified; 3 passphrase; 4 nothing to read; 6 damaged; 7 not verified; 10 input/output.
"""

import argparse
import base64
import csv
import getpass
import hashlib
import hmac
import json
import os
import re
import struct
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from zlib import crc32

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

BLOCK_BYTES = 4096
HEADER_BYTES = 192
FRAME_BYTES_MAX = 128 * 1024
PIECE_BYTES = 22
KEPT_MS_MIN = 300 * 86_400_000
KEY_BYTES_MAX = 1024 * 1024
TEXT_BYTES_MAX = 256 * 1024 * 1024
CALL_BYTES_MAX = 4 * 1024**3

RECORD_OPEN, RECORD_CLOSE, RECORD_META = 1, 2, 4
CODECS = {1: "flac", 2: "pcmu", 3: "pcma", 4: "g722"}
REASONS = {
    1: "payment",
    2: "opt_out_key",
    3: "keyed_digits",
    4: "on_hold",
    5: "consult",
    6: "fault",
    7: "lost_samples",
}
OUTCOMES = (
    "recorded",
    "opted_out",
    "outbound",
    "consult",
    "unknown_direction",
    "unanswered",
    "notice_not_completed",
    "fault",
    "not_recordable_encrypted",
)

EXIT_OK, EXIT_PASSPHRASE, EXIT_NOTHING, EXIT_DAMAGED, EXIT_UNVERIFIED, EXIT_IO = 0, 3, 4, 6, 7, 10


class Stop(Exception):
    """The whole run ends here: one sentence and an exit code."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Damaged(Exception):
    """Bytes do not follow the format, or a check fails; the text names which."""


@dataclass
class Report:
    """Every finding, in order, one line each. ``damaged`` and ``unverified`` count what is not sound."""

    lines: list[str] = field(default_factory=list)
    damaged: int = 0
    unverified: int = 0

    def note(self, line: str) -> None:
        self.lines.append(line)

    def damage(self, line: str) -> None:
        self.lines.append(f"DAMAGED      {line}")
        self.damaged += 1

    def doubt(self, line: str) -> None:
        self.lines.append(f"NOT VERIFIED {line}")
        self.unverified += 1


# ---------------------------------------------------------------------------------- FORMAT.md 1: small words


def bound(domain: bytes, device_id: str, *parts: bytes) -> bytes:
    device = device_id.encode("ascii")
    pieces = [domain, struct.pack(">H", len(device)), device]
    for part in parts:
        pieces += [struct.pack(">H", len(part)), part]
    return b"".join(pieces)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def expand(key: bytes, info: bytes) -> bytes:
    return HKDFExpand(SHA256(), 32, info).derive(key)


class Cursor:
    """Reads bytes front to back; raises Damaged where they end early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) != count:
            raise Damaged("it ends too early")
        self.at += count
        return piece

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def end(self) -> None:
        if self.at != len(self.data):
            raise Damaged("it has bytes left over")


# ------------------------------------------------------------------------------------------ key file (KEYFILE.md)


@dataclass(frozen=True, repr=False)
class PrivateKey:
    key_id: bytes
    key: X25519PrivateKey


_KEY_FILE = re.compile(
    r"tacet-key/1\nrole: [a-z]+\nseal_public: (?P<public>[0-9a-f]{64})\nrequest_public: [0-9a-f]{64}\n"
    r"kdf: argon2id memory_kib=(?P<memory>[0-9]{1,7}) passes=(?P<passes>[0-9]{1,2}) lanes=(?P<lanes>[0-9]{1,2})"
    r" salt=(?P<salt>[0-9a-f]{32})\nbox: (?P<box>[A-Za-z0-9+/=]+)\n"
)


@dataclass(frozen=True, repr=False)
class CallKeys:
    """The keys of one disclosed call, as an evidence bag carries them in place of a person's private key."""

    device_id: str
    call_id: bytes
    by_domain: dict[bytes, bytes]


_CALL_KEYS = re.compile(
    r"tacet-call-keys/1\ndevice: (?P<device>[A-Z0-9-]{4,24})\ncall: (?P<call>[0-9a-f]{32})\n"
    r"dek: (?P<dek>[0-9a-f]{64})\n(?:meta: (?P<meta>[0-9a-f]{64})\n)?"
)


def open_call_keys(path: Path) -> CallKeys:
    form = _CALL_KEYS.fullmatch(read_file(path, 4096).decode("ascii", "replace"))
    if form is None:
        raise Stop(EXIT_NOTHING, f"{path} is not a file of call keys, or it is damaged.")
    keys = {b"tacet/dek/1": bytes.fromhex(form["dek"])}
    if form["meta"]:
        keys[b"tacet/meta/1"] = bytes.fromhex(form["meta"])
    return CallKeys(form["device"], bytes.fromhex(form["call"]), keys)


def open_key_file(path: Path, passphrase: str) -> PrivateKey:
    data = read_file(path, 4096)
    form = _KEY_FILE.fullmatch(data.decode("ascii", "replace"))
    if form is None:
        raise Stop(EXIT_PASSPHRASE, f"{path} is not a Tacet key file, or it is damaged.")
    lanes, memory_kib = int(form["lanes"]), int(form["memory"])
    if not 1 <= lanes <= 16 or not 8 * lanes <= memory_kib <= 1024 * 1024 or not 1 <= int(form["passes"]) <= 16:
        raise Stop(EXIT_PASSPHRASE, f"{path} asks for an impossible amount of memory or time.")
    kdf = Argon2id(
        salt=bytes.fromhex(form["salt"]),
        length=32,
        iterations=int(form["passes"]),
        lanes=lanes,
        memory_cost=memory_kib,
    )
    wrapping = kdf.derive(unicodedata.normalize("NFC", passphrase).encode("utf-8"))
    try:
        secret = ChaCha20Poly1305(wrapping).decrypt(
            bytes(12), base64.b64decode(form["box"]), data[: data.index(b"box: ")]
        )
    except (InvalidTag, ValueError):
        raise Stop(EXIT_PASSPHRASE, f"The passphrase does not open {path}.") from None
    key = X25519PrivateKey.from_private_bytes(secret[:32])
    return PrivateKey(sha256(key.public_key().public_bytes_raw())[:8], key)


def read_passphrase(file: Path | None) -> str:
    if file is not None:
        return read_file(file, 4096).decode("utf-8", "replace").rstrip("\r\n")
    found = os.environ.get("TACET_PASSPHRASE")
    if found:
        return found
    if not sys.stdin.isatty():
        raise Stop(EXIT_PASSPHRASE, "The key's passphrase is needed: use --passphrase-file or TACET_PASSPHRASE.")
    return getpass.getpass("Passphrase of the key: ")


# -------------------------------------------------------------------------------------------- files of the stick


def read_file(path: Path, limit: int) -> bytes:
    """A regular file, no link followed. Raises Stop."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Stop(EXIT_IO, f"{path} could not be read: {error.strerror}.") from None
    if len(data) > limit:
        raise Stop(EXIT_IO, f"{path} is longer than such a file may be; it was not read.")
    return data


def find_bags(top: Path) -> list[Path]:
    """The answers on a stick: directories with ``data`` and a manifest. ``top`` may be one itself."""
    places = [top, *top.glob("*"), *top.glob("TACET/*/*"), *top.glob("*/*")]
    found = sorted(
        {place.resolve() for place in places if (place / "data").is_dir() and (place / "bagit.txt").exists()}
    )
    if not found:
        raise Stop(EXIT_NOTHING, f"There is no answer of a recorder in {top}.")
    return found


def device_of(bag: Path, given: str | None) -> str:
    """The device id is bound into every signature, so a wrong one is noticed: option, else bag-info, else the
    directory's name."""
    if given is not None:
        return given
    info = bag / "bag-info.txt"
    if info.exists():
        match = re.search(
            r"(?m)^Source-Organization: ([A-Z0-9-]{4,24})$", read_file(info, 65536).decode("utf-8", "replace")
        )
        if match:
            return match[1]
    return bag.parent.name


def check_manifests(bag: Path, report: Report) -> None:
    """RFC 8493: both manifests, every file, nothing missing and nothing added."""
    for name, part in (("tagmanifest-sha512.txt", False), ("manifest-sha512.txt", True)):
        if not (bag / name).exists():
            report.damage(f"{name} is missing: the export did not finish, or the file was removed")
            continue
        listed = set()
        for line in read_file(bag / name, TEXT_BYTES_MAX).decode("utf-8", "replace").splitlines():
            digest, _, path = line.partition("  ")
            listed.add(path)
            if ".." in path.split("/") or path.startswith("/"):
                report.damage(f"{name} lists a path outside the bag")
            elif not (bag / path).is_file() or (bag / path).is_symlink():
                report.damage(f"{path} is listed and missing")
            elif not hmac.compare_digest(_sha512(bag / path), digest):
                report.damage(f"{path} was changed: its SHA-512 differs")
        if part:
            there = {str(path.relative_to(bag).as_posix()) for path in (bag / "data").rglob("*") if path.is_file()}
            for path in sorted(there - listed):
                report.damage(f"{path} was added after the export")


def _sha512(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


# ---------------------------------------------------------------------------------- FORMAT.md 8 and 10: the log


_LINE = re.compile(rb"([1-9][0-9]{0,18})\|([0-9]{1,15})\|([A-Z_]+)\|([a-z0-9_=;-]*)\|([0-9a-f]{64})\|([0-9a-f]{128})")


@dataclass
class Log:
    """``keys``: epoch -> public key, as far as the chain of DAYEND lines was verified."""

    keys: dict[int, bytes]
    anchored: bool
    genesis: bytes | None = None
    lines: list["_Line"] = field(default_factory=list)


def read_log(
    bag: Path, device_id: str, fingerprint: bytes | None, report: Report, *, sliced: bool, name: str = "audit.log"
) -> Log:
    """``sliced``: an evidence bag carries the part of the log around its call, not its beginning."""
    path = bag / "data" / name
    lines = read_file(path, TEXT_BYTES_MAX).split(b"\n") if path.exists() else []
    genesis = _genesis(bag, lines, report)
    if genesis is None:
        report.doubt(
            "no genesis key: neither ENROL.txt nor the first line of the log is here; no signature was checked"
        )
        return Log({}, False)
    anchored = False
    if fingerprint is not None:
        anchored = hmac.compare_digest(sha256(genesis), fingerprint)
        if not anchored:
            report.doubt("the genesis key does not have the given fingerprint: this is another recorder, or a forgery")
            return Log({}, False, genesis)
    log = Log({0: genesis}, anchored, genesis)
    _follow(lines, device_id, log, report, sliced)
    return log


def _genesis(bag: Path, lines: list[bytes], report: Report) -> bytes | None:
    for line in lines[:1]:
        match = re.search(rb"\|PROVISIONED\|(?:[a-z0-9_=-]+;)*pk=([0-9a-f]{64})[;|]", line)
        if match:
            return bytes.fromhex(match[1].decode("ascii"))
    for enrol in (bag / "data" / "ENROL.txt", bag.parent / "ENROL.txt"):
        if not enrol.exists():
            continue
        match_text = re.search(
            r"(?m)^genesis_public: ([0-9a-f]{64})$", read_file(enrol, 65536).decode("utf-8", "replace")
        )
        if match_text:
            return bytes.fromhex(match_text[1])
    return None


@dataclass(frozen=True)
class _Line:
    seq: int
    utc_ms: int
    event: str
    fields: dict[str, str]
    prev: bytes
    signature: bytes
    raw: bytes


def _parse_line(raw: bytes) -> _Line | None:
    match = _LINE.fullmatch(raw)
    if match is None:
        return None
    text = [group.decode("ascii") for group in match.groups()]
    fields = {name: value for name, _, value in (pair.partition("=") for pair in text[3].split(";"))}
    return _Line(int(text[0]), int(text[1]), text[2], fields, bytes.fromhex(text[4]), bytes.fromhex(text[5]), raw)


def _follow(raw_lines: list[bytes], device_id: str, log: Log, report: Report, sliced: bool) -> None:
    """Old DAYEND lines, then lines without a hole: signatures by the key in force, seq, prev hashes, hand-overs."""
    if not raw_lines or raw_lines[-1] != b"":
        report.damage("audit.log: it does not end with a line end")
    lines: list[_Line] = []
    for count, raw in enumerate(raw_lines[:-1], 1):
        line = _parse_line(raw)
        if line is None:
            report.damage(f"audit.log line {count}: not a line of the log; nothing after it is vouched for")
            break
        lines.append(line)
    tail = max(len(lines) - 1, 0)
    while tail > 0 and lines[tail - 1].seq + 1 == lines[tail].seq:
        tail -= 1
    if not lines:
        report.doubt("audit.log: it is missing or empty; nothing vouches for what was given out")
    elif not sliced and lines[tail].seq > 1 and lines[-1].utc_ms - lines[tail].utc_ms < KEPT_MS_MIN:
        report.doubt("audit.log: its beginning is missing")
    epoch, in_epoch = 0, None
    for at, line in enumerate(lines):
        in_epoch = _place_in_epoch(lines, at, tail, in_epoch)
        wrong = _wrong(lines, at, tail, device_id, log.keys[epoch], epoch, in_epoch)
        if wrong is not None:
            report.doubt(f"audit.log line {at + 1}: {wrong}; nothing after it is vouched for")
            return
        if line.event == "DAYEND":
            epoch += 1
            log.keys[epoch] = bytes.fromhex(line.fields["next"])
        log.lines.append(line)
    report.note(f"audit.log: {len(lines)} lines, {epoch + 1} signing keys; their chain and signatures are good")


def _place_in_epoch(lines: list[_Line], at: int, tail: int, before: int | None) -> int | None:
    """Which line of its epoch this is; None where the epoch's start is not here."""
    if lines[at].seq == 1:
        return 1
    if at <= tail:
        return None
    if lines[at - 1].event == "DAYEND":
        return 1
    return None if before is None else before + 1


def _wrong(
    lines: list[_Line], at: int, tail: int, device_id: str, key: bytes, epoch: int, in_epoch: int | None
) -> str | None:
    line = lines[at]
    if at < tail and line.event != "DAYEND":
        return "lines are missing after it"
    if at > tail and line.prev != sha256(lines[at - 1].raw):
        return "it does not follow from the line before"
    if not signed(key, bound(b"tacet/audit/1", device_id, line.raw.rpartition(b"|")[0]), line.signature):
        return "its signature is not by the key of its day"
    if line.event != "DAYEND":
        return None
    if line.fields.get("epoch") != str(epoch) or not re.fullmatch("[0-9a-f]{64}", line.fields.get("next", "")):
        return "the hand-over of the signing key does not fit"
    if in_epoch is not None and line.fields.get("lines") != str(in_epoch):
        return "lines of its day are missing"
    return None


# ------------------------------------------------------------------------------------- FORMAT.md 6 and 10: a call


@dataclass(frozen=True)
class Sealed:
    key_id: bytes
    suite: int
    sealed: bytes


@dataclass
class Call:
    """The records of one ``.key`` file, parsed."""

    call_id: bytes
    opened_utc_ms: int
    line: int
    open_body: bytes
    dek: list[Sealed]
    meta_body: bytes | None
    close_body: bytes | None
    frames: int = 0
    last_hash: bytes = b""
    meta_hash: bytes = b""
    sign_epoch: int = 0
    outcome: str = ""


def parse_sealed(at: Cursor) -> list[Sealed]:
    return [Sealed(at.take(8), at.number(1), at.take(at.number(2))) for _ in range(at.number(1))]


def parse_call(data: bytes) -> Call:
    """Raises Damaged."""
    records: dict[int, bytes] = {}
    at = Cursor(data)
    while at.at < len(data):
        kind = at.number(1)
        records[kind] = at.take(at.number(4))
    if RECORD_OPEN not in records:
        raise Damaged("it has no OPEN record")
    body = Cursor(records[RECORD_OPEN])
    call_id, opened, line = body.take(16), body.number(8), body.number(1)
    body.take(1 + 1 + 2 + 8)
    call = Call(
        call_id, opened, line, body.data, parse_sealed(body), records.get(RECORD_META), records.get(RECORD_CLOSE)
    )
    body.end()
    if call.close_body is not None:
        parse_close(call, call.close_body)
    return call


def parse_close(call: Call, data: bytes) -> None:
    at = Cursor(data)
    if at.take(16) != call.call_id:
        raise Damaged("its CLOSE is of another call")
    at.take(8 + 1)
    outcome = at.number(1)
    at.take(2)
    at.take(at.number(1))
    call.frames = at.number(4)
    at.take(4)
    call.last_hash = at.take(32)
    at.take(16)
    call.meta_hash, call.sign_epoch = at.take(32), at.number(4)
    at.take(64)
    at.end()
    call.outcome = OUTCOMES[outcome - 1] if 1 <= outcome <= len(OUTCOMES) else "unknown"


def check_close(call: Call, device_id: str, log: Log, report: Report) -> None:
    name = call.call_id.hex()
    if call.close_body is None:
        report.doubt(f"call {name}: it has no CLOSE; how many frames it has is not vouched for")
        return
    if call.sign_epoch not in log.keys:
        report.doubt(f"call {name}: the signing key of its CLOSE (epoch {call.sign_epoch}) is not known")
    elif not signed(
        log.keys[call.sign_epoch], bound(b"tacet/close/1", device_id, call.close_body[:-64]), call.close_body[-64:]
    ):
        report.doubt(f"call {name}: the signature of its CLOSE is wrong")
    meta_hash = sha256(call.meta_body) if call.meta_body is not None else bytes(32)
    if meta_hash != call.meta_hash:
        report.doubt(f"call {name}: its META is not the one that was closed with it")


def unsealed(
    keys: PrivateKey | CallKeys | None, entries: list[Sealed], domain: bytes, device_id: str, call: Call
) -> bytes:
    """The key that is sealed in ``entries``, or the one that was disclosed for this call. Raises Damaged."""
    if keys is None:
        raise Damaged("no key was given")
    if isinstance(keys, PrivateKey):
        return hpke_open(keys, entries, domain, device_id, call)
    if keys.call_id != call.call_id or domain not in keys.by_domain:
        raise Damaged("the disclosed keys do not open it")
    return keys.by_domain[domain]


def hpke_open(private: PrivateKey, entries: list[Sealed], domain: bytes, device_id: str, call: Call) -> bytes:
    """Raises Damaged."""
    opened = struct.pack(">Q", call.opened_utc_ms)
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    for entry in entries:
        if entry.key_id == private.key_id and entry.suite == 1:
            info = bound(domain, device_id, private.key_id, call.call_id, opened)
            try:
                return suite.decrypt(entry.sealed, private.key, info)
            except InvalidTag:
                raise Damaged("its sealed key does not open: changed, or bound to another call or recorder") from None
    raise Damaged("it is not sealed to this key")


def open_meta(private: PrivateKey | CallKeys | None, device_id: str, call: Call) -> dict[str, object]:
    """Raises Damaged."""
    assert call.meta_body is not None
    at = Cursor(call.meta_body)
    if at.take(16) != call.call_id:
        raise Damaged("its META is of another call")
    keys = parse_sealed(at)
    sealed = at.take(at.number(2))
    at.end()
    key = unsealed(private, keys, b"tacet/meta/1", device_id, call)
    try:
        value = json.loads(ChaCha20Poly1305(key).decrypt(bytes(12), sealed, b"tacet/meta/1"))
    except (InvalidTag, ValueError):
        raise Damaged("its META does not open") from None
    if not isinstance(value, dict):
        raise Damaged("its META is malformed")
    return value


# ------------------------------------------------------------------------------------------- FORMAT.md 7: frames


@dataclass(frozen=True)
class Frame:
    seq: int
    call_id: bytes
    sign_epoch: int
    previous: bytes
    commitment: bytes
    crc: int
    header: bytes
    ciphertext: bytes

    @property
    def link(self) -> bytes:
        return sha256(self.header[:184])


@dataclass(frozen=True)
class Piece:
    reason: str | None
    codec: str
    channels: int
    rate_hz: int
    first_sample: int
    samples: int
    payload: bytes


def split_frames(path: Path) -> Iterator[Frame | str]:
    """Frames one behind the other; where a header is damaged, a sentence, and the search goes on block by block."""
    with path.open("rb") as file:
        offset, lost_from = 0, None
        while True:
            file.seek(offset)
            header = file.read(HEADER_BYTES)
            if not header:
                break
            length = _frame_bytes(header)
            ciphertext = file.read(length - HEADER_BYTES) if length is not None else b""
            if length is None or len(ciphertext) != length - HEADER_BYTES:
                lost_from = offset if lost_from is None else lost_from
                offset += BLOCK_BYTES
                continue
            if lost_from is not None:
                yield f"bytes {lost_from} to {offset} hold no frame"
                lost_from = None
            yield _frame(header, ciphertext)
            offset += length
        if lost_from is not None:
            yield f"bytes {lost_from} to the end hold no whole frame"


def _frame_bytes(header: bytes) -> int | None:
    """Length of the frame by its header; None when the header is damaged."""
    if len(header) != HEADER_BYTES or header[:4] != b"TCF1":
        return None
    if crc32(header[:188]) != int.from_bytes(header[188:], "big"):
        return None
    length = HEADER_BYTES + int.from_bytes(header[28:32], "big")
    sound = header[4:6] == b"\x00\xc0" and length % BLOCK_BYTES == 0 and length <= FRAME_BYTES_MAX
    return length if sound else None


def _frame(header: bytes, ciphertext: bytes) -> Frame:
    return Frame(
        seq=int.from_bytes(header[24:28], "big"),
        call_id=header[8:24],
        sign_epoch=int.from_bytes(header[40:44], "big"),
        previous=header[80:112],
        commitment=header[48:80],
        crc=int.from_bytes(header[112:116], "big"),
        header=header,
        ciphertext=ciphertext,
    )


def open_frame(frame: Frame, dek: bytes) -> list[Piece]:
    """Raises Damaged."""
    nonce = bytes(8) + struct.pack(">I", frame.seq)
    try:
        plaintext = ChaCha20Poly1305(expand(dek, b"tacet/frame/enc/1")).decrypt(
            nonce, frame.ciphertext, frame.header[:112]
        )
    except InvalidTag:
        raise Damaged("it does not open: its bytes were changed") from None
    salt = hmac.digest(expand(dek, b"tacet/frame/salt/1"), struct.pack(">I", frame.seq), "sha256")
    if sha256(salt + plaintext) != frame.commitment:
        raise Damaged("its content is not what its header commits to")
    return list(_pieces(plaintext))


def _pieces(plaintext: bytes) -> Iterator[Piece]:
    at = Cursor(plaintext)
    while at.at < len(plaintext):
        kind = at.number(1)
        if kind == 0:
            return
        reason, codec, channels, rate = at.number(1), at.number(1), at.number(1), at.number(2)
        first, samples, length = at.number(8), at.number(4), at.number(4)
        if kind not in (1, 2) or codec not in CODECS or (kind == 2 and reason not in REASONS):
            raise Damaged("a piece in it is of an unknown kind")
        cause = REASONS[reason] if kind == 2 else None
        yield Piece(cause, CODECS[codec], channels, rate, first, samples, at.take(length))


# ----------------------------------------------------------------------------------------------- one call, whole


class CallReader:
    def __init__(
        self, device_id: str, log: Log, private: PrivateKey | CallKeys | None, report: Report, out: Path
    ) -> None:
        self._device_id = device_id
        self._log = log
        self._private = private
        self._report = report
        self._out = out

    def read(self, key_file: Path) -> bytes | None:
        """The call's id; None when the file says none."""
        report = self._report
        try:
            call = parse_call(read_file(key_file, KEY_BYTES_MAX))
        except Damaged as damage:
            report.damage(f"{key_file.name}: {damage}; the call cannot be opened")
            return None
        name = call.call_id.hex()
        report.note(
            f"call {name}: line {call.line}, opened {call.opened_utc_ms} ms, {call.outcome}, {call.frames} frames"
        )
        check_close(call, self._device_id, self._log, report)
        directory = self._out / name
        directory.mkdir(parents=True, exist_ok=True)
        self._write_meta(call, directory)
        try:
            dek = unsealed(self._private, call.dek, b"tacet/dek/1", self._device_id, call)
        except Damaged as damage:
            report.damage(f"call {name}: {damage}")
            return call.call_id
        self._frames(call, key_file.with_suffix(".tcf"), dek, directory)
        return call.call_id

    def _write_meta(self, call: Call, directory: Path) -> None:
        if call.meta_body is None:
            self._report.note(f"call {call.call_id.hex()}: no META was stored")
            return
        try:
            meta = open_meta(self._private, self._device_id, call)
        except Damaged as damage:
            self._report.damage(f"call {call.call_id.hex()}: {damage}")
            return
        (directory / "meta.json").write_text(json.dumps(meta, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _frames(self, call: Call, path: Path, dek: bytes, directory: Path) -> None:
        report, name = self._report, call.call_id.hex()
        if not path.exists():
            report.damage(f"call {name}: the file {path.name} with its frames is missing")
            return
        if path.stat().st_size > CALL_BYTES_MAX or path.is_symlink():
            report.damage(f"call {name}: {path.name} is no file of frames")
            return
        place = (0, sha256(call.open_body))
        with (
            (directory / "pieces.csv").open("w", newline="", encoding="ascii") as pieces_file,
            (directory / "gaps.csv").open("w", newline="", encoding="ascii") as gaps_file,
        ):
            pieces, gaps = csv.writer(pieces_file), csv.writer(gaps_file)
            pieces.writerow(["file", "first_sample", "samples", "rate_hz", "channels", "codec"])
            gaps.writerow(["first_sample", "samples", "start_s", "end_s", "reason"])
            for found in split_frames(path):
                if isinstance(found, str):
                    report.damage(f"call {name}: {found}")
                    continue
                place = self._frame(call, found, place, dek, directory, (pieces, gaps))
        if call.close_body is not None:
            if place[0] != call.frames:
                report.doubt(f"call {name}: it was closed with {call.frames} frames and ends after {place[0]}")
            elif place[1] != call.last_hash:
                report.doubt(f"call {name}: its last frame is not the one that it was closed with")

    def _frame(
        self,
        call: Call,
        frame: Frame,
        place: tuple[int, bytes],
        dek: bytes,
        directory: Path,
        tables: "tuple[Rows, Rows]",
    ) -> tuple[int, bytes]:
        """Check, open and write one frame. ``place``: the seq and the link that belong here; returns the next."""
        report = self._report
        following = (frame.seq + 1, frame.link)
        name = f"call {call.call_id.hex()} frame {frame.seq}"
        findings = self._findings(call, frame, *place)
        for finding in findings:
            report.doubt(f"{name}: {finding}")
        if crc32(frame.ciphertext) != frame.crc:
            report.damage(f"{name}: its ciphertext was changed (CRC)")
            return following
        try:
            opened = open_frame(frame, dek)
        except Damaged as damage:
            report.damage(f"{name}: {damage}")
            return following
        self._write(frame, opened, directory, *tables)
        if not findings:
            report.note(f"{name}: good, {len(opened)} pieces")
        return following

    def read_opened(self, call: Call, data: bytes, directory: Path, tables: "tuple[Rows, Rows]") -> None:
        at, place, removed = Cursor(data), (0, sha256(call.open_body)), 0
        name = f"call {call.call_id.hex()}"
        try:
            while at.at < len(data):
                frame = _frame(at.take(HEADER_BYTES), b"")
                for finding in self._findings(call, frame, *place):
                    self._report.doubt(f"{name} frame {frame.seq}: {finding}")
                place = (frame.seq + 1, frame.link)
                if at.number(1) == 0:
                    removed += 1
                    self._report.note(f"{name} frame {frame.seq}: its content was not given out")
                    continue
                salt, plaintext = at.take(32), at.take(at.number(4))
                if sha256(salt + plaintext) != frame.commitment:
                    raise Damaged(f"the content of frame {frame.seq} is not what its header commits to")
                self._write(frame, list(_pieces(plaintext)), directory, *tables)
        except Damaged as damage:
            self._report.damage(f"{name}: {damage}; nothing after it was read")
            return
        if place != (call.frames, call.last_hash):
            self._report.doubt(f"{name}: its headers do not lead to the one that it was closed with")
        self._report.note(f"{name}: {place[0] - removed} frames opened, {removed} not given out")

    def _findings(self, call: Call, frame: Frame, expected: int, link: bytes) -> list[str]:
        findings = []
        if frame.call_id != call.call_id:
            findings.append("it belongs to another call")
        if frame.seq != expected:
            findings.append(f"it is out of order: frame {expected} should be here")
        elif frame.previous != link:
            findings.append("it does not follow from the frame before")
        if frame.sign_epoch not in self._log.keys:
            findings.append(f"its signing key (epoch {frame.sign_epoch}) is not known")
        elif not signed(
            self._log.keys[frame.sign_epoch],
            bound(b"tacet/frame/1", self._device_id, frame.header[:120]),
            frame.header[120:184],
        ):
            findings.append("its signature is wrong")
        return findings

    def _write(self, frame: Frame, opened: list[Piece], directory: Path, pieces: "Rows", gaps: "Rows") -> None:
        for number, piece in enumerate(opened):
            if piece.reason is not None:
                start, end = piece.first_sample, piece.first_sample + piece.samples
                rate = piece.rate_hz or 8000
                gaps.writerow([start, piece.samples, f"{start / rate:.6f}", f"{end / rate:.6f}", piece.reason])
                continue
            name = f"{frame.seq:06d}-{number}.{piece.codec}"
            (directory / name).write_bytes(piece.payload)
            pieces.writerow([name, piece.first_sample, piece.samples, piece.rate_hz, piece.channels, piece.codec])


def read_opened(bag: Path, device_id: str, log: Log, report: Report, out: Path) -> None:
    """A subject access pack: every frame's signed header, and the content of those from which nothing was removed."""
    try:
        call = parse_call(read_file(bag / "data" / "1.key", KEY_BYTES_MAX))
    except Damaged as damage:
        report.damage(f"1.key: {damage}; nothing can be checked")
        return
    check_close(call, device_id, log, report)
    reader = CallReader(device_id, log, None, report, out)
    directory = out / call.call_id.hex()
    directory.mkdir(parents=True, exist_ok=True)
    with (
        (directory / "pieces.csv").open("w", newline="", encoding="ascii") as pieces_file,
        (directory / "gaps.csv").open("w", newline="", encoding="ascii") as gaps_file,
    ):
        pieces, gaps = csv.writer(pieces_file), csv.writer(gaps_file)
        pieces.writerow(["file", "first_sample", "samples", "rate_hz", "channels", "codec"])
        gaps.writerow(["first_sample", "samples", "start_s", "end_s", "reason"])
        reader.read_opened(call, read_file(bag / "data" / "1.opened", CALL_BYTES_MAX), directory, (pieces, gaps))


class Rows(Protocol):
    """What ``csv.writer`` gives."""

    def writerow(self, row: list[object], /) -> object: ...


# ------------------------------------------------------------------------------------------------------- the run


def run(arguments: argparse.Namespace) -> int:
    fingerprint = bytes.fromhex(arguments.fingerprint) if arguments.fingerprint else None
    bags = find_bags(arguments.stick)
    private: PrivateKey | CallKeys | None
    if arguments.opened:
        private = None
    elif arguments.call_keys is not None:
        private = open_call_keys(arguments.call_keys)
    else:
        private = open_key_file(arguments.key, read_passphrase(arguments.passphrase_file))
    report = Report()
    for bag in bags:
        _read_bag(bag, arguments, fingerprint, private, report)
    (arguments.out / "report.txt").write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    return _verdict(report, arguments.out)


def _read_bag(
    bag: Path,
    arguments: argparse.Namespace,
    fingerprint: bytes | None,
    private: PrivateKey | CallKeys | None,
    report: Report,
) -> None:
    disclosed = private.device_id if isinstance(private, CallKeys) else None
    device_id = device_of(bag, arguments.device or disclosed)
    report.note(f"answer {bag.name} of recorder {device_id}")
    check_manifests(bag, report)
    whole = isinstance(private, PrivateKey)
    name = "keys.log" if private is None else "audit.log"
    log = read_log(bag, device_id, fingerprint, report, sliced=not whole, name=name)
    if log.genesis is not None:
        anchor = "as given" if log.anchored else "consistent, identity not checked: compare it with the label"
        report.note(f"fingerprint {sha256(log.genesis).hex()} ({anchor})")
    if private is None:
        read_opened(bag, device_id, log, report, arguments.out)
        return
    reader = CallReader(device_id, log, private, report, arguments.out)
    key_files = sorted((bag / "data").glob("*.key"), key=lambda path: (len(path.name), path.name))
    read = [reader.read(key_file) for key_file in key_files]
    if isinstance(private, CallKeys):
        check_disclosed(bag, device_id, log, private.call_id, report)
    else:
        check_complete(bag.name, log, read, report)


def check_disclosed(bag: Path, device_id: str, log: Log, call_id: bytes, report: Report) -> None:
    """An evidence bag carries the recorder's own lines about the order by which its call was given out."""
    path = bag / "data" / "disclosure.log"
    if log.genesis is None:
        return
    found, quiet = Log({0: log.genesis}, log.anchored, log.genesis), Report()
    _follow(read_file(path, TEXT_BYTES_MAX).split(b"\n") if path.exists() else [], device_id, found, quiet, True)
    given = any(line.event == "DISCLOSE" and line.fields.get("call") == call_id.hex() for line in found.lines)
    if quiet.damaged or quiet.unverified or not given:
        report.doubt(f"call {call_id.hex()}: disclosure.log does not vouch that the recorder gave it out")


def check_complete(order: str, log: Log, here: list[bytes | None], report: Report) -> None:
    """Every call that the log says was given out for this order is here once, and no other."""
    if not log.lines:
        return
    given = [
        line.fields.get("call") for line in log.lines if line.event == "DISCLOSE" and line.fields.get("order") == order
    ]
    gone = {line.fields.get("call") for line in log.lines if line.event == "DESTROYED"}
    names = [call_id.hex() for call_id in here if call_id is not None]
    for name in sorted(set(map(str, given)) - set(names) - gone):
        report.damage(f"call {name}: the log says that it was given out, and it is not here")
    for name in sorted(set(names)):
        if name not in given:
            report.doubt(f"call {name}: the log does not say that it was given out for this order")
        if names.count(name) > 1:
            report.doubt(f"call {name}: it is there {names.count(name)} times")


def _verdict(report: Report, out: Path) -> int:
    for line in report.lines:
        if line.startswith(("DAMAGED", "NOT VERIFIED", "fingerprint", "answer")):
            print(line)
    print(f"{report.damaged} damaged, {report.unverified} not verified; the report is {out / 'report.txt'}")
    if report.unverified:
        return EXIT_UNVERIFIED
    return EXIT_DAMAGED if report.damaged else EXIT_OK


def _fingerprint(text: str) -> str:
    plain = re.sub("[ :-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{64}", plain):
        raise argparse.ArgumentTypeError("a fingerprint has 64 hex digits")
    return plain


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ringread", description="Offline reader and verifier of a Tacet stick.")
    parser.add_argument("stick", type=Path, metavar="K", help="the stick, or one answer on it")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--key", type=Path, metavar="F", help="the custodian's (or escrow's) key file")
    keys.add_argument("--opened", action="store_true", help="a subject access pack: no key is needed")
    keys.add_argument("--call-keys", type=Path, metavar="F", help="the keys file of an evidence bag (data/1.keys)")
    parser.add_argument("--passphrase-file", type=Path, metavar="F", help="(else TACET_PASSPHRASE, else asked for)")
    parser.add_argument("--fingerprint", type=_fingerprint, metavar="F", help="of the recorder, from its label")
    parser.add_argument("--device", metavar="ID", help="the recorder's id (else as the answer says)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where frames and the report go")
    arguments = parser.parse_args(argv)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        return run(arguments)
    except Stop as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except OSError as error:
        print(f"{error.filename or 'A file'} could not be used: {error.strerror}.", file=sys.stderr)
        return EXIT_IO


if __name__ == "__main__":
    sys.exit(main())
