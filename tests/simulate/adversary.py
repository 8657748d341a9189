"""Somebody who kept a copy of every file at every step, has the erasable memory as it is now and the custodian's key.

Reads the bytes by FORMAT.md alone, with the library's ciphers; nothing of the vault's own code decides what opens.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from firmware.store import identity
from firmware.store.ciphers import REAL
from firmware.store.entries import decode_open
from firmware.store.errors import BadSeal
from firmware.store.keys import Purpose, open_key
from firmware.store.layout import DEK
from firmware.store.table import decode as decode_table
from hw.disk import DirectoryDisk
from tools.desk.keys import Unlocked

WATCHED = ("kt0.a", "kt1.a", "kt0.b", "kt1.b", "bags.a", "bags.b")
OPEN = 1


@dataclass
class Adversary:
    state: Path
    copies: dict[str, list[bytes]] = field(default_factory=lambda: {name: [] for name in WATCHED})

    def copy(self) -> None:
        """Whatever changed since the last look."""
        for name in WATCHED:
            path = self.state / name
            data = path.read_bytes() if path.exists() else b""
            if not self.copies[name] or self.copies[name][-1] != data:
                self.copies[name].append(data)

    def opens(self, memory: bytes, custodian: Unlocked) -> set[bytes]:
        """Ids of the calls whose audio key this memory, all copies and the custodian's key give away."""
        who = identity.read(DirectoryDisk(self.state))
        found: set[bytes] = set()
        for root, gen in _roots(memory):
            for raw in (copy for name in WATCHED[:4] for copy in self.copies[name]):
                table = _unseal(who, raw, gen, root)
                for row in table.bags.values() if table is not None else ():
                    for image in (copy for name in WATCHED[4:] for copy in self.copies[name]):
                        size = who.geometry.bag_slot_bytes
                        slot = image[row.bag_id * size : (row.bag_id + 1) * size]
                        found |= set(_calls(who.device_id, row.bag_id, row.key, slot, custodian))
        return found


def _roots(memory: bytes) -> list[tuple[bytes, int]]:
    slots = [memory[:32], memory[32:64]]
    return [(slot[4:28], struct.unpack(">I", slot[:4])[0]) for slot in slots if any(slot)]


def _bound(domain: bytes, device_id: str, *parts: bytes) -> bytes:
    pieces = [device_id.encode(), *parts]
    return domain + b"".join(struct.pack(">H", len(piece)) + piece for piece in pieces)


def _unseal(who: identity.Identity, raw: bytes, gen: int, root: bytes):  # type: ignore[no-untyped-def]
    if raw[:4] != b"KT01" or struct.unpack(">I", raw[4:8])[0] != gen:
        return None
    info = _bound(b"tacet/kt/1", who.device_id, struct.pack(">I", gen))
    key = HKDF(hashes.SHA256(), 32, who.device_id.encode(), info).derive(root)
    length = struct.unpack(">I", raw[8:12])[0]
    try:
        body = ChaCha20Poly1305(key).decrypt(bytes(12), raw[12 : 12 + length + 16], raw[:12] + who.encode())
    except InvalidTag:
        return None
    return decode_table(body, gen)


def _calls(device_id: str, bag_id: int, key: bytes, slot: bytes, custodian: Unlocked) -> list[bytes]:
    """Entries at every multiple of 64 bytes, with every index that could be: nothing is taken on trust."""
    found = []
    for at in range(0, len(slot) - 64, 64):
        length, kind = struct.unpack(">HB", slot[at : at + 3])
        if kind != OPEN or not length:
            continue
        nonce, sealed = slot[at + 4 : at + 16], slot[at + 16 : at + 32 + length]
        for index in range(64):
            aad = _bound(b"tacet/bag/1", device_id, struct.pack(">IIB", bag_id, index, kind))
            try:
                body = ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
            except InvalidTag:
                continue
            call, keys = decode_open(body)
            try:
                purpose = Purpose(DEK, device_id, call.call_id, call.opened_utc_ms)
                open_key(REAL, keys, custodian.person.recipient().key_id, custodian.seal.private_bytes_raw(), purpose)
            except BadSeal:
                continue
            found.append(call.call_id)
    return found
