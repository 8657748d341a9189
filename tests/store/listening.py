"""What a custodian hears of a call: through the stick's bytes, the read side and the private key, nothing else."""

import numpy as np
from numpy.typing import NDArray

from firmware.policy.records import CallMeta
from firmware.store.frame import Piece
from firmware.store.vault import Vault
from tests.store import reader
from tests.store.world import CUSTODIAN, RECIPIENTS, raw_samples

SECRET = CUSTODIAN.private_bytes_raw()
KEY_ID = RECIPIENTS[0].key_id


def exported(vault: Vault, call_id: bytes) -> tuple[bytes, bytes]:
    """(.key, .tcf) as they lie on a stick."""
    sealed = vault.sealed(call_id)
    key = reader.record(1, sealed.open_entry)
    if sealed.meta_entry is not None:
        key += reader.record(4, sealed.meta_entry)
    return key + reader.record(2, sealed.close_entry), b"".join(sealed.frames())


def trusted(vault: Vault) -> reader.Trust:
    return reader.trust(vault.device_id, vault.genesis_public_key, vault.audit_lines())


def heard(vault: Vault, call_id: bytes) -> list[Piece]:
    """Verified and opened; fails the test where anything is wrong with the call."""
    key, frames = exported(vault, call_id)
    call = reader.parse_key_file(key)
    trust = trusted(vault)
    assert trust.problems == []
    verified = reader.verify_call(vault.device_id, call, frames, trust.keys)
    assert verified.problems == []
    dek = reader.open_dek(vault.device_id, call, KEY_ID, SECRET)
    return list(reader.pieces(dek, verified.frames))


def told(vault: Vault, call_id: bytes) -> CallMeta:
    call = reader.parse_key_file(exported(vault, call_id)[0])
    assert call.meta is not None
    return reader.open_meta(vault.device_id, call.meta, call.open.opened_utc_ms, KEY_ID, SECRET)


def audio(pieces: list[Piece]) -> NDArray[np.int16]:
    """Kept samples of channel 0, end to end."""
    parts = [raw_samples(bytes(piece.payload))[0] for piece in pieces if piece.reason is None]
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)
