"""The real ciphers under the explorer's registry, for the samples in which nothing is ideal."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from firmware.store.ciphers import Bytes
from firmware.store.keys import Recipient, RequestKey, Role
from firmware.store.provision import Charter
from tests.longrun.ideal import IdealCiphers, Sealed
from tests.longrun.world import CUSTODIAN, DEVICE_ID, ESCROW


class RecordedCiphers(IdealCiphers):
    """ChaCha20-Poly1305, Ed25519, HKDF and HPKE as in production; only what was sealed is noted."""

    def public_key(self, seed: Bytes) -> bytes:
        return self._real.public_key(seed)

    def sign(self, seed: Bytes, message: bytes) -> bytes:
        return self._real.sign(seed, message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return self._real.verify(public_key, message, signature)

    def hkdf(self, ikm: Bytes, salt: bytes, info: bytes) -> bytes:
        return self._derive(bytes(ikm), self._real.hkdf(ikm, salt, info))

    def expand(self, key: Bytes, info: bytes) -> bytes:
        return self._derive(bytes(key), self._real.expand(key, info))

    def mac(self, key: Bytes, message: bytes) -> bytes:
        return self._real.mac(key, message)

    def hpke_seal(self, suite: int, public_key: bytes, plaintext: Bytes, info: bytes) -> bytes:
        sealed = self._real.hpke_seal(suite, public_key, plaintext, info)
        self.registry.add_hpke(Sealed(sealed, bytes(plaintext), info))
        return sealed

    def hpke_open(self, suite: int, private_key: bytes, sealed: bytes, info: bytes) -> bytes:
        return self._real.hpke_open(suite, private_key, sealed, info)


def charter_of_real_keys() -> Charter:
    public = [X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw() for key in (CUSTODIAN, ESCROW)]
    return Charter(
        device_id=DEVICE_ID,
        simulation=True,
        recipients=tuple(Recipient.of(key) for key in public),
        request_keys=(RequestKey.of(b"k" * 32, Role.CUSTODIAN),),
        ring_bytes=64 << 20,
        hold_bytes=16 << 20,
        retention_months=2,
        lines=2,
    )
