"""Crash images that recovery cannot tell apart are examined once.

A recovery (and the checks after it) is a deterministic function of the sectors that it looks at, in the order in which
it looks. Each examined run adds its path of (sector, content) to a tree; an image whose contents follow a path to its
end has the outcome of that run, because every look would have shown the same bytes. What no run looked at cannot
matter.
"""

from dataclasses import dataclass, field

from tests.longrun.images import Crash


@dataclass
class _Node:
    index: int | None = None
    """Sector whose version decides where to go."""
    end: bool = False
    """A run looked at nothing after this."""
    children: "dict[int, _Node]" = field(default_factory=dict)


class Memo:
    """One per operation. The root is told apart by the memory's content and by what had been acknowledged."""

    def __init__(self) -> None:
        self._roots: dict[tuple[bytes, int], _Node] = {}

    def known(self, crash: Crash) -> bool:
        node = self._roots.get((crash.memory, id(crash.acked)))
        while node is not None and node.index is not None:
            node = node.children.get(crash.versions[node.index])
        return node is not None and node.end

    def add(self, crash: Crash, looked_at: list[int]) -> None:
        """``looked_at``: indices of the operation's sectors in the order of the first look at each."""
        node = self._roots.setdefault((crash.memory, id(crash.acked)), _Node())
        for index in looked_at:
            assert not node.end, "a run that saw the same bytes looked further: it is not deterministic"
            assert node.index in (None, index), (
                "a run that saw the same bytes looked elsewhere: it is not deterministic"
            )
            node.index = index
            node = node.children.setdefault(crash.versions[index], _Node())
        node.end = True


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


def sectors_by_file(keys: list[tuple[str, int]]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for index, (name, sector) in enumerate(keys):
        found.setdefault(name, {})[sector] = index
    return found
