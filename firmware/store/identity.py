"""Who this device is and how its card is laid out: in clear, twice, bound into the key table (FORMAT.md 2 and 3)."""

import struct
from dataclasses import dataclass
from typing import Self
from zlib import crc32

from firmware.ports import Disk
from firmware.store.errors import IdentityDamaged, Malformed, NotProvisioned
from firmware.store.layout import BLOCK_BYTES, Cursor, prefixed

FILE = "identity"
COPY_BYTES = 4096
PRODUCTION, SIMULATION = 1, 2
MIB = 1024 * 1024
_GEOMETRY = "BIIIIHIIIHI"


@dataclass(frozen=True)
class Geometry:
    """Sizes fixed at provisioning. One block is 4096 bytes."""

    lines: int
    zone_blocks: int
    ring_blocks: int
    reserve_blocks: int
    """A ROTATE is due before the ring grows further than this past the table's head: what a boot must scan."""
    hold_blocks: int
    bag_slots: int
    bag_slot_bytes: int
    audit_segments: int
    audit_segment_bytes: int
    epochs: int
    document_blocks: int

    def __post_init__(self) -> None:
        assert self.zone_blocks >= 32, "a frame of 128 KiB must fit a zone"
        assert self.ring_blocks % self.zone_blocks == 0
        assert self.ring_blocks >= 4 * self.zone_blocks
        assert self.zone_blocks <= self.reserve_blocks <= self.ring_blocks // 2

    @classmethod
    def of(cls, ring_bytes: int, hold_bytes: int, lines: int) -> Self:
        """Sizes that fit the ring: a 64 MiB one is a demonstration, 64 GB is a box with two lines [C]."""
        zone_blocks = 1024
        zones = max(4, ring_bytes // (zone_blocks * BLOCK_BYTES))
        ring_blocks = zones * zone_blocks
        large = ring_bytes >= 1024 * MIB
        return cls(
            lines=lines,
            zone_blocks=zone_blocks,
            ring_blocks=ring_blocks,
            reserve_blocks=max(zone_blocks, min(64 * MIB // BLOCK_BYTES, ring_blocks // 8)),
            hold_blocks=max(1, hold_bytes // BLOCK_BYTES),
            bag_slots=340 if large else 160,
            bag_slot_bytes=640 * 1024 if large else 64 * 1024,
            audit_segments=1024 if large else 64,
            audit_segment_bytes=64 * 1024,
            epochs=8192 if large else 1024,
            document_blocks=4096 if large else 2304,
        )


@dataclass(frozen=True)
class Identity:
    device_id: str
    simulation: bool
    memory_kind: str
    genesis_key: bytes
    geometry: Geometry

    def encode(self) -> bytes:
        shape = self.geometry
        sizes = struct.pack(">" + _GEOMETRY, *(getattr(shape, name) for name in shape.__dataclass_fields__))
        mark = SIMULATION if self.simulation else PRODUCTION
        body = struct.pack(">B", mark) + prefixed(self.device_id.encode("ascii"))
        body += prefixed(self.memory_kind.encode("ascii")) + self.genesis_key + sizes
        record = b"TCID" + struct.pack(">HH", 1, len(body)) + body
        return record + struct.pack(">I", crc32(record))

    @classmethod
    def decode(cls, record: bytes) -> Self:
        """``record`` may have zeros behind it. Raises Malformed."""
        head = Cursor(record)
        if head.take(4) != b"TCID" or head.u16() != 1:
            raise Malformed("magic")
        body = Cursor(head.prefixed())
        if crc32(record[: head.at]) != head.u32():
            raise Malformed("crc")
        mark = body.u8()
        if mark not in (PRODUCTION, SIMULATION):
            raise Malformed("mark")
        device_id = body.text(body.u16())
        memory_kind = body.text(body.u16())
        genesis_key = body.take(32)
        geometry = Geometry(*body.unpack(_GEOMETRY))
        body.end()
        return cls(device_id, mark == SIMULATION, memory_kind, genesis_key, geometry)


def write(disk: Disk, identity: Identity) -> None:
    """The last act of provisioning: the first copy, synced, makes the card a provisioned one."""
    record = identity.encode()
    for copy in range(2):
        disk.write(FILE, copy * COPY_BYTES, record)
        disk.sync(FILE)


def read(disk: Disk) -> Identity:
    """Raises NotProvisioned (no file, or zeros), IdentityDamaged, OSError. Heals nothing: the file is never written
    again."""
    if FILE not in disk.names():
        raise NotProvisioned
    raw = disk.read(FILE, 0, 2 * COPY_BYTES)
    for copy in range(2):
        try:
            return Identity.decode(raw[copy * COPY_BYTES : (copy + 1) * COPY_BYTES])
        except Malformed:
            continue
    if not any(raw):
        raise NotProvisioned
    raise IdentityDamaged
