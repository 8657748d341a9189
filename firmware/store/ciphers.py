"""The only file that imports ``cryptography``. A small port, so that a crash explorer may use an ideal AEAD."""

import hmac
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from firmware.store.errors import BadSeal

Bytes = bytes | bytearray | memoryview

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SIGNATURE_BYTES = 64
SUITE_X25519 = 1
"""HPKE suite of FORMAT.md 1; the byte leaves room for a hybrid one."""


class Ciphers(Protocol):
    """Sizes and meanings as in FORMAT.md 1. ``open`` and ``hpke_open`` raise BadSeal; nothing else fails on input."""

    def seal(self, key: Bytes, nonce: bytes, plaintext: Bytes, aad: bytes) -> bytes: ...
    def seal_into(self, key: Bytes, nonce: bytes, plaintext: Bytes, aad: bytes, out: memoryview) -> None:
        """As ``seal``, into ``out`` of len(plaintext) + 16 bytes: no copy of the plaintext is left behind."""

    def open(self, key: Bytes, nonce: bytes, ciphertext: Bytes, aad: bytes) -> bytes: ...
    def public_key(self, seed: Bytes) -> bytes: ...
    def sign(self, seed: Bytes, message: bytes) -> bytes: ...
    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool: ...
    def hkdf(self, ikm: Bytes, salt: bytes, info: bytes) -> bytes: ...
    def expand(self, key: Bytes, info: bytes) -> bytes: ...
    def mac(self, key: Bytes, message: bytes) -> bytes: ...
    def hpke_seal(self, suite: int, public_key: bytes, plaintext: Bytes, info: bytes) -> bytes: ...
    def hpke_open(self, suite: int, private_key: bytes, sealed: bytes, info: bytes) -> bytes: ...


class RealCiphers:
    """ChaCha20-Poly1305, Ed25519, HKDF-SHA256 and HPKE of ``cryptography``."""

    def seal(self, key: Bytes, nonce: bytes, plaintext: Bytes, aad: bytes) -> bytes:
        return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)

    def seal_into(self, key: Bytes, nonce: bytes, plaintext: Bytes, aad: bytes, out: memoryview) -> None:
        ChaCha20Poly1305(key).encrypt_into(nonce, plaintext, aad, out)

    def open(self, key: Bytes, nonce: bytes, ciphertext: Bytes, aad: bytes) -> bytes:
        try:
            return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise BadSeal from None

    def public_key(self, seed: Bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()

    def sign(self, seed: Bytes, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(seed).sign(message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def hkdf(self, ikm: Bytes, salt: bytes, info: bytes) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt, info).derive(ikm)

    def expand(self, key: Bytes, info: bytes) -> bytes:
        return HKDFExpand(SHA256(), KEY_BYTES, info).derive(key)

    def mac(self, key: Bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, sha256)

    def hpke_seal(self, suite: int, public_key: bytes, plaintext: Bytes, info: bytes) -> bytes:
        return _suite(suite).encrypt(plaintext, X25519PublicKey.from_public_bytes(public_key), info)

    def hpke_open(self, suite: int, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        try:
            return _suite(suite).decrypt(sealed, X25519PrivateKey.from_private_bytes(private_key), info)
        except InvalidTag:
            raise BadSeal from None


def _suite(suite: int) -> hpke.Suite:
    if suite != SUITE_X25519:
        raise BadSeal
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


REAL: Ciphers = RealCiphers()
