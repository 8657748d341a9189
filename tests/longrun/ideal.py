"""An ideal cipher suite behind the store's ``Ciphers`` port, and the adversary's closure over everything ever sealed.

AEAD stays real (it is fast). Signatures and HPKE, which are slow, become hashes that only a holder of the secret can
make: nobody forges in this model, so what it cannot show is a weakness of Ed25519 or of HPKE itself. Each operation is
entered into a ``Registry``; the closure then asks what a *symbolic* attacker derives who has every ciphertext ever
made, whether it was written or not, the custodian's secret key, and the erasable memory of a chosen moment. That is at
least as strong as one who reads worn-out flash cells.

The registry also refuses a nonce that is used twice with different text (I13).
"""

import hmac
import random as pseudo
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b, sha256

from firmware.store.ciphers import Bytes, RealCiphers
from firmware.store.errors import BadSeal

TOKEN_BYTES_MIN = 16
PREFIX_BYTES = 8
ROOT_BYTES = 24


class NonceReused(AssertionError):
    """I13: one key and nonce with two different plaintexts or AADs."""


@dataclass
class Record:
    """One AEAD ciphertext. ``tokens``: secrets inside its plaintext, found when first asked for."""

    key: bytes
    plaintext: bytes
    tokens: frozenset[bytes] | None = None


@dataclass(frozen=True)
class Sealed:
    """One HPKE ciphertext: ``secret`` opens to whoever has the recipient's key and sees ``sealed``."""

    sealed: bytes
    secret: bytes
    info: bytes


@dataclass
class Registry:
    """Everything computed in one history; a crash forks it (``child``), so that timelines do not mix."""

    parent: "Registry | None" = None
    derived: dict[bytes, list[bytes]] = field(default_factory=dict)
    records: dict[bytes, list[Record]] = field(default_factory=dict)
    hpke: dict[bytes, Sealed] = field(default_factory=dict)
    nonces: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    tokens: dict[bytes, list[bytes]] = field(default_factory=dict)
    """By their first bytes, so that a text is searched for all of them at once."""
    purposes: dict[bytes, bytes] = field(default_factory=dict)
    seeds: dict[bytes, bytes] = field(default_factory=dict)

    def child(self) -> "Registry":
        return Registry(self)

    def line(self) -> "Iterator[Registry]":
        at: Registry | None = self
        while at is not None:
            yield at
            at = at.parent

    def add_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> None:
        self.check_nonce(key, nonce, sha256(len(aad).to_bytes(8, "big") + aad + plaintext).digest())
        self.records.setdefault(key, []).append(Record(key, plaintext))

    def check_nonce(self, key: bytes, nonce: bytes, text: bytes) -> None:
        for registry in self.line():
            used = registry.nonces.get((key, nonce))
            if used is not None and used != text:
                raise NonceReused("I13: one key and nonce, two texts")
        self.nonces[key, nonce] = text

    def plain_secrets(self) -> Iterator[bytes]:
        """Every draw that may be a root or a key."""
        for registry in self.line():
            for tokens in registry.tokens.values():
                yield from (token for token in tokens if token not in registry.hpke)

    def check_purpose(self, secret: bytes, info: bytes) -> None:
        """A key sealed as a DEK and as a META key would give an INDEX the keys to audio (I18)."""
        domain = info[: len(b"tacet/dek/1")]
        for registry in self.line():
            known = registry.purposes.get(secret)
            assert known in (None, domain), "I18 SCOPE: one key for audio and for what an INDEX carries"
        self.purposes[secret] = domain

    def seed_of(self, public_key: bytes) -> bytes | None:
        return next((registry.seeds[public_key] for registry in self.line() if public_key in registry.seeds), None)

    # ------------------------------------------------------------------------------------------------ the closure

    def opened(self, memory: bytes) -> frozenset[bytes]:
        """The infos of every HPKE ciphertext that this memory leads to, by any derivation: the custodian's key opens
        them all, and what they hold leads to nothing but its own call."""
        line = list(self.line())
        known: set[bytes] = set()
        todo = [memory[at : at + size] for size in (ROOT_BYTES, 32) for at in range(len(memory) - size + 1)]
        infos: set[bytes] = set()
        while todo:
            secret = todo.pop()
            if secret in known:
                continue
            known.add(secret)
            for registry in line:
                if secret in registry.hpke:
                    infos.add(registry.hpke[secret].info)
                    break
                todo += registry.derived.get(secret, ())
                for record in registry.records.get(secret, ()):
                    todo += self._inside(record)
        return frozenset(infos)

    def add_token(self, token: bytes) -> None:
        self.tokens.setdefault(token[:PREFIX_BYTES], []).append(token)

    def _inside(self, record: Record) -> frozenset[bytes]:
        """Secrets in a plaintext. A token drawn later cannot be in it, so the answer never changes."""
        if record.tokens is None:
            found: list[bytes] = []
            for registry in self.line():
                found += registry.tokens_in(record.plaintext)
            record.tokens = frozenset(found)
        return record.tokens

    def tokens_in(self, text: bytes) -> Iterator[bytes]:
        tokens = self.tokens
        if len(tokens) * 3 < len(text):
            yield from (token for found in tokens.values() for token in found if token in text)
            return
        for at in range(len(text) - PREFIX_BYTES + 1):
            prefix = text[at : at + PREFIX_BYTES]
            if prefix in tokens:
                yield from (token for token in tokens[prefix] if text.startswith(token, at))


class IdealCiphers:
    """``registry`` may be swapped between operations: it is the history that this run belongs to."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._real = RealCiphers()

    def seal(self, key: Bytes, nonce: bytes, plaintext: Bytes, aad: bytes) -> bytes:
        self.registry.add_seal(bytes(key), nonce, aad, bytes(plaintext))
        return self._real.seal(key, nonce, plaintext, aad)

    def seal_into(self, key: Bytes, nonce: bytes, plaintext: Bytes, aad: bytes, out: memoryview) -> None:
        self.registry.add_seal(bytes(key), nonce, aad, bytes(plaintext))
        self._real.seal_into(key, nonce, plaintext, aad, out)

    def open(self, key: Bytes, nonce: bytes, ciphertext: Bytes, aad: bytes) -> bytes:
        return self._real.open(key, nonce, ciphertext, aad)

    def public_key(self, seed: Bytes) -> bytes:
        public = _public(bytes(seed))
        self.registry.seeds[public] = bytes(seed)
        return public

    def sign(self, seed: Bytes, message: bytes) -> bytes:
        return blake2b(message, key=bytes(seed)).digest()

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        seed = self.registry.seed_of(public_key)
        return seed is not None and hmac.compare_digest(blake2b(message, key=seed).digest(), signature)

    def hkdf(self, ikm: Bytes, salt: bytes, info: bytes) -> bytes:
        return self._derive(bytes(ikm), blake2b(salt + info, key=bytes(ikm), digest_size=32).digest())

    def expand(self, key: Bytes, info: bytes) -> bytes:
        return self._derive(bytes(key), blake2b(info, key=bytes(key), digest_size=32).digest())

    def mac(self, key: Bytes, message: bytes) -> bytes:
        return blake2b(message, key=bytes(key), digest_size=32).digest()

    def hpke_seal(self, suite: int, public_key: bytes, plaintext: Bytes, info: bytes) -> bytes:
        enc = blake2b(public_key + info, key=bytes(plaintext)[:32], digest_size=32).digest()
        sealed = enc + self._real.seal(_public(enc + public_key), bytes(12), plaintext, info)
        self.registry.check_purpose(bytes(plaintext), info)
        self.registry.hpke[sealed] = Sealed(sealed, bytes(plaintext), info)
        self.registry.add_token(sealed)
        return sealed

    def hpke_open(self, suite: int, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        if len(sealed) < 48:
            raise BadSeal
        return self._real.open(_public(sealed[:32] + _public(private_key)), bytes(12), sealed[32:], info)

    def _derive(self, secret: bytes, out: bytes) -> bytes:
        outs = self.registry.derived.setdefault(secret, [])
        if out not in outs:
            outs += [out, out[:ROOT_BYTES]]
        return out


@lru_cache(maxsize=4096)
def _public(seed: bytes) -> bytes:
    return blake2b(b"public" + seed, digest_size=32).digest()


def public_half(private_key: bytes) -> bytes:
    """The recipient's public key in this model."""
    return _public(private_key)


class Dice:
    """The injected randomness: replayable by its seed, every draw that may be a secret entered into the registry."""

    def __init__(self, seed: str, ciphers: IdealCiphers) -> None:
        self._rng = pseudo.Random(seed)
        self._ciphers = ciphers

    def __call__(self, count: int) -> bytes:
        drawn = self._rng.randbytes(count)
        if count >= TOKEN_BYTES_MIN:
            self._ciphers.registry.add_token(drawn)
        return drawn
