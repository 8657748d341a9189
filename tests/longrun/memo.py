"""Crash images that recovery cannot tell apart are examined once.

A recovery (and the checks after it) is a deterministic function of the sectors that it looks at, in the order in which
it looks. Each examined run adds its path of (sector, content) to a tree; an image whose contents follow a path to its
end has the outcome of that run, because every look would have shown the same bytes. What no run looked at cannot
matter.

The same is done once more from the point at which a boot has chosen its table and zeroed the other slot: from there on
it is a function of that table, of the memory as it is then, and of what it looks at. So a slot that was torn at each of
its bytes, and is zero by then, costs the first steps of a boot each time, not all of it.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from firmware.store.recover import InForce
from hw.sim.disk import SimDisk
from hw.sim.memory import SimMemory, SlotWrite
from tests.longrun.images import Crash


@dataclass
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
        node = self._roots.get(root)
        while node is not None and node.index is not None:
            node = node.children.get(crash.versions[node.index])
        return node is not None and node.end

    def add(self, root: Hashable, crash: Crash, looked_at: list[int]) -> None:
        """``looked_at``: indices of the operation's sectors in the order of the first look at each."""
        node = self._roots.setdefault(root, _Node())
        for index in looked_at:
            assert not node.end, "a run that saw the same bytes looked further: it is not deterministic"
            assert node.index in (None, index), (
                "a run that saw the same bytes looked elsewhere: it is not deterministic"
            )
            node.index = index
            node = node.children.setdefault(crash.versions[index], _Node())
        node.end = True


def root_of(crash: Crash) -> Hashable:
    """The memory's content and what had been acknowledged."""
    return crash.memory, id(crash.acked)


class Looks:
    """Collects the order of first looks of one run, from ``SimDisk.on_read``."""

    def __init__(self, sectors: dict[str, dict[int, int]]) -> None:
        self._sectors = sectors
        """file -> sector -> index in the operation's trace."""
        self.order: list[int] = []
        self._seen: set[int] = set()

    def __call__(self, name: str, first: int, last: int) -> None:
        touched = self._sectors.get(name)
        if not touched:
            return
        if last - first <= len(touched):
            found = [touched[sector] for sector in range(first, last) if sector in touched]
        else:
            found = [touched[sector] for sector in sorted(touched) if first <= sector < last]
        for index in found:
            if index not in self._seen:
                self._seen.add(index)
                self.order.append(index)

    def then(self, later: "Looks") -> list[int]:
        """The order of first looks of both together."""
        return self.order + [index for index in later.order if index not in self._seen]


class SeenBefore(Exception):
    """From here on this boot is one that was examined."""


class Rest:
    """Watches one boot: what it is from the point on at which it has one root and its table."""

    def __init__(self, memo: Memo, crash: Crash, sectors: dict[str, dict[int, int]]) -> None:
        self._memo = memo
        self._crash = crash
        self.looks = Looks(sectors)
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


def sectors_by_file(keys: list[tuple[str, int]]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for index, (name, sector) in enumerate(keys):
        found.setdefault(name, {})[sector] = index
    return found
