"""Where audit lines lie: a mirrored ring of segments, and the DAYEND lines kept for ever (FORMAT.md 8)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from firmware.ports import Disk
from firmware.store.audit import LINE_BYTES_MAX, AuditLine, Signer, Value, compose, parse_line, verify_line
from firmware.store.card import MIRRORS, Card
from firmware.store.ciphers import Ciphers
from firmware.store.errors import Malformed, VaultError
from firmware.store.identity import Identity
from firmware.store.table import AuditCursor
from firmware.units import MS_PER_DAY

STEM = "audit"
EPOCHS_STEM = "epochs"
EPOCH_BYTES = 512
KEEP_MS = 366 * MS_PER_DAY
"""Twelve months, the longest of them: ledger and audit carry no identities (evidence.md)."""


class AuditDamaged(VaultError):
    code = "AUDIT_DAMAGED"

    def __init__(self) -> None:
        super().__init__("The audit log does not continue its chain in either copy; calls are not affected.")


@dataclass(frozen=True)
class Recovered:
    lines: list[AuditLine]
    """Those after the table's cursor, in order."""
    healed: bool


class AuditLog:
    """``cursor`` is where the next line goes. Every append is durable in both mirrors when it returns."""

    def __init__(self, card: Card, ciphers: Ciphers, identity: Identity) -> None:
        self._card = card
        self._ciphers = ciphers
        self._device_id = identity.device_id
        self._segment = identity.geometry.audit_segment_bytes
        self._size = identity.geometry.audit_segments * self._segment
        self.cursor = AuditCursor()

    # ----------------------------------------------------------------------------------------------------- writing

    def append(self, utc_ms: int, event: str, fields: Mapping[str, Value], seed: bytes) -> AuditLine:
        """Raises CardFailed."""
        signer = Signer(self._ciphers, self._device_id, seed)
        line = compose(self.cursor.next_seq, utc_ms, event, fields, self.cursor.head, signer)
        return self.append_line(line)

    def compose(self, utc_ms: int, event: str, fields: Mapping[str, Value], seed: bytes) -> bytes:
        """The next line, not yet written: the DAYEND that travels in the table."""
        signer = Signer(self._ciphers, self._device_id, seed)
        return compose(self.cursor.next_seq, utc_ms, event, fields, self.cursor.head, signer)

    def append_line(self, raw: bytes) -> AuditLine:
        line = parse_line(raw)
        assert (line.seq, line.prev) == (self.cursor.next_seq, self.cursor.head)
        position = self._place(self.cursor.position, len(raw) + 1)
        if position != self.cursor.position or position % self._segment == 0:
            self._zero_segment(position)
        self._card.mirrored(STEM, position % self._size, self._with_end(position, raw + b"\n"))
        self._advance(line, position)
        return line

    def keep_dayend(self, line: AuditLine) -> None:
        """DAYEND into its own file, for ever. Idempotent."""
        raw = (line.raw + b"\n").ljust(EPOCH_BYTES, b"\0")
        self._card.mirrored(EPOCHS_STEM, line.integer("epoch") * EPOCH_BYTES, raw)

    def prune(self, now_utc_ms: int) -> None:
        """Zero the segments whose newest line is older than twelve months."""
        while self._segment_start(self.cursor.position) > self.cursor.tail:
            lines = self._segment_lines(self.cursor.tail)
            if lines and now_utc_ms - lines[-1].utc_ms <= KEEP_MS:
                return
            self._zero_segment(self.cursor.tail)
            self.cursor = replace(self.cursor, tail=self.cursor.tail + self._segment)

    def _place(self, position: int, length: int) -> int:
        inside = position % self._segment
        return position if inside + length <= self._segment else self._segment_start(position) + self._segment

    def _with_end(self, position: int, raw: bytes) -> bytes:
        """A zero byte behind the line ends the segment for a reader, whatever a torn append left there."""
        return raw if (position + len(raw)) % self._segment == 0 else raw + b"\0"

    def _advance(self, line: AuditLine, position: int) -> None:
        after = position + len(line.raw) + 1
        oldest = self._segment_start(after) - self._size + self._segment
        tail = max(self.cursor.tail, oldest)
        self.cursor = AuditCursor(after, tail, line.seq + 1, line.hash)

    def _segment_start(self, position: int) -> int:
        return position // self._segment * self._segment

    def _zero_segment(self, position: int) -> None:
        self._card.zero_mirrors(STEM, self._segment_start(position) % self._size, self._segment)

    # ----------------------------------------------------------------------------------------------------- recovery

    def recover(self, cursor: AuditCursor, key: bytes, dayend: bytes) -> Recovered:
        """Boot: the lines after the table's cursor, each from whichever mirror has it whole; mirrors made equal. Only
        the copy without the line is written: its sector may be spoilt with the lines before it, and a cut in here may
        spoil the sector that is being written.

        ``key``: the current public key. ``dayend``: the line that the table carries, whose key is destroyed; it is
        known by its bytes.
        """
        oldest = self._segment_start(cursor.position) - self._size + self._segment
        self.cursor = replace(cursor, tail=max(cursor.tail, oldest))
        lines: list[AuditLine] = []
        healed = self._heal_before()
        while True:
            found = self._next_line(key, dayend)
            if found is None:
                break
            line, position, without = found
            for mirror in without:
                healed = True
                self._card.durable(f"{STEM}.{mirror}", position % self._size, line.raw + b"\n")
            self._advance(line, position)
            lines.append(line)
        return Recovered(lines, self._end_here() or healed)

    def _heal_before(self) -> bool:
        """The lines before the cursor in its segment, made equal: a torn append may have spoilt the sector that it
        shares with them, in one mirror. True when there was something."""
        start = self._segment_start(self.cursor.position)
        length = self.cursor.position - start
        images = self._card.read_mirrors(STEM, start % self._size, length)
        if images[0] == images[1]:
            return False
        for image, mirror in zip(images, reversed(MIRRORS), strict=True):
            lines = _parse_segment(image)
            if lines and lines[-1].hash == self.cursor.head and sum(len(line.raw) + 1 for line in lines) == length:
                self._card.durable(f"{STEM}.{mirror}", start % self._size, image)
                return True
        return False

    def _next_line(self, key: bytes, dayend: bytes) -> tuple[AuditLine, int, list[str]] | None:
        """With its position, and the mirrors that do not have it."""
        here = self.cursor.position
        for position in (here, self._segment_start(here) + self._segment):
            raws = self._raw_lines(position)
            for raw in raws:
                line = self._continues(raw, key, dayend)
                if line is not None:
                    return line, position, [mirror for mirror, copy in zip(MIRRORS, raws, strict=True) if copy != raw]
        return None

    def _raw_lines(self, position: int) -> list[bytes]:
        length = min(LINE_BYTES_MAX, self._segment - position % self._segment)
        images = self._card.read_mirrors(STEM, position % self._size, length)
        return [image.partition(b"\n")[0] for image in images]

    def _continues(self, raw: bytes, key: bytes, dayend: bytes) -> AuditLine | None:
        try:
            line = parse_line(raw)
        except Malformed:
            return None
        if (line.seq, line.prev) != (self.cursor.next_seq, self.cursor.head):
            return None
        known = raw == dayend or verify_line(self._ciphers, self._device_id, line, key)
        return line if known else None

    def _end_here(self) -> bool:
        """Zero what a torn append left behind the last line. True when there was something."""
        position = self.cursor.position
        length = min(LINE_BYTES_MAX, self._segment - position % self._segment)
        if position % self._segment == 0:
            return False
        return self._card.zero_mirrors(STEM, position % self._size, length)

    # ------------------------------------------------------------------------------------------------------ reading

    def lines(self) -> Iterator[AuditLine]:
        """All lines that the log has now, oldest first. Raises AuditDamaged where the chain is whole in no mirror,
        CardFailed."""
        until = self.cursor
        last: AuditLine | None = None
        for start in range(until.tail, until.position, self._segment):
            for line in self._segment_lines(start, self._links_after(start, until)):
                if line.seq >= until.next_seq:
                    break
                if last is not None and (line.seq, line.prev) != (last.seq + 1, last.hash):
                    raise AuditDamaged
                last = line
                yield line
        if last is None or last.hash != until.head:
            raise AuditDamaged

    def _links_after(self, start: int, until: AuditCursor) -> frozenset[bytes]:
        """The hashes that the last line of a segment may have: what the next line says of it."""
        following = start + self._segment
        if following >= until.position:
            return frozenset((until.head,))
        return frozenset(lines[0].prev for lines in self._parsed(following) if lines)

    def dayends(self, before_seq: int) -> Iterator[AuditLine]:
        """The kept DAYEND lines with a smaller seq, oldest first. Raises AuditDamaged, CardFailed."""
        epoch = 0
        while (line := self._dayend(epoch)) is not None and line.seq < before_seq:
            yield line
            epoch += 1

    def _dayend(self, epoch: int) -> AuditLine | None:
        """None where the epoch has not ended; the last one that the file has room for never does."""
        raws = self._card.read_mirrors(EPOCHS_STEM, epoch * EPOCH_BYTES, EPOCH_BYTES)
        if not any(raws[0]) and not any(raws[1]):
            return None
        for raw in raws:
            try:
                return parse_line(raw.partition(b"\n")[0])
            except Malformed:
                continue
        raise AuditDamaged

    def _segment_lines(self, start: int, links: frozenset[bytes] = frozenset()) -> tuple[AuditLine, ...]:
        """From the mirror whose last line is the one that the next line continues; else from the longer one."""
        parsed = self._parsed(start)
        matching = [lines for lines in parsed if lines and lines[-1].hash in links]
        return matching[0] if matching else max(parsed, key=len)

    def _parsed(self, start: int) -> list[tuple[AuditLine, ...]]:
        return [_parse_segment(image) for image in self._card.read_mirrors(STEM, start % self._size, self._segment)]


def _parse_segment(image: bytes) -> tuple[AuditLine, ...]:
    """Lines up to the first that is damaged or does not continue the one before it in this segment."""
    lines: list[AuditLine] = []
    for raw in image.partition(b"\0")[0].split(b"\n")[:-1]:
        try:
            line = parse_line(raw)
        except Malformed:
            break
        if lines and line.prev != lines[-1].hash:
            lines.pop()
            break
        lines.append(line)
    return tuple(lines)


def read_everything(disk: Disk, identity: Identity) -> list[AuditLine]:
    """All lines on a card, oldest first, without knowing where the log stands: for looking at a card that nobody has
    open. Raises OSError."""
    size = identity.geometry.audit_segment_bytes
    segments: list[tuple[AuditLine, ...]] = []
    for number in range(identity.geometry.audit_segments):
        images = [disk.read(f"{STEM}.{mirror}", number * size, size) for mirror in MIRRORS]
        segments.append(max((_parse_segment(image) for image in images), key=len))
    filled = sorted((lines for lines in segments if lines), key=lambda lines: lines[0].seq)
    return [line for lines in filled for line in lines]
