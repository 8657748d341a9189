"""A card that is ruder than any real one (port ``Disk``): what is not synced may be gone, in any combination.

The model. A file is sectors of 512 bytes. A write goes into the card's volatile cache; ``sync`` makes the file's
cached sectors durable. At a power cut every unsynced sector holds one of the versions it ever had since its last sync,
each chosen for itself, and one of them may be torn: new to some byte, old or garbage behind it. A failed write leaves a
part of itself in the cache. A failed sync makes *some* of the sectors durable and marks all of them clean, as Linux
does: later reads and syncs look fine, and the data is gone at the cut.

``history`` keeps every write ever made, for the adversary who reads worn-out flash cells.
"""

import errno
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from firmware.ports import Disk

SECTOR_BYTES = 512
_ZEROS = bytes(SECTOR_BYTES)
_NOTHING: Mapping[int, bytes] = {}
_NO_VERSIONS: Mapping[int, Sequence[bytes]] = {}

Kind = Literal["read", "write", "sync", "durable", "create"]
Key = tuple[str, int]
"""(file, sector number)."""
Sectors = Mapping[str, Mapping[int, bytes]]
"""file -> sector -> content."""

Hook = Callable[[int, Kind, str], None]
"""Called before the k-th call (k counts from 0): raise OSError to fail it, or take time to stall it."""


@dataclass(frozen=True)
class Write:
    name: str
    offset: int
    data: bytes
    durable: bool


@dataclass(frozen=True)
class Sync:
    name: str


@dataclass
class Image:
    """What a cut left: sectors on the medium, all others zero. ``base`` is shared and never changed."""

    sizes: Mapping[str, int]
    base: Sectors
    over: dict[str, dict[int, bytes]] = field(default_factory=dict)
    runs: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    """Stretches of ``base`` as they were read before, joined; shared like it."""

    def get(self, key: Key) -> bytes:
        name, sector = key
        found = self.over.get(name, _NOTHING).get(sector)
        return self.base.get(name, _NOTHING).get(sector, _ZEROS) if found is None else found

    def set(self, key: Key, content: bytes) -> None:
        name, sector = key
        self.over.setdefault(name, {})[sector] = content

    def fork(self) -> "Image":
        """The same medium, to be changed on its own."""
        return Image(self.sizes, self.base, {name: dict(x) for name, x in self.over.items()}, self.runs)


class SimDisk:
    """``hook`` sees every call; ``rng`` decides what a failing call leaves behind."""

    def __init__(self, image: Image | None = None, *, rng: random.Random | None = None) -> None:
        image = image or Image({}, {})
        self._sizes = dict(image.sizes)
        self._base = image.base
        self._runs = image.runs
        self._over = image.fork().over
        self._rng = rng or random.Random(0)
        self._cached: dict[str, dict[int, list[bytes]]] = {}
        """Unsynced versions of each sector since its last sync, oldest first."""
        self._shown: dict[Key, bytes] = {}
        """What reads show of sectors that a failed sync lost: the page cache's clean lie."""
        self.calls = 0
        self.hook: Hook | None = None
        self.history: list[Write | Sync] = []
        self.keep_history = True
        self.on_read: Callable[[str, int, int], None] | None = None
        """Told (name, first sector, past the last) of all that is looked at, by reads and by writes of a part of a
        sector: what a run's outcome depends on."""

    # ------------------------------------------------------------------------------------------------ port ``Disk``

    def names(self) -> list[str]:
        return sorted(self._sizes)

    def size(self, name: str) -> int:
        return self._size(name)

    def create(self, name: str, size_bytes: int) -> None:
        self._call("create", name)
        if name in self._sizes:
            raise FileExistsError(errno.EEXIST, "the file is there already", name)
        self._sizes[name] = size_bytes

    def read(self, name: str, offset: int, length: int) -> bytes:
        self._call("read", name)
        self._check(name, offset, length)
        first, last = offset // SECTOR_BYTES, -(-(offset + length) // SECTOR_BYTES)
        if self.on_read is not None:
            self.on_read(name, first, last)
        if length == 0:
            return b""
        whole = self._run(name, first, last)
        start = offset - first * SECTOR_BYTES
        return whole[start : start + length]

    def write(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._write("write", name, offset, bytes(data))

    def sync(self, name: str) -> None:
        try:
            self._call("sync", name)
        except OSError:
            self._lose_some(name)
            raise
        self._size(name)
        for sector, versions in self._cached.pop(name, {}).items():
            self._settle((name, sector), versions[-1])
        if self.keep_history:
            self.history.append(Sync(name))

    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._write("durable", name, offset, bytes(data))

    # ------------------------------------------------------------------------------------------------- power cuts

    def unsynced(self) -> dict[Key, list[bytes]]:
        """Every sector whose content after a cut is not certain, with the versions it may have besides the old one."""
        return {
            (name, sector): versions for name, sectors in self._cached.items() for sector, versions in sectors.items()
        }

    def cut(self, rng: random.Random, *, lose: float = 0.5, torn: bool = True) -> "SimDisk":
        """The card after a power cut now. Each unsynced sector is old with probability ``lose``, else any version."""
        image = self.image()
        unsynced = sorted(self.unsynced().items())
        for key, versions in unsynced:
            if rng.random() >= lose:
                image.set(key, rng.choice(versions))
        if torn and unsynced and rng.random() < 0.5:
            key, versions = rng.choice(unsynced)
            at = rng.randrange(SECTOR_BYTES)
            rest = rng.choice((image.get(key), rng.randbytes(SECTOR_BYTES)))
            image.set(key, rng.choice(versions)[:at] + rest[at:])
        after = SimDisk(image, rng=self._rng)
        after.history = self.history
        return after

    def image(self) -> Image:
        """What is certain to be on the medium now."""
        return Image(dict(self._sizes), self._base, self._over, self._runs).fork()

    def freeze(self) -> Image:
        """Everything as reads show it, synced or not, on one base that many disks may share."""
        base = {name: {**self._base.get(name, _NOTHING), **self._over.get(name, _NOTHING)} for name in self._sizes}
        for name, sectors in self._cached.items():
            base[name].update({sector: versions[-1] for sector, versions in sectors.items()})
        return Image(dict(self._sizes), base)

    def changed(self, name: str, spans: Iterable[tuple[int, int]]) -> bool:
        """Whether anything in these stretches of bytes differs, or was written differently, from the shared base."""
        over = {*self._over.get(name, _NOTHING), *self._cached.get(name, {})}
        if not over:
            return False
        sectors = [(first // SECTOR_BYTES, -(-end // SECTOR_BYTES)) for first, end in spans]
        return any(first <= sector < end for sector in over for first, end in sectors)

    def corrupt(self, name: str, offset: int, data: bytes) -> None:
        """Change bytes on the medium behind everyone's back (bit rot, an attacker); not part of ``history``."""
        for sector, piece in sectors_of(offset, data, lambda sector: self._sector(name, sector)):
            self._settle((name, sector), piece)

    # --------------------------------------------------------------------------------------------------- in detail

    def _call(self, kind: Kind, name: str) -> None:
        number = self.calls
        self.calls += 1
        if self.hook is not None:
            self.hook(number, kind, name)

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            raise FileNotFoundError(errno.ENOENT, "no such file", name)
        return self._sizes[name]

    def _check(self, name: str, offset: int, length: int) -> None:
        assert offset >= 0
        assert length >= 0
        if offset + length > self._size(name):
            raise OSError(errno.EIO, "the file is shorter than it was made", name)

    def _run(self, name: str, first: int, last: int) -> bytes:
        """Sectors as reads show them, joined: the base's, remembered, with what lies over them patched in."""
        found = self._runs.get((name, first, last))
        if found is None:
            base = self._base.get(name, _NOTHING)
            found = self._runs[name, first, last] = b"".join([base.get(s, _ZEROS) for s in range(first, last)])
        over, cached = self._over.get(name, _NOTHING), self._cached.get(name, _NO_VERSIONS)
        differing = {sector: over[sector] for sector in _within(over, first, last)}
        if self._shown:
            lost = [sector for file, sector in self._shown if file == name and first <= sector < last]
            differing.update({sector: self._shown[name, sector] for sector in lost})
        differing.update({sector: cached[sector][-1] for sector in _within(cached, first, last)})
        if not differing:
            return found
        if len(differing) == last - first:
            return b"".join([differing[sector] for sector in range(first, last)])
        patched = bytearray(found)
        for sector, content in differing.items():
            at = (sector - first) * SECTOR_BYTES
            patched[at : at + SECTOR_BYTES] = content
        return bytes(patched)

    def _sector(self, name: str, sector: int) -> bytes:
        cached = self._cached.get(name)
        if cached is not None and sector in cached:
            return cached[sector][-1]
        if self._shown and (name, sector) in self._shown:
            return self._shown[name, sector]
        found = self._over.get(name, _NOTHING).get(sector)
        return self._base.get(name, _NOTHING).get(sector, _ZEROS) if found is None else found

    def _looked_at(self, name: str, sector: int) -> bytes:
        if self.on_read is not None:
            self.on_read(name, sector, sector + 1)
        return self._sector(name, sector)

    def _settle(self, key: Key, content: bytes) -> None:
        name, sector = key
        self._over.setdefault(name, {})[sector] = content
        self._shown.pop(key, None)

    def _write(self, kind: Kind, name: str, offset: int, data: bytes) -> None:
        self._check(name, offset, len(data))
        try:
            self._call(kind, name)
        except OSError:
            self._put(name, offset, data[: self._rng.randrange(len(data) + 1)], durable=False)
            raise
        self._put(name, offset, data, durable=kind == "durable")

    def _put(self, name: str, offset: int, data: bytes, *, durable: bool) -> None:
        if self.keep_history and data:
            self.history.append(Write(name, offset, data, durable))
        cached = self._cached.setdefault(name, {})
        for sector, content in sectors_of(offset, data, lambda sector: self._looked_at(name, sector)):
            if durable:
                cached.pop(sector, None)
                self._settle((name, sector), content)
            else:
                cached.setdefault(sector, []).append(content)

    def _lose_some(self, name: str) -> None:
        for sector, versions in self._cached.pop(name, {}).items():
            if self._rng.random() < 0.5:
                self._settle((name, sector), versions[-1])
            else:
                self._shown[name, sector] = versions[-1]


def _within(sectors: Mapping[int, object], first: int, last: int) -> Sequence[int]:
    """Those numbers from ``first`` to before ``last``, looked for in the shorter of the two."""
    if not sectors:
        return ()
    if last - first < len(sectors):
        return [sector for sector in range(first, last) if sector in sectors]
    return [sector for sector in sectors if first <= sector < last]


def sectors_of(offset: int, data: bytes, old: Callable[[int], bytes]) -> list[tuple[int, bytes]]:
    """The whole sectors that result from writing ``data`` at ``offset``."""
    end = offset + len(data)
    pieces: list[tuple[int, bytes]] = []
    for sector in range(offset // SECTOR_BYTES, (end + SECTOR_BYTES - 1) // SECTOR_BYTES):
        start = sector * SECTOR_BYTES
        piece = data[max(start - offset, 0) : start + SECTOR_BYTES - offset]
        if len(piece) < SECTOR_BYTES:
            before = old(sector)
            skip = max(offset - start, 0)
            piece = before[:skip] + piece + before[skip + len(piece) :]
        pieces.append((sector, piece))
    return pieces


class RudeDisk:
    """A real disk made rude for a tape: ``full`` refuses writes with ENOSPC, ``failing`` with EIO, ``stall`` is called
    before every write and may move virtual time (card_stall)."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.full = False
        self.failing = False
        self.stall: Callable[[], None] | None = None

    def names(self) -> list[str]:
        return self._disk.names()

    def size(self, name: str) -> int:
        return self._disk.size(name)

    def create(self, name: str, size_bytes: int) -> None:
        self._suffer(name)
        self._disk.create(name, size_bytes)

    def read(self, name: str, offset: int, length: int) -> bytes:
        return self._disk.read(name, offset, length)

    def write(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._suffer(name)
        self._disk.write(name, offset, data)

    def sync(self, name: str) -> None:
        self._suffer(name)
        self._disk.sync(name)

    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._suffer(name)
        self._disk.write_durable(name, offset, data)

    def _suffer(self, name: str) -> None:
        if self.stall is not None:
            self.stall()
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on the card", name)
        if self.failing:
            raise OSError(errno.EIO, "the card does not answer", name)
