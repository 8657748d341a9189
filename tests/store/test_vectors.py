"""Frozen bytes of format version 1: opened for ever, each damage with its failure class."""

import json
from pathlib import Path
from typing import Any

import pytest

from firmware.policy.records import AudioCodec, Direction, Ended, GapReason, Outcome
from firmware.store import erasable
from firmware.store import table as tables
from firmware.store.bag import Pool
from firmware.store.card import Card
from firmware.store.ciphers import REAL
from firmware.store.entries import (
    Extent,
    HoldInfo,
    Kind,
    decode_close,
    decode_hold,
    decode_intent,
    decode_meta,
    decode_open,
)
from firmware.store.errors import BadSeal, Malformed
from firmware.store.frame import decode_pieces, parse_header
from firmware.store.identity import Identity
from firmware.store.table import BagRow, BagType, Begun, Certificate, Op
from hw.sim.disk import SimDisk
from tests.store import reader
from tools import ringread

FOLDER = Path(__file__).parent.parent / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "store_v1.json").read_text(encoding="ascii"))
REFUSED: dict[str, Any] = json.loads((FOLDER / "store_v1_refused_hold.json").read_text(encoding="ascii"))
BEGUN: dict[str, Any] = json.loads((FOLDER / "store_v1_begun.json").read_text(encoding="ascii"))
SECRET = bytes.fromhex(VECTORS["custodian"]["private_key"])
KEY_ID = bytes.fromhex(VECTORS["custodian"]["key_id"])
DEVICE = VECTORS["device_id"]


def raw(*path: str) -> bytes:
    value: Any = VECTORS
    for name in path:
        value = value[name]
    return bytes.fromhex(value)


def who() -> Identity:
    return Identity.decode(raw("identity", "record"))


def entry(kind: Kind) -> bytes:
    return next(bytes.fromhex(x["body"]) for x in VECTORS["bag"]["entries"] if x["kind"] == kind)


def test_identity() -> None:
    identity = who()
    assert (identity.device_id, identity.simulation, identity.memory_kind) == (DEVICE, True, "sim")
    assert identity.genesis_key == raw("genesis_key")
    assert identity.geometry.zone_blocks == 32
    assert identity.encode() == raw("identity", "record")


@pytest.mark.parametrize(
    ("at", "value", "failure"),
    [(0, b"X", "magic"), (5, b"\2", "magic"), (7, b"\xff", "truncated"), (20, b"\xff", "crc"), (8, b"\0", "crc")],
)
def test_identity_damaged(at: int, value: bytes, failure: str) -> None:
    record = raw("identity", "record")
    with pytest.raises(Malformed, match=failure):
        Identity.decode(record[:at] + value + record[at + len(value) :])


def test_slot() -> None:
    slot = erasable.decode_slot(raw("slot", "record"))
    assert slot is not None
    assert (slot.gen, slot.root) == (VECTORS["slot"]["gen"], raw("slot", "root"))
    assert erasable.encode_slot(slot.gen, slot.root) == raw("slot", "record")
    assert str(slot.root) not in repr(slot)


def test_every_flipped_bit_of_a_slot_is_noticed() -> None:
    record = raw("slot", "record")
    for bit in range(256):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        assert erasable.decode_slot(bytes(flipped)) is None
    assert erasable.decode_slot(bytes(32)) is None


def test_table() -> None:
    found = tables.unseal(REAL, who(), raw("table", "file"), VECTORS["slot"]["gen"], raw("slot", "root"))
    assert found is not None
    table, used = found
    assert used == raw("table", "file")
    assert table.boot_no == VECTORS["table"]["boot_no"]
    assert table.clock.watermark_utc_ms == VECTORS["table"]["watermark_utc_ms"]
    rows = sorted([row.bag_id, int(row.type), row.day, row.key.hex()] for row in table.bags.values())
    assert rows == VECTORS["table"]["bags"]
    assert tables.decode(table.encode(), table.gen).encode() == table.encode()


def test_a_table_that_owes_the_line_of_a_refused_hold_and_the_line() -> None:
    identity = Identity.decode(bytes.fromhex(REFUSED["identity"]["record"]))
    slot, file = REFUSED["slot"], bytes.fromhex(REFUSED["table"]["file"])
    found = tables.unseal(REAL, identity, file, slot["gen"], bytes.fromhex(slot["root"]))
    assert found is not None
    call_id = bytes.fromhex(REFUSED["call_id"])
    assert found[0].certificates == [Certificate(Op.KEEP, call_id, 0, 1, bytes(32))]
    trust = reader.trust(
        REFUSED["device_id"], bytes.fromhex(REFUSED["genesis_key"]), [x.encode("ascii") for x in REFUSED["audit"]]
    )
    assert trust.problems == []
    alone = ringread.Log({0: bytes.fromhex(REFUSED["genesis_key"])}, anchored=True)
    report = ringread.Report()
    ringread._follow([x.encode("ascii") for x in (*REFUSED["audit"], "")], REFUSED["device_id"], alone, report, False)
    assert (report.damaged, report.unverified, len(alone.lines)) == (0, 0, len(trust.lines))
    (line,) = [line for line in trust.lines if line.event == "HOLD_REFUSED"]
    assert line.fields == {"op": "keep", "why": "hold_quota_full", "call": call_id.hex()}


def test_a_table_with_answers_that_have_no_row_yet_and_their_log() -> None:
    identity = Identity.decode(bytes.fromhex(BEGUN["identity"]["record"]))
    slot, file, started = BEGUN["slot"], bytes.fromhex(BEGUN["table"]["file"]), BEGUN["started_utc_ms"]
    found = tables.unseal(REAL, identity, file, slot["gen"], bytes.fromhex(slot["root"]))
    assert found is not None
    assert found[0].begun == {
        3: Begun(1, started),
        4: Begun(0, started + 1000),
        5: Begun(0, started + 2000, opted_out=True),
    }
    assert tables.decode(found[0].encode(), slot["gen"]).encode() == found[0].encode()
    genesis, log = bytes.fromhex(BEGUN["genesis_key"]), [x.encode("ascii") for x in BEGUN["audit"]]
    trust = reader.trust(BEGUN["device_id"], genesis, log)
    assert trust.problems == []
    alone = ringread.Log({0: genesis}, anchored=True)
    report = ringread.Report()
    ringread._follow([*log, b""], BEGUN["device_id"], alone, report, False)
    assert (report.damaged, report.unverified, len(alone.lines)) == (0, 0, len(trust.lines))
    assert [line.fields["opted_out"] for line in trust.lines if line.event == "BEGUN"] == ["0", "0", "0"]
    assert [line.integer("begun") for line in trust.lines if line.event == "CALL"] == [3]


def test_every_flipped_byte_of_a_table_is_noticed() -> None:
    file, gen, root = raw("table", "file"), VECTORS["slot"]["gen"], raw("slot", "root")
    for at in range(len(file)):
        flipped = file[:at] + bytes([file[at] ^ 0x10]) + file[at + 1 :]
        assert tables.unseal(REAL, who(), flipped, gen, root) is None
    assert tables.unseal(REAL, who(), file, gen, bytes(24)) is None
    assert tables.unseal(REAL, who(), file, gen + 2, root) is None


@pytest.mark.parametrize(("at", "value"), [(1, b"\3"), (1, b"\1"), (14, b"\x09"), (31, b"\3"), (32, b"\1"), (-1, b"")])
def test_a_table_body_that_makes_no_sense_is_malformed(at: int, value: bytes) -> None:
    found = tables.unseal(REAL, who(), raw("table", "file"), VECTORS["slot"]["gen"], raw("slot", "root"))
    assert found is not None
    body = found[0].encode()
    bad = body[:at] if at < 0 else body[:at] + value + body[at + len(value) :]
    with pytest.raises(Malformed):
        tables.decode(bad, 1)


def bag_row() -> BagRow:
    return BagRow(VECTORS["bag"]["bag_id"], BagType.HOLD, 0, raw("bag", "key"), len(VECTORS["bag"]["entries"]))


def pool(slot: bytes) -> Pool:
    size = 32 * 1024
    disk = SimDisk()
    for mirror in "ab":
        disk.create(f"bags.{mirror}", size * (bag_row().bag_id + 1))
        disk.corrupt(f"bags.{mirror}", size * bag_row().bag_id, slot)
    return Pool(Card(disk), REAL, DEVICE, bag_row().bag_id + 1, size)


def test_bag() -> None:
    loaded = pool(raw("bag", "slot")).load(bag_row())
    assert [body.hex() for body in loaded.bodies] == [x["body"] for x in VECTORS["bag"]["entries"]]
    assert [entry.offset for entry in loaded.bag.entries] == [x["offset"] for x in VECTORS["bag"]["entries"]]
    assert not loaded.healed
    assert not loaded.missing
    assert "key" not in repr(bag_row())


def test_every_flipped_byte_of_a_bag_entry_is_noticed() -> None:
    slot = raw("bag", "slot")
    first = VECTORS["bag"]["entries"][0]
    used = 16 + len(first["body"]) // 2 + 16 + 4
    for at in range(0, used):
        flipped = slot[:at] + bytes([slot[at] ^ 0x10]) + slot[at + 1 :]
        loaded = pool(flipped).load(bag_row())
        assert loaded.missing
        assert loaded.bodies == ()


def test_a_stale_tail_under_another_key_is_no_entry() -> None:
    slot = raw("bag", "slot")
    stale = BagRow(bag_row().bag_id, BagType.HOLD, 0, bytes(32), 0)
    loaded = pool(slot).load(stale)
    assert loaded.bodies == ()
    assert not loaded.missing


def test_open_meta_close_holdinfo() -> None:
    opened, keys = decode_open(entry(Kind.OPEN))
    assert (opened.call_id, opened.opened_utc_ms) == (raw("call", "call_id"), VECTORS["call"]["opened_utc_ms"])
    assert (opened.codec, opened.channels, opened.rate_hz, opened.line) == (AudioCodec.FLAC, 1, 8000, 0)
    assert keys[0].key_id == KEY_ID
    assert opened.encode() == entry(Kind.OPEN)
    close = decode_close(entry(Kind.CLOSE))
    assert (close.outcome, close.direction, close.ended) == (Outcome.RECORDED, Direction.INBOUND, Ended.ON_HOOK)
    assert close.encode() == entry(Kind.CLOSE)
    meta = reader.open_meta(DEVICE, decode_meta(entry(Kind.META)), opened.opened_utc_ms, KEY_ID, SECRET)
    assert meta.number == VECTORS["call"]["number"]
    hold = decode_hold(entry(Kind.HOLDINFO))
    assert (hold.provisional, hold.exported, len(hold.extents)) == (False, False, 1)
    assert hold.encode() == entry(Kind.HOLDINFO)
    text = reader.open_hold_text(DEVICE, entry(Kind.HOLDINFO), opened.opened_utc_ms, KEY_ID, SECRET)
    assert text == b"case: vector"


def test_intent_and_a_hold_without_text() -> None:
    intent = decode_intent(raw("intent", "body"))
    assert (intent.op, intent.line, intent.sealed) == (Op.HOLD, 3, b"sealed")
    assert intent.encode() == raw("intent", "body")
    info = decode_hold(raw("intent", "holdinfo_without_text"))
    assert info == HoldInfo(bytes(range(16)), True, 1_772_442_000_000, 1_773_651_600_000, False, ())
    longer = HoldInfo(info.call_id, True, 1, 2, True, (Extent(3, 4), Extent(9, 1)))
    assert decode_hold(longer.encode()) == longer


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.META, Kind.CLOSE, Kind.HOLDINFO])
def test_a_body_cut_short_or_too_long_is_malformed(kind: Kind) -> None:
    decode = {Kind.OPEN: decode_open, Kind.META: decode_meta, Kind.CLOSE: decode_close, Kind.HOLDINFO: decode_hold}[
        kind
    ]
    body = entry(kind)
    for length in range(len(body)):
        with pytest.raises(Malformed):
            decode(body[:length])
    with pytest.raises(Malformed, match="trailing"):
        decode(body + b"\0")


@pytest.mark.parametrize(
    ("kind", "at", "value"),
    [
        (Kind.OPEN, 25, 9),
        (Kind.OPEN, 37, 5),
        (Kind.CLOSE, 24, 0),
        (Kind.CLOSE, 24, 6),
        (Kind.CLOSE, 25, 10),
        (Kind.CLOSE, 26, 5),
        (Kind.CLOSE, 27, 2),
        (Kind.CLOSE, 29, 0xC3),
        (Kind.HOLDINFO, 16, 2),
    ],
)
def test_a_number_outside_its_list_is_malformed(kind: Kind, at: int, value: int) -> None:
    decode = {Kind.OPEN: decode_open, Kind.CLOSE: decode_close, Kind.HOLDINFO: decode_hold}[kind]
    body = entry(kind)
    with pytest.raises(Malformed):
        decode(body[:at] + bytes([value]) + body[at + 1 :])
    with pytest.raises(Malformed):
        decode_intent(b"\xff" + raw("intent", "body")[1:])


def test_a_call_is_verified_and_opened() -> None:
    trust = reader.trust(DEVICE, raw("genesis_key"), [line.encode("ascii") for line in VECTORS["audit"]])
    assert trust.problems == []
    call = reader.parse_key_file(raw("call", "key"))
    verified = reader.verify_call(DEVICE, call, raw("call", "tcf"), trust.keys)
    assert verified.problems == []
    dek = reader.open_dek(DEVICE, call, KEY_ID, SECRET)
    assert dek == raw("call", "dek")
    found = [
        [p.first_sample, p.samples, 0 if p.reason is None else int(p.reason), len(p.payload)]
        for p in reader.pieces(dek, verified.frames)
    ]
    assert found == VECTORS["call"]["pieces"]
    assert GapReason.PAYMENT in {reason for _, _, reason, _ in found}


def test_an_index_has_the_number_and_no_key_to_audio() -> None:
    ((index, meta),) = reader.parse_index(raw("call", "index"))
    assert (index.call_id, index.held, index.outcome) == (raw("call", "call_id"), True, Outcome.RECORDED)
    assert meta is not None
    assert reader.open_meta(DEVICE, meta, index.opened_utc_ms, KEY_ID, SECRET).number == VECTORS["call"]["number"]
    assert Kind.OPEN not in {kind for kind, _ in reader.records(raw("call", "index"))}


@pytest.mark.parametrize(
    ("at", "failure"),
    [
        (0, "magic"),
        (5, "header crc"),
        (20, "header crc"),
        (130, "header crc"),
        (187, "header crc"),
        (190, "header crc"),
    ],
)
def test_frame_header_damaged(at: int, failure: str) -> None:
    frame = raw("call", "tcf")
    with pytest.raises(Malformed, match=failure):
        parse_header(frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :])
    with pytest.raises(Malformed, match="truncated"):
        parse_header(frame[:191])


def test_every_flipped_byte_of_a_frame_is_named() -> None:
    trust = reader.trust(DEVICE, raw("genesis_key"), [line.encode("ascii") for line in VECTORS["audit"]])
    call = reader.parse_key_file(raw("call", "key"))
    frames = raw("call", "tcf")
    for at in [*range(192), *range(192, len(frames), 997)]:
        flipped = frames[:at] + bytes([frames[at] ^ 4]) + frames[at + 1 :]
        assert reader.verify_call(DEVICE, call, flipped, trust.keys).problems, at


def test_a_wrong_key_opens_nothing() -> None:
    call = reader.parse_key_file(raw("call", "key"))
    frames, _ = reader.split_frames(raw("call", "tcf"))
    with pytest.raises(BadSeal):
        list(reader.pieces(bytes(32), frames))
    with pytest.raises(BadSeal):
        reader.open_dek(DEVICE, call, bytes(8), SECRET)
    with pytest.raises(BadSeal):
        REAL.hpke_open(2, SECRET, b"", b"")


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (b"\3\0\1\1" + bytes(18), "piece kind"),
        (b"\1\1\1\1" + bytes(18), "piece kind"),
        (b"\2\0\1\1" + bytes(18), "piece kind"),
        (b"\2\x09\1\1" + bytes(18), "piece"),
        (b"\1\0\x09\1" + bytes(18), "piece"),
        (b"\1\0\1\1" + bytes(17), "truncated"),
        (b"\1\0\1\1" + bytes(14) + b"\0\0\0\5", "truncated"),
        (bytes(10) + b"\1", "padding"),
    ],
)
def test_plaintext_of_a_frame_that_makes_no_sense(text: bytes, failure: str) -> None:
    with pytest.raises(Malformed, match=failure):
        list(decode_pieces(text))
