"""The signed note: the one format of everything that crosses the stick with a signature under it.

C2SP signed-note (https://c2sp.org/signed-note): UTF-8 text lines, an empty line, then signature lines
``— <key name> <base64(4-byte key hash ‖ signature)>``. The signature is Ed25519 over the text, its last newline
included; the key hash is the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). Orders, provisioning packs
and key changes are such notes; no archive and no JSON is ever parsed from a stick.

Reading is pure and total: any bytes give a :class:`Note` or a :class:`NoteError`. Ciphers are passed in.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

NOTE_BYTES_MAX = 64 * 1024
"""evidence.md, orders: at most 64 KiB are read from a stick."""

NOTE_LINES_MAX = 200
SIGNATURES_MAX = 16
"""The C2SP text asks readers to bound the signatures they look at; eight request keys can be enrolled at most."""

SIGNATURE_MARK = "— "
ED25519 = b"\x01"
HASH_BYTES = 4
SIGNATURE_BYTES = 64

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key 32, message, signature 64) -> whether the Ed25519 signature is good. Never raises on bad input."""

Sign = Callable[[bytes], bytes]
"""message -> Ed25519 signature (64 bytes)."""


class NoteError(ValueError):
    """The bytes are no signed note within the limits; the text says which rule they broke, never what they said."""


@dataclass(frozen=True)
class Signature:
    name: str
    key_hash: bytes
    value: bytes


@dataclass(frozen=True)
class Note:
    """``text`` ends in a newline and is exactly what was signed."""

    text: bytes
    signatures: tuple[Signature, ...]

    @property
    def lines(self) -> list[str]:
        return self.text.decode("utf-8").split("\n")[:-1]


def parse(data: bytes) -> Note:
    """Raises NoteError. Accepts one spelling only: LF line ends, no control characters, standard padded base64."""
    if len(data) > NOTE_BYTES_MAX:
        raise NoteError(f"it is longer than {NOTE_BYTES_MAX} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NoteError("it is not UTF-8 text") from None
    if any((ord(c) < 0x20 and c != "\n") or ord(c) == 0x7F for c in whole):
        raise NoteError("it has control characters (only line feeds may end a line)")
    if whole.count("\n") > NOTE_LINES_MAX:
        raise NoteError(f"it has more than {NOTE_LINES_MAX} lines")
    text, separator, tail = whole.rpartition("\n\n")
    if not separator or not text or not tail.endswith("\n"):
        raise NoteError("it has no signature")
    signatures = [_signature(line) for line in tail.split("\n")[:-1]]
    if len(signatures) > SIGNATURES_MAX:
        raise NoteError(f"it has more than {SIGNATURES_MAX} signatures")
    return Note((text + "\n").encode("utf-8"), tuple(signatures))


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(SIGNATURE_MARK).partition(" ")
    if not line.startswith(SIGNATURE_MARK) or not space or not well_named(name):
        raise NoteError("a signature line is malformed")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("a signature is not base64") from None
    if len(blob) <= HASH_BYTES or base64.b64encode(blob).decode("ascii") != encoded:
        raise NoteError("a signature is malformed")
    return Signature(name, blob[:HASH_BYTES], blob[HASH_BYTES:])


def well_named(name: str) -> bool:
    """Key names are not empty and have neither spaces nor a plus sign (C2SP signed-note)."""
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


def key_hash(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode("utf-8") + b"\n" + ED25519 + public_key).digest()[:HASH_BYTES]


class BadSignature(NoteError):
    """A signature names a known key and does not verify: the note was changed after it was signed."""


def signed_by(note: Note, name: str, public_key: bytes, verify: Verify) -> bool:
    """Whether the note carries a good signature of this key. False when it carries none; raises BadSignature when
    one that claims to be this key's is wrong, as C2SP demands."""
    found = False
    expected = key_hash(name, public_key)
    for signature in note.signatures:
        if signature.name != name or not hmac.compare_digest(signature.key_hash, expected):
            continue
        if len(signature.value) != SIGNATURE_BYTES or not verify(public_key, note.text, signature.value):
            raise BadSignature("a signature does not belong to this text")
        found = True
    return found


def compose(lines: Sequence[str]) -> bytes:
    """The text of a note. Raises NoteError when it could not be read back."""
    text = "".join(line + "\n" for line in lines)
    if not lines or not lines[-1] or any("\n" in line or "\r" in line for line in lines):
        raise NoteError("a line of the note is empty or broken")
    return text.encode("utf-8")


def seal(text: bytes, signers: Iterable[tuple[str, bytes, Sign]]) -> bytes:
    """The whole note: ``text`` and one signature line per (key name, public key, sign). Raises NoteError when it is
    over the limits."""
    lines = [_signature_line(name, public_key, sign(text)) for name, public_key, sign in signers]
    return _checked(text + b"\n" + "".join(lines).encode("utf-8"))


def add_signature(data: bytes, name: str, public_key: bytes, sign: Sign) -> bytes:
    """A second person's signature under a note that is already signed."""
    note = parse(data)
    return _checked(data + _signature_line(name, public_key, sign(note.text)).encode("utf-8"))


def _signature_line(name: str, public_key: bytes, value: bytes) -> str:
    assert well_named(name)
    blob = key_hash(name, public_key) + value
    return f"{SIGNATURE_MARK}{name} {base64.b64encode(blob).decode('ascii')}\n"


def _checked(data: bytes) -> bytes:
    parse(data)
    return data
