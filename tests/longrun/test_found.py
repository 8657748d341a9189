"""What explorer and years found, each as the smallest story that shows it. A mended bug stays mended."""

import errno
from dataclasses import replace

from firmware.store.commands import Alarm
from firmware.store.erasable import ATTEMPTS
from firmware.units import MS_PER_DAY, PROVISIONAL_HOLD_DAYS
from hw.sim.disk import Kind
from hw.sim.memory import Failure, MemoryKind
from tests.longrun.examine import Examined, judge, spoil
from tests.longrun.inside import frames, held, recent_log
from tests.longrun.world import TINY, Site, World, chain_is_whole
from tests.longrun.years import Device, Life

SMALL_LOG = replace(TINY, audit_segments=4)


def test_a_log_line_that_ends_exactly_at_its_segments_end_in_a_wrapped_log_damages_nothing() -> None:
    """The next segment still holds lines of the last time round: they are not the log's continuation."""
    world = World("segment end", Site(geometry=SMALL_LOG))
    exact = 0
    while exact < 3 or world.vault._core.log.cursor.next_seq < 60:
        exact += _log_to_the_end_of_a_segment(world)
        lines = recent_log(world.vault, 1)
        assert lines[-1].seq == world.vault._core.log.cursor.next_seq - 1
        assert chain_is_whole(lines)
        assert list(world.vault.audit_lines())[-1] == lines[-1].raw
    world.reboot()
    assert chain_is_whole(recent_log(world.vault, 1))


def _log_to_the_end_of_a_segment(world: World) -> bool:
    """One more line; True where it could be made to end exactly at a segment's end."""
    log = world.vault._core.log
    segment = TINY.audit_segment_bytes
    before = log.cursor.position
    world.vault.log("DISCLOSE", {"n": 1})
    length = log.cursor.position - before
    room = segment - log.cursor.position % segment
    spare = room - length
    if not 0 <= spare <= 600:
        return False
    world.vault.log("DISCLOSE", {"n": 10**spare if spare < 15 else 1, **_padding(spare)})
    return log.cursor.position % segment == 0


def _padding(spare: int) -> dict[str, int | str | bytes]:
    return {} if spare < 15 else {"x": "a" * (spare - 3)}


def test_a_torn_append_that_spoilt_the_line_before_it_in_one_mirror_is_healed_before_the_other_mirror_goes() -> None:
    """The line before lies behind the table's cursor: it shares a sector with the torn one all the same."""
    world = World("shared sector")
    world.row()
    world.order(b"o" * 16)
    end = world.vault._core.log.cursor.position
    assert world.vault._core.table.audit.position == end
    lines = list(world.vault.audit_lines())
    world.disk.corrupt("audit.b", end - 40, b"garbage " * 5)
    world.reboot()
    spoil(world.disk, "audit", "a")
    assert list(world.vault.audit_lines())[: len(lines)] == lines


def test_a_frame_in_the_zone_after_the_one_that_the_scan_starts_in_is_found() -> None:
    """The card refused its block, so that nothing but zeros is read before it."""
    world = World("next zone")
    call_id = world.open_call()
    world.append(call_id)
    world.order(b"o" * 16)
    head = world.vault._core.table.ring_head

    def refuse(number: int, kind: Kind, name: str) -> None:
        if name == "ring" and kind == "durable":
            world.disk.hook = None
            raise OSError(errno.EIO, "bad block", name)

    world.disk.hook = refuse
    world.append(call_id)
    written = world.frames[call_id]
    assert (head, world.vault._core.ring.head) == (1, TINY.zone_blocks + 1)
    world.reboot()
    assert frames(world.vault, call_id) == written


def test_keep_on_a_running_call_that_finds_no_space_at_its_end_is_a_refusal_that_is_said() -> None:
    world = World("no space")
    large = world.call(0, frames=1)
    world.hold(large)
    running = world.open_call(1)
    for _ in range(TINY.hold_blocks):
        world.append(running)
    assert world.keep(running) is None
    world.close(running)
    assert world.promise.calls[running].hold == ""
    assert Alarm("HOLD_REFUSED") in world.vault.tick()
    assert judge(world, seen(world), world.promise) == []


def test_the_fourteen_days_of_a_provisional_hold_count_from_the_first_press() -> None:
    world = World("twice")
    running = world.open_call(0)
    world.keep(running)
    until = world.now_utc_ms() + PROVISIONAL_HOLD_DAYS * MS_PER_DAY
    world.pass_days(3)
    world.keep(running)
    world.close(running)
    assert world.promise.calls[running].hold_until_utc_ms == until
    world.pass_days(PROVISIONAL_HOLD_DAYS - 2)
    world.tick()
    assert judge(world, seen(world), world.promise) == []
    assert not held(world.vault, running)


def test_a_boot_whose_memory_does_not_answer_in_the_years_is_booted_again() -> None:
    life = Life()
    device = Device("silent boot", life)
    writes = 0

    def fail(number: int, kind: MemoryKind, slot: int) -> Failure | None:
        nonlocal writes
        writes += kind != "read"
        return Failure(0) if kind != "read" and writes <= ATTEMPTS else None

    device.world.memory.hook = fail
    device.guarded(lambda: device.world.reboot(1000), "boot")
    assert life.faults["boot without an answer"] == 1
    assert device.world.powered
    assert life.violations == []


def seen(world: World) -> Examined:
    return Examined([], world.disk, world.memory, world.registry, world.clock, world.vault, booted=False)
