"""An ideal cipher suite behind the store's ``Ciphers`` port, and the adversary's closure over everything ever sealed.

AEAD stays real (it is fast). Signatures and HPKE, which are slow, become hashes that only a holder of the secret can
make: nobody forges in this model, so what it cannot show is a weakness of Ed25519 or of HPKE itself. Each operation is
entered into a ``Registry``; the closure then asks what a *symbolic* attacker derives who has every ciphertext ever
made, whether it was written or not, the custodian's secret key, and the erasable memory of a chosen moment. That is at
least as strong as one who reads worn-out flash cells.

The registry also refuses a nonce that is used twice with different text (I13).
"""

import hmac
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b, sha256

import numpy as np
from numpy.typing import NDArray

from firmware.store.ciphers import Bytes, RealCiphers
from firmware.store.errors import BadSeal

TOKEN_BYTES_MIN = 16
PREFIX_BYTES = 8
ROOT_BYTES = 24
FEW_TOKENS = 12


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


@dataclass(frozen=True)
class Reach:
    """What a closure found: every secret, and the infos of every HPKE ciphertext among them."""

    secrets: frozenset[bytes] = frozenset()
    infos: frozenset[bytes] = frozenset()


class Registry:
    """Everything computed in one history; a crash forks it (``child``), so that timelines do not mix."""

    def __init__(self, parent: "Registry | None" = None) -> None:
        self.parent = parent
        self.derived: dict[bytes, list[bytes]] = {}
        self.records: dict[bytes, list[Record]] = {}
        self.hpke: dict[bytes, Sealed] = {}
        self.nonces: dict[tuple[bytes, bytes], bytes] = {}
        self.tokens: dict[bytes, list[bytes]] = {}
        """By their first bytes, so that a text is searched for all of them at once."""
        self._starts: NDArray[np.bool_] | None = None
        """Which pairs of bytes begin a token."""
        self._searched: dict[bytes, list[bytes]] = {}
        """Texts and the tokens in them: crash after crash the recovery seals what it sealed before."""
        self.purposes: dict[bytes, bytes] = {}
        self.seeds: dict[bytes, bytes] = {}
        self._changes = 0
        self._remembered_at = -1
        self._reaches: dict[bytes, Reach] = {}
        self._sources: frozenset[bytes] = frozenset()

    def child(self) -> "Registry":
        return Registry(self)

    def line(self) -> "Iterator[Registry]":
        at: Registry | None = self
        while at is not None:
            yield at
            at = at.parent

    # ------------------------------------------------------------------------------------------------ what happened

    def add_seal(self, key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> None:
        self.check_nonce(key, nonce, sha256(len(aad).to_bytes(8, "big") + aad + plaintext).digest())
        self.records.setdefault(key, []).append(Record(key, plaintext))
        self._changes += 1

    def add_derived(self, secret: bytes, out: bytes) -> None:
        outs = self.derived.setdefault(secret, [])
        if out not in outs:
            outs += [out, out[:ROOT_BYTES]]
            self._changes += 1

    def add_hpke(self, sealed: Sealed) -> None:
        self.check_purpose(sealed.secret, sealed.info)
        self.hpke[sealed.sealed] = sealed
        self._changes += 1
        self.add_token(sealed.sealed)

    def add_token(self, token: bytes) -> None:
        self.tokens.setdefault(token[:PREFIX_BYTES], []).append(token)
        self._starts = None
        self._searched.clear()

    def check_nonce(self, key: bytes, nonce: bytes, text: bytes) -> None:
        used = self._nonce_use((key, nonce))
        if used is not None and used != text:
            raise NonceReused("I13: one key and nonce, two texts")
        self.nonces[key, nonce] = text

    def _nonce_use(self, pair: tuple[bytes, bytes]) -> bytes | None:
        at: Registry | None = self
        while at is not None:
            if pair in at.nonces:
                return at.nonces[pair]
            at = at.parent
        return None

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
        windows = _windows(memory)
        starts = windows & self.derived.keys() | windows & self.records.keys() | windows & self.hpke.keys()
        if self.parent is not None:
            starts |= windows & self.parent._all_sources()
        return self._closure(starts).infos

    def _closure(self, starts: Iterable[bytes]) -> Reach:
        """Earlier registries remember what each secret of theirs leads to; only this one's own steps are walked."""
        secrets: set[bytes] = set()
        infos: set[bytes] = set()
        todo = list(starts)
        while todo:
            secret = todo.pop()
            if secret in secrets:
                continue
            earlier = Reach(frozenset((secret,))) if self.parent is None else self.parent._reach(secret)
            fresh = earlier.secrets - secrets
            secrets |= fresh
            infos |= earlier.infos
            for known in fresh:
                if known in self.hpke:
                    infos.add(self.hpke[known].info)
                else:
                    todo += self.derived.get(known, ())
                    for record in self.records.get(known, ()):
                        todo += self._inside(record)
        return Reach(frozenset(secrets), frozenset(infos))

    def _reach(self, secret: bytes) -> Reach:
        if secret not in self._all_sources():
            return Reach(frozenset((secret,)))
        found = self._reaches.get(secret)
        if found is None:
            found = self._reaches[secret] = self._closure((secret,))
        return found

    def _all_sources(self) -> frozenset[bytes]:
        """Everything that leads anywhere, in this registry and the earlier ones."""
        changes = sum(registry._changes for registry in self.line())
        if changes != self._remembered_at:
            earlier = frozenset[bytes]() if self.parent is None else self.parent._all_sources()
            self._sources = earlier.union(self.derived, self.records, self.hpke)
            self._reaches = {}
            self._remembered_at = changes
        return self._sources

    def _inside(self, record: Record) -> frozenset[bytes]:
        """Secrets in a plaintext. A token drawn later cannot be in it, so the answer never changes."""
        if record.tokens is None:
            found: list[bytes] = []
            for registry in self.line():
                found += registry.tokens_in(record.plaintext)
            record.tokens = frozenset(found)
        return record.tokens

    def tokens_in(self, text: bytes) -> list[bytes]:
        """Of this registry alone: few tokens are looked for one by one, many by their first two bytes at all places
        at once."""
        if len(self.tokens) <= FEW_TOKENS:
            return [token for found in self.tokens.values() for token in found if token in text]
        known = self._searched.get(text)
        if known is None:
            known = self._searched[text] = self._search(text)
        return known

    def _search(self, text: bytes) -> list[bytes]:
        if self._starts is None:
            self._starts = np.zeros(1 << 16, np.bool_)
            self._starts[[int.from_bytes(prefix[:2], sys.byteorder) for prefix in self.tokens]] = True
        pairs = np.ndarray((max(len(text) - 1, 0),), np.uint16, text, strides=(1,))
        found: list[bytes] = []
        for at in np.flatnonzero(self._starts[pairs]).tolist():
            found += [
                token for token in self.tokens.get(text[at : at + PREFIX_BYTES], ()) if text.startswith(token, at)
            ]
        return found


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
        self.registry.add_hpke(Sealed(sealed, bytes(plaintext), info))
        return sealed

    def hpke_open(self, suite: int, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        if len(sealed) < 48:
            raise BadSeal
        return self._real.open(_public(sealed[:32] + _public(private_key)), bytes(12), sealed[32:], info)

    def _derive(self, secret: bytes, out: bytes) -> bytes:
        self.registry.add_derived(secret, out)
        return out


@lru_cache(maxsize=1 << 12)
def _windows(memory: bytes) -> frozenset[bytes]:
    """Every stretch of it that may be a root or a key."""
    return frozenset(memory[at : at + size] for size in (ROOT_BYTES, 32) for at in range(len(memory) - size + 1))


@lru_cache(maxsize=4096)
def _public(seed: bytes) -> bytes:
    return blake2b(b"public" + seed, digest_size=32).digest()


def public_half(private_key: bytes) -> bytes:
    """The recipient's public key in this model."""
    return _public(private_key)


class Dice:
    """The injected randomness: replayable by its seed, every draw that may be a secret entered into the registry."""

    def __init__(self, seed: str, ciphers: IdealCiphers) -> None:
        self._key = blake2b(seed.encode("utf-8"), digest_size=32).digest()
        self.drawn = 0
        self._ciphers = ciphers

    def __call__(self, count: int) -> bytes:
        assert count <= 64
        self.drawn += 1
        drawn = blake2b(self.drawn.to_bytes(8, "big"), key=self._key, digest_size=count).digest()
        if count >= TOKEN_BYTES_MIN:
            self._ciphers.registry.add_token(drawn)
        return drawn
