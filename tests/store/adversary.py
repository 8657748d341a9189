"""The adversary of the storage design: has every byte ever written to the card, the erasable memory of a chosen moment
and the custodian's private key, and computes which calls that opens (I5 to I8, I12)."""

import struct
from collections.abc import Iterable

from firmware.store import erasable
from firmware.store import table as tables
from firmware.store.bag import ALIGN
from firmware.store.ciphers import REAL
from firmware.store.entries import Kind, decode_meta, decode_open
from firmware.store.errors import BadSeal, Malformed
from firmware.store.identity import Identity
from firmware.store.keys import Purpose, open_key
from firmware.store.layout import BAG, DEK, bound
from firmware.store.table import Table
from hw.sim.disk import Write
from tests.store.world import CUSTODIAN, RECIPIENTS, World

INDEXES = 40
"""Entries that a bag of these tests has at most."""


class Adversary:
    def __init__(self, world: World) -> None:
        self._who: Identity = world.vault._core.identity
        self._slot_bytes = self._who.geometry.bag_slot_bytes
        self._writes = [event for event in world.disk.history if isinstance(event, Write)]

    def opens(self, memory: bytes) -> set[bytes]:
        """Ids of all calls whose DEK this memory leads to, or whose META, sealed to the custodian, it bares."""
        found: set[bytes] = set()
        for table in self._tables(memory):
            for row in table.bags.values():
                for kind, body in self._entries(row.bag_id, row.key):
                    found |= self._opened(kind, body)
        return found

    def _tables(self, memory: bytes) -> Iterable[Table]:
        for raw in erasable.split(memory):
            slot = erasable.decode_slot(raw)
            if slot is None:
                continue
            for write in self._writes:
                if write.name.startswith("kt") and len(write.data) > tables.HEADER_BYTES:
                    opened = tables.unseal(REAL, self._who, write.data, slot.gen, slot.root)
                    if opened is not None:
                        yield opened[0]

    def _entries(self, bag_id: int, key: bytes) -> Iterable[tuple[int, bytes]]:
        for write in self._writes:
            if not write.name.startswith("bags") or write.offset // self._slot_bytes != bag_id:
                continue
            for at in range(0, len(write.data), ALIGN):
                head = write.data[at : at + 16]
                if len(head) < 16 or head[2] not in (Kind.OPEN, Kind.META):
                    continue
                length = struct.unpack(">H", head[:2])[0]
                sealed = write.data[at + 16 : at + 16 + length + 16]
                for index in range(INDEXES):
                    aad = bound(BAG, self._who.device_id, struct.pack(">IIB", bag_id, index, head[2]))
                    try:
                        yield head[2], REAL.open(key, head[4:], sealed, aad)
                    except BadSeal:
                        continue

    def _opened(self, kind: int, body: bytes) -> set[bytes]:
        try:
            if kind == Kind.OPEN:
                entry, keys = decode_open(body)
                purpose = Purpose(DEK, self._who.device_id, entry.call_id, entry.opened_utc_ms)
                open_key(REAL, keys, RECIPIENTS[0].key_id, CUSTODIAN.private_bytes_raw(), purpose)
                return {entry.call_id}
            return {decode_meta(body).call_id}
        except (BadSeal, Malformed):
            return set()
