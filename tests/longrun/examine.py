"""Boot the production vault on a crash image and judge what it came back with. Every finding cites its invariant."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache

from firmware.policy.records import AudioCodec, Direction, LedgerRow, Outcome
from firmware.policy.retention import limit_utc_ms
from firmware.store.audit import AuditLine
from firmware.store.errors import NoRoot, VaultError
from firmware.store.vault import Vault
from firmware.units import MS_PER_DAY
from hw.sim.clock import SimClock
from hw.sim.disk import SECTOR_BYTES, Image, SimDisk
from hw.sim.memory import SLOT_BYTES, SimMemory
from tests.longrun.ideal import Registry
from tests.longrun.inside import (
    Place,
    canonical,
    clock_is_suspect,
    frames,
    held,
    hold_refused_for_space,
    intents_left,
    is_closed,
    mirrored,
    place_of,
    recent_log,
    retained,
    ring_at,
    sign_epoch,
)
from tests.longrun.memo import Looks, Rest, WatchedMemory
from tests.longrun.model import Kept, Pending, Promise
from tests.longrun.quickdisk import Joined, QuickDisk
from tests.longrun.world import DEVICE_ID, World, chain_is_whole, meta_of

DEK_DOMAIN, META_DOMAIN = b"tacet/dek/1", b"tacet/meta/1"
OFF_MS = 1500
"""True time between the cut and the boot."""


@dataclass
class Calm:
    """Frames that an operation does not touch: read back once over the same base, they need not be read again in every
    image of it, as long as the recovery does not touch them either."""

    touched: dict[str, dict[int, int]]
    """file -> sectors that the operation's trace has."""
    judged: set[Place] = field(default_factory=set)
    _known: dict[Place, bool] = field(default_factory=dict)

    def is_calm(self, place: Place) -> bool:
        if place not in self._known:
            sectors = self.touched.get(place.name, {})
            spans = [(first // SECTOR_BYTES, -(-end // SECTOR_BYTES)) for first, end in place.spans]
            self._known[place] = not any(first <= sector < end for sector in sectors for first, end in spans)
        return self._known[place]


@dataclass
class Examined:
    violations: list[str]
    disk: SimDisk
    memory: SimMemory
    registry: Registry
    clock: SimClock
    vault: Vault | None = None
    booted: bool = True
    calm: "Calm" = field(default_factory=lambda: Calm({}))


@dataclass
class Examiner:
    world: World
    off_ms: int = OFF_MS
    calm: Calm = field(default_factory=lambda: Calm({}))
    """Of the operation under examination."""
    joined: Joined = field(default_factory=dict)
    """Of the operation under examination."""

    def examine(
        self,
        image: Image,
        memory: bytes,
        promise: Promise,
        registry: Registry,
        salt: str,
        looks: Looks | None = None,
        rest: Rest | None = None,
    ) -> Examined:
        """Boot, then compare with the promise. The run is a function of the image, the memory and ``salt``. Raises
        SeenBefore where ``rest`` knows how it goes on."""
        disk = QuickDisk(image, self.joined)
        disk.on_read = looks
        watched = WatchedMemory(memory, self.world.site.memory_kind)
        if rest is not None:
            watched.one_root = lambda table, drawn: rest.begins(disk, watched, table, drawn)
            watched.log_continued = lambda core, drawn: rest.goes_on(disk, watched, core, drawn)
        found = Examined([], disk, watched, registry.child(), _clock(promise, self.off_ms))
        found.calm = self.calm
        found.memory.history = disk.history  # type: ignore[assignment]
        with self.history_of(found):
            self._boot(found, promise, salt)
            if found.vault is not None:
                self._judge(found, promise)
        return found

    @contextmanager
    def history_of(self, found: Examined) -> Iterator[None]:
        """What is sealed and drawn in here belongs to this timeline alone."""
        before = self.world.ciphers.registry
        self.world.ciphers.registry = found.registry
        try:
            yield
        finally:
            self.world.ciphers.registry = before

    def _boot(self, found: Examined, promise: Promise, salt: str) -> None:
        assert promise.rtc is not None
        parts = self.world.parts(found.disk, found.memory, found.clock, promise.rtc.beside(found.clock), salt)
        try:
            found.vault = Vault.open(parts, simulation=True)
        except NoRoot as error:
            found.violations.append(f"I3 ROOT-ALWAYS: {error}")
        except (VaultError, AssertionError, OSError, ValueError, LookupError) as error:
            found.violations.append(f"I25 LIVENESS: boot failed: {type(error).__name__}: {error}")

    def _judge(self, found: Examined, promise: Promise) -> None:
        assert found.vault is not None
        try:
            found.violations += judge(self.world, found, promise)
        except (VaultError, AssertionError, OSError, ValueError, LookupError) as error:
            found.violations.append(f"I1 CLOSED-DURABLE: reading back failed: {type(error).__name__}: {error}")

    # ------------------------------------------------------------------------------------- what costs a second boot

    def deepen(self, found: Examined, promise: Promise, salt: str, rng: random.Random | None) -> None:
        """I23 (a second boot rebuilds the same state, also with one mirror spoilt: I1) and life after recovery: calls,
        an opt-out, a tick, all overwriting."""
        assert found.vault is not None
        with self.history_of(found):
            dump = canonical(found.vault)
            again = Examined(
                [], QuickDisk(found.disk.image()), found.memory, found.registry, _clock(promise, 2 * self.off_ms)
            )
            again.memory.history = again.disk.history  # type: ignore[assignment]
            again.disk.on_read = found.disk.on_read
            if rng is not None:
                spoil(again.disk, rng.choice((None, *MIRRORED)), rng.choice("ab"))
            self._boot(again, promise, salt + "/again")
            found.violations += [f"second boot: {text}" for text in again.violations]
            if again.vault is None:
                return
            if canonical(again.vault) != dump:
                found.violations.append("I23 REBUILD-EQUAL: a second boot rebuilt another state")
            again.violations.clear()
            self._judge(again, promise)
            self._live_on(again, promise)
            found.violations += [f"after a second boot: {text}" for text in again.violations]

    def _live_on(self, found: Examined, promise: Promise) -> None:
        """New calls must not touch retained ones (I19), and an opt-out must still erase."""
        vault = found.vault
        assert vault is not None
        try:
            gone = live_on(vault, found.clock)
            found.violations += overwritten(self.world, vault, promise.gone)
        except (VaultError, AssertionError, OSError, ValueError, LookupError) as error:
            found.violations.append(f"I25 LIVENESS: life after recovery: {type(error).__name__}: {error}")
            return
        # In a ring that is nearly full the new calls may take the oldest day's place: the log must say so.
        since = recent_log(vault, promise.audit_seq)
        for_space = any(line.event == "DESTROYED" and line.fields["op"] == "capacity" for line in since)
        alive = promise.pending.also(Pending("latch", capacity=for_space))
        after = promise.without(frozenset({gone})).doing(alive)
        found.booted = False
        found.violations += judge(self.world, found, after)


def _clock(promise: Promise, off_ms: int) -> SimClock:
    return SimClock(promise.true_utc_ms + off_ms)


def judge(world: World, found: Examined, promise: Promise) -> list[str]:
    """All that one state can show. The attacker has every ciphertext ever made and the erasable memory as it is."""
    bad: list[str] = []
    vault, memory, booted = found.vault, found.memory.content, found.booted
    assert vault is not None
    if sum(any(memory[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)) != 1:
        bad.append("I4 ONE-ROOT: not exactly one slot is non-zero")
    trusted = vault.now_utc_ms()
    if trusted < promise.watermark_utc_ms + booted:
        bad.append("I20 TIME-MONOTONE: T did not grow")
    there = {call.call_id for call in retained(vault)}
    bad += _judge_scope(vault, promise, found.clock)
    opened = Opened(found.registry, memory)
    for call_id in promise.gone:
        if call_id in there:
            bad.append("I5/I6/I7: a destroyed call came back")
        if opened.any_of(call_id):
            bad.append("I5/I6/I7: a destroyed call opens to the custodian's key and the flash history")
    for call in promise.calls.values():
        bad += _judge_call(world, found, promise, call, call.call_id in there, opened, trusted)
    since = recent_log(vault, max(promise.audit_seq, 1))
    bad += _judge_log(vault, promise, since)
    later = [line for line in since if line.seq > promise.audit_seq]
    bad += _judge_certificates(later, promise, there)
    bad += _judge_rows(vault, later, promise, there)
    bad += _judge_answers(vault, promise) if booted else []
    bad += _judge_refusals(vault, later, promise, there, booted=booted)
    if booted and isinstance(found.disk, QuickDisk):
        bad += [
            f"I1: a boot left the copies of {stem} different"
            for stem, first, end in mirrored(vault)
            if found.disk.differ(f"{stem}.a", f"{stem}.b", first, end)
        ]
    if booted and intents_left(vault):
        bad.append("I25 LIVENESS: an intent was left over by a boot")
    if "latch" not in promise.pending.what:
        bad += ["an opt-out latch was forgotten" for line in promise.latched if not vault.opted_out(line)]
    if "document" not in promise.pending.what:
        bad += ["a document was lost" for name, data in promise.documents.items() if vault.document(name) != data]
    for order, until in promise.orders.items():
        if trusted <= until and not vault.order_seen(order):
            bad.append("I17 REQUEST-ONCE: an order was forgotten before its end")
    return bad


def _judge_scope(vault: Vault, promise: Promise, clock: SimClock) -> Iterator[str]:
    """I18: nothing is offered for export that any clock says is past its limit."""
    assert promise.rtc is not None
    claimed = (promise.rtc.beside(clock).read().utc_ms or 0) if clock_is_suspect(vault) else 0
    for entry in vault.calls():
        if not entry.held and max(vault.now_utc_ms(), claimed) >= limit_utc_ms(entry.opened_utc_ms, promise.period):
            yield "I18 SCOPE: a call that is past its limit by a clock is offered"


def _judge_call(
    world: World, found: Examined, promise: Promise, call: Kept, there: bool, opened: "Opened", trusted: int
) -> Iterator[str]:
    if promise.must_be_gone(call, trusted) and there:
        yield "I5 EXPIRED-GONE: a call past its limit is still retained"
    if promise.must_be_there(call, trusted) and not there:
        yield ("I9 HELD-KEPT" if call.hold else "I10 NO-EARLY/I1") + ": a promised call is missing"
    if not there:
        if opened.any_of(call.call_id):
            yield "I8 HALF-ERASED-NEVER: not readable by the device, yet open to the attacker"
        return
    yield from _judge_hold(found, promise, call, trusted)
    if not opened.dek_of(call.call_id):
        yield "I8 HALF-ERASED-NEVER: retained, yet the custodian's key does not open it"
    assert found.vault is not None
    place = place_of(found.vault, call.call_id)
    if not found.calm.is_calm(place) or found.disk.changed(place.name, place.spans):
        yield from _judge_frames(world, found, call)
    elif place not in found.calm.judged:
        found.calm.judged.add(place)
        yield from _judge_frames(world, found, call)


def _judge_hold(found: Examined, promise: Promise, call: Kept, trusted: int) -> Iterator[str]:
    assert found.vault is not None
    firm = call.hold == "confirmed" or (call.hold == "provisional" and trusted < call.hold_until_utc_ms)
    asked = call.call_id in promise.asked and found.booted
    asked = asked and not hold_refused_for_space(found.vault, call.call_id, told=False)
    if (firm or asked) and call.call_id not in promise.pending.may_unhold and not held(found.vault, call.call_id):
        yield "I9 HELD-KEPT: a hold is not in force any more"


def _judge_frames(world: World, found: Examined, call: Kept) -> Iterator[str]:
    assert found.vault is not None
    written = world.frames.get(call.call_id, [])
    read = frames(found.vault, call.call_id)
    if len(read) < call.frames:
        yield f"I1/I2: {len(read)} of {call.frames} acknowledged frames are there"
    if read != written[: len(read)]:
        yield "I1/I19: frames are not those that were recorded"


def _judge_log(vault: Vault, promise: Promise, lines: Sequence[AuditLine]) -> Iterator[str]:
    """I15. A promise that is older than the log's oldest line cannot be shown."""
    if not lines or not chain_is_whole(lines):
        yield "I15 AUDIT-PREFIX: the chain is broken"
    elif promise.audit_seq and (lines[0].seq, lines[0].hash) != (promise.audit_seq, promise.audit_hash):
        yield "I15 AUDIT-PREFIX: an acknowledged line is missing or changed"
    dayends = [line.integer("epoch") for line in lines if line.event == "DAYEND" and line.seq > promise.audit_seq]
    if sign_epoch(vault) != (dayends[-1] + 1 if dayends else promise.sign_epoch):
        yield "I15 AUDIT-PREFIX: the signing key in force is not the one that the log names"


def _judge_certificates(later: Sequence[AuditLine], promise: Promise, there: set[bytes]) -> Iterator[str]:
    """What went since the promise was made has its line in the log: by name, or by its day."""
    missing = promise.calls.keys() - there
    if not missing:
        return
    lines = [line for line in later if line.event == "DESTROYED"]
    named = {line.fields["call"] for line in lines if "call" in line.fields}
    days = {line.integer("day") for line in lines if "day" in line.fields}
    for call_id in missing:
        if call_id.hex() not in named and promise.calls[call_id].opened_utc_ms // MS_PER_DAY not in days:
            yield "no certificate for a destroyed call"


def _judge_rows(vault: Vault, later: Sequence[AuditLine], promise: Promise, there: set[bytes]) -> Iterator[str]:
    """A call that was closed since the promise was made, by its on-hook or by a boot, has its one ledger row."""
    ended = [
        c.call_id for c in promise.calls.values() if not c.closed and c.call_id in there and is_closed(vault, c.call_id)
    ]
    if ended:
        rows = [line.fields.get("call") for line in later if line.event == "CALL"]
        yield from ("one row each: a closed call has none, or two" for c in ended if rows.count(c.hex()) != 1)


def _judge_answers(vault: Vault, promise: Promise) -> Iterator[str]:
    """After a boot no call is going on any more: every answer has its one row, which says what its caller wanted."""
    lines = recent_log(vault, max(1, min([*promise.begun, promise.audit_seq + 1])))
    rows: dict[int, list[str]] = {line.seq: [] for line in lines if line.event == "BEGUN"}
    for line in lines:
        if "begun" in line.fields and line.integer("begun") in rows:
            rows[line.integer("begun")].append(line.fields["outcome"])
    if not promise.begun.keys() <= rows.keys():
        yield "I15 AUDIT-PREFIX: an answer is not in the log"
    if any(len(outcomes) != 1 for outcomes in rows.values()):
        yield "one row each: an answered call has none, or two"
    if any(rows.get(seq) not in (None, [Outcome.OPTED_OUT]) for seq, opted_out in promise.begun.items() if opted_out):
        yield "an opt-out is not in its call's row"


HELD_BY = ("KEEP", "HOLD", "EXTEND")
NOT_HELD_BY = ("HOLD_REFUSED", "RELEASE", "LAPSE")


def _judge_refusals(
    vault: Vault, later: Sequence[AuditLine], promise: Promise, there: set[bytes], *, booted: bool
) -> Iterator[str]:
    """A KEEP or HOLD that came to nothing has its line, once; and the log's last word on a hold is what holds."""
    for call_id, seq in promise.refused.items():
        if "HOLD_REFUSED" not in _hold_words(recent_log(vault, max(seq, 1)), call_id):
            yield "a refused hold was told to somebody, and the log does not know of it"
    if not booted:
        return
    for call_id in promise.asked:
        words = _hold_words(later, call_id)
        gone = call_id not in there
        refused = "opt_out" not in promise.pending.what if gone else not held(vault, call_id)
        if words.count("HOLD_REFUSED") != refused:
            yield "a KEEP that came to nothing has no line of its own, or two, or one that is not true"
    for call_id in there & (promise.pending.may_hold | promise.asked):
        words = _hold_words(later, call_id)
        if words and held(vault, call_id) != (words[-1] in HELD_BY):
            yield "the log's last word on a hold is not what holds"


def _hold_words(lines: Iterable[AuditLine], call_id: bytes) -> list[str]:
    about = [line.event for line in lines if line.fields.get("call") == call_id.hex()]
    return [event for event in about if event in HELD_BY + NOT_HELD_BY]


class Opened:
    """Which calls an attacker opens: the closure over the registry from one content of the erasable memory."""

    def __init__(self, registry: Registry, memory: bytes) -> None:
        self._deks, self._metas = _calls_of(registry.opened(memory))

    def dek_of(self, call_id: bytes) -> bool:
        return call_id in self._deks

    def any_of(self, call_id: bytes) -> bool:
        return call_id in self._deks or call_id in self._metas

    @property
    def calls(self) -> frozenset[bytes]:
        return self._deks


@lru_cache(maxsize=1 << 10)
def _calls_of(infos: frozenset[bytes]) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """Whose DEK is open, and whose text."""
    deks = frozenset(call_id_of(info) for info in infos if info.startswith(DEK_DOMAIN))
    return deks, frozenset(call_id_of(info) for info in infos if not info.startswith(DEK_DOMAIN))


def call_id_of(info: bytes) -> bytes:
    """From an HPKE info: bound(domain, device_id, key_id, call_id, opened)."""
    domain = next(d for d in (DEK_DOMAIN, META_DOMAIN, b"tacet/hold/1") if info.startswith(d))
    start = len(domain) + 2 + len(DEVICE_ID) + 2 + 8 + 2
    return info[start : start + 16]


def live_on(vault: Vault, clock: SimClock) -> bytes:
    """Two calls, one of them opted out, and a tick; returns the id of the destroyed one."""
    now = vault.now_utc_ms()
    for line in range(2):
        vault.latch_opt_out(line, False)
    ids = [vault.open_call(line, now, AudioCodec.PCMU, 1, 8000, meta_of(now, now)) for line in range(2)]
    for call_id in ids:
        vault.append_audio(call_id, 0, 800, bytes(800))
        vault.flush(call_id)
    vault.opt_out((ids[0],), 0)
    clock.advance_ms(1000)
    ended = vault.now_utc_ms()
    row = LedgerRow(1, Outcome.RECORDED, Direction.INBOUND, "ring_then_loop", now, ended, True, ids[1])
    vault.close_call(ids[1], meta_of(now, ended), row)
    vault.tick()
    vault.overwrite_all()
    for entry in vault.calls():
        vault.sealed(entry.call_id)
    return ids[0]


MIRRORED = ("kt0", "kt1", "bags", "audit", "epochs", "documents")


def spoil(disk: SimDisk, stem: str | None, mirror: str) -> None:
    """Garbage over one file of a pair: the fault model allows one bad copy."""
    if stem is not None:
        name = f"{stem}.{mirror}"
        disk.corrupt(name, 0, bytes(range(7, 71)) * (min(disk.size(name), 64 * 1024) // 64))


def overwritten(world: World, vault: Vault, gone: Iterable[bytes]) -> list[str]:
    """N6 of the notice: once all overwriting is done, no block of a destroyed call is on the ring as it was written."""
    bad: list[str] = []
    for call_id in gone:
        for frame in world.frames.get(call_id, ()):
            position = int.from_bytes(frame[32:40], "big")
            if ring_at(vault, position, len(frame))[-SECTOR_BYTES:] == frame[-SECTOR_BYTES:]:
                bad.append("blocks of a destroyed call were never overwritten")
    return bad
