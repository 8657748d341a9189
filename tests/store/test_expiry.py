"""Two months by the calendar, whatever the box lived through; and what happens when the ring is too small for them."""

from datetime import UTC, date, datetime

import pytest

from firmware.policy.retention import Period
from firmware.store import space
from firmware.store.errors import Refused, RingFull
from firmware.store.identity import Geometry
from tests.store.adversary import Adversary
from tests.store.listening import heard
from tests.store.world import DAY_MS, HOUR_MS, SMALL, SMALL_RING, World, charter


def utc_ms(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


@pytest.mark.parametrize(
    ("opened", "limit"),
    [
        ((2026, 3, 2), (2026, 5, 2)),
        ((2025, 12, 31), (2026, 2, 28)),
        ((2023, 12, 30), (2024, 2, 29)),
        ((2026, 6, 30), (2026, 8, 30)),
        ((2026, 12, 31), (2027, 2, 28)),
    ],
)
def test_a_call_is_gone_at_the_start_of_its_calendar_limit_and_not_before(
    opened: tuple[int, int, int], limit: tuple[int, int, int]
) -> None:
    world = World(start_utc_ms=utc_ms(*opened, 23, 50))
    call_id = world.call(seconds=1)
    days = (date(*limit) - date(*opened)).days
    world.sleep(utc_ms(*limit) - 60_000 - world.now(), DAY_MS)
    assert days in range(59, 63)
    assert [entry.call_id for entry in world.vault.calls()] == [call_id]
    assert call_id in Adversary(world).opens(world.memory.content)
    world.sleep(120_000, 60_000)
    assert world.vault.calls() == []
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_a_box_that_was_off_past_the_limit_forgets_at_boot_before_anything_else() -> None:
    world = World()
    call_id = world.call()
    for _ in range(31):
        world.cut(2 * DAY_MS)
        world.sleep(12 * HOUR_MS, 12 * HOUR_MS)
    assert world.vault.calls() == []
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_past_the_limit_nothing_is_handed_out_even_while_the_clock_is_doubted() -> None:
    world = World()
    call_id = world.call()
    world.cut(70 * DAY_MS)
    assert world.vault.health()["clock"] == "suspect_fwd"
    assert world.vault.calls() == []
    with pytest.raises(Refused):
        world.vault.sealed(call_id)
    assert call_id in Adversary(world).opens(world.memory.content)
    world.sleep(73 * HOUR_MS)
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_a_time_order_that_disproves_a_mad_clock_saves_the_calls() -> None:
    world = World()
    call_id = world.call()
    world.rtc.jump_ms(400 * DAY_MS)
    world.cut(HOUR_MS)
    assert world.vault.calls() == []
    world.vault.settle_time(world.now() + HOUR_MS)
    assert [entry.call_id for entry in world.vault.calls()] == [call_id]


def test_a_time_order_from_long_ago_is_refused() -> None:
    world = World()
    with pytest.raises(Refused) as caught:
        world.vault.settle_time(world.now() - 100 * HOUR_MS)
    assert caught.value.code == "time_refused"


def test_a_time_order_far_ahead_expires_at_once() -> None:
    world = World()
    call_id = world.call()
    world.vault.settle_time(world.now() + 70 * DAY_MS)
    assert call_id not in Adversary(world).opens(world.memory.content)


def test_a_dead_clock_records_for_a_day_and_then_refuses() -> None:
    world = World()
    world.rtc.stop()
    world.cut(HOUR_MS)
    assert world.open()
    world.sleep(25 * HOUR_MS)
    assert not world.vault.may_record
    assert "CLOCK_UNKNOWN" in alarms(world)
    with pytest.raises(Refused) as caught:
        world.open()
    assert caught.value.code == "clock_unknown"


def test_a_shorter_retention_takes_effect_at_once() -> None:
    world = World()
    old = world.call()
    world.sleep(8 * DAY_MS)
    new = world.call()
    world.vault.change_retention(Period(days=7))
    assert [entry.call_id for entry in world.vault.calls()] == [new]
    assert old not in Adversary(world).opens(world.memory.content)
    assert world.vault.charter.period == Period(days=7)


def test_certificates_name_the_day_the_number_and_the_technique() -> None:
    world = World()
    world.call()
    world.call()
    world.sleep(62 * DAY_MS, DAY_MS)
    (line,) = list(world.vault.certificates())
    day = utc_ms(2026, 3, 2) // DAY_MS
    for part in ("op=expiry", f"day={day}", "calls=2", "memory=sim", "proven=0", "technique=crypto_erase"):
        assert part in line.decode()


def test_expired_blocks_are_overwritten_and_used_again() -> None:
    world = World()
    call_id = world.call(seconds=20)
    world.sleep(62 * DAY_MS, DAY_MS)
    world.sleep(60_000, 1000)
    assert call_id not in world.disk.read("ring", 0, world.disk.size("ring"))
    assert world.vault._core.ring.tail > 0


def test_a_call_over_midnight_belongs_to_the_day_of_its_answer() -> None:
    world = World(start_utc_ms=utc_ms(2026, 3, 2, 23, 59))
    call_id = world.open()
    at = world.speak(call_id, 20)
    world.sleep(2 * 60_000, 60_000)
    world.speak(call_id, 20, at)
    world.close(call_id)
    assert sum(piece.samples for piece in heard(world.vault, call_id)) == 40 * 8000
    world.sleep(utc_ms(2026, 5, 2) - 1000 - world.now(), DAY_MS)
    assert len(world.vault.calls()) == 1
    world.sleep(2000, 1000)
    assert world.vault.calls() == []


def fill_a_day(world: World, seconds: int) -> list[bytes]:
    return [world.call(seconds=10) for _ in range(seconds // 10)]


def test_full_ring_destroys_the_whole_oldest_day_and_says_so() -> None:
    world = World(geometry=SMALL_RING)
    days = []
    for _ in range(5):
        days.append(fill_a_day(world, 20))
        world.sleep(DAY_MS)
    kept = [entry.call_id for entry in world.vault.calls()]
    assert days[-1][-1] in kept
    assert not set(days[0]) & set(kept)
    for day in days:
        assert set(day) <= set(kept) or not set(day) & set(kept)
    assert "CAPACITY_EXPIRY" in alarms(world)
    assert b"|CAPACITY|day=" in b"".join(world.vault.audit_lines())
    assert b"op=capacity" in b"".join(world.vault.certificates())
    for call_id in kept:
        heard(world.vault, call_id)
    opens = Adversary(world).opens(world.memory.content)
    assert not set(days[0]) & opens


def test_one_heavy_day_does_not_cost_the_day_before_it() -> None:
    world = World(geometry=SMALL_RING)
    calls = fill_a_day(world, 20)
    world.sleep(2 * DAY_MS, HOUR_MS * 12)
    assert [entry.call_id for entry in world.vault.calls()] == calls


def test_the_oldest_day_goes_before_the_writer_has_to_wait() -> None:
    world = World(geometry=SMALL_RING)
    first = fill_a_day(world, 10)
    world.sleep(DAY_MS, DAY_MS)
    running = world.open()
    ring = world.vault._core.ring
    at = 0
    while ring.blocks - ring.head >= 20:
        at = world.speak(running, 0.1, at)
    assert set(first) <= set(world.vault._core.calls)
    world.vault.tick()
    assert not set(first) & set(world.vault._core.calls)
    assert "CAPACITY_EXPIRY" in alarms(world)


def test_today_is_never_destroyed_for_space() -> None:
    world = World(geometry=SMALL_RING)
    kept: list[bytes] = []
    running = b""

    def fill() -> None:
        nonlocal running
        while True:
            running = world.open()
            world.speak(running, 10)
            world.close(running)
            kept.append(running)

    with pytest.raises(RingFull):
        fill()
    world.close(running)
    assert len(world.vault.ledger_rows()) == len(kept) + 1
    assert "RING_FULL" in alarms(world)
    assert len(kept) > 2
    for call_id in kept:
        heard(world.vault, call_id)
    world.sleep(DAY_MS)
    assert "RING_FULL" not in alarms(world)
    heard(world.vault, world.call(seconds=10))


def test_a_call_that_fills_the_ring_alone_ends_in_ring_full_not_in_its_own_tail() -> None:
    world = World(geometry=SMALL_RING)
    call_id = world.open()
    with pytest.raises(RingFull):
        world.speak(call_id, 1000)
    world.cut()
    (entry,) = world.vault.calls()
    assert entry.call_id == call_id
    assert heard(world.vault, call_id)


def test_a_forecast_warns_a_week_ahead() -> None:
    world = World(geometry=SMALL_RING)
    for _ in range(3):
        fill_a_day(world, 10)
        world.sleep(DAY_MS)
    assert "CAPACITY_FORECAST" in alarms(world)
    left = world.vault.health()["days_until_full"]
    assert 0 < int(left) <= 7


def test_pool_of_bags_full_expires_the_oldest_day() -> None:
    few = Geometry(**{**SMALL.__dict__, "bag_slots": 14})
    world = World(geometry=few)
    first = world.call(seconds=0.2)
    for _ in range(8):
        world.sleep(DAY_MS)
        world.call(seconds=0.2)
    kept = {entry.call_id for entry in world.vault.calls()}
    assert first not in kept
    assert len(kept) >= 5


def test_pool_of_bags_full_of_today_stops_capture() -> None:
    few = Geometry(**{**SMALL.__dict__, "bag_slots": 10})
    world = World(geometry=few)
    with pytest.raises(RingFull):
        [world.call(seconds=0.1) for _ in range(60)]
    assert len(world.vault.calls()) > 10


def test_a_longer_retention_than_promised_is_refused() -> None:
    with pytest.raises(ValueError, match="not allowed"):
        World(charter=charter(retention_months=3))


def test_ring_wraps_many_times_without_touching_what_is_kept() -> None:
    world = World(geometry=SMALL_RING, charter=charter(retention_months=0, retention_days=2))
    kept: list[bytes] = []
    for number in range(16):
        kept = [*kept, *fill_a_day(world, 10)]
        here = {entry.call_id for entry in world.vault.calls()}
        assert set(kept[-1:]) <= here <= set(kept[-3:])
        for call_id in here:
            heard(world.vault, call_id)
        world.sleep(DAY_MS, DAY_MS)
        if number % 7 == 3:
            world.cut()
    assert world.vault._core.ring.head > 3 * world.vault._core.ring.blocks


def test_a_full_pool_of_today_is_ring_full_also_after_all_other_days_went() -> None:
    world = World()
    world.call(seconds=0.2)
    world.sleep(DAY_MS, DAY_MS)
    core = world.vault._core
    core.pool.slots = len(core.table.bags) + space.SPARE_SLOTS
    space.new_day_bag(core, core.table.epoch_day)
    assert core.capacity_expiries == 1
