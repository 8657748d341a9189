"""What explorer and years found, each as the smallest story that shows it. A mended bug stays mended."""

import errno
from dataclasses import replace

from hw.sim.disk import Kind
from tests.longrun.examine import spoil
from tests.longrun.inside import frames, recent_log
from tests.longrun.world import TINY, Site, World, chain_is_whole

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
