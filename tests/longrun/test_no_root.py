"""No key in the erasable memory opens the table: nothing is changed, whatever the slots hold (storage design 3.4)."""

import random

import pytest

from firmware.store.errors import NoRoot
from firmware.store.vault import Vault
from tests.longrun.world import World

MEMORIES = {
    "zeros": bytes(64),
    "erased EEPROM": b"\xff" * 64,
    "garbage": random.Random(1).randbytes(64),
    "half a slot": bytes(32) + random.Random(2).randbytes(16) + bytes(16),
}


@pytest.mark.parametrize("content", MEMORIES.values(), ids=list(MEMORIES))
def test_a_memory_without_a_key_is_no_fresh_card_and_nothing_is_changed(content: bytes) -> None:
    world = World("no root")
    world.call()
    world.memory.content = content
    image = world.disk.freeze()
    world.forget_history()
    with pytest.raises(NoRoot) as refused:
        world.reboot()
    assert world.disk.freeze() == image
    assert world.memory.content == content
    assert "nothing was changed" in str(refused.value)


def test_a_memory_that_does_not_answer_is_waited_for_not_replaced() -> None:
    world = World("unplugged")
    call = world.call()
    world.memory.unplugged = True
    with pytest.raises(NoRoot):
        world.reboot()
    world.memory.unplugged = False
    world.reboot()
    assert call in world.promise.calls


@pytest.mark.parametrize("kind", ["file", "mcp794xx"])
def test_another_kind_of_memory_is_not_taken_for_the_provisioned_one(kind: str) -> None:
    world = World("kind")
    world.memory.kind = kind
    with pytest.raises(Exception, match="nothing was changed"):
        Vault.open(world.parts(world.disk, world.memory, world.clock, world.rtc, "kind"), simulation=True)
