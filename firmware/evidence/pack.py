"""The provisioning pack: what makes a blank recorder somebody's recorder. Written on the PC, verified and applied here.

``TACET/PROVISION/PACK.txt`` is a signed note (``tacet/pack/1``) that assigns the device id and carries the recipients
(public keys that calls are sealed to), the request keys (who may give orders), consent, and the SHA-256 of the two
files beside it: ``SITE.toml`` and ``NOTICE.wav``. It is signed by its own custodian: a blank recorder knows nobody, so
the signature proves that the pack is whole, and whoever holds the recorder and the stick decides that it is the right
one. The recorder answers with ``TACET/<device>/ENROL.txt``, whose fingerprint the desk pins.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from firmware.evidence.fields import (
    DEVICE_ID,
    FieldError,
    NewKey,
    Readers,
    free_text,
    hexadecimal,
    matching,
    parse_key,
    parse_utc,
    read_fields,
    words,
    yes_no,
)
from firmware.evidence.judge import key_name
from firmware.evidence.note import Note, NoteError, Verify, parse, signed_by
from firmware.evidence.site import NOTICE_BYTES_MAX, SITE_BYTES_MAX, ReadSite, SiteFacts
from firmware.store.keys import Recipient, RequestKey, Role, key_id_of

PACK_TYPE = "tacet/pack/1"
PACK_DIRECTORY = "TACET/PROVISION"
PACK_FILE = f"{PACK_DIRECTORY}/PACK.txt"
SITE_FILE = f"{PACK_DIRECTORY}/SITE.toml"
NOTICE_FILE = f"{PACK_DIRECTORY}/NOTICE.wav"
PACK_BYTES_MAX = 64 * 1024

PACK_FILES = {PACK_FILE: PACK_BYTES_MAX, SITE_FILE: SITE_BYTES_MAX, NOTICE_FILE: NOTICE_BYTES_MAX}
"""Every file of a pack and the most that is read of it."""

RECIPIENTS_MIN, RECIPIENTS_MAX = 2, 4
REQUEST_KEYS_MAX = 8
"""storage.md 3.3: at least two recipients; the key table has room for four recipients and eight request keys."""

SUITE_X25519 = "1"
"""DHKEM(X25519)-HKDF-SHA256-ChaCha20Poly1305 (RFC 9180), as FORMAT.md numbers it."""

SIMULATION_CONSENT = "simulation"

ReadFile = Callable[[str, int], bytes | None]
"""(path on the stick, limit) -> bytes, None when there is none. Raises OSError."""


class PackError(ValueError):
    """The pack was not applied; one sentence that says why and what to do."""


@dataclass(frozen=True)
class PackText:
    """What PACK.txt says."""

    device: str
    created_utc_ms: int
    simulation: bool
    consent: str
    site_sha256: bytes
    notice_sha256: bytes
    recipients: tuple[Recipient, ...]
    request_keys: tuple[RequestKey, ...]


@dataclass(frozen=True)
class Pack:
    text: PackText
    note: bytes
    site_toml: bytes
    site: SiteFacts
    notice_wav: bytes


_SINGLE: Readers = {
    "device": ("device", matching(DEVICE_ID)),
    "created": ("created_utc_ms", parse_utc),
    "simulation": ("simulation", yes_no),
    "consent": ("consent", free_text),
    "site_sha256": ("site_sha256", hexadecimal(32)),
    "notice_sha256": ("notice_sha256", hexadecimal(32)),
}
_LISTS: Readers = {
    "recipient_key": ("recipients", parse_key),
    "request_key": ("request_keys", parse_key),
}


def read_pack(read: ReadFile, read_site: ReadSite, verify: Verify) -> Pack:
    """Raises PackError (missing, changed, incomplete, out of bounds) and OSError (the stick)."""
    data = read(PACK_FILE, PACK_BYTES_MAX)
    if data is None:
        raise PackError("There is no provisioning pack here; write one with `python -m tools.desk provision`.")
    try:
        text = parse_text(parse(data), verify)
    except (NoteError, FieldError) as error:
        raise PackError(f"The provisioning pack cannot be used: {error}; write it again on the desk.") from None
    site_toml = _attached(read, SITE_FILE, SITE_BYTES_MAX, text.site_sha256)
    notice_wav = _attached(read, NOTICE_FILE, NOTICE_BYTES_MAX, text.notice_sha256)
    try:
        site = read_site(site_toml.decode("utf-8"))
    except ValueError as error:
        raise PackError(f"The site settings in the provisioning pack are refused: {error}") from None
    return Pack(text, data, site_toml, site, notice_wav)


def parse_text(note: Note, verify: Verify) -> PackText:
    """Raises NoteError, FieldError."""
    lines = note.lines
    if lines[0] != PACK_TYPE:
        raise FieldError(f"its first line is not {PACK_TYPE}")
    values = read_fields(lines[1:], _SINGLE, _LISTS)
    for name, (attribute, _) in (*_SINGLE.items(), *_LISTS.items()):
        if attribute not in values:
            raise FieldError(f"the field {name} is missing")
    values["recipients"] = recipients(values["recipients"])  # type: ignore[arg-type]
    values["request_keys"] = request_keys(values["request_keys"])  # type: ignore[arg-type]
    text = PackText(**values)  # type: ignore[arg-type]  # each reader gives its attribute's type
    if text.simulation != (text.consent == SIMULATION_CONSENT):
        raise FieldError("the consent does not fit: a simulation's consent, and only that, is the word simulation")
    if not any(
        key.role is Role.CUSTODIAN and signed_by(note, key_name(key), key.public_key, verify)
        for key in text.request_keys
    ):
        raise FieldError("its custodian has not signed it")
    return text


def recipients(keys: Sequence[NewKey]) -> tuple[Recipient, ...]:
    """A complete and safe set of recipients. Raises FieldError."""
    if not RECIPIENTS_MIN <= len(keys) <= RECIPIENTS_MAX:
        raise FieldError(f"there must be {RECIPIENTS_MIN} to {RECIPIENTS_MAX} recipient keys")
    _distinct(keys)
    if any(key.kind != SUITE_X25519 for key in keys):
        raise FieldError("a recipient key is of a kind that this recorder does not know")
    return tuple(Recipient(key.key_id, int(key.kind), key.public_key) for key in keys)


def request_keys(keys: Sequence[NewKey]) -> tuple[RequestKey, ...]:
    """A complete and safe set of request keys: at least one custodian. Raises FieldError."""
    if not 1 <= len(keys) <= REQUEST_KEYS_MAX:
        raise FieldError(f"there must be 1 to {REQUEST_KEYS_MAX} request keys")
    _distinct(keys)
    roles = {role.name.lower(): role for role in Role}
    if any(key.kind not in roles for key in keys):
        raise FieldError("a request key has an unknown role")
    if all(roles[key.kind] is not Role.CUSTODIAN for key in keys):
        raise FieldError("no request key is a custodian's")
    return tuple(RequestKey(key.key_id, key.public_key, roles[key.kind]) for key in keys)


def _distinct(keys: Sequence[NewKey]) -> None:
    if len({key.key_id for key in keys}) != len(keys) or len({key.public_key for key in keys}) != len(keys):
        raise FieldError("two keys are the same")
    if any(key.key_id != key_id_of(key.public_key) for key in keys):
        raise FieldError("a key does not have the id it claims")


def compose_pack(text: PackText) -> list[str]:
    lines = [PACK_TYPE]
    lines += [f"{name}: {words(getattr(text, attribute))}" for name, (attribute, _) in _SINGLE.items()]
    lines += [f"recipient_key: {NewKey(key.key_id, str(key.suite), key.public_key).text()}" for key in text.recipients]
    lines += [
        f"request_key: {NewKey(key.key_id, key.role.name.lower(), key.public_key).text()}" for key in text.request_keys
    ]
    return lines


def _attached(read: ReadFile, path: str, limit: int, expected_sha256: bytes) -> bytes:
    data = read(path, limit)
    name = path.rsplit("/", 1)[1]
    if data is None:
        raise PackError(f"The file {name} of the provisioning pack is missing; write the pack again on the desk.")
    if not hmac.compare_digest(hashlib.sha256(data).digest(), expected_sha256):
        raise PackError(f"The file {name} was changed after it was signed; write the pack again on the desk.")
    return data


# ------------------------------------------------------------------------------------------------------ enrolment


def enrol_path(device_id: str) -> str:
    return f"TACET/{device_id}/ENROL.txt"


def enrol_text(facts: Mapping[str, str | bytes | int]) -> bytes:
    """``facts`` in the order they are printed; values without line ends."""
    lines = ["tacet/enrol/1", *(f"{name}: {words(value)}" for name, value in facts.items())]
    return "".join(line + "\n" for line in lines).encode("utf-8")
