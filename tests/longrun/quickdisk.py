"""The simulated card, sooner: what the explorer's boots read and write is most of what they cost.

Byte for byte the same as ``SimDisk``, which a test compares it with; what is rare (hooks, failed syncs) is left to it.
"""

from collections.abc import Iterable, Mapping

from hw.sim.disk import SECTOR_BYTES, Image, Key, SimDisk, Write

_NOTHING: Mapping[int, bytes] = {}
Joined = dict[tuple[object, ...], tuple[object, bytes]]
"""Where a stretch lies and which sectors differ from the base (by identity) -> those sectors, kept so that no other
gets their identity, and the whole. Crash images of one operation share most of what they show before a boot writes."""


class QuickDisk(SimDisk):
    """``joined`` is shared by the disks of one operation."""

    def __init__(self, image: Image, joined: Joined | None = None) -> None:
        super().__init__(image)
        self._joined: Joined = {} if joined is None else joined
        self._written = False

    def read(self, name: str, offset: int, length: int) -> bytes:
        end = offset + length
        if self.hook is not None or self._shown or offset < 0 or length <= 0 or end > self._sizes.get(name, 0):
            return super().read(name, offset, length)
        self.calls += 1
        first, last = offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)
        if self.on_read is not None:
            self.on_read(name, first, last)
        whole = self._run(name, first, last)
        start = offset - first * SECTOR_BYTES
        return whole[start : start + length]

    def _run(self, name: str, first: int, last: int) -> bytes:
        if self._shown or self._cached.get(name):
            return super()._run(name, first, last)
        whole = self._runs.get((name, first, last))
        if whole is None:
            base = self._base.get(name, _NOTHING)
            zeros = bytes(SECTOR_BYTES)
            whole = self._runs[name, first, last] = b"".join([base.get(s, zeros) for s in range(first, last)])
        over = self._over.get(name)
        if not over:
            return whole
        if last - first < len(over):
            differing = [sector for sector in range(first, last) if sector in over]
        else:
            differing = sorted([sector for sector in over if first <= sector < last])
        if not differing:
            return whole
        contents = [over[sector] for sector in differing]
        if self._written:
            return _patched(whole, first, differing, contents)
        key = (name, first, last, id(self._base), *differing, *map(id, contents))
        known = self._joined.get(key)
        if known is None:
            known = self._joined[key] = ((self._base, contents), _patched(whole, first, differing, contents))
        return known[1]

    def changed(self, name: str, spans: Iterable[tuple[int, int]]) -> bool:
        over, cached = self._over.get(name, _NOTHING), self._cached.get(name)
        if not over and not cached:
            return False
        sectors = [(first // SECTOR_BYTES, -(-end // SECTOR_BYTES)) for first, end in spans]
        return any(first <= sector < end for at in (over, cached or ()) for sector in at for first, end in sectors)

    def differ(self, one: str, other: str, offset: int, end: int) -> bool:
        """Whether these files differ between two bytes, in what is not the shared base any more."""
        changed = {s for name in (one, other) for s in (*self._over.get(name, ()), *self._cached.get(name, ()))}
        for sector in changed:
            start = sector * SECTOR_BYTES
            if offset < start + SECTOR_BYTES and start < end:
                part = slice(max(offset - start, 0), end - start)
                if self._sector(one, sector)[part] != self._sector(other, sector)[part]:
                    return True
        return False

    def content(self, key: Key) -> bytes:
        """Of one sector, as reads show it; nobody looks at it by that."""
        return self._sector(*key)

    def _put(self, name: str, offset: int, data: bytes, *, durable: bool) -> None:
        if self._shown or not data:
            super()._put(name, offset, data, durable=durable)
            return
        if self.keep_history:
            self.history.append(Write(name, offset, data, durable))
        self._written = True
        first, end = offset // SECTOR_BYTES, offset + len(data)
        last = -(-end // SECTOR_BYTES)
        whole = self._whole_sectors(name, offset, data, first, last)
        contents = [whole[at : at + SECTOR_BYTES] for at in range(0, len(whole), SECTOR_BYTES)]
        if durable:
            self._over.setdefault(name, {}).update(zip(range(first, last), contents, strict=True))
            cached = self._cached.setdefault(name, {})
            for sector in range(first, last) if cached else ():
                cached.pop(sector, None)
            return
        cached = self._cached.setdefault(name, {})
        for sector, content in zip(range(first, last), contents, strict=True):
            cached.setdefault(sector, []).append(content)

    def _whole_sectors(self, name: str, offset: int, data: bytes, first: int, last: int) -> bytes:
        """``data`` with what stands before and behind it in its first and its last sector."""
        head, tail = offset - first * SECTOR_BYTES, last * SECTOR_BYTES - offset - len(data)
        if not head and not tail:
            return data
        before = self._looked_at(name, first) if head or last - first == 1 else b""
        behind = before if last - first == 1 else self._looked_at(name, last - 1) if tail else b""
        return before[:head] + data + (behind[SECTOR_BYTES - tail :] if tail else b"")


def keys_of(event: Write) -> list[Key]:
    """The sectors that it touched."""
    last = -(-(event.offset + len(event.data)) // SECTOR_BYTES)
    return [(event.name, sector) for sector in range(event.offset // SECTOR_BYTES, last)]


def _patched(whole: bytes, first: int, differing: list[int], contents: list[bytes]) -> bytes:
    """``differing``: sectors in order."""
    view, pieces, at = memoryview(whole), [], 0
    for sector, content in zip(differing, contents, strict=True):
        start = (sector - first) * SECTOR_BYTES
        if start > at:
            pieces.append(view[at:start])
        pieces.append(memoryview(content))
        at = start + SECTOR_BYTES
    if at < len(whole):
        pieces.append(view[at:])
    return b"".join(pieces)
