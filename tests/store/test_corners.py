"""Limits and oddities that the long stories do not reach: full bags, stubborn memories, bad blocks, odd headers."""

import struct
import subprocess
import sys
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from firmware.policy.records import AudioCodec, GapReason, Outcome
from firmware.store import background, rotate, space
from firmware.store import meta as metas
from firmware.store.append import append
from firmware.store.audit import parse_line
from firmware.store.auditlog import AuditDamaged
from firmware.store.bag import Bag, Pool
from firmware.store.card import Card
from firmware.store.ciphers import REAL
from firmware.store.entries import EXTENTS_MAX, Extent, Intent, Kind
from firmware.store.errors import BadSeal, CardFailed, ErasureUnconfirmed, Malformed, Refused, VaultError
from firmware.store.frame import HEADER_BYTES, Piece, Sealer, Stamp, decode_pieces, open_frame, parse_header
from firmware.store.holdarea import HoldArea
from firmware.store.identity import PRODUCTION, Identity
from firmware.store.layout import digest
from firmware.store.table import BagRow, BagType, Op
from firmware.store.vault import Vault
from hw.sim.disk import SimDisk
from tests.store.adversary import Adversary
from tests.store.listening import heard, trusted
from tests.store.world import DAY_MS, SMALL, World, meta, row


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


# -------------------------------------------------------------------------------------------------------------- bags


def test_a_full_bag_is_rewritten_without_what_was_superseded_and_only_then_refuses() -> None:
    world = World()
    call_id = world.call(seconds=0.2)
    core = world.vault._core
    bulk = [(Kind.INTENT, Intent(Op.KEEP, call_id, 0, 0, 0, bytes(600)).encode())]
    generation, appended = core.table.gen, 0

    def fill() -> None:
        nonlocal appended
        while True:
            append(core, core.bags[core.calls[call_id].day_bag or 0], bulk)
            appended += 1

    with pytest.raises(Refused) as caught:
        fill()
    assert appended > 40
    assert core.table.gen >= generation + 2, "rewritten when full, and once more before it refused"
    assert caught.value.code == "bag_full"


def test_a_full_hold_bag_is_rewritten_too() -> None:
    world = World()
    call_id = world.call(seconds=0.2)
    world.vault.hold(call_id, b"", world.now() + DAY_MS)
    core = world.vault._core
    info = core.calls[call_id].hold
    assert info is not None
    for _ in range(400):
        append(core, core.bags[core.calls[call_id].hold_bag or 0], [(Kind.HOLDINFO, info.encode())])
    world.cut()
    assert world.vault.calls()[0].held


def test_a_reason_that_is_too_long_is_refused() -> None:
    world = World()
    call_id = world.call(seconds=0.2)
    with pytest.raises(Refused) as caught:
        world.vault.hold(call_id, bytes(3000), world.now() + DAY_MS)
    assert caught.value.code == "text_too_long"


def test_a_bag_filled_to_its_last_byte_loads_again() -> None:
    disk = SimDisk()
    size = 4096
    for mirror in "ab":
        disk.create(f"bags.{mirror}", size)
    pool = Pool(Card(disk), REAL, "d", 1, size)
    bag = pool.write_new(BagRow(0, BagType.DAY, 0, bytes(32), 0), [(Kind.OPEN, bytes(2012))], bytes)
    pool.append(bag, [(Kind.META, bytes(2012))], bytes)
    assert pool.room(bag) == 0
    loaded = pool.load(bag.row)
    assert loaded.bodies == (bytes(2012),) * 2
    assert not loaded.healed


def test_without_a_free_slot_nothing_is_changed() -> None:
    world = World()
    call_id = world.call(seconds=0.2)
    world.vault._core.pool.slots = len(world.vault._core.table.bags)
    with pytest.raises(VaultError, match="no free bag"):
        world.vault.erase(call_id)
    assert heard(world.vault, call_id)
    assert call_id in Adversary(world).opens(world.memory.content)


def test_two_calls_of_one_bag_are_opted_out_together() -> None:
    world = World()
    first, second, other = world.call(0), world.call(0), world.call(1)
    assert world.vault.opt_out([first, second], 0)
    assert Adversary(world).opens(world.memory.content) == {other}


def test_an_append_that_the_card_refuses_leaves_the_bag_as_it_was() -> None:
    world = World()
    call_id = world.call(seconds=0.2)
    core = world.vault._core
    bag = core.bags[core.calls[call_id].day_bag or 0]
    before = (list(bag.entries), bag.end, bag.calls)

    def refuse(_k: int, kind: str, name: str) -> None:
        if name.startswith("bags") and kind == "durable":
            raise OSError(5, "refused")

    world.disk.hook = refuse
    with pytest.raises(CardFailed):
        world.open()
    assert (list(bag.entries), bag.end, bag.calls) == before


# ------------------------------------------------------------------------------------------------------------ memory


def test_a_memory_that_says_yes_and_does_nothing_is_not_believed() -> None:
    for deaf in ("write_slot", "zero_slot"):
        world = World()
        call_id = world.call(seconds=0.2)
        ignored: list[object] = []
        setattr(world.memory, deaf, lambda *given, ignored=ignored: ignored.append(given))
        with pytest.raises(ErasureUnconfirmed):
            world.vault.erase(call_id)
        assert len(ignored) == 5
        delattr(world.memory, deaf)
        world.vault.tick()
        assert call_id not in Adversary(world).opens(world.memory.content)


# -------------------------------------------------------------------------------------------------------- background


def test_a_slot_taken_again_before_its_overwriting_is_left_alone() -> None:
    world = World()
    calls = [world.call(seconds=0.2) for _ in range(3)]
    core = world.vault._core
    steps = background.steps(core)
    next(steps)
    for call_id in calls[:2]:
        world.vault.erase(call_id)
    for _ in steps:
        pass
    assert heard(world.vault, calls[2])
    world.cut()
    assert heard(world.vault, calls[2])


def test_work_that_was_finished_meanwhile_is_finished_once() -> None:
    world = World()
    world.vault.erase(world.call(seconds=6))
    core = world.vault._core
    steps = background.steps(core)
    next(steps)
    background.finish_todo(core)
    for _ in steps:
        pass
    assert background.idle(core)


def test_the_scrub_survives_a_call_that_goes_while_it_is_read() -> None:
    world = World()
    calls = [world.call(seconds=6) for _ in range(2)]
    running = world.open(1)
    steps = world.vault._scrubber.steps()
    next(steps)
    world.vault.erase(calls[0])
    world.vault.erase(calls[1])
    for _ in steps:
        pass
    assert world.vault._scrubber.damaged == set()
    assert running in world.vault._core.calls


def test_a_held_frame_that_decays_is_found() -> None:
    world = World()
    call_id = world.call(seconds=4)
    world.vault.hold(call_id, b"", world.now() + 300 * DAY_MS)
    world.sleep(63 * DAY_MS, DAY_MS)
    world.disk.corrupt("hold", 0, b"\xff")
    world.disk.corrupt("hold", 6 * 4096 + 300, b"\xff")
    world.sleep(60_000, 1000)
    assert "FRAME_DAMAGED" in alarms(world)


def test_an_export_ends_when_its_call_is_destroyed_meanwhile() -> None:
    world = World()
    call_id = world.call(seconds=10)
    sealed = world.vault.sealed(call_id)
    frames = sealed.frames()
    next(frames)
    world.vault.opt_out([call_id], 0)
    assert list(frames) == []
    assert list(sealed.frames()) == []


# -------------------------------------------------------------------------------------------------------- bad blocks


def test_a_bad_block_in_the_ring_costs_its_frame_and_nothing_else() -> None:
    world = World()
    call_id = world.call(seconds=8)
    bad = world.vault._core.calls[call_id].first * 4096

    def refuse(kind: str, name: str, offset: int, length: int) -> bool:
        return name == "ring" and offset <= bad < offset + length

    read = world.disk.read

    def rude(name: str, offset: int, length: int) -> bytes:
        if refuse("read", name, offset, length):
            raise OSError(5, "bad block")
        return read(name, offset, length)

    world.disk.read = rude  # type: ignore[method-assign]
    world.sleep(60_000, 1000)
    assert "FRAME_DAMAGED" in alarms(world)
    assert len(list(world.vault.sealed(call_id).frames())) == world.vault._core.calls[call_id].close.frames - 1  # type: ignore[union-attr]
    assert heard(world.vault, world.call(1))


def test_both_copies_unreadable_at_boot_stop_the_boot_and_change_nothing() -> None:
    world = World()
    call_id = world.call()

    def refuse(_k: int, kind: str, name: str) -> None:
        if kind == "read" and name.startswith("bags"):
            raise OSError(5, "the card is loose")

    world.disk.hook = refuse
    with pytest.raises(CardFailed):
        world.boot()
    world.disk.hook = None
    world.boot()
    assert heard(world.vault, call_id)


def test_an_unreadable_ring_at_boot_stops_the_boot() -> None:
    world = World()
    call_id = world.call()

    def refuse(_k: int, kind: str, name: str) -> None:
        if kind == "read" and name == "ring":
            raise OSError(5, "the card is loose")

    world.disk.hook = refuse
    with pytest.raises(CardFailed):
        world.boot()
    world.disk.hook = None
    world.boot()
    assert heard(world.vault, call_id)


def test_a_frame_refused_twice_ends_in_a_fault_also_where_there_is_no_further_zone() -> None:
    world = World()
    core = world.vault._core
    call_id = world.open()

    def refuse(_k: int, kind: str, name: str) -> None:
        if kind == "durable" and name == "ring":
            raise OSError(5, "worn out")

    world.speak(call_id, 1)
    core.ring.head = core.ring.next_zone(core.ring.head) - 6
    core.table.ring_tail = core.ring.tail = core.ring.zone_start(core.ring.head) - core.ring.blocks + 32
    world.disk.hook = refuse
    with pytest.raises(CardFailed):
        world.vault.flush(call_id)


def test_the_resent_frame_may_need_a_rotation_first() -> None:
    world = World()
    core = world.vault._core
    call_id = world.open()
    world.speak(call_id, 1)
    core.ring.head = core.table.ring_head + core.ring.reserve - 6
    refused: list[int] = []

    def refuse(_k: int, kind: str, name: str) -> None:
        if kind == "durable" and name == "ring" and not refused:
            refused.append(1)
            raise OSError(5, "bad block")

    world.disk.hook = refuse
    generation = core.table.gen
    assert world.vault.flush(call_id) == 8000
    assert core.table.gen == generation + 1


def test_the_log_heals_a_recent_line_in_either_copy_without_touching_the_next() -> None:
    for mirror in "ab":
        world = World()
        start = world.vault._core.log.cursor.position
        for _ in range(4):
            world.vault.log("ORDER", {"op": "index"})
        lines = list(world.vault.audit_lines())
        world.disk.corrupt(f"audit.{mirror}", start + 400, b"\xff")
        world.boot()
        assert list(world.vault.audit_lines())[: len(lines)] == lines
        assert "MIRROR_HEALED" in alarms(world)
        end = world.vault._core.log.cursor.position
        copies = [world.disk.read(f"audit.{other}", 0, end) for other in "ab"]
        assert copies[0] == copies[1]


def test_a_log_that_ends_exactly_at_the_end_of_a_segment_survives_a_boot() -> None:
    world = World()
    log = world.vault._core.log
    while True:
        before = log.cursor.position
        world.vault.log("ORDER", {"op": "index"})
        room = -log.cursor.position % 8192
        length = log.cursor.position - before
        if length <= room < 900:
            break
    world.vault.log("ORDER", {"op": "index", "x": "a" * (room - length - 3)} if room > length + 3 else {"op": "index"})
    end = log.cursor.position % 8192
    lines = list(world.vault.audit_lines())
    world.boot()
    assert list(world.vault.audit_lines())[: len(lines)] == lines
    assert end == 0


def test_lines_logged_while_the_log_is_handed_out_are_left_for_the_next_time() -> None:
    world = World()
    for _ in range(60):
        world.vault.log("ORDER", {"op": "index"})
    there = list(world.vault.audit_lines())
    handed_out = world.vault.audit_lines()
    first = next(handed_out)
    world.vault.log("ORDER", {"op": "index"})
    assert [first, *handed_out] == there


def test_a_segment_lost_in_both_copies_is_said() -> None:
    world = World()
    for _ in range(90):
        world.vault.log("ORDER", {"op": "index"})
    for mirror in "ab":
        world.disk.corrupt(f"audit.{mirror}", 8192, bytes(8192))
    with pytest.raises(AuditDamaged):
        list(world.vault.audit_lines())


def test_the_log_before_the_table_spoilt_in_both_copies_neither_stops_a_boot_nor_is_hidden() -> None:
    world = World()
    world.vault.log("ORDER", {"op": "index"})
    rotate.plain(world.vault._core)
    world.disk.corrupt("audit.a", 30, b"!")
    world.disk.corrupt("audit.b", 40, b"!")
    world.boot()
    with pytest.raises(AuditDamaged):
        list(world.vault.audit_lines())


def test_all_epochs_used_up_and_older_than_the_log() -> None:
    world = World(geometry=replace(SMALL, epochs=3))
    world.sleep(5 * DAY_MS, DAY_MS)
    for _ in range(700):
        world.vault.log("ORDER", {"op": "index"})
    events = [parse_line(raw).event for raw in world.vault.audit_lines()]
    assert events[:2] == ["DAYEND", "DAYEND"]
    assert set(events[2:]) == {"ORDER"}
    assert trusted(world.vault).problems == []


# ------------------------------------------------------------------------------------------------- odd interruptions


class PowerCut(BaseException):
    """Nothing in the product may catch it."""


def test_opt_out_reaches_the_interrupted_call_where_the_boot_after_it_was_cut_too() -> None:
    world = World()
    call_id = world.open(1)
    world.speak(call_id, 4)
    world.disk = world.disk.cut(world.rng)
    world.clock.power_off(1000)

    def cut(_k: int, kind: str, name: str) -> None:
        if kind == "write" and name.startswith("kt"):
            raise PowerCut

    world.disk.hook = cut
    with pytest.raises(PowerCut):
        world.boot()
    world.cut()
    assert world.vault.interrupted_call(1) == call_id
    assert len(world.vault.ledger_rows()) == 1


def test_the_last_frame_of_an_interrupted_call_decayed_and_another_line_went_on() -> None:
    world = World()
    first, second = world.open(0), world.open(1)
    world.speak(first, 3)
    last = world.vault._core.calls[first].running.end  # type: ignore[union-attr]
    world.speak(second, 3)
    world.disk.corrupt("ring", (last - 1) * 4096, b"\xff" * 8)
    world.cut()
    assert sum(piece.samples for piece in heard(world.vault, first)) == 12_000
    assert heard(world.vault, second)


def test_a_frame_that_landed_although_the_card_said_no_is_there_once() -> None:
    world = World()
    call_id = world.open()
    real = world.disk.write_durable
    lies: list[str] = []

    def lie(name: str, offset: int, data: bytes) -> None:
        real(name, offset, data)
        if name == "ring" and not lies:
            lies.append(name)
            raise OSError(5, "it says it failed")

    world.disk.write_durable = lie  # type: ignore[method-assign,assignment]
    world.speak(call_id, 4)
    world.close(call_id)
    assert sum(piece.samples for piece in heard(world.vault, call_id)) == 32_000


def test_opt_out_before_the_first_frame() -> None:
    world = World()
    call_id = world.open()
    assert world.vault.calls() == []
    assert world.vault.opt_out([call_id], 0)
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_a_document_of_a_vault_that_nobody_has_open() -> None:
    world = World()
    world.vault.put_document("site", b"settings")
    generation = world.vault._core.table.gen
    assert Vault.read_document(world.parts(), "site") == b"settings"
    assert Vault.read_document(world.parts(), "notice") is None
    assert [world.vault.names_document(name) for name in ("site", "notice")] == [True, False]
    world.boot()
    assert world.vault._core.table.gen == generation + 1


def test_who_the_device_is() -> None:
    world = World()
    assert world.vault.fingerprint == digest(world.vault.genesis_public_key)
    assert world.vault.ciphers is REAL
    call_id = world.call()
    body = world.vault.calls()[0].index_body()
    assert body[:16] == call_id
    assert len(body) == 35


# ------------------------------------------------------------------------------------------------------------- holds


def test_places_skip_what_is_too_small_and_join_what_touches() -> None:
    area = HoldArea(Card(SimDisk()), 100)
    places = area.places([Extent(0, 10), Extent(5, 5), Extent(13, 7), Extent(50, 50)])
    assert [places.take(blocks) for blocks in (3, 8, 8, 20)] == [10, 20, 28, None]
    assert places.extents == [Extent(10, 3), Extent(20, 16)]
    full = area.places([Extent(2 * n + 1, 1) for n in range(50)])
    assert [full.take(1) for _ in range(EXTENTS_MAX + 1)][-1] is None


def test_hold_bags_have_a_limit_of_their_own() -> None:
    world = World()
    core = world.vault._core
    call_id = world.call(seconds=0.2)
    core.bags.update({900 + n: Bag(BagRow(900 + n, BagType.HOLD, 0, bytes(32), 0), [], 32 * 1024) for n in range(6)})
    assert world.vault.keep(call_id) == "hold_quota_full"


def test_a_hold_whose_frames_do_not_fit_when_they_are_copied_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from firmware.store import holding

    world = World()
    call_id = world.call(seconds=4)
    monkeypatch.setattr(holding, "_frame_blocks", lambda core, call: [1])
    world.vault._core.hold_area.blocks = 8
    assert world.vault.keep(call_id) == "hold_quota_full"
    with pytest.raises(Refused) as caught:
        world.vault.hold(call_id, b"", world.now() + DAY_MS)
    assert caught.value.code == "hold_quota_full"
    assert heard(world.vault, call_id)


# ------------------------------------------------------------------------------------------------------ small pieces


def header_with(**changes: int) -> bytes:
    fields = {"length": 192, "flags": 0, "ct_len": 4096 - 192, "zero": 0} | changes
    head = struct.pack(">4sHH16sII", b"TCF1", fields["length"], fields["flags"], bytes(16), 0, fields["ct_len"])
    head += struct.pack(">QII", 0, 0, fields["zero"]) + bytes(64) + struct.pack(">II", 0, 0) + bytes(64) + bytes(4)
    return head + struct.pack(">I", crc32(head))


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"length": 191}, "header"),
        ({"flags": 2}, "header"),
        ({"zero": 1}, "header"),
        ({"ct_len": 100}, "length"),
        ({"ct_len": 33 * 4096 - 192}, "length"),
    ],
)
def test_a_header_with_a_good_crc_and_bad_fields_is_refused(changes: dict[str, int], failure: str) -> None:
    assert parse_header(header_with()).blocks == 1
    with pytest.raises(Malformed, match=failure):
        parse_header(header_with(**changes))


def test_a_commitment_that_does_not_hold_is_refused() -> None:
    dek = bytes(range(32))
    sealer = Sealer(REAL, bytes(16), bytearray(dek), b"open")
    frame = bytes(sealer.seal([], Stamp("d", 0, 0, bytes(32)), last=True))
    header = parse_header(frame)
    assert open_frame(REAL, dek, header, frame[HEADER_BYTES:])
    other = Sealer(REAL, bytes(16), bytearray(dek), b"open")
    piece = Piece(0, 1, None, AudioCodec.PCMU, 1, 8000, b"x")
    tampered = bytes(other.seal([piece], Stamp("d", 0, 0, bytes(32)), last=True))
    forged = parse_header(tampered)
    wrong = forged.__class__(**{**forged.__dict__, "commitment": header.commitment})
    with pytest.raises(BadSeal):
        open_frame(REAL, dek, wrong, tampered[HEADER_BYTES:])


def test_pieces_that_fill_their_text_to_the_last_byte() -> None:
    text = b"\1\0\2\1" + struct.pack(">HQII", 8000, 0, 3, 3) + b"abc"
    assert [bytes(piece.payload) for piece in decode_pieces(text)] == [b"abc"]


def test_identity_of_another_mark_is_malformed() -> None:
    world = World()
    record = world.vault._core.identity.encode()
    at = record.index(bytes([2]), 8)
    body = record[:at] + bytes([PRODUCTION + 8]) + record[at + 1 : -4]
    with pytest.raises(Malformed, match="mark"):
        Identity.decode(body + struct.pack(">I", crc32(body)))


def test_meta_that_is_no_meta_is_malformed() -> None:
    for text in (b"", b"{}", b"\xff", b"[]", metas.encode(meta()).replace(b"inbound", b"sideways")):
        with pytest.raises(Malformed):
            metas.decode(text)
    assert metas.decode(metas.encode(meta(number=None))) == meta(number=None)


def test_a_piece_may_have_another_codec_than_its_call() -> None:
    world = World()
    call_id = world.vault.open_call(0, world.now(), AudioCodec.PCMA, 1, 8000)
    world.vault.append_audio(call_id, 0, 800, bytes(800))
    world.vault.append_audio(call_id, 800, 800, bytes(800), AudioCodec.PCMU)
    world.vault.append_gap(call_id, 1600, 800, GapReason.PAYMENT)
    world.vault.append_audio(call_id, 2400, 800, np.zeros((1, 800), np.int16), AudioCodec.FLAC)
    world.close(call_id)
    pieces = heard(world.vault, call_id)
    assert [(piece.codec, piece.reason) for piece in pieces] == [
        (AudioCodec.PCMA, None),
        (AudioCodec.PCMU, None),
        (AudioCodec.PCMA, GapReason.PAYMENT),
        (AudioCodec.FLAC, None),
    ]


def test_a_call_opened_without_meta_and_cut_has_none_and_says_so() -> None:
    world = World()
    call_id = world.vault.open_call(0, world.now())
    world.speak(call_id, 4)
    world.cut()
    assert world.vault.sealed(call_id).meta_entry is None
    world.vault.hold(call_id, b"", world.now() + 300 * DAY_MS)
    world.sleep(63 * DAY_MS, DAY_MS)
    assert world.vault.sealed(call_id).meta_entry is None
    assert heard(world.vault, call_id)


def test_nothing_secret_is_shown_by_repr() -> None:
    world = World()
    core = world.vault._core
    shown = repr(core.table) + repr(list(core.table.bags.values())) + repr(core.time)
    assert core.table.seed.hex() not in shown
    assert repr(core.table.seed) not in shown
    for row_ in core.table.bags.values():
        assert repr(row_.key) not in shown


def test_a_full_pool_of_today_is_ring_full_also_after_all_other_days_went() -> None:
    world = World()
    world.call(seconds=0.2)
    world.sleep(DAY_MS, DAY_MS)
    core = world.vault._core
    core.pool.slots = len(core.table.bags) + space.SPARE_SLOTS
    space.new_day_bag(core, core.table.epoch_day)
    assert core.capacity_expiries == 1


def test_without_assertions_nothing_starts() -> None:
    run = subprocess.run(
        [sys.executable, "-O", "-c", "import firmware.store.vault"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "assertions" in run.stderr


def test_persisting_without_a_reason_is_harmless() -> None:
    world = World()
    call_id = world.call()
    for _ in range(5):
        rotate.plain(world.vault._core)
    world.vault.write_row(row(0, 1, 2, Outcome.UNANSWERED))
    world.cut()
    assert heard(world.vault, call_id)
