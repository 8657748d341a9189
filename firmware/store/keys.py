"""Who may open (recipients) and who may order (request keys), and the sealing of one key to all recipients."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from firmware.store.ciphers import KEY_BYTES, NONCE_BYTES, Bytes, Ciphers
from firmware.store.errors import BadSeal, Malformed
from firmware.store.layout import Cursor, bound, digest, prefixed

KEY_ID_BYTES = 8
RECIPIENTS_MAX = 4
REQUEST_KEYS_MAX = 8


def key_id_of(public_key: bytes) -> bytes:
    """FORMAT.md 1: the first 8 bytes of the key's SHA-256."""
    return digest(public_key)[:KEY_ID_BYTES]


@dataclass(frozen=True)
class Recipient:
    """A public key that calls are sealed to. At least two: custodian and escrow."""

    key_id: bytes
    suite: int
    public_key: bytes

    @classmethod
    def of(cls, public_key: bytes, suite: int = 1) -> Self:
        return cls(key_id_of(public_key), suite, public_key)


class Role(IntEnum):
    CUSTODIAN = 1
    SUPERVISOR = 2


@dataclass(frozen=True)
class RequestKey:
    """An Ed25519 public key whose orders the appliance obeys."""

    key_id: bytes
    public_key: bytes
    role: Role

    @classmethod
    def of(cls, public_key: bytes, role: Role) -> Self:
        return cls(key_id_of(public_key), public_key, role)


@dataclass(frozen=True)
class Purpose:
    """What binds a sealed key: FORMAT.md 1, one of the domains ``tacet/dek/1``, ``tacet/meta/1``, ``tacet/hold/1``."""

    domain: bytes
    device_id: str
    call_id: bytes
    opened_utc_ms: int

    def info(self, key_id: bytes) -> bytes:
        opened = struct.pack(">Q", self.opened_utc_ms)
        return bound(self.domain, self.device_id, key_id, self.call_id, opened)


@dataclass(frozen=True)
class SealedKey:
    key_id: bytes
    suite: int
    sealed: bytes


def seal_key(ciphers: Ciphers, recipients: Sequence[Recipient], key: Bytes, purpose: Purpose) -> bytes:
    """``sealed(domain)`` of FORMAT.md 1."""
    parts = [struct.pack(">B", len(recipients))]
    for recipient in recipients:
        sealed = ciphers.hpke_seal(recipient.suite, recipient.public_key, key, purpose.info(recipient.key_id))
        parts += [recipient.key_id, struct.pack(">B", recipient.suite), prefixed(sealed)]
    return b"".join(parts)


def parse_sealed(cursor: Cursor) -> tuple[SealedKey, ...]:
    """Raises Malformed."""
    count = cursor.u8()
    if count > RECIPIENTS_MAX:
        raise Malformed("recipients")
    return tuple(_sealed_key(cursor) for _ in range(count))


def _sealed_key(cursor: Cursor) -> SealedKey:
    key_id, suite, length = cursor.unpack("8sBH")
    return SealedKey(key_id, suite, cursor.take(length))


def open_key(ciphers: Ciphers, sealed: Sequence[SealedKey], key_id: bytes, private_key: bytes, to: Purpose) -> bytes:
    """The key, by the private key whose public half has ``key_id``. Raises BadSeal when it was not sealed to it."""
    for entry in sealed:
        if entry.key_id == key_id:
            return ciphers.hpke_open(entry.suite, private_key, entry.sealed, to.info(key_id))
    raise BadSeal


def seal_text(
    ciphers: Ciphers,
    recipients: Sequence[Recipient],
    text: bytes,
    purpose: Purpose,
    random: Callable[[int], bytes],
) -> bytes:
    """A text under a key of its own, that key sealed to all recipients: META and HOLDINFO."""
    key = bytearray(random(KEY_BYTES))
    keys = seal_key(ciphers, recipients, key, purpose)
    sealed = ciphers.seal(key, bytes(NONCE_BYTES), text, purpose.domain)
    wipe(key)
    return keys + prefixed(sealed)


def open_text(
    ciphers: Ciphers, keys: Sequence[SealedKey], sealed: bytes, key_id: bytes, private_key: bytes, to: Purpose
) -> bytes:
    """Raises BadSeal."""
    key = open_key(ciphers, keys, key_id, private_key, to)
    return ciphers.open(key, bytes(NONCE_BYTES), sealed, to.domain)


def wipe(secret: bytearray) -> None:
    """Overwrite in place. Best effort: Python may have copied it elsewhere (storage.md 5, 40)."""
    secret[:] = bytes(len(secret))
