"""From the trace of one operation to all the crash images that a power cut in it may leave.

The trace is what the simulated card and memory recorded: writes, syncs, slot writes. At every moment some sectors are
*pending*: written, not yet synced. A cut leaves each of them old or in any version since, one perhaps torn (new to some
byte, old or garbage behind it), and a slot write torn at any byte. Subsets are taken exhaustively up to 6 pending
sectors; above that the empty set, all, every prefix in the order of writing, every one missing, every one alone, and
random ones, at most ``subsets_max``. Where several files are pending together, one sector of each may be torn.

An image is a tuple of small numbers (which version each sector has that the operation touched) plus the memory: cheap
to make, to compare and to look up.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product

from hw.sim.disk import SECTOR_BYTES, Image, Key, Sync, Write, sectors_of
from hw.sim.memory import SLOT_BYTES, SlotWrite, torn

EXHAUSTIVE_SECTORS = 6
TEARS = (1, 4, 12, 17, 63, 64, 65, 128, 300, 511)


@dataclass(frozen=True)
class Acked:
    """The operation told somebody that something holds; ``model`` is what must be true from here on."""

    model: object


Event = Write | Sync | SlotWrite | Acked
Versions = tuple[int, ...]


@dataclass(frozen=True)
class Crash:
    """One image: ``versions[i]`` says which content sector i of the operation has. ``model``: what was acked before."""

    versions: Versions
    memory: bytes
    acked: object
    at: int
    """Index of the event before which the power failed."""


class Trace:
    """The sectors that an operation touched, their versions, and the walk through its events."""

    def __init__(self, base: Image, memory: bytes, events: Sequence[Event], acked: object) -> None:
        self.base = base
        self.memory = memory
        self.events = list(events)
        self._acked = acked
        self.keys: list[Key] = []
        self._index: dict[Key, int] = {}
        self._contents: list[list[bytes]] = []
        self._numbers: list[dict[bytes, int]] = []

    # ------------------------------------------------------------------------------------------------ versions

    def number(self, key: Key, content: bytes) -> tuple[int, int]:
        """(index of the sector, number of this content); content 0 is the base's."""
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self.keys)
            old = self.base.get(key)
            self.keys.append(key)
            self._contents.append([old])
            self._numbers.append({old: 0})
        numbers = self._numbers[index]
        found = numbers.get(content)
        if found is None:
            found = numbers[content] = len(self._contents[index])
            self._contents[index].append(content)
        return index, found

    def index_of(self, key: Key) -> int | None:
        return self._index.get(key)

    def version_of(self, index: int, content: bytes) -> int | None:
        return self._numbers[index].get(content)

    def content(self, index: int, version: int) -> bytes:
        return self._contents[index][version]

    def image(self, crash: Crash) -> Image:
        """The medium that the card shows after this cut; shares everything untouched with the base."""
        image = self.base.fork()
        for index, version in enumerate(crash.versions):
            if version:
                image.set(self.keys[index], self._contents[index][version])
        return image

    # ------------------------------------------------------------------------------------------------ the walk

    def crashes(self, rng: random.Random, subsets_max: int) -> Iterator[Crash]:
        """Every distinct image, once, with the strongest promise that was acked in it."""
        seen: set[tuple[Versions, bytes, int]] = set()
        for walk in self._walk():
            for versions, memory in walk.images(rng, subsets_max):
                padded = versions + (0,) * (len(self.keys) - len(versions))
                mark = (_trimmed(padded), memory, id(walk.acked))
                if mark not in seen:
                    seen.add(mark)
                    yield Crash(padded, memory, walk.acked, walk.at)

    def sample(self, rng: random.Random) -> Crash:
        """One random image of a random moment of those at which ``crashes`` stops."""
        stop = rng.randrange(1 + sum(not isinstance(event, Write) or event.durable for event in self.events))
        walk = next(islice(self._walk(), stop, None))
        versions, memory = walk.random_image(rng)
        return Crash(versions, memory, walk.acked, walk.at)

    def final(self) -> Crash:
        """Everything written and synced as the operation left it; pending sectors as reads show them."""
        *_, walk = self._walk()
        return Crash(walk.newest(), walk.memory, walk.acked, walk.at)

    def _walk(self) -> Iterator["_Moment"]:
        moment = _Moment(self, self.memory, self._acked)
        for at, event in enumerate(self.events):
            moment.at = at
            if isinstance(event, Write):
                moment.write(event)
                if event.durable:
                    yield moment
                    moment.settle(event.name, only=event)
            elif isinstance(event, Sync):
                yield moment
                moment.settle(event.name)
            elif isinstance(event, SlotWrite):
                moment.tearing = event
                yield moment
                moment.tearing = None
                moment.memory = torn(moment.memory, event, SLOT_BYTES)
            else:
                yield moment
                moment.acked = event.model
        moment.at = len(self.events)
        yield moment


class _Moment:
    """What is durable and what is pending just before event ``at``."""

    def __init__(self, trace: Trace, memory: bytes, acked: object) -> None:
        self._trace = trace
        self.memory = memory
        self.acked = acked
        self.at = 0
        self.tearing: SlotWrite | None = None
        self._durable: list[int] = []
        self._pending: dict[int, list[int]] = {}

    def write(self, event: Write) -> None:
        for sector, content in sectors_of(event.offset, event.data, lambda s: self._newest((event.name, s))):
            index, version = self._trace.number((event.name, sector), content)
            self._grow()
            self._pending.setdefault(index, []).append(version)

    def settle(self, name: str, only: Write | None = None) -> None:
        first = 0 if only is None else only.offset // SECTOR_BYTES
        last = None if only is None else (only.offset + len(only.data) - 1) // SECTOR_BYTES
        for index in list(self._pending):
            file, sector = self._trace.keys[index]
            if file == name and sector >= first and (last is None or sector <= last):
                self._durable[index] = self._pending.pop(index)[-1]

    def newest(self) -> Versions:
        versions = list(self._durable)
        for index, pending in self._pending.items():
            versions[index] = pending[-1]
        return tuple(versions)

    def images(self, rng: random.Random, subsets_max: int) -> Iterator[tuple[Versions, bytes]]:
        memories = [self.memory]
        if self.tearing is not None:
            memories += [torn(self.memory, self.tearing, done) for done in range(1, SLOT_BYTES + 1)]
        choices = list(self._choices(rng, subsets_max))
        for choice in choices:
            yield self._versions(choice), self.memory
        for memory in memories[1:]:
            for choice in choices[:2]:
                yield self._versions(choice), memory
        yield from ((versions, self.memory) for versions in self._tears(rng, subsets_max))
        yield from ((versions, self.memory) for versions in self._torn_in_each_file(rng))

    def random_image(self, rng: random.Random) -> tuple[Versions, bytes]:
        memory = self.memory
        if self.tearing is not None:
            memory = torn(memory, self.tearing, rng.randrange(SLOT_BYTES + 1))
        choice = {index: rng.choice(versions) for index, versions in self._pending.items() if rng.random() < 0.5}
        versions = self._versions(choice)
        if self._pending and rng.random() < 0.4:
            index = rng.choice(list(self._pending))
            garbage = rng.choice((b"", rng.randbytes(16)))
            versions = self._torn(versions, index, self._pending[index][-1], rng.randrange(SECTOR_BYTES), garbage)
        return versions, memory

    def _choices(self, rng: random.Random, subsets_max: int) -> Iterator[dict[int, int]]:
        """Which pending sectors reached the medium, in which version. The empty set and all come first."""
        order = list(self._pending)
        newest = {index: self._pending[index][-1] for index in order}
        yield {}
        if not order:
            return
        yield newest
        if len(order) <= EXHAUSTIVE_SECTORS:
            options = [[None, *dict.fromkeys(self._pending[index])] for index in order]
            for picked in product(*options):
                yield {index: version for index, version in zip(order, picked, strict=True) if version is not None}
            return
        few: list[dict[int, int]] = [
            {index: newest[index] for index in order[:count]} for count in range(1, len(order))
        ]
        few += [{key: value for key, value in newest.items() if key != index} for index in order]
        few += [{index: newest[index]} for index in order]
        rng.shuffle(few)
        few = few[: subsets_max * 3 // 4]
        while len(few) < subsets_max:
            few.append({index: rng.choice(self._pending[index]) for index in order if rng.random() < 0.5})
        yield from few

    def _tears(self, rng: random.Random, subsets_max: int) -> Iterator[Versions]:
        order = list(self._pending)
        picked = order if len(order) * 3 <= subsets_max else rng.sample(order, max(1, subsets_max // 3))
        for index in picked:
            before = {earlier: self._pending[earlier][-1] for earlier in order[: order.index(index)]}
            for at in (rng.choice(TEARS), 64 * rng.randrange(1, 8)):
                yield self._torn(self._versions(before), index, self._pending[index][-1], at)
            yield self._torn(self._versions(before), index, self._pending[index][-1], 0, garbage=rng.randbytes(16))

    def _torn_in_each_file(self, rng: random.Random) -> Iterator[Versions]:
        """Writes to different files that are pending together are in flight together: each may be torn."""
        files: dict[str, list[int]] = {}
        for index in self._pending:
            files.setdefault(self._trace.keys[index][0], []).append(index)
        if len(files) < 2:
            return
        newest = {index: pending[-1] for index, pending in self._pending.items()}
        for pick in (min, rng.choice, max):
            versions = self._versions(newest)
            for indices in files.values():
                index = pick(indices)
                versions = self._torn(versions, index, newest[index], 0, garbage=rng.randbytes(16))
            yield versions

    def _torn(self, versions: Versions, index: int, version: int, at: int, garbage: bytes = b"") -> Versions:
        """The first ``at`` bytes new, the rest old, or garbage: a cell that was being programmed holds anything."""
        trace = self._trace
        new, old = trace.content(index, version), trace.content(index, self._durable[index])
        rest = (garbage * (SECTOR_BYTES // 16)) if garbage else old
        _, number = trace.number(trace.keys[index], new[:at] + rest[at:])
        return (*versions[:index], number, *versions[index + 1 :])

    def _versions(self, choice: dict[int, int]) -> Versions:
        versions = list(self._durable)
        for index, version in choice.items():
            versions[index] = version
        return tuple(versions)

    def _newest(self, key: Key) -> bytes:
        index = self._trace.index_of(key)
        if index is None or index >= len(self._durable):
            return self._trace.base.get(key)
        pending = self._pending.get(index)
        return self._trace.content(index, pending[-1] if pending else self._durable[index])

    def _grow(self) -> None:
        self._durable += [0] * (len(self._trace.keys) - len(self._durable))


def _trimmed(versions: Versions) -> Versions:
    """Without trailing zeros: sectors touched later are in their base version."""
    end = len(versions)
    while end and not versions[end - 1]:
        end -= 1
    return versions[:end]
