"""Bad blocks and a card that will not answer: what they cost, and what they do not."""

import pytest

from firmware.store.errors import CardFailed
from tests.store.listening import heard
from tests.store.world import World


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


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


@pytest.mark.parametrize("names", [("bags.a", "bags.b"), ("ring",)], ids=["both copies of the bags", "the ring"])
def test_what_cannot_be_read_at_boot_stops_the_boot_and_changes_nothing(names: tuple[str, ...]) -> None:
    world = World()
    call_id = world.call()

    def refuse(_k: int, kind: str, name: str) -> None:
        if kind == "read" and name in names:
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
