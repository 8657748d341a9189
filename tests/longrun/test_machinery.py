"""The explorer's own parts: its images are those of the simulated card, its memo hides nothing, its attacker sees."""

import importlib.util
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.sim.disk import SECTOR_BYTES, SimDisk
from hw.sim.memory import SimMemory
from tests.longrun.explore import Effort, Explorer
from tests.longrun.ideal import IdealCiphers, NonceReused, Registry
from tests.longrun.images import Trace
from tests.longrun.memo import Memo
from tests.longrun.mutants import MUTANTS, Mutant, edited
from tests.longrun.quickdisk import QuickDisk
from tests.longrun.workloads import opt_outs
from tests.longrun.world import World
from tests.longrun.years import live_years

STORY = st.lists(
    st.tuples(st.sampled_from(["write", "durable", "sync"]), st.integers(0, 3000), st.binary(min_size=1, max_size=900)),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(STORY)
def test_an_image_holds_only_what_was_synced_or_pending(
    story: list[tuple[str, int, bytes]],
) -> None:
    disk = SimDisk()
    disk.create("f", 4096)
    base = disk.freeze()
    versions: dict[int, set[bytes]] = {sector: {bytes(SECTOR_BYTES)} for sector in range(8)}
    for what, offset, data in story:
        if what == "sync":
            disk.sync("f")
        else:
            (disk.write if what == "write" else disk.write_durable)("f", offset, data)
        for sector in range(8):
            versions[sector].add(disk.read("f", sector * SECTOR_BYTES, SECTOR_BYTES))
    trace = Trace(base, bytes(64), disk.history, None)
    final = SimDisk(trace.image(trace.final()))
    assert final.read("f", 0, 4096) == disk.read("f", 0, 4096)
    for crash in trace.crashes(random.Random(1), 16):
        image = trace.image(crash)
        unknown = [s for s in range(8) if image.get(("f", s)) not in versions[s]]
        assert len(unknown) <= 1, "at most one sector is torn"


@settings(max_examples=200, deadline=None)
@given(STORY, STORY, st.lists(st.tuples(st.integers(0, 4096), st.integers(0, 2000)), max_size=6))
def test_the_quick_disk_is_the_disk(
    before: list[tuple[str, int, bytes]], story: list[tuple[str, int, bytes]], reads: list[tuple[int, int]]
) -> None:
    first = SimDisk()
    first.create("f", 4096)
    _live(first, before)
    looked: list[list[tuple[str, int, int]]] = [[], []]
    disks = [SimDisk(first.image()), QuickDisk(first.image())]
    for disk, looks in zip(disks, looked, strict=True):
        disk.on_read = lambda name, a, b, looks=looks: looks.append((name, a, b))  # type: ignore[misc]
        _live(disk, story)
        looks += [("", 0, 0)]
    slow, quick = disks
    assert looked[0] == looked[1]
    for offset, length in [(0, 4096), *reads]:
        if offset + length <= 4096:
            assert quick.read("f", offset, length) == slow.read("f", offset, length)
        else:
            with pytest.raises(OSError, match="shorter"):
                quick.read("f", offset, length)
    assert looked[0] == looked[1]
    assert (quick.unsynced(), quick.history) == (slow.unsynced(), slow.history)
    assert quick.freeze() == slow.freeze()
    assert SimDisk(quick.image()).read("f", 0, 4096) == SimDisk(slow.image()).read("f", 0, 4096)


def _live(disk: SimDisk, story: list[tuple[str, int, bytes]]) -> None:
    for what, offset, data in story:
        if what == "sync":
            disk.sync("f")
        else:
            (disk.write if what == "write" else disk.write_durable)("f", offset, data)


def test_a_slot_is_torn_at_every_byte() -> None:
    disk, memory = SimDisk(), SimMemory()
    memory.history = disk.history  # type: ignore[assignment]
    memory.write_slot(0, bytes(range(1, 33)))
    memories = {
        crash.memory for crash in Trace(disk.freeze(), bytes(64), disk.history, None).crashes(random.Random(1), 8)
    }
    assert len(memories) == 33


def test_a_recovery_is_cut_at_each_of_its_moments_not_at_its_end_alone() -> None:
    disk = SimDisk()
    disk.create("f", 4096)
    for offset in range(0, 4096, SECTOR_BYTES):
        disk.write_durable("f", offset, bytes([1 + offset // SECTOR_BYTES]) * SECTOR_BYTES)
    trace, rng = Trace(SimDisk().freeze(), bytes(64), disk.history, None), random.Random(1)
    written = {sum(map(bool, trace.sample(rng).versions)) for _ in range(200)}
    assert written == set(range(9))


def _violations(monkeypatch: pytest.MonkeyPatch, *, memo: bool) -> tuple[set[str], int]:
    """With a known bug: the new table is not synced."""
    if not memo:
        monkeypatch.setattr(Memo, "known", lambda self, root, crash: False)
        monkeypatch.setattr(Memo, "add", lambda self, root, crash, looks: None)
    monkeypatch.setattr(SimDisk, "sync", _sync_all_but_tables)
    world = World("memo")
    explorer = Explorer(world, Effort(subsets_max=8, nested_every=10**9, deep_every=10**9), "memo")
    for number, operation in enumerate(opt_outs(world)):
        explorer.explore(operation)
        if number == 1:
            break
    monkeypatch.undo()
    return {text.partition(", event")[0] for text in explorer.tally.violations}, explorer.tally.boots


_real_sync = SimDisk.sync


def _sync_all_but_tables(self: SimDisk, name: str) -> None:
    if not name.startswith("kt"):
        _real_sync(self, name)


def test_the_memo_hides_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same findings, from fewer boots."""
    with_memo, boots = _violations(monkeypatch, memo=True)
    without, all_boots = _violations(monkeypatch, memo=False)
    assert with_memo == without != set()
    assert boots < all_boots


def test_the_attacker_finds_every_call_while_the_root_is_there_and_none_after() -> None:
    world = World("attacker")
    calls = {world.call(0), world.call(1)}
    infos = world.registry.opened(world.memory.content)
    assert all(any(call in info for info in infos) for call in calls)
    assert world.registry.opened(bytes(64)) == frozenset()
    before = world.memory.content
    for call in calls:
        world.opt_out(call)
    assert not any(call in info for info in world.registry.opened(world.memory.content) for call in calls)
    assert any(call in info for info in world.registry.opened(before) for call in calls), "an old copy opens them"


def test_a_nonce_used_twice_for_different_texts_is_noticed() -> None:
    ciphers = IdealCiphers(Registry())
    ciphers.seal(b"k" * 32, bytes(12), b"one", b"")
    ciphers.seal(b"k" * 32, bytes(12), b"one", b"")
    with pytest.raises(NonceReused):
        ciphers.seal(b"k" * 32, bytes(12), b"two", b"")
    with pytest.raises(NonceReused):
        ciphers.seal(b"k" * 32, bytes(12), b"one", b"other")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_still_be_made(mutant: Mutant) -> None:
    """The text that it replaces is in the store exactly once, and what replaces it can be compiled."""
    for module in {edit.module for edit in mutant.edits}:
        found = importlib.util.find_spec(module)
        assert found is not None
        assert found.origin is not None
        source = Path(found.origin).read_text(encoding="utf-8")
        compile(edited(source, [edit for edit in mutant.edits if edit.module == module]), found.origin, "exec")


def test_no_day_less_is_lived_than_was_asked_for() -> None:
    asked = 1.2 / 365
    assert live_years(asked, 3).years >= asked
