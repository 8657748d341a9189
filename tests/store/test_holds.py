"""Held means held: over expiry, cuts and a full ring; and released means gone."""

import pytest

from firmware.store.bag import Bag
from firmware.store.card import Card
from firmware.store.entries import EXTENTS_MAX, Extent, Kind
from firmware.store.errors import Refused
from firmware.store.holdarea import HoldArea
from firmware.store.table import BagRow, BagType
from hw.sim.disk import SimDisk
from tests.store import reader
from tests.store.adversary import Adversary
from tests.store.listening import KEY_ID, SECRET, audio, heard
from tests.store.world import DAY_MS, SMALL_RING, World


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


def review(world: World, days: int = 90) -> int:
    return world.now() + days * DAY_MS


def refused(act: object, *given: object) -> str:
    with pytest.raises(Refused) as caught:
        act(*given)  # type: ignore[operator]
    return caught.value.code


def test_a_held_call_outlives_its_limit_and_every_cut() -> None:
    world = World()
    other = world.call()
    call_id = world.call(seconds=10)
    spoken = audio(heard(world.vault, call_id))
    world.vault.hold(call_id, b"case 7: threats", review(world, 200))
    for _ in range(10):
        world.sleep(10 * DAY_MS, DAY_MS)
        world.cut()
    (entry,) = world.vault.calls()
    assert (entry.call_id, entry.held, entry.provisional) == (call_id, True, False)
    assert (audio(heard(world.vault, call_id)) == spoken).all()
    assert Adversary(world).opens(world.memory.content) == {call_id}
    assert other not in Adversary(world).opens(world.memory.content)


def test_a_held_call_survives_the_full_ring() -> None:
    world = World(geometry=SMALL_RING)
    call_id = world.call(seconds=10)
    world.vault.hold(call_id, b"", review(world, 200))
    for _ in range(5):
        world.sleep(DAY_MS, DAY_MS)
        for _ in range(2):
            world.call(seconds=10)
    world.vault.overwrite_all()
    assert "CAPACITY_EXPIRY" in alarms(world)
    assert sum(piece.samples for piece in heard(world.vault, call_id)) == 80_000


def test_the_reason_of_a_hold_is_read_by_the_custodian_alone() -> None:
    world = World()
    call_id = world.call()
    world.vault.hold(call_id, b"case: secret matter", review(world))
    core = world.vault._core
    call = core.calls[call_id]
    bag = core.bags[call.hold_bag or 0]
    (body,) = [core.pool.body(bag, entry) for entry in bag.entries if entry.kind is Kind.HOLDINFO]
    text = reader.open_hold_text(world.vault.device_id, body, call.opened_utc_ms, KEY_ID, SECRET)
    assert text == b"case: secret matter"
    assert b"secret matter" not in b"".join(event.data for event in world.disk.history if hasattr(event, "data"))


def test_released_past_its_limit_is_gone_at_once() -> None:
    world = World()
    call_id = world.call()
    world.vault.hold(call_id, b"", review(world, 200))
    world.sleep(70 * DAY_MS, DAY_MS)
    world.vault.release(call_id)
    assert world.vault.calls() == []
    assert call_id not in Adversary(world).opens(world.memory.content)
    assert b"op=release" in b"".join(world.vault.certificates())
    world.vault.overwrite_all()
    assert not any(world.disk.read("hold", 0, world.disk.size("hold")))


def test_released_before_its_limit_follows_its_ordinary_life() -> None:
    world = World()
    call_id = world.call()
    world.vault.hold(call_id, b"", review(world))
    world.vault.release(call_id)
    assert [(entry.call_id, entry.held) for entry in world.vault.calls()] == [(call_id, False)]
    world.cut()
    assert [(entry.call_id, entry.held) for entry in world.vault.calls()] == [(call_id, False)]
    world.sleep(62 * DAY_MS, DAY_MS)
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_a_memory_copy_opens_no_hold_placed_later() -> None:
    world = World()
    first = world.call()
    world.vault.hold(first, b"", review(world))
    world.sleep(2 * DAY_MS, DAY_MS)
    copied = world.memory.content
    world.sleep(DAY_MS)
    later = world.call()
    world.vault.hold(later, b"", review(world))
    assert later not in Adversary(world).opens(copied)


def test_keep_during_a_call_holds_it_when_it_closes() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 3)
    assert world.vault.keep(call_id) is None
    assert world.vault.keep(call_id) is None
    world.close(call_id)
    (entry,) = world.vault.calls()
    assert entry.held
    assert entry.provisional
    assert world.vault.keep(call_id) is None


def test_keep_and_then_the_power_fails() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 3)
    world.vault.keep(call_id)
    world.cut()
    (entry,) = world.vault.calls()
    assert entry.held
    assert heard(world.vault, call_id)


def test_a_keep_nobody_confirms_lapses_after_fourteen_days_with_an_alarm() -> None:
    world = World()
    call_id = world.call()
    world.vault.keep(call_id)
    world.sleep(13 * DAY_MS, DAY_MS)
    assert world.vault.calls()[0].held
    world.sleep(2 * DAY_MS, DAY_MS)
    assert not world.vault.calls()[0].held
    assert "HOLD_LAPSED" in alarms(world)
    assert b"|LAPSE|" in b"".join(world.vault.audit_lines())


def test_a_confirmed_keep_stays_and_asks_for_review() -> None:
    world = World()
    call_id = world.call()
    world.vault.keep(call_id)
    world.vault.confirm(call_id, b"confirmed", review(world, 30))
    world.sleep(31 * DAY_MS, DAY_MS)
    assert world.vault.calls()[0].held
    assert "HOLD_REVIEW_DUE" in alarms(world)
    world.vault.extend(call_id, review(world, 30))
    assert "HOLD_REVIEW_DUE" not in alarms(world)


def test_opt_out_beats_a_provisional_hold() -> None:
    world = World()
    call_id = world.call()
    world.vault.keep(call_id)
    assert world.vault.opt_out([call_id], 0)
    assert call_id not in Adversary(world).opens(world.memory.content)
    assert world.vault.keep(call_id) == "not_kept"
    world.vault.overwrite_all()
    assert not any(world.disk.read("hold", 0, world.disk.size("hold")))


def test_opt_out_of_a_provisional_hold_whose_day_is_gone() -> None:
    world = World()
    world.sleep(55 * DAY_MS, DAY_MS)
    call_id = world.call()
    world.vault.keep(call_id)
    core = world.vault._core
    core.table.period = core.table.period.__class__(days=1)
    world.sleep(2 * DAY_MS, DAY_MS)
    assert core.calls[call_id].day_bag is None
    assert world.vault.opt_out([call_id], 0)
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_opt_out_does_not_end_a_confirmed_hold() -> None:
    world = World()
    call_id = world.call()
    world.vault.hold(call_id, b"", review(world))
    assert refused(world.vault.opt_out, [call_id], 0) == "confirmed_hold"
    assert refused(world.vault.erase, call_id) == "held"
    assert heard(world.vault, call_id)


def test_hold_orders_that_make_no_sense_are_refused_and_change_nothing() -> None:
    world = World()
    call_id = world.call()
    running = world.open(1)
    before = world.vault.health()["generation"]
    assert refused(world.vault.hold, bytes(16), b"", review(world)) == "not_kept"
    assert refused(world.vault.hold, running, b"", review(world)) == "not_kept"
    assert refused(world.vault.hold, call_id, b"", world.now()) == "review_not_ahead"
    assert refused(world.vault.confirm, call_id, b"", review(world)) == "not_held"
    assert refused(world.vault.extend, call_id, review(world)) == "not_held"
    assert refused(world.vault.release, call_id) == "not_held"
    assert world.vault.health()["generation"] == before
    world.vault.hold(call_id, b"", review(world, 50))
    assert refused(world.vault.hold, call_id, b"", review(world)) == "already_held"
    assert refused(world.vault.extend, call_id, review(world, 40)) == "review_not_later"


def test_a_full_hold_area_refuses_loudly_and_recording_goes_on() -> None:
    world = World()
    held = 0
    while True:
        call_id = world.call(seconds=7)
        if world.vault.keep(call_id) is not None:
            break
        held += 1
    assert held > 0
    assert world.vault.keep(call_id) == "hold_quota_full"
    assert refused(world.vault.hold, call_id, b"", review(world)) == "hold_quota_full"
    assert "HOLD_QUOTA_HIGH" in alarms(world)
    assert heard(world.vault, world.call())


def test_keep_of_a_long_call_that_does_not_fit_is_refused_at_its_end_with_an_alarm() -> None:
    world = World()
    call_id = world.open()
    world.vault.keep(call_id)
    world.speak(call_id, 40)
    world.close(call_id)
    assert not world.vault.calls()[0].held
    assert "HOLD_REFUSED" in alarms(world)
    assert heard(world.vault, call_id)


def test_keep_of_a_long_interrupted_call_that_does_not_fit() -> None:
    world = World()
    call_id = world.open()
    world.vault.keep(call_id)
    world.speak(call_id, 40)
    world.cut()
    assert not world.vault.calls()[0].held
    assert "HOLD_REFUSED" in alarms(world)
    assert heard(world.vault, call_id)


def test_holds_fill_gaps_that_releases_left() -> None:
    world = World()
    calls = [world.call(seconds=3) for _ in range(4)]
    for call_id in calls[:3]:
        world.vault.hold(call_id, b"", review(world, 300))
    world.vault.release(calls[1])
    world.vault.hold(calls[3], b"", review(world, 300))
    assert world.vault._core.table.todo
    world.vault.overwrite_all()
    big = world.call(seconds=4)
    world.vault.hold(big, b"", review(world, 300))
    world.sleep(70 * DAY_MS, DAY_MS)
    for call_id in (calls[0], calls[2], calls[3], big):
        assert heard(world.vault, call_id)


def test_a_held_call_on_battery_memory_asks_for_its_export_within_a_week() -> None:
    world = World(memory_kind="ds3232")
    call_id = world.call()
    world.vault.hold(call_id, b"", review(world))
    world.sleep(8 * DAY_MS, DAY_MS)
    assert "HOLD_EXPORT_DUE" in alarms(world)
    world.vault.mark_exported(call_id)
    world.vault.mark_exported(call_id)
    world.vault.mark_exported(bytes(16))
    assert "HOLD_EXPORT_DUE" not in alarms(world)
    world.cut()
    assert "HOLD_EXPORT_DUE" not in alarms(world)


def test_many_holds_overflow_into_a_further_bag() -> None:
    world = World()
    calls = [world.call(seconds=0.1) for _ in range(30)]
    for call_id in calls:
        world.vault.hold(call_id, b"x" * 200, review(world, 300))
    world.sleep(70 * DAY_MS, DAY_MS)
    world.cut()
    assert {entry.call_id for entry in world.vault.calls()} == set(calls)
    assert len({world.vault._core.calls[call_id].hold_bag for call_id in calls}) > 1


def test_a_reason_that_is_too_long_is_refused() -> None:
    world = World()
    call_id = world.call(seconds=0.2)
    with pytest.raises(Refused) as caught:
        world.vault.hold(call_id, bytes(3000), world.now() + DAY_MS)
    assert caught.value.code == "text_too_long"


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
