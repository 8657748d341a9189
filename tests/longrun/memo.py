"""Crash images that recovery cannot tell apart are examined once.

A recovery (and the checks after it) is a deterministic function of the sectors that it looks at, in the order in which
it looks. Each examined run adds its path of (sector, content) to a tree; an image whose contents follow a path to its
end has the outcome of that run, because every look would have shown the same bytes. What no run looked at cannot
matter.

The same is done once more from the point at which a boot has chosen its table and zeroed the other slot: from there on
it is a function of that table, of the memory as it is then, and of what it looks at. So a slot that was torn at each of
its bytes, and is zero by then, costs the first steps of a boot each time, not all of it.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from firmware.store.recover import InForce
from hw.sim.disk import SimDisk
from hw.sim.memory import SimMemory, SlotWrite
from tests.longrun.images import Crash


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

    def known(self, root: Hashable, crash: Crash) -> bool:
        node, versions = self._roots.get(root), crash.versions
        while node is not None and node.index is not None:
            node = node.children.get(versions[node.index])
        return node is not None and node.end

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

    def then(self, later: "Looks") -> Iterable[int]:
        """The order of first looks of both together."""
        return {**self.order, **later.order}


class SeenBefore(Exception):
    """From here on this boot is one that was examined."""


class Rest:
    """Watches one boot: what it is from the point on at which it has one root and its table."""

    def __init__(self, memo: Memo, crash: Crash, touched: Touched) -> None:
        self._memo = memo
        self._crash = crash
        self.looks = Looks(touched)
        self._root: Hashable = None

    def begins(self, disk: SimDisk, memory: SimMemory, found: InForce, drawn: int) -> None:
        """Raises SeenBefore. A boot that wrote to the card or drew a key by now is not compared."""
        if drawn or not all(isinstance(event, SlotWrite) for event in disk.history):
            return
        self._root = (memory.content, found.used, id(self._crash.acked))
        if self._memo.known(self._root, self._crash):
            raise SeenBefore
        disk.on_read = self.looks

    def ended(self) -> None:
        if self._root is not None:
            self._memo.add(self._root, self._crash, self.looks.order)


class WatchedMemory(SimMemory):
    """``one_root`` is told when a boot over this memory has come to its one root."""

    one_root: Callable[[InForce, int], None] | None = None
