"""Key files: a person's two private keys under a passphrase. The format is in KEYFILE.md.

* X25519: calls are sealed to it (HPKE, RFC 9180). Opens recordings.
* Ed25519: signs orders and packs.

Argon2id (RFC 9106) makes the passphrase expensive to guess; ChaCha20-Poly1305 seals the two keys and binds the
public lines of the file to them.
"""

import base64
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from firmware.store.keys import Recipient, RequestKey, Role
from tools.desk.errors import Damaged, WrongPassphrase
from tools.desk.files import read_file, write_file

KEY_TYPE = "tacet-key/1"
KEY_FILE_BYTES_MAX = 4096
PASSPHRASE_CHARACTERS_MIN = 12
SUITE = 1
"""DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305: suite 1 of FORMAT.md."""

MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
"""Second recommended option of RFC 9106 section 4: 64 MiB, 3 passes, 4 lanes."""

MEMORY_KIB_MAX, PASSES_MAX, LANES_MAX = 1024 * 1024, 16, 16
"""A key file from elsewhere must not be able to exhaust the PC."""

ROLES = {"custodian": Role.CUSTODIAN, "escrow": Role.CUSTODIAN, "supervisor": Role.SUPERVISOR}
"""Who a key file belongs to, and the role its request key has on the recorder. The escrow holder is a second
custodian: with the custodian's own key lost, escrow and supervisor together can still change the keys."""


@dataclass(frozen=True)
class Person:
    """The public half of a key file."""

    role: str
    seal_public: bytes
    request_public: bytes

    def recipient(self) -> Recipient:
        return Recipient.of(self.seal_public, SUITE)

    def request_key(self) -> RequestKey:
        return RequestKey.of(self.request_public, ROLES[self.role])

    def lines(self) -> list[str]:
        return [
            KEY_TYPE,
            f"role: {self.role}",
            f"seal_public: {self.seal_public.hex()}",
            f"request_public: {self.request_public.hex()}",
        ]


@dataclass(frozen=True, repr=False)
class Unlocked:
    """A person's private keys, in memory only."""

    person: Person
    seal: X25519PrivateKey
    request: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        return self.request.sign(message)

    def derive(self, purpose: bytes) -> bytes:
        """A 32-byte key for the home's own use, that only this person's passphrase gives."""
        return HKDF(SHA256(), 32, None, b"tacet/desk/1/" + purpose).derive(self.seal.private_bytes_raw())


def create(role: str) -> Unlocked:
    seal, request = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    person = Person(role, seal.public_key().public_bytes_raw(), request.public_key().public_bytes_raw())
    return Unlocked(person, seal, request)


def check_passphrase(passphrase: str) -> None:
    if len(passphrase) < PASSPHRASE_CHARACTERS_MIN:
        raise WrongPassphrase(
            f"A passphrase must have at least {PASSPHRASE_CHARACTERS_MIN} characters; nothing was changed."
        )


def lock(keys: Unlocked, passphrase: str, random: Callable[[int], bytes]) -> bytes:
    """The bytes of the key file. Raises WrongPassphrase when the passphrase is too short."""
    check_passphrase(passphrase)
    salt = random(16)
    head = [
        *keys.person.lines(),
        f"kdf: argon2id memory_kib={MEMORY_KIB} passes={PASSES} lanes={LANES} salt={salt.hex()}",
    ]
    bound = "".join(line + "\n" for line in head).encode("ascii")
    wrapping = _stretch(passphrase, salt, MEMORY_KIB, PASSES, LANES)
    secret = keys.seal.private_bytes_raw() + keys.request.private_bytes_raw()
    # The salt is new for each file, so the wrapping key is used once and the nonce may be zero.
    box = ChaCha20Poly1305(wrapping).encrypt(bytes(12), secret, bound)
    return bound + b"box: " + base64.b64encode(box) + b"\n"


def write_key_file(path: Path, keys: Unlocked, passphrase: str, random: Callable[[int], bytes]) -> None:
    write_file(path, lock(keys, passphrase, random))


_FORM = re.compile(
    r"tacet-key/1\n"
    r"role: (?P<role>[a-z]+)\n"
    r"seal_public: (?P<seal>[0-9a-f]{64})\n"
    r"request_public: (?P<request>[0-9a-f]{64})\n"
    r"(?:kdf: argon2id memory_kib=(?P<memory>[0-9]{1,8}) passes=(?P<passes>[0-9]{1,4}) lanes=(?P<lanes>[0-9]{1,4})"
    r" salt=(?P<salt>[0-9a-f]{32})\nbox: (?P<box>[A-Za-z0-9+/=]+)\n)?"
)


def _form(data: bytes, path: Path) -> re.Match[str]:
    match = _FORM.fullmatch(data.decode("ascii", "replace"))
    if match is None or match["role"] not in ROLES:
        raise Damaged(f"{path} is not a Tacet key file, or it is damaged; use the copy on the recovery medium.")
    return match


def read_person(path: Path) -> Person:
    """The public half of a key file or of a ``.pub`` file. Raises NotFound, Damaged."""
    return _person(_form(read_file(path, KEY_FILE_BYTES_MAX), path))


def _person(form: re.Match[str]) -> Person:
    return Person(form["role"], bytes.fromhex(form["seal"]), bytes.fromhex(form["request"]))


def public_file(person: Person) -> bytes:
    return "".join(line + "\n" for line in person.lines()).encode("ascii")


def unlock(path: Path, passphrase: str) -> Unlocked:
    """Raises NotFound, Damaged, WrongPassphrase."""
    data = read_file(path, KEY_FILE_BYTES_MAX)
    form = _form(data, path)
    if form["box"] is None:
        raise Damaged(f"{path} holds only the public half of a key.")
    memory_kib, passes, lanes = int(form["memory"]), int(form["passes"]), int(form["lanes"])
    bounds = 8 * lanes <= memory_kib <= MEMORY_KIB_MAX and 1 <= passes <= PASSES_MAX and 1 <= lanes <= LANES_MAX
    if not bounds:
        raise Damaged(f"{path} asks for an impossible amount of memory or time; it is damaged or was tampered with.")
    wrapping = _stretch(passphrase, bytes.fromhex(form["salt"]), memory_kib, passes, lanes)
    bound, encoded = data[: data.index(b"box: ")], form["box"]
    try:
        box = base64.b64decode(encoded, validate=True)
        if base64.b64encode(box).decode("ascii") != encoded:
            raise InvalidTag
        secret = ChaCha20Poly1305(wrapping).decrypt(bytes(12), box, bound)
    except (InvalidTag, ValueError):
        raise WrongPassphrase(f"The passphrase does not open {path}, or the file was changed.") from None
    if len(secret) != 64:
        raise Damaged(f"{path} does not hold two keys.")
    seal = X25519PrivateKey.from_private_bytes(secret[:32])
    request = Ed25519PrivateKey.from_private_bytes(secret[32:])
    found = Person(form["role"], seal.public_key().public_bytes_raw(), request.public_key().public_bytes_raw())
    if found != _person(form):
        raise Damaged(f"{path}: the public keys do not belong to the private ones.")
    return Unlocked(found, seal, request)


def _stretch(passphrase: str, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib)
    return kdf.derive(unicodedata.normalize("NFC", passphrase).encode("utf-8"))
