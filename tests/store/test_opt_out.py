"""OPT-OUT, ERASE: once acknowledged, nobody opens the call again, with all bytes ever written and every key."""

import pytest

from firmware.policy.records import Outcome
from firmware.store.errors import ErasureUnconfirmed, Refused
from tests.store.adversary import Adversary
from tests.store.listening import heard
from tests.store.world import DAY_MS, World, row


def gone_for_good(world: World, call_id: bytes) -> bool:
    return call_id not in Adversary(world).opens(world.memory.content)


def test_opted_out_in_mid_call_cannot_be_opened_from_any_byte_ever_written() -> None:
    world = World()
    other = world.call(1)
    call_id = world.open()
    world.speak(call_id, 6)
    before = world.memory.content
    assert call_id in Adversary(world).opens(before)
    assert world.vault.opt_out([call_id], 0)
    assert gone_for_good(world, call_id)
    assert Adversary(world).opens(world.memory.content) == {other}
    assert len(heard(world.vault, other)) > 0


def test_a_copy_of_the_memory_from_before_opens_it_and_that_is_why_it_is_zeroed() -> None:
    """The residual of the design: who copied the memory while the call was kept, keeps it."""
    world = World()
    call_id = world.open()
    world.speak(call_id, 2)
    copied = world.memory.content
    world.vault.opt_out([call_id], 0)
    assert call_id in Adversary(world).opens(copied)


def test_a_memory_copy_opens_nothing_of_days_begun_later() -> None:
    world = World()
    world.call()
    copied = world.memory.content
    world.sleep(DAY_MS)
    later = world.call()
    assert later not in Adversary(world).opens(copied)
    assert later in Adversary(world).opens(world.memory.content)


def test_opt_out_also_reaches_a_call_that_has_just_ended() -> None:
    world = World()
    call_id = world.call()
    assert world.vault.opt_out([call_id], 0)
    assert gone_for_good(world, call_id)
    assert [entry.outcome for _, entry in world.vault.ledger_rows()] == [Outcome.OPTED_OUT]
    assert world.vault.calls() == []


def test_opt_out_without_anything_kept_still_latches_the_line() -> None:
    world = World()
    assert world.vault.opt_out([], 0) is False
    assert world.vault.opted_out(0)
    generation = world.vault.health()["generation"]
    assert world.vault.opt_out([], 0) is False
    assert world.vault.health()["generation"] == generation


def test_the_blocks_of_an_opted_out_call_are_overwritten() -> None:
    world = World()
    keep = world.call(1)
    call_id = world.open()
    world.speak(call_id, 6)
    world.vault.opt_out([call_id], 0)
    assert call_id in world.disk.read("ring", 0, world.disk.size("ring"))
    world.vault.overwrite_all()
    assert call_id not in world.disk.read("ring", 0, world.disk.size("ring"))
    assert len(heard(world.vault, keep)) > 0


def test_overwriting_goes_on_after_a_power_cut() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 6)
    world.vault.opt_out([call_id], 0)
    world.cut()
    assert call_id in world.disk.read("ring", 0, world.disk.size("ring"))
    world.sleep(60_000, 1000)
    assert call_id not in world.disk.read("ring", 0, world.disk.size("ring"))
    assert world.vault.health()["overwriting"] == 0


def test_the_loop_died_after_the_opt_out_and_the_boot_writes_its_one_row() -> None:
    world = World()
    opened = world.now()
    call_id = world.open()
    world.speak(call_id, 4)
    world.vault.opt_out([call_id], 0)
    world.cut()
    rows = [entry for _, entry in world.vault.ledger_rows()]
    assert [(entry.outcome, entry.started_utc_ms) for entry in rows] == [(Outcome.OPTED_OUT, opened)]
    world.cut()
    assert [entry for _, entry in world.vault.ledger_rows()] == rows


def test_the_row_that_the_loop_wrote_is_not_written_again() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 4)
    now = world.now()
    world.vault.opt_out([call_id], 0)
    entry = row(0, now, now, Outcome.OPTED_OUT)
    world.vault.write_row(entry.__class__(**{**entry.__dict__, "call_id": call_id}))
    world.cut()
    world.cut()
    assert len(world.vault.ledger_rows()) == 1


def test_a_call_that_came_to_nothing_is_discarded_with_its_row() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 4)
    now = world.now()
    entry = row(0, now, now, Outcome.FAULT)
    world.vault.write_row(entry.__class__(**{**entry.__dict__, "call_id": call_id}))
    assert gone_for_good(world, call_id)
    world.cut()
    assert [entry.outcome for _, entry in world.vault.ledger_rows()] == [Outcome.FAULT]


def test_erasing_one_closed_call_leaves_its_neighbours() -> None:
    world = World()
    calls = [world.call() for _ in range(3)]
    certificate = world.vault.erase(calls[1])
    assert certificate.call_id == calls[1]
    assert Adversary(world).opens(world.memory.content) == {calls[0], calls[2]}
    text = b"\n".join(world.vault.certificates()).decode()
    assert f"op=erase;call={calls[1].hex()}" in text
    assert "proven=0" in text


def test_erase_of_what_is_not_there_or_still_running_is_refused() -> None:
    world = World()
    running = world.open()
    for call_id in (bytes(16), running):
        with pytest.raises(Refused) as caught:
            world.vault.erase(call_id)
        assert caught.value.code == "not_kept"


def test_erasure_on_real_erasable_memory_counts_as_proven() -> None:
    world = World(memory_kind="at24")
    world.vault.erase(world.call())
    assert b"proven=1" in b"".join(world.vault.certificates())


def test_todo_list_full_is_worked_off_at_once() -> None:
    world = World()
    calls = [world.call(seconds=0.1) for _ in range(70)]
    for call_id in calls:
        world.vault.erase(call_id)
    assert world.vault.calls() == []
    assert len(world.vault._core.table.todo) <= 64
    assert calls[0] not in world.disk.read("ring", 0, world.disk.size("ring"))


def test_two_calls_of_one_bag_are_opted_out_together() -> None:
    world = World()
    first, second, other = world.call(0), world.call(0), world.call(1)
    assert world.vault.opt_out([first, second], 0)
    assert Adversary(world).opens(world.memory.content) == {other}


def test_opt_out_before_the_first_frame() -> None:
    world = World()
    call_id = world.open()
    assert world.vault.calls() == []
    assert world.vault.opt_out([call_id], 0)
    assert call_id not in Adversary(world).opens(world.memory.content)


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
