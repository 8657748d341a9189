"""A bag that is full, or that the card refuses, loses nothing and promises nothing more."""

import pytest

from firmware.store.append import append
from firmware.store.bag import Pool
from firmware.store.card import Card
from firmware.store.ciphers import REAL
from firmware.store.entries import Intent, Kind
from firmware.store.errors import CardFailed, Refused, VaultError
from firmware.store.table import BagRow, BagType, Op
from hw.sim.disk import SimDisk
from tests.store.adversary import Adversary
from tests.store.listening import heard
from tests.store.world import DAY_MS, World


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
