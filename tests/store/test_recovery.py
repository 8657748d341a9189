"""Boots: what a power cut, a bad copy, a wrong card or a wrong memory leave, and what the recorder makes of it."""

import subprocess
import sys
from contextlib import suppress

import pytest

from firmware.policy.records import Ended, Outcome
from firmware.store import erasable, identity, rotate
from firmware.store.ciphers import REAL
from firmware.store.errors import (
    AlreadyProvisioned,
    IdentityDamaged,
    NoRoot,
    NotProvisioned,
    OrdersFull,
    Refused,
    Rollback,
    WrongKind,
)
from firmware.store.identity import Geometry, Identity
from firmware.store.keys import Recipient, RequestKey, Role
from firmware.store.layout import digest
from firmware.store.vault import Vault
from hw.sim.disk import SimDisk
from hw.sim.memory import Failure, SimMemory
from tests.store import reader
from tests.store.listening import exported, heard, told, trusted
from tests.store.world import DAY_MS, RECIPIENTS, REQUEST_KEYS, World, charter, row

MIRRORED = ("kt0", "kt1", "bags", "audit", "epochs", "documents")


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


# ------------------------------------------------------------------------------------------------ interrupted calls


def test_an_interrupted_call_is_whole_up_to_its_last_frame_and_has_its_number_and_row() -> None:
    world = World()
    opened = world.now()
    call_id = world.open(number="02079460777")
    world.speak(call_id, 9)
    world.cut()
    assert sum(piece.samples for piece in heard(world.vault, call_id)) == 6 * 12_000
    assert told(world.vault, call_id).number == "02079460777"
    ((_, row),) = world.vault.ledger_rows()
    assert (row.outcome, row.ended, row.call_id, row.started_utc_ms) == (
        Outcome.RECORDED,
        Ended.POWER_CUT,
        call_id,
        opened,
    )
    assert opened < row.ended_utc_ms <= opened + 12_000


def test_a_cut_after_a_long_payment_ends_the_call_where_its_sound_ends() -> None:
    world = World()
    opened = world.now()
    call_id = world.open()
    at = world.speak(call_id, 4, first_sample=8000 * 15)
    at = world.gap(call_id, at, 8000 * 90)
    end = world.speak(call_id, 3, at)
    world.clock.advance_ms(125_000)
    world.vault.flush(call_id)
    world.cut()
    ((_, row),) = world.vault.ledger_rows()
    assert row.ended_utc_ms == opened + end // 8


def test_a_cut_soon_after_midnight_still_ends_the_call_between_its_answer_and_the_boot() -> None:
    world = World()
    opened = world.now()
    call_id = world.open()
    world.speak(call_id, 4)
    world.vault.flush(call_id)
    world.sleep(DAY_MS, DAY_MS)
    world.cut()
    ((_, row),) = world.vault.ledger_rows()
    assert opened < row.ended_utc_ms <= opened + 8000


def test_a_call_interrupted_before_its_first_frame_says_that_nothing_was_kept() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 1)
    world.cut()
    ((_, row),) = world.vault.ledger_rows()
    assert (row.outcome, row.call_id) == (Outcome.FAULT, call_id)
    assert heard(world.vault, call_id) == []


def test_opt_out_reaches_the_interrupted_call_also_after_a_second_cut() -> None:
    world = World()
    call_id = world.open(1)
    world.speak(call_id, 4)
    world.cut()
    world.cut()
    assert world.vault.interrupted_call(1) == call_id
    assert world.vault.interrupted_call(0) is None
    assert world.vault.opt_out([call_id], 1)
    assert world.vault.interrupted_call(1) is None
    assert [entry.outcome for _, entry in world.vault.ledger_rows()] == [Outcome.OPTED_OUT]


def test_an_interrupted_call_is_forgotten_by_opt_out_once_a_newer_call_came() -> None:
    world = World()
    old = world.open(0)
    world.speak(old, 4)
    world.cut()
    world.call(0)
    assert world.vault.interrupted_call(0) is None
    world.cut()
    assert world.vault.interrupted_call(0) is None


def test_on_hook_ends_the_reach_of_opt_out() -> None:
    world = World()
    world.speak(world.open(0), 4)
    world.cut()
    world.vault.latch_opt_out(0, True)
    world.vault.latch_opt_out(0, False)
    assert world.vault.interrupted_call(0) is None


# ----------------------------------------------------------------------------------------------------- bad copies


@pytest.mark.parametrize("mirror", ["a", "b"])
@pytest.mark.parametrize("stem", MIRRORED)
def test_any_one_mirror_lost_costs_nothing_and_is_restored(stem: str, mirror: str) -> None:
    world = World()
    call_id = world.call()
    world.vault.put_document("site", b"settings" * 100)
    world.sleep(2 * DAY_MS, DAY_MS)
    later = world.call()
    name = f"{stem}.{mirror}"
    world.disk.corrupt(name, 0, world.rng.randbytes(world.disk.size(name)))
    world.cut(lose=0)
    for kept in (call_id, later):
        assert heard(world.vault, kept)
    assert world.vault.document("site") == b"settings" * 100
    assert len(world.vault.ledger_rows()) == 2
    if stem in ("bags", "audit") or stem == f"kt{world.vault._core.table.gen - 1 & 1}":
        assert "MIRROR_HEALED" in alarms(world)
    other = f"{stem}.{'b' if mirror == 'a' else 'a'}"
    if stem == "bags":
        rows = world.vault._core.table.bags
        size = world.geometry.bag_slot_bytes
        for bag_id in rows:
            end = world.vault._core.bags[bag_id].end
            copies = [world.disk.read(copy, bag_id * size, end) for copy in (name, other)]
            assert copies[0] == copies[1]


def test_both_copies_of_a_bag_damaged_is_an_alarm_and_the_other_days_are_whole() -> None:
    world = World()
    world.call()
    world.sleep(DAY_MS)
    later = world.call()
    row = min(world.vault._core.table.bags.values(), key=lambda row: row.day)
    for mirror in "ab":
        world.spoil(f"bags.{mirror}", row.bag_id * world.geometry.bag_slot_bytes + 100)
    world.cut()
    assert [entry.call_id for entry in world.vault.calls()] == [later]
    assert "FRAME_DAMAGED" in alarms(world)


def test_a_frame_that_decays_is_found_by_the_scrub_and_named_by_the_reader() -> None:
    world = World()
    call_id = world.call(seconds=8)
    sound = world.call(seconds=8)
    position = world.vault._core.calls[call_id].first
    world.disk.corrupt("ring", (position + 1) * 4096, b"\xaa" * 16)
    world.sleep(60_000, 1000)
    assert "FRAME_DAMAGED" in alarms(world)
    key, frames = exported(world.vault, call_id)
    call = reader.parse_key_file(key)
    verified = reader.verify_call(world.vault.device_id, call, frames, trusted(world.vault).keys)
    assert verified.problems == ["frame 0: damaged", "frames 0 to 0: missing"]
    assert len(verified.frames) == 5
    assert heard(world.vault, sound)
    world.vault.erase(call_id)
    world.sleep(60_000, 1000)
    assert "FRAME_DAMAGED" not in alarms(world)


def test_a_frame_header_that_decays_is_missing_not_misread() -> None:
    world = World()
    call_id = world.call(seconds=8)
    position = world.vault._core.calls[call_id].first
    world.spoil("ring", position * 4096 + 20)
    world.sleep(60_000, 1000)
    assert "FRAME_DAMAGED" in alarms(world)


# --------------------------------------------------------------------------------------------------------- the root


def test_no_root_changes_nothing_and_says_so() -> None:
    world = World()
    world.call()
    for content in (bytes(64), world.rng.randbytes(64)):
        memory, disk = SimMemory(content, kind="sim"), world.disk
        history = len(disk.history)
        parts = world.parts().__class__(**{**world.parts().__dict__, "memory": memory})
        with pytest.raises(NoRoot, match="ask the custodian"):
            Vault.open(parts, simulation=True)
        assert memory.content == content
        assert len(disk.history) == history
        with pytest.raises(AlreadyProvisioned):
            Vault.provision(parts, charter())


def test_a_memory_that_does_not_answer_is_no_root_and_comes_back() -> None:
    world = World()
    call_id = world.call()
    world.memory.unplugged = True
    with pytest.raises(NoRoot, match="does not answer"):
        world.boot()
    world.memory.unplugged = False
    world.boot()
    assert heard(world.vault, call_id)


def test_an_old_image_of_the_card_is_noticed_as_a_rollback() -> None:
    world = World()
    old = world.disk.freeze()
    world.call()
    world.sleep(DAY_MS)
    new, world.disk = world.disk, SimDisk(old)
    content = world.memory.content
    with pytest.raises(Rollback) as caught:
        world.boot()
    assert caught.value.code == "ROLLBACK"
    assert world.memory.content == content
    world.disk = new
    assert world.boot()


def test_both_tables_damaged_is_no_root_and_not_a_rollback() -> None:
    world = World()
    for name in ("kt0.a", "kt0.b", "kt1.a", "kt1.b"):
        world.disk.corrupt(name, 200, b"\xff" * 40)
    with pytest.raises(NoRoot) as caught:
        world.boot()
    assert caught.value.code == "NO_ROOT"


def test_garbage_in_the_other_slot_is_zeroed_before_anything_else() -> None:
    world = World()
    live = world.vault._core.table.gen & 1
    other = world.rng.randbytes(32)
    mine = world.memory.content[live * 32 :][:32]
    world.memory.content = mine + other if live == 0 else other + mine
    world.boot()
    assert sum(any(part) for part in erasable.split(world.memory.content)) == 1


def test_a_slot_of_the_wrong_parity_is_not_taken() -> None:
    world = World()
    live = world.vault._core.table.gen & 1
    mine = world.memory.content[live * 32 :][:32]
    world.memory.content = bytes(32) + mine if live == 0 else mine + bytes(32)
    with pytest.raises(NoRoot):
        world.boot()


def test_the_unreadable_first_copy_of_the_table_is_no_hindrance() -> None:
    world = World()
    call_id = world.call()

    def refuse(_k: int, kind: str, name: str) -> None:
        if kind == "read" and name.startswith("kt") and name.endswith(".a"):
            raise OSError(5, "bad block")

    world.disk.hook = refuse
    world.boot()
    world.disk.hook = None
    assert heard(world.vault, call_id)


def test_an_unconfirmed_zero_at_boot_stops_the_boot() -> None:
    world = World()
    live = world.vault._core.table.gen & 1
    mine = world.memory.content[live * 32 :][:32]
    world.memory.content = mine + b"x" * 32 if live == 0 else b"x" * 32 + mine
    world.memory.hook = lambda _k, kind, _slot: Failure(0) if kind == "zero" else None
    with pytest.raises(erasable.ErasureUnconfirmed):
        world.boot()


# ------------------------------------------------------------------------------------------------ kinds and identity


def test_simulation_and_production_do_not_open_each_other() -> None:
    world = World()
    with pytest.raises(WrongKind, match="a simulation"):
        Vault.open(world.parts(), simulation=False)
    real = World(charter=charter(simulation=False), provisioned=False)
    Vault.provision(real.parts(), real.charter, real.geometry)
    with pytest.raises(WrongKind, match="a real recorder"):
        Vault.open(real.parts(), simulation=True)
    assert Vault.open(real.parts(), simulation=False).charter.simulation is False


def test_another_kind_of_memory_than_at_provisioning_is_refused() -> None:
    world = World(memory_kind="at24")
    world.memory.kind = "file"
    with pytest.raises(WrongKind, match="at24"):
        world.boot()


def test_a_card_of_zeros_is_not_provisioned_and_garbage_is_damaged() -> None:
    world = World(provisioned=False)
    with pytest.raises(NotProvisioned):
        world.boot()
    world.disk.create(identity.FILE, 8192)
    with pytest.raises(NotProvisioned):
        world.boot()
    world.disk.corrupt(identity.FILE, 100, b"\1")
    with pytest.raises(IdentityDamaged):
        world.boot()
    with pytest.raises(AlreadyProvisioned):
        Vault.provision(world.parts(), world.charter, world.geometry)


def test_the_second_copy_of_the_identity_serves_where_the_first_is_damaged() -> None:
    world = World()
    world.spoil(identity.FILE, 10)
    world.boot()
    assert world.vault.device_id == "tacet-0001"


def test_a_changed_identity_opens_nothing() -> None:
    world = World()
    who = world.vault._core.identity
    forged = Identity(who.device_id, False, who.memory_kind, who.genesis_key, who.geometry)
    for copy in range(2):
        world.disk.corrupt(identity.FILE, copy * 4096, forged.encode())
    with pytest.raises(NoRoot):
        Vault.open(world.parts(), simulation=False)


# ------------------------------------------------------------------------------------------------------ provisioning


def test_a_card_is_provisioned_once() -> None:
    world = World()
    with pytest.raises(AlreadyProvisioned):
        Vault.provision(world.parts(), charter())


def test_provisioning_cut_at_every_call_is_begun_anew() -> None:
    class Cut(BaseException):
        pass

    for point in range(0, 200, 3):
        world = World(provisioned=False)

        def cut(k: int, _kind: str, _name: str, point: int = point) -> None:
            if k >= point:
                raise Cut

        world.disk.hook = cut
        try:
            Vault.provision(world.parts(), world.charter, world.geometry)
            break
        except Cut:
            pass
        world.disk.hook = None
        world.disk = world.disk.cut(world.rng)
        with suppress(AlreadyProvisioned):
            Vault.provision(world.parts(), world.charter, world.geometry)
        assert world.boot()
        assert trusted(world.vault).problems == []
    else:
        raise AssertionError("provisioning never ended")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"recipients": RECIPIENTS[:1]}, "recipients"),
        ({"recipients": (RECIPIENTS[0], RECIPIENTS[0])}, "recipients"),
        ({"recipients": tuple(Recipient.of(bytes([n]) * 32) for n in range(5))}, "recipients"),
        ({"request_keys": ()}, "request_keys"),
        ({"request_keys": tuple(RequestKey.of(bytes([n]) * 32, Role.CUSTODIAN) for n in range(9))}, "request_keys"),
    ],
)
def test_key_sets_that_are_unsafe_are_refused(changes: dict[str, object], reason: str) -> None:
    world = World(provisioned=False, charter=charter(**changes))
    with pytest.raises(Refused) as caught:
        Vault.provision(world.parts(), world.charter, world.geometry)
    assert caught.value.code == reason
    assert world.disk.names() == []


def test_no_clock_no_provisioning() -> None:
    world = World(provisioned=False)
    world.rtc.silent = True
    with pytest.raises(Refused) as caught:
        Vault.provision(world.parts(), world.charter, world.geometry)
    assert caught.value.code == "clock_unknown"


def test_mirrors_lie_at_least_eight_mebibytes_apart() -> None:
    world = World(provisioned=False)
    created: list[str] = []
    create = world.disk.create
    world.disk.create = lambda name, size: (created.append(name), create(name, size))[1]  # type: ignore[method-assign]
    Vault.provision(world.parts(), charter())
    for stem in MIRRORED:
        first, second = created.index(f"{stem}.a"), created.index(f"{stem}.b")
        between = sum(world.disk.size(name) for name in created[first + 1 : second])
        assert between >= 8 << 20


def test_a_simulated_ring_of_64_mebibytes_has_the_sizes_of_its_page() -> None:
    shape = Geometry.of(64 << 20, 16 << 20, 2)
    assert shape.ring_blocks * 4096 == 64 << 20
    assert shape.hold_blocks * 4096 == 16 << 20
    large = Geometry.of(64 << 30, 8 << 30, 8)
    assert large.bag_slots >= 300
    assert large.reserve_blocks * 4096 == 64 << 20


# ---------------------------------------------------------------------------------------------- keys, orders, documents


def test_new_recipients_open_new_calls_and_old_ones_stay_theirs() -> None:
    world = World()
    old = world.call()
    others = tuple(Recipient.of(bytes([n]) * 32) for n in (9, 10))
    world.vault.change_keys(others, REQUEST_KEYS[:1])
    assert world.vault.charter.recipients == others
    assert world.vault.charter.request_keys == REQUEST_KEYS[:1]
    assert heard(world.vault, old)
    with pytest.raises(Refused):
        world.vault.change_keys(others[:1], REQUEST_KEYS)
    world.cut()
    assert world.vault.charter.recipients == others


def test_an_order_is_remembered_until_it_ends_and_never_dropped_for_room() -> None:
    world = World()
    first = bytes(16)
    world.vault.remember_order(first, world.now() + DAY_MS)
    world.cut()
    assert world.vault.order_seen(first)
    assert not world.vault.order_seen(b"\1" * 16)
    for number in range(255):
        world.vault.remember_order((number + 1).to_bytes(16, "big"), world.now() + DAY_MS)
    with pytest.raises(OrdersFull):
        world.vault.remember_order(b"\xff" * 16, world.now() + DAY_MS)
    assert world.vault.order_seen(first)
    world.sleep(3 * DAY_MS, DAY_MS)
    world.vault.remember_order(b"\xff" * 16, world.now() + DAY_MS)
    assert not world.vault.order_seen(first)


def test_a_document_is_swapped_whole_or_not_at_all_and_its_space_is_used_again() -> None:
    world = World()
    for number in range(30):
        world.vault.put_document("notice", bytes([number]) * 100_000)
        world.vault.put_document("site", bytes([number]) * 10)
        world.cut()
        assert world.vault.document("notice") == bytes([number]) * 100_000
    assert world.vault.document("nothing") is None


def test_a_changed_document_is_read_without_touching_the_card() -> None:
    world = World()
    world.vault.put_document("notice", b"old")
    world.boot()
    assert world.vault.document("notice") == b"old"
    world.vault.put_document("notice", b"new")

    def refuse(_k: int, kind: str, _name: str) -> None:
        assert kind != "read", "the loop may not read the card that the writer owns"

    world.disk.hook = refuse
    assert world.vault.document("notice") == b"new"


def test_documents_that_do_not_fit_are_refused() -> None:
    world = World()
    for data, reason in ((bytes(5 << 20), "document_too_long"), (bytes(300_000), "documents_full")):
        with pytest.raises(Refused) as caught:
            world.vault.put_document("notice", data)
        assert caught.value.code == reason
    for number in range(8):
        world.vault.put_document(f"d{number}", b"x")
    with pytest.raises(Refused):
        world.vault.put_document("d8", b"x")
    world.vault.put_document("d7", b"y")
    for mirror in "ab":
        first = world.vault._core.table.documents["d7"].first_block
        world.disk.corrupt(f"documents.{mirror}", first * 4096, b"z")
    assert world.vault.document("d7") == b"y"
    world.boot()
    assert world.vault.document("d7") is None


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


def test_persisting_without_a_reason_is_harmless() -> None:
    world = World()
    call_id = world.call()
    for _ in range(5):
        rotate.plain(world.vault._core)
    world.vault.write_row(row(0, 1, 2, Outcome.UNANSWERED))
    world.cut()
    assert heard(world.vault, call_id)


def test_without_assertions_nothing_starts() -> None:
    run = subprocess.run(
        [sys.executable, "-O", "-c", "import firmware.store.vault"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "assertions" in run.stderr
