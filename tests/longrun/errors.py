"""Fail the k-th call, for every k: each write, sync and slot access of a story, once, twice or from there on.

Whatever the vault says to an error, what it had acknowledged holds: after the error, after the reboot that follows, and
against the attacker. The story is a short life with every kind of operation; its calls are counted first.
"""

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from firmware.store.errors import CardFailed, ErasureUnconfirmed, NoRoot, Refused, RingFull, VaultError
from hw.sim.disk import Kind
from hw.sim.memory import SLOT_BYTES, Failure, MemoryKind
from tests.longrun.campaign import quietly
from tests.longrun.examine import Examined, judge
from tests.longrun.world import World

HOW_OFTEN = {"once": 1, "twice": 2, "from then on": 10**9}


@dataclass
class Sweep:
    runs: int = 0
    disk_calls: int = 0
    memory_calls: int = 0
    acknowledged_all_the_same: int = 0
    refused_with_a_fault: int = 0
    violations: list[str] = field(default_factory=list)


def story(world: World) -> Iterator[None]:
    held, gone = world.call(0), world.call(1)
    yield
    world.keep(held)
    yield
    running = world.open_call(0)
    world.append(running)
    yield
    world.opt_out(gone)
    yield
    world.confirm(held)
    world.order(b"o" * 16)
    world.document("site", b"s" * 5000)
    yield
    world.close(running)
    world.midnight()
    yield
    world.release(held)
    world.erase(running)
    yield


EVERY_WAY = tuple((often, number) for often in HOW_OFTEN for number in (errno.EIO, errno.ENOSPC))


def sweep(ways: Sequence[tuple[str, int]] = EVERY_WAY) -> Sweep:
    """Every disk call in each of ``ways``, every memory access once, twice and for ever."""
    done = Sweep()
    with quietly():
        plain = World("errors")
        disk_before, memory_before = plain.disk.calls, plain.memory.calls
        for _ in story(plain):
            pass
        done.disk_calls = plain.disk.calls - disk_before
        done.memory_calls = plain.memory.calls - memory_before
        for k in range(done.disk_calls):
            for often, number in ways:
                _one_disk_error(done, k, often, number)
        for k in range(done.memory_calls):
            for often in HOW_OFTEN:
                _one_memory_error(done, k, often)
    return done


def _one_disk_error(done: Sweep, k: int, often: str, number: int) -> None:
    world = World("errors")
    first = world.disk.calls + k

    def fail(call: int, kind: Kind, name: str) -> None:
        if first <= call < first + HOW_OFTEN[often]:
            raise OSError(number, "injected", name)

    world.disk.hook = fail
    _live_through(done, world, f"{errno.errorcode[number]} at disk call {k} {often}")


def _one_memory_error(done: Sweep, k: int, often: str) -> None:
    world = World("errors")
    first = world.memory.calls + k

    def fail(call: int, kind: MemoryKind, slot: int) -> Failure | None:
        return Failure((k * 7) % (SLOT_BYTES + 1)) if first <= call < first + HOW_OFTEN[often] else None

    world.memory.hook = fail
    _live_through(done, world, f"memory silent at call {k} {often}")


def _live_through(done: Sweep, world: World, what: str) -> None:
    done.runs += 1
    try:
        for _ in story(world):
            pass
        done.acknowledged_all_the_same += 1
    except (CardFailed, ErasureUnconfirmed, NoRoot, Refused, RingFull):
        done.refused_with_a_fault += 1
    except (VaultError, AssertionError, OSError, ValueError, LookupError) as error:
        done.violations.append(f"{what}: {type(error).__name__}: {error}")
        return
    world.disk.hook = None
    world.memory.hook = None
    world.power_cut(1000)
    try:
        world.open_vault()
    except (VaultError, AssertionError, OSError, ValueError, LookupError) as error:
        done.violations.append(f"{what}: the boot after it failed: {type(error).__name__}: {error}")
        return
    found = Examined([], world.disk, world.memory, world.registry, world.clock, world.vault)
    done.violations += [f"{what}: {text}" for text in judge(world, found, world.promise)]
