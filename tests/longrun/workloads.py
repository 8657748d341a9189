"""What the explored devices live through. Each workload yields the name of every operation once it is acknowledged.

Together they contain every operation of the vault and every scenario that the storage design names as a trap.
"""

import errno
from collections.abc import Callable, Iterator

from firmware.policy.records import Outcome
from firmware.store.errors import ErasureUnconfirmed
from firmware.units import MS_PER_DAY
from hw.sim.disk import Kind
from hw.sim.memory import Failure, MemoryKind
from tests.longrun.model import Pending
from tests.longrun.world import Site, World

HOUR_MS = 3_600_000
SKIP = ""
"""Yielded instead of a name: what happened repeats what was cut elsewhere."""
Workload = Callable[[World], Iterator[str]]


def everyday(world: World) -> Iterator[str]:
    """Calls on two lines, gaps, rows, ticks, a midnight in a call."""
    first = world.open_call(0)
    yield "open call"
    world.append(first)
    yield "append frame"
    second = world.open_call(1)
    yield "open call on the other line"
    world.gap(first)
    yield "append gap"
    world.append(second, blocks=3)
    yield "append large frame"
    world.close(first)
    yield "close call"
    world.row()
    yield "ledger row alone"
    world.midnight()
    yield "midnight in a call: the signing keys change hands"
    world.append(second)
    yield "append after midnight"
    world.close(second)
    yield "close call of yesterday"
    world.tick()
    yield "tick"


def opt_outs(world: World) -> Iterator[str]:
    """During the call, after it, of a provisionally held one, beside another call in the same bag."""
    other = world.open_call(1)
    world.append(other)
    running = world.open_call(0)
    world.append(running)
    yield "two calls"
    world.opt_out(running)
    yield "opt-out of a running call"
    world.on_hook(0)
    yield "latch lifted"
    closed = world.call(0)
    yield "a whole call"
    world.opt_out(closed)
    yield "opt-out of a closed call"
    world.tick()
    yield "overwriting after opt-outs (R5)"
    world.on_hook(0)
    held = world.call(0, frames=2)
    world.keep(held)
    yield "KEEP"
    world.opt_out(held)
    yield "opt-out of a provisionally held call, over both bags"
    world.tick()
    yield "overwriting ring and hold area (R5)"
    world.append(other)
    world.close(other)
    yield "the other call goes on"


def holds(world: World) -> Iterator[str]:
    """Every change of a hold, over expiry and midnight; a release after the limit destroys."""
    held, plain, lapsing = world.call(0, frames=2), world.call(1), world.call(0)
    yield "three calls"
    running = world.open_call(0)
    world.append(running)
    world.keep(running)
    yield "KEEP on a running call"
    world.close(running)
    yield "close of a call that is to be kept"
    world.hold(held)
    yield "HOLD order"
    world.keep(lapsing)
    yield "a second provisional hold"
    world.extend(held)
    yield "EXTEND order"
    world.confirm(running)
    yield "CONFIRM order"
    world.midnight()
    yield "midnight re-keys the holds"
    world.pass_days(13)
    yield SKIP
    world.pass_days(1)
    world.tick()
    yield "a provisional hold lapses"
    world.pass_days(46)
    yield SKIP
    world.pass_days(1)
    world.tick()
    yield "expiry around held calls"
    world.release(held)
    yield "RELEASE past the limit"
    world.tick()
    yield "overwriting the hold area"
    assert plain not in world.promise.calls
    assert running in world.promise.calls


def erasures(world: World) -> Iterator[str]:
    """ERASE, orders, keys, documents, log lines."""
    gone, kept = world.call(0), world.call(0)
    yield "two calls"
    world.order(b"o" * 16)
    yield "order remembered"
    world.log()
    yield "DISCLOSE line"
    world.erase(gone)
    yield "ERASE order"
    world.change_keys()
    yield "keys changed"
    world.document("site", b"S" * 3000)
    yield "document"
    world.document("site", b"T" * 5000)
    yield "document replaced"
    world.order(b"p" * 16)
    yield "second order"
    world.hold(kept)
    world.release(kept)
    yield "hold and release before the limit"


def expiry(world: World) -> Iterator[str]:
    """Days that reach their limit: at midnight, at a boot after two weeks off, two days at once."""
    for _ in range(3):
        world.call(0)
        world.midnight()
    yield "three days of calls"
    world.pass_days(56)
    yield SKIP
    world.midnight()
    yield "the night before the first limit"
    world.pass_days(2)
    world.tick()
    yield "first day expires"
    world.power_cut()
    yield "cut"
    world.boot()
    yield "boot"
    world.call(1)
    world.midnight()
    yield "another day"


def interrupted(world: World) -> Iterator[str]:
    """Cuts in calls, a second reboot after one, an opt-out of the interrupted call."""
    first = world.open_call(0)
    world.append(first)
    world.append(first)
    yield "a call with two frames"
    world.power_cut(5 * 60_000)
    yield "cut in the call"
    world.boot()
    yield "boot closes the interrupted call"
    world.power_cut(2000)
    yield "cut again"
    world.boot()
    yield "second reboot after an interrupted call"
    world.opt_out(first)
    yield "opt-out of the interrupted call"
    world.on_hook(0)
    empty = world.open_call(0)
    kept = world.open_call(1)
    world.append(kept)
    world.keep(kept)
    yield "a call without a frame, one with KEEP pressed"
    world.power_cut(2000)
    yield "cut in both"
    world.boot()
    yield "boot closes both and carries KEEP out"
    assert empty in world.promise.calls
    world.opt_out(kept)
    yield "opt-out beats the provisional hold"


def answers(world: World) -> Iterator[str]:
    """Power goes in the notice, with an opt-out there, beside a recording, over a midnight, right before the row."""
    short = world.answer(0)
    yield "answer"
    world.row_of(short)
    yield "row of a call of which nothing was kept"
    refused = world.answer(0)
    world.opt_out_answer(refused)
    yield "opt-out in the notice"
    waiting = world.answer(1)
    yield "answer on the other line"
    world.midnight()
    yield "midnight in two notices"
    world.row_of(refused, 0, Outcome.OPTED_OUT)
    yield "row of the opt-out"
    kept = world.open_call(1, waiting)
    world.append(kept)
    world.answer(0)
    yield "a recording beside a notice"
    world.power_cut(2000)
    yield "cut in both"
    world.boot()
    yield "boot writes both rows"
    world.power_cut(2000)
    world.boot()
    yield "second boot after them"
    gone = world.open_call(0)
    world.append(gone)
    world.discard(gone)
    yield "a call that was opened and may not be kept"
    world.opt_out(world.open_call(1))
    yield "opt-out of a call without a frame"
    world.reboot()
    yield "boot writes its row"


def no_room(world: World) -> Iterator[str]:
    """KEEP and HOLD that find no space, at the press, at the call's end, at a boot: told, and the log knows it."""
    large = world.open_call(1)
    for _ in range(5):
        world.append(large, blocks=4)
    world.close(large)
    world.hold(large)
    yield SKIP
    running = world.open_call(0)
    world.append(running, blocks=3)
    world.keep(running)
    world.append(running, blocks=3)
    yield "KEEP on a running call that grows too long"
    world.close(running)
    assert running in world.promise.refused
    yield "KEEP refused at the call's end"
    assert world.keep(running) == "hold_quota_full"
    yield "KEEP refused at the press"
    world.hold_refused(running)
    cut = world.open_call(0)
    world.append(cut, blocks=3)
    world.keep(cut)
    world.append(cut, blocks=3)
    world.power_cut(2000)
    yield "cut in a call that is to be kept and is too long"
    world.boot()
    assert cut in world.promise.refused
    yield "KEEP refused by the boot"
    nothing = world.open_call(0)
    world.append(nothing)
    world.keep(nothing)
    yield "KEEP on a call of unknown direction"
    world.discard(nothing)
    assert nothing in world.promise.refused
    yield "KEEP comes to nothing with its call"
    world.hold(world.call(0))
    world.release(large)
    for _ in range(3):
        world.pass_ms(10_000)
        world.tick()
    world.hold(world.call(1, frames=3))
    pieces = _call_of(world, blocks=(4,) * 5)
    yield SKIP
    world.hold_refused(pieces)
    yield "HOLD that finds the free space in pieces"
    assert world.keep(running) is None
    yield "KEEP after there is room again"
    assert world.promise.calls[running].hold == "provisional"


def _call_of(world: World, blocks: tuple[int, ...]) -> bytes:
    call_id = world.open_call(0)
    for count in blocks:
        world.append(call_id, blocks=count)
    world.close(call_id)
    return call_id


def full_ring(world: World) -> Iterator[str]:
    """The ring wraps, whole oldest days go for space, zones are zeroed before they are used again."""
    for day in range(3):
        for _ in range(4):
            call = world.open_call(0)
            for _ in range(4):
                world.append(call, blocks=4)
            world.close(call)
        if day == 0:
            held = call
            world.hold(held)
            oldest = world.promise.calls.keys() - {held}
        world.midnight()
    yield SKIP
    for number in range(5):
        call = world.open_call(0)
        for part in range(4):
            world.append(call, blocks=4)
            yield "append in a ring that is filling" if (number + part) % 4 == 3 else SKIP
        world.close(call)
    yield "the oldest day went for space"
    world.midnight()
    world.call(1)
    yield "after the wrap"
    assert held in world.promise.calls
    assert not oldest & world.promise.calls.keys(), "the ring was meant to be too small"


def bad_clock(world: World) -> Iterator[str]:
    """A jump of two months at boot, its TIME order; a dead clock; +71 h at each of many boots."""
    call = world.call(0)
    yield "a call"
    world.rtc.jump_ms(61 * MS_PER_DAY)
    world.power_cut(1000)
    world.boot()
    yield "boot with a clock two months ahead"
    assert call in world.promise.calls
    world.settle_time(world.clock.true_utc_ms)
    yield "a TIME order disproves the clock"
    world.rtc.jump_ms(-61 * MS_PER_DAY)
    world.rtc.silent = True
    world.power_cut(HOUR_MS)
    world.boot()
    yield "boot without a clock"
    world.pass_ms(6 * 60_000)
    world.tick()
    yield "time is persisted while suspect"
    world.rtc.silent = False
    world.pass_ms(60_000)
    world.tick()
    yield "the clock is back"
    for _ in range(21):
        world.rtc.jump_ms(71 * HOUR_MS)
        world.power_cut(1000)
        world.boot()
    yield "71 hours ahead at each of 21 boots"
    assert call in world.promise.calls, "I22 CLOCK-NO-WIPE"


def full_bag(world: World) -> Iterator[str]:
    """More calls than one bag of this size takes: a second bag of the day, rewriting a full bag."""
    calls = [world.call(number & 1) for number in range(12)]
    yield SKIP
    calls += [world.call(number & 1) for number in range(2)]
    yield "fourteen calls in small bags"
    world.opt_out(calls[0])
    yield "opt-out in the first bag"
    world.opt_out(calls[-1])
    yield "opt-out in the last bag"
    world.midnight()
    yield "midnight with two bags"


def bad_block(world: World) -> Iterator[str]:
    """The card refuses a frame's block: it goes to the next zone, and the hole behind it is not the end of the log."""
    call = world.open_call(0)
    world.append(call)
    yield "a frame"
    refused = 0

    def refuse(number: int, kind: Kind, name: str) -> None:
        nonlocal refused
        if name == "ring" and kind == "durable" and refused == 0:
            refused += 1
            raise OSError(errno.EIO, "bad block", name)

    world.disk.hook = refuse
    world.append(call)
    world.disk.hook = None
    assert refused == 1
    yield "a frame behind a hole"
    world.append(call)
    yield "a further frame"
    world.reboot()
    yield "boot over the hole"


def long_call(world: World) -> Iterator[str]:
    """More frames than a boot scans: the table's head has to follow, or the end of the call is lost."""
    call = world.open_call(0)
    for _ in range(14):
        world.append(call, blocks=4)
    yield SKIP
    world.append(call, blocks=4)
    yield "a frame far into a long call"
    world.reboot()
    yield "boot after a cut in a long call"


def large_opt_out(world: World) -> Iterator[str]:
    """Blocks of a destroyed call between two retained ones are overwritten, however often the power fails meanwhile."""
    world.call(1)
    call = world.open_call(0)
    world.append(call, blocks=4)
    world.append(call, blocks=4)
    world.close(call)
    world.call(1)
    yield SKIP
    world.opt_out(call)
    yield "opt-out of large frames"
    world.pass_ms(10_000)
    world.tick()
    yield "overwriting them (R5)"


def quiet_memory(world: World) -> Iterator[str]:
    """The erasable memory does not answer in R3, or tears and fails; nothing is believed before it does."""
    kept, gone = world.call(0), world.call(1)
    yield "two calls"
    first = world.memory.calls

    def fail(number: int, kind: MemoryKind, slot: int) -> Failure | None:
        return Failure(bytes_done=7) if first <= number < first + 12 else None

    world.memory.hook = fail
    world.begin(Pending("opt_out", may_go=frozenset({gone}), may_unhold=frozenset({gone})))
    try:
        world.vault.opt_out((gone,), 1)
        raise AssertionError("acknowledged while the memory did not answer")
    except ErasureUnconfirmed:
        pass
    world.try_to_record(0)
    world.memory.hook = None
    world.retry()
    world.take_over()
    assert gone not in world.promise.calls
    yield "opt-out with a memory that does not answer"
    later = world.call(0)
    yield "a call after it"
    world.reboot()
    assert {kept, later} <= world.promise.calls.keys()
    yield "boot"


DEEP = frozenset({"large opt-out"})
"""Run alone, every image of these is examined to the end: second boot, life after it, all overwriting."""

ALL: dict[str, tuple[Workload, Site]] = {
    "everyday": (everyday, Site()),
    "opt-outs": (opt_outs, Site()),
    "holds": (holds, Site()),
    "erasures": (erasures, Site()),
    "expiry": (expiry, Site()),
    "interrupted": (interrupted, Site()),
    "answers": (answers, Site()),
    "no room": (no_room, Site()),
    "full ring": (full_ring, Site()),
    "bad clock": (bad_clock, Site()),
    "full bag": (full_bag, Site()),
    "bad block": (bad_block, Site()),
    "quiet memory": (quiet_memory, Site()),
    "long call": (long_call, Site()),
    "large opt-out": (large_opt_out, Site()),
}
