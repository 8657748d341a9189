"""Crash images that recovery cannot tell apart are examined once.

A recovery (and the checks after it) is a deterministic function of the sectors that it looks at, in the order in which
it looks. Each examined run adds its path of (sector, content) to a tree; an image whose contents follow a path to its
end has the outcome of that run, because every look would have shown the same bytes. What no run looked at cannot
matter.

The same is done once more from the point at which a boot has chosen its table and zeroed the other slot: from there on
it is a function of that table, of the memory as it is then, and of what it looks at. So a slot that was torn at each of
its bytes, and is zero by then, costs the first steps of a boot each time, not all of it.

And once more where the bags are loaded and the log is continued: from there on it is a function of what it knows by
then (``known_by``), of the memory, and of what it looks at on the card, which it may have healed. So an entry or a line
that was torn in one copy costs its healing each time, and what follows once.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from firmware.store.core import Core
from firmware.store.recover import InForce
from hw.sim.disk import Write
from hw.sim.memory import SimMemory, SlotWrite
from tests.longrun.images import Crash, Trace
from tests.longrun.quickdisk import QuickDisk, keys_of


@dataclass(slots=True)
class _Node:
    index: int | None = None
    """Sector whose version decides where to go."""
    end: bool = False
    """A run looked at nothing after this."""
    children: "dict[int, _Node]" = field(default_factory=dict)


class Memo:
    """One per operation. ``root``: what else decides beside the sectors."""

    def __init__(self) -> None:
        self._roots: dict[Hashable, _Node] = {}
        self._numbers: dict[tuple[int, bytes], int] = {}

    def number(self, trace: Trace, index: int, content: bytes) -> int:
        """The version of this sector that has this content; one below zero where a boot made it."""
        known = trace.version_of(index, content)
        return self._numbers.setdefault((index, content), -1 - len(self._numbers)) if known is None else known

    def known(self, root: Hashable, crash: Crash) -> bool:
        node, versions = self._roots.get(root), crash.versions
        while node is not None and node.index is not None:
            node = node.children.get(versions[node.index])
        return node is not None and node.end

    def path(self, root: Hashable, crash: Crash) -> dict[int, None]:
        """Of a known one: what the run that it equals looked at, in its order."""
        node, passed = self._roots[root], dict[int, None]()
        while node.index is not None:
            passed[node.index] = None
            node = node.children[crash.versions[node.index]]
        return passed

    def add(self, root: Hashable, crash: Crash, looked_at: Iterable[int]) -> None:
        """``looked_at``: indices of the operation's sectors in the order of the first look at each."""
        node, versions = self._roots.setdefault(root, _Node()), crash.versions
        for index in looked_at:
            assert not node.end, "a run that saw the same bytes looked further: it is not deterministic"
            assert node.index is None or node.index == index, (
                "a run that saw the same bytes looked elsewhere: it is not deterministic"
            )
            node.index = index
            following = node.children.get(versions[index])
            if following is None:
                following = node.children[versions[index]] = _Node()
            node = following
        node.end = True


def root_of(crash: Crash) -> Hashable:
    """The memory's content and what had been acknowledged."""
    return crash.memory, id(crash.acked)


class Touched:
    """The sectors that an operation touched, by their index in its trace, and which of them lie in a stretch."""

    def __init__(self, keys: Iterable[tuple[str, int]]) -> None:
        self.files: dict[str, dict[int, int]] = {}
        for index, (name, sector) in enumerate(keys):
            self.files.setdefault(name, {})[sector] = index
        self._within: dict[tuple[str, int, int], dict[int, None]] = {}
        """Boot after boot looks at the same stretches."""

    def within(self, name: str, first: int, last: int) -> dict[int, None]:
        """In the order of their places."""
        found = self._within.get((name, first, last))
        if found is None:
            touched = self.files.get(name, {})
            there = sorted(sector for sector in touched if first <= sector < last)
            found = self._within[name, first, last] = dict.fromkeys(touched[sector] for sector in there)
        return found


class Looks:
    """Collects the order of first looks of one run, from ``SimDisk.on_read``."""

    def __init__(self, touched: Touched) -> None:
        self._touched = touched
        self.order: dict[int, None] = {}

    def __call__(self, name: str, first: int, last: int) -> None:
        self.order.update(self._touched.within(name, first, last))


def known_by(core: Core) -> Hashable:
    """All that a boot holds in memory once it has continued the log, but for the count of what it healed, which only
    an alarm reads; dictionaries with their order. Its clock is the promise's, and it has drawn no key by then."""
    calls = tuple(
        (
            *(call.call_id, call.opened_utc_ms, call.line, call.codec, call.channels, call.rate_hz, call.first),
            *(call.day_bag, call.hold_bag, call.meta_hash, call.close, call.hold),
            tuple((bag_id, *intents) for bag_id, intents in call.intents.items()),
        )
        for call in core.calls.values()
    )
    bags = tuple((bag.row, bag.end, bag.calls, *bag.entries) for bag in core.bags.values())
    place = core.ring.head, core.ring.tail, core.log.cursor, tuple(core.used_slots), core.bags_damaged
    return core.table.gen, core.table.encode(), core.table_hash, core.time, bags, calls, place


class SeenBefore(Exception):
    """From here on this boot is one that was examined."""


class Rest:
    """Watches one boot: what it is from the point on at which it has one root and its table, and from that on at which
    it has continued the log."""

    def __init__(self, memo: Memo, crash: Crash, touched: Touched, trace: Trace) -> None:
        self._memo = memo
        self._crash = crash
        self._touched = touched
        self._trace = trace
        self._stages: list[tuple[Hashable, Crash, Looks]] = []
        self._known_rest: dict[int, None] = {}

    def begins(self, disk: QuickDisk, memory: SimMemory, found: InForce, drawn: int) -> None:
        """Raises SeenBefore. A boot that wrote to the card or drew a key by now is not compared."""
        if drawn or not all(isinstance(event, SlotWrite) for event in disk.history):
            return
        self._from_here(disk, (memory.content, found.used, id(self._crash.acked)), self._crash)

    def goes_on(self, disk: QuickDisk, memory: SimMemory, core: Core, drawn: int) -> None:
        """Raises SeenBefore. The card is the crash's image with what the boot wrote by now."""
        if drawn or disk.unsynced():
            return
        versions, beside = list(self._crash.versions), set()
        for key in {key for event in disk.history if isinstance(event, Write) for key in keys_of(event)}:
            content, index = disk.content(key), self._trace.index_of(key)
            if index is not None:
                versions[index] = self._memo.number(self._trace, index, content)
            elif content != self._trace.base.get(key):
                beside.add((key, content))
        healed = Crash(tuple(versions), memory.content, self._crash.acked, self._crash.at)
        self._from_here(disk, (memory.content, known_by(core), frozenset(beside), id(healed.acked)), healed)

    def _from_here(self, disk: QuickDisk, root: Hashable, crash: Crash) -> None:
        if self._memo.known(root, crash):
            self._known_rest = self._memo.path(root, crash)
            raise SeenBefore
        looks = Looks(self._touched)
        self._stages.append((root, crash, looks))
        disk.on_read = looks

    def ended(self, before: Looks) -> dict[int, None]:
        """Remembers each stage by all looks from it on, those too that a boot would have done that was not carried on.
        Returns those of the whole boot, with those ``before``."""
        later = self._known_rest
        for root, crash, looks in reversed(self._stages):
            later = {**looks.order, **later}
            self._memo.add(root, crash, later)
        return {**before.order, **later}


class WatchedMemory(SimMemory):
    """``one_root`` is told when a boot over this memory has come to its one root, ``log_continued`` when it has
    continued the log."""

    one_root: Callable[[InForce, int], None] | None = None
    log_continued: Callable[[Core, int], None] | None = None
