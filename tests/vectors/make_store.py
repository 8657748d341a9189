"""Makes ``store_v1*.json``: frozen examples of every layout of firmware/store/FORMAT.md, with what a reader must say.

Run once per format version, or addition to one: `python -m tests.vectors.make_store`. It never replaces a file: vectors
are opened for ever. HPKE and keys are random, so a second run gives other bytes of the same meaning.
"""

import json
import struct
from pathlib import Path
from typing import Any

from firmware.policy.records import GapReason, Outcome
from firmware.store import erasable
from firmware.store import table as tables
from firmware.store.bag import STEM, stored_bytes
from firmware.store.entries import HoldInfo, Intent, Kind
from firmware.store.table import Op
from firmware.store.vault import Vault
from tests.store import reader
from tests.store.world import CUSTODIAN, DAY_MS, RECIPIENTS, World, row

HERE = Path(__file__).parent


def main() -> None:
    files = {
        HERE / "store_v1.json": vectors,
        HERE / "store_v1_refused_hold.json": refused_hold,
        HERE / "store_v1_begun.json": begun,
    }
    missing = {path: make for path, make in files.items() if not path.exists()}
    if not missing:
        raise SystemExit("All vectors are there and frozen; a new format gets a new file.")
    for path, make in missing.items():
        path.write_text(json.dumps(make(), indent=1, sort_keys=True) + "\n", encoding="ascii")


def vectors() -> dict[str, Any]:
    world = World(seed=20260302)
    call_id = world.open(number="02079460123")
    at = world.speak(call_id, 1.9)
    at = world.gap(call_id, at, 4000, GapReason.PAYMENT)
    world.speak(call_id, 0.2, at)
    world.close(call_id)
    world.vault.hold(call_id, b"case: vector", world.now() + 90 * DAY_MS)
    world.sleep(2 * DAY_MS, DAY_MS)
    return {
        "format": 1,
        "device_id": world.vault.device_id,
        "genesis_key": world.vault.genesis_public_key.hex(),
        "custodian": {"key_id": RECIPIENTS[0].key_id.hex(), "private_key": CUSTODIAN.private_bytes_raw().hex()},
        "identity": _identity(world),
        "slot": _slot(world),
        "table": _table(world),
        "bag": _bag(world),
        "intent": _intent(),
        "call": _call(world, call_id),
        "audit": [raw.decode("ascii") for raw in world.vault.audit_lines()],
    }


def refused_hold() -> dict[str, Any]:
    """A table that owes a HOLD_REFUSED, and a log with one of a KEEP whose call was too long for the hold area."""
    world = World(seed=20261124)
    call_id = world.open()
    world.vault.keep(call_id)
    world.speak(call_id, 40)
    world.close(call_id)
    return {
        "device_id": world.vault.device_id,
        "genesis_key": world.vault.genesis_public_key.hex(),
        "identity": _identity(world),
        "slot": _slot(world),
        "table": _table(world),
        "call_id": call_id.hex(),
        "audit": [raw.decode("ascii") for raw in world.vault.audit_lines()],
    }


def begun() -> dict[str, Any]:
    """A table with two answers, one of them opted out, and the log: a third answer has its row already."""
    world = World(seed=20261125)
    started = world.now()
    for line in (1, 0, 0):
        world.vault.begin_call(line, started)
        started += 1000
    world.vault.opt_out_begun(0, started - 1000)
    world.vault.write_row(row(1, started - 3000, started, Outcome.NOTICE_NOT_COMPLETED))
    return {
        "device_id": world.vault.device_id,
        "genesis_key": world.vault.genesis_public_key.hex(),
        "identity": _identity(world),
        "slot": _slot(world),
        "table": _table(world),
        "started_utc_ms": started - 3000,
        "audit": [raw.decode("ascii") for raw in world.vault.audit_lines()],
    }


def _identity(world: World) -> dict[str, str]:
    return {"record": world.vault._core.identity.encode().hex()}


def _slot(world: World) -> dict[str, Any]:
    core = world.vault._core
    raw = erasable.split(world.memory.content)[core.table.gen & 1]
    return {"record": raw.hex(), "gen": core.table.gen, "root": raw[4:28].hex()}


def _table(world: World) -> dict[str, Any]:
    core = world.vault._core
    raw = world.disk.read(tables.file_of(core.table.gen, "a"), 0, tables.FILE_BYTES)
    used = raw[: tables.HEADER_BYTES + struct.unpack(">I", raw[8:12])[0] + 16]
    table = core.table
    return {
        "file": used.hex(),
        "boot_no": table.boot_no,
        "watermark_utc_ms": table.clock.watermark_utc_ms,
        "sign_epoch": table.sign_epoch,
        "bags": sorted([row.bag_id, int(row.type), row.day, row.key.hex()] for row in table.bags.values()),
    }


def _bag(world: World) -> dict[str, Any]:
    core = world.vault._core
    bag = next(bag for bag in core.bags.values() if bag.row.type is tables.BagType.HOLD)
    base = bag.row.bag_id * world.geometry.bag_slot_bytes
    return {
        "bag_id": bag.row.bag_id,
        "key": bag.row.key.hex(),
        "slot": world.disk.read(f"{STEM}.a", base, bag.end + 64).hex(),
        "entries": [
            {"kind": int(entry.kind), "offset": entry.offset, "size": stored_bytes(entry.length)}
            | {"body": core.pool.body(bag, entry).hex()}
            for entry in bag.entries
        ],
    }


def _intent() -> dict[str, str]:
    intent = Intent(Op.HOLD, bytes(range(16)), 3, 1_772_442_000_000, 1_780_000_000_000, b"sealed")
    empty = HoldInfo(bytes(range(16)), True, 1_772_442_000_000, 1_773_651_600_000, False, ())
    return {"body": intent.encode().hex(), "holdinfo_without_text": empty.encode().hex()}


def _call(world: World, call_id: bytes) -> dict[str, Any]:
    vault: Vault = world.vault
    sealed = vault.sealed(call_id)
    assert sealed.meta_entry is not None
    key = reader.record(Kind.OPEN, sealed.open_entry) + reader.record(Kind.META, sealed.meta_entry)
    key += reader.record(Kind.CLOSE, sealed.close_entry)
    (entry,) = vault.calls()
    index = reader.record(Kind.META, sealed.meta_entry) + reader.record(Kind.CLOSE, sealed.close_entry)
    index += reader.record(reader.INDEX_ENTRY, entry.index_body())
    call = reader.parse_key_file(key)
    dek = reader.open_dek(vault.device_id, call, RECIPIENTS[0].key_id, CUSTODIAN.private_bytes_raw())
    frames = reader.split_frames(b"".join(sealed.frames()))[0]
    return {
        "key": key.hex(),
        "tcf": b"".join(sealed.frames()).hex(),
        "index": index.hex(),
        "call_id": call_id.hex(),
        "opened_utc_ms": call.open.opened_utc_ms,
        "dek": dek.hex(),
        "number": "02079460123",
        "pieces": [
            [piece.first_sample, piece.samples, 0 if piece.reason is None else int(piece.reason), len(piece.payload)]
            for piece in reader.pieces(dek, frames)
        ],
    }


if __name__ == "__main__":
    main()
