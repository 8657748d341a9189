"""The power fails, or the card or the memory refuses, at every single call of every operation, with the real ciphers.

The crash explorer of ``tests/longrun`` goes deeper with ideal ciphers; this sample runs in every ``make test``.
"""

import errno
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from firmware.store.errors import ErasureUnconfirmed, VaultError
from firmware.store.vault import Vault
from hw.sim.clock import SimClock
from hw.sim.disk import Image, SimDisk
from hw.sim.memory import Failure, SimMemory
from tests.store.adversary import Adversary
from tests.store.listening import heard, trusted
from tests.store.world import DAY_MS, World, meta, row

LONG_MS = 90 * DAY_MS


class PowerCut(BaseException):
    """Nothing in the product may catch it."""


@dataclass
class Base:
    """A device with two closed calls, one of them held, one document; every run starts from a copy."""

    image: Image
    memory: bytes
    true_utc_ms: int
    free: bytes
    held: bytes
    history: list[object] = field(default_factory=list)


@pytest.fixture(scope="module")
def base() -> Base:
    world = World()
    free, held = world.call(seconds=3), world.call(seconds=3)
    world.vault.hold(held, b"case", world.now() + LONG_MS)
    world.vault.put_document("site", b"settings")
    return Base(
        world.disk.freeze(), world.memory.content, world.clock.true_utc_ms, free, held, list(world.disk.history)
    )


def begin(base: Base, seed: int) -> World:
    world = World(seed=1000 + seed, provisioned=False)
    world.disk = SimDisk(base.image, rng=random.Random(seed))
    world.disk.history = list(base.history)  # type: ignore[arg-type]
    world.memory = SimMemory(base.memory)
    world.clock = SimClock(base.true_utc_ms)
    world.rtc._clock = world.clock
    world.boot()
    return world


@dataclass
class Story:
    """``act`` may be cut anywhere; ``kept`` must be there whatever happens; ``gone`` once ``act`` returned."""

    act: Callable[[World, Base], None]
    kept: Callable[[Base], list[bytes]]
    gone: Callable[[Base], list[bytes]] = lambda base: []


def record(world: World, base: Base) -> None:
    call_id = world.open()
    world.speak(call_id, 4)
    world.close(call_id)


def opt_out_running(world: World, base: Base) -> None:
    call_id = world.open()
    world.speak(call_id, 2)
    world.vault.opt_out([call_id], 0)
    now = world.now()
    world.vault.write_row(row(0, now, now))


def midnight(world: World, base: Base) -> None:
    world.clock.advance_ms(DAY_MS)
    world.vault.tick()


def expire(world: World, base: Base) -> None:
    world.vault.settle_time(world.now() + 70 * DAY_MS)


def keep_running(world: World, base: Base) -> None:
    call_id = world.open()
    world.speak(call_id, 2)
    world.vault.keep(call_id)
    world.close(call_id)


def orders(world: World, base: Base) -> None:
    world.vault.remember_order(b"o" * 16, world.now() + DAY_MS)
    world.vault.log("ORDER", {"op": "index"})
    world.vault.put_document("site", b"other settings")
    world.vault.mark_exported(base.held)


def everybody(base: Base) -> list[bytes]:
    return [base.free, base.held]


STORIES = {
    "record": Story(record, everybody),
    "opt_out_running": Story(opt_out_running, everybody),
    "opt_out_closed": Story(lambda w, b: bool(w.vault.opt_out([b.free], 0)), lambda b: [b.held], lambda b: [b.free]),
    "erase": Story(lambda w, b: bool(w.vault.erase(b.free)), lambda b: [b.held], lambda b: [b.free]),
    "keep": Story(lambda w, b: bool(w.vault.keep(b.free)), everybody),
    "keep_running": Story(keep_running, everybody),
    "release": Story(lambda w, b: w.vault.release(b.held), everybody),
    "midnight": Story(midnight, everybody),
    "expire": Story(expire, lambda b: [b.held], lambda b: [b.free]),
    "orders": Story(orders, everybody),
    "overwrite": Story(lambda w, b: (w.vault.erase(b.free), w.vault.overwrite_all())[1], lambda b: [b.held]),
    "reboot": Story(lambda w, b: bool(w.boot()), everybody),
}


def calls_of(world: World) -> int:
    return world.disk.calls + world.memory.calls


def examine(world: World, base: Base, story: Story, done: bool) -> None:
    """After the cut: boot, and check what was promised."""
    vault = world.cut()
    assert trusted(vault).problems == []
    there = {entry.call_id for entry in vault.calls()}
    assert set(story.kept(base)) <= there
    for call_id in there:
        heard(vault, call_id)
    slots = [world.memory.content[:32], world.memory.content[32:]]
    assert sum(any(slot) for slot in slots) == 1
    opens = Adversary(world).opens(world.memory.content)
    assert opens == set(world.vault._core.calls), "what the device has is what an adversary opens, no more"
    if done:
        assert not set(story.gone(base)) & opens
    rows = [entry for _, entry in vault.ledger_rows() if entry.call_id is not None]
    assert len({entry.call_id for entry in rows}) == len(rows)
    assert {entry.call_id for entry in rows} >= there
    assert vault.document("site") in (b"settings", b"other settings")
    before = vault.ledger_rows()
    assert world.cut().ledger_rows() == before


def points(base: Base, story: Story, most: int) -> Iterator[int]:
    """The calls at which to fail, from a run without failures; ``most`` of them, spread evenly."""
    world = begin(base, 1)
    start = calls_of(world)
    story.act(world, base)
    count = calls_of(world) - start + 1
    step = max(1, count // most)
    yield from range(0, count, step)


QUICK = 10
ALL = 100_000


@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_keeps_every_promise(base: Base, name: str) -> None:
    cut_everywhere(base, STORIES[name], QUICK)


@pytest.mark.proof
@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_at_every_single_call_keeps_every_promise(base: Base, name: str) -> None:
    cut_everywhere(base, STORIES[name], ALL)


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("for_ever", [False, True])
def test_an_io_error_keeps_every_promise(base: Base, name: str, for_ever: bool) -> None:
    fail_everywhere(base, STORIES[name], for_ever, QUICK // 2)


@pytest.mark.proof
@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("for_ever", [False, True])
def test_an_io_error_at_every_single_call_keeps_every_promise(base: Base, name: str, for_ever: bool) -> None:
    fail_everywhere(base, STORIES[name], for_ever, ALL)


def cut_everywhere(base: Base, story: Story, most: int) -> None:
    for number, point in enumerate(points(base, story, most)):
        world = begin(base, number)
        target = calls_of(world) + point

        def cut_disk(_k: int, _kind: object, _name: object, world: World = world, target: int = target) -> None:
            if calls_of(world) > target:
                raise PowerCut

        def cut_memory(_k: int, kind: str, _slot: int, world: World = world, target: int = target) -> Failure | None:
            """In a write: torn at any byte; the power is gone at whatever is called next."""
            if calls_of(world) <= target:
                return None
            if kind == "read" or calls_of(world) > target + 1:
                raise PowerCut
            return Failure(world.rng.randrange(33))

        world.disk.hook = cut_disk
        world.memory.hook = cut_memory
        done = False
        try:
            story.act(world, base)
            done = True
        except PowerCut:
            pass
        world.disk.hook = None
        world.memory.hook = None
        examine(world, base, story, done)


def fail_everywhere(base: Base, story: Story, for_ever: bool, most: int) -> None:
    for number, point in enumerate(points(base, story, most)):
        world = begin(base, number)
        target = calls_of(world) + point

        def fails(world: World = world, target: int = target) -> bool:
            return calls_of(world) > target if for_ever else calls_of(world) == target + 1

        def fail_disk(_k: int, _kind: object, _name: object, fails: Callable[[], bool] = fails) -> None:
            if fails():
                raise OSError(errno.EIO, "the card does not answer")

        def fail_memory(_k: int, _kind: object, _slot: object, fails: Callable[[], bool] = fails) -> Failure | None:
            return Failure(random.Random(7).randrange(33)) if fails() else None

        world.disk.hook = fail_disk
        world.memory.hook = fail_memory
        done = False
        try:
            story.act(world, base)
            done = True
        except (VaultError, OSError):
            assert for_ever or story is STORIES["reboot"], "one single error is always survived"
        world.disk.hook = None
        world.memory.hook = None
        examine(world, base, story, done)


def test_the_memory_hangs_in_mid_opt_out_and_the_next_tick_finishes_it(base: Base) -> None:
    world = begin(base, 3)
    world.memory.unplugged = True
    with pytest.raises(VaultError) as caught:
        world.vault.erase(base.free)
    assert caught.value.code == "ERASURE_UNCONFIRMED"
    with pytest.raises(VaultError):
        world.vault.tick()
    with pytest.raises(VaultError) as caught:
        world.open()
    assert caught.value.code == "ERASURE_UNCONFIRMED"
    world.memory.unplugged = False
    world.vault.tick()
    assert base.free not in Adversary(world).opens(world.memory.content)
    assert world.call()


def test_closing_again_after_the_memory_hung_writes_one_row(base: Base) -> None:
    world = begin(base, 4)
    call_id = world.open()
    world.speak(call_id, 2)
    world.vault.keep(call_id)
    world.memory.unplugged = True
    with pytest.raises(VaultError):
        world.close(call_id)
    world.memory.unplugged = False
    world.vault.tick()
    world.close(call_id)
    assert [entry.call_id for _, entry in world.vault.ledger_rows()].count(call_id) == 1
    assert next(entry for entry in world.vault.calls() if entry.call_id == call_id).held


def test_a_frame_waits_while_the_memory_hangs_and_no_sample_is_lost_or_doubled(base: Base) -> None:
    world = begin(base, 5)
    call_id = world.open()
    at = 0
    core = world.vault._core
    for number in range(400):
        if number == 150:
            core.table.ring_head -= core.ring.reserve
            world.memory.unplugged = True
        try:
            world.speak(call_id, 0.1, at)
        except ErasureUnconfirmed:
            world.memory.unplugged = False
            world.vault.tick()
            world.speak(call_id, 0.1, at)
        at += 800
    assert not world.memory.unplugged
    world.vault.close_call(call_id, meta(), row(0, world.now(), world.now()))
    pieces = heard(world.vault, call_id)
    assert sum(piece.samples for piece in pieces) == 400 * 800


def test_a_vault_whose_card_failed_accepts_nothing_until_it_is_opened_again(base: Base) -> None:
    world = begin(base, 6)

    def fail(_k: int, kind: str, name: str) -> None:
        if name == "ring" and kind == "durable":
            raise OSError(errno.EIO, "worn out")

    call_id = world.open()
    world.disk.hook = fail
    with pytest.raises(VaultError) as caught:
        world.speak(call_id, 4)
    assert caught.value.code == "CARD_FAILED"
    world.disk.hook = None
    for act in (world.open, world.vault.tick, lambda: world.vault.log("ORDER", {})):
        with pytest.raises(VaultError) as caught:
            act()
        assert caught.value.code == "CARD_FAILED"
    world.boot()
    assert world.call()


def test_a_refused_frame_is_taken_at_the_next_zone_unchanged(base: Base) -> None:
    world = begin(base, 7)
    call_id = world.open()
    refusals: list[int] = []

    def once(_k: int, kind: str, name: str) -> None:
        if name == "ring" and kind == "durable" and not refusals:
            refusals.append(1)
            raise OSError(errno.EIO, "a bad block")

    world.disk.hook = once
    world.speak(call_id, 6)
    world.disk.hook = None
    world.close(call_id)
    assert sum(piece.samples for piece in heard(world.vault, call_id)) == 48_000
    world.cut()
    assert sum(piece.samples for piece in heard(world.vault, call_id)) == 48_000


def test_open_is_boot(base: Base) -> None:
    world = begin(base, 8)
    again = Vault.open(world.parts(), simulation=True)
    assert [entry.call_id for entry in again.calls()] == [base.free, base.held]
