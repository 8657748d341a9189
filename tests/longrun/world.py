"""One device in a simulated world, driven through the vault's public door, with the promises it has made.

``World`` runs operations on the live vault and keeps the promise up to date; ``Examiner`` boots the vault on any crash
image and checks the invariants of storage design I1 to I26 that a state can show (each check cites its id).
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from firmware.policy.events import Absence
from firmware.policy.records import AudioCodec, CallMeta, Direction, Ended, GapReason, LedgerRow, NoticeProof, Outcome
from firmware.policy.retention import TWO_MONTHS, Period
from firmware.policy.trusted_time import PERSIST_MS
from firmware.store.audit import AuditLine, parse_line
from firmware.store.errors import ErasureUnconfirmed, Refused
from firmware.store.identity import Geometry
from firmware.store.keys import Recipient, RequestKey, Role
from firmware.store.vault import Charter, Vault, VaultParts
from firmware.units import MS_PER_DAY, PROVISIONAL_HOLD_DAYS
from hw.sim.clock import SimClock, SimRtc
from hw.sim.disk import Image, SimDisk, Write
from hw.sim.memory import SimMemory
from tests.longrun.ideal import Dice, IdealCiphers, Registry, public_half
from tests.longrun.images import Acked
from tests.longrun.inside import frames as frames_of
from tests.longrun.inside import (
    hold_refused_for_space,
    hold_undecided,
    persisted_utc_ms,
    recent_log,
    retained,
    sign_epoch,
)
from tests.longrun.model import Kept, Pending, Promise

START_UTC_MS = 1_772_409_600_000
"""2026-03-02, a Monday, at midnight UTC."""
NUMBER = "+442079460123"
DEVICE_ID = "device-under-test"
CUSTODIAN, ESCROW = b"c" * 32, b"e" * 32
PCM_MARK = b"PCM-that-must-never-be-readable-on-flash"
PIECE_SAMPLES = 800
ORDER_MS = 14 * MS_PER_DAY
SHOWN_ROWS = 12
"""So many lines after its row an answer is still looked up in each image."""
SHOWN_LINES = 64
"""So long a refused hold is looked up in the log in each image: about half of what this small card's log holds."""

TINY = Geometry(
    lines=2,
    zone_blocks=32,
    ring_blocks=256,
    reserve_blocks=32,
    hold_blocks=24,
    bag_slots=24,
    bag_slot_bytes=20 * 1024,
    audit_segments=32,
    audit_segment_bytes=2048,
    epochs=512,
    document_blocks=16,
)


class NoEncoder:
    """The explorer's calls carry G.711 bytes; nothing is encoded."""

    def encode(self, samples: object, rate_hz: int) -> bytes:
        raise AssertionError("no FLAC in the explorer")


@dataclass
class Site:
    """What a device is provisioned with."""

    period: Period = TWO_MONTHS
    geometry: Geometry = TINY
    memory_kind: str = "at24"


class World:
    """The live device. Every method is one operation that a caller of the vault may ask for."""

    def __init__(
        self,
        seed: str,
        site: Site | None = None,
        ciphers: Callable[[Registry], IdealCiphers] = IdealCiphers,
        charter: Charter | None = None,
    ) -> None:
        self.seed = seed
        self.site = site or Site()
        self.registry = Registry()
        self.ciphers = ciphers(self.registry)
        self._charter = charter or self._ideal_charter()
        self.rng = random.Random(seed)
        self.disk = SimDisk(rng=random.Random(seed + "/disk"))
        self.memory = SimMemory(kind=self.site.memory_kind)
        self.memory.history = self.disk.history  # type: ignore[assignment]
        self.clock = SimClock(START_UTC_MS)
        self.rtc = SimRtc(self.clock)
        self.boots = 0
        self.powered = True
        self.frames: dict[bytes, list[bytes]] = {}
        self.samples: dict[bytes, int] = {}
        self.days: dict[bytes, int] = {}
        """UTC day of every call ever opened."""
        self.asked: dict[bytes, int] = {}
        """KEEP pressed on a running call: until when the hold will stand."""
        self.promise = Promise(self.site.period)
        self._seen_events = 0
        self.vault = self._provision()
        self.acknowledge()

    # ------------------------------------------------------------------------------------------------ the machinery

    def parts(self, disk: SimDisk, memory: SimMemory, clock: SimClock, rtc: SimRtc, salt: str) -> VaultParts:
        dice = Dice(f"{self.seed}/{salt}", self.ciphers)
        return VaultParts(disk, memory, clock, rtc, dice, NoEncoder(), self.ciphers)

    def _provision(self) -> Vault:
        parts = self.parts(self.disk, self.memory, self.clock, self.rtc, "provision")
        Vault.provision(parts, self._charter, self.site.geometry)
        return self._open("boot-0")

    def _ideal_charter(self) -> Charter:
        recipients = tuple(Recipient.of(public_half(key)) for key in (CUSTODIAN, ESCROW))
        request = (RequestKey.of(b"k" * 32, Role.CUSTODIAN), RequestKey.of(b"s" * 32, Role.SUPERVISOR))
        return Charter(
            device_id=DEVICE_ID,
            simulation=True,
            recipients=recipients,
            request_keys=request,
            ring_bytes=64 << 20,
            hold_bytes=16 << 20,
            retention_months=2,
            lines=2,
        )

    def _open(self, salt: str) -> Vault:
        self.boots += 1
        return Vault.open(self.parts(self.disk, self.memory, self.clock, self.rtc, salt), simulation=True)

    def begin(self, pending: Pending) -> None:
        """From here on the operation may have happened."""
        self._set(self.promise.doing(pending))

    def acknowledge(self, promise: Promise | None = None) -> None:
        """The vault returned: what it said is promised from here on."""
        self._note_frames()
        line = recent_log(self.vault, max(self.promise.audit_seq, 1))[-1]
        self._set(
            replace(
                self._without_capacity_victims(promise or self.promise),
                pending=Pending(),
                asked=frozenset(self.asked),
                begun=self._answers_shown(promise or self.promise, line.seq),
                refused={
                    x: seq for x, seq in (promise or self.promise).refused.items() if line.seq - seq < SHOWN_LINES
                },
                watermark_utc_ms=persisted_utc_ms(self.vault),
                audit_seq=line.seq,
                audit_hash=line.hash,
                sign_epoch=sign_epoch(self.vault),
            )
        )

    def _answers_shown(self, promise: Promise, last_seq: int) -> dict[int, bool]:
        if not promise.begun:
            return {}
        rows = {line.fields.get("begun"): line.seq for line in recent_log(self.vault, min(promise.begun))}
        return {
            x: opted_out for x, opted_out in promise.begun.items() if last_seq - rows.get(str(x), last_seq) < SHOWN_ROWS
        }

    def _set(self, promise: Promise) -> None:
        self.promise = replace(promise, true_utc_ms=self.clock.true_utc_ms, rtc=self.rtc.beside(self.clock))
        self.disk.history.append(Acked(self.promise))

    def _note_frames(self) -> None:
        """Frames as they were written to the ring, by call: what must be readable again."""
        for event in self.disk.history[self._seen_events :]:
            if isinstance(event, Write) and event.name == "ring" and event.data[:4] == b"TCF1":
                frames = self.frames.setdefault(event.data[8:24], [])
                whole = len(event.data) == 192 + int.from_bytes(event.data[28:32], "big")
                if whole and event.data not in frames:
                    frames.append(event.data)
        self._seen_events = len(self.disk.history)

    def forget_history(self) -> None:
        """The trace so far was explored; everything in it is synced."""
        del self.disk.history[:]
        self._seen_events = 0

    def now_utc_ms(self) -> int:
        return self.vault.now_utc_ms()

    def pass_ms(self, ms: int) -> None:
        self.clock.advance_ms(ms)

    def pass_days(self, days: int) -> None:
        """Powered time, with a tick soon after each midnight but the last."""
        for _ in range(days - 1):
            self.midnight()
        now = self.now_utc_ms()
        self.pass_ms((now // MS_PER_DAY + 1) * MS_PER_DAY - now + 1000)

    # ------------------------------------------------------------------------------------------------- operations

    def answer(self, line: int = 0) -> int:
        """An inbound call is answered; nothing of it is kept yet. Returns when."""
        self.begin(Pending("answer"))
        started = self.now_utc_ms()
        self.vault.begin_call(line, started)
        seq = recent_log(self.vault, max(self.promise.audit_seq, 1))[-1].seq
        self.acknowledge(replace(self.promise, begun={**self.promise.begun, seq: False}))
        return started

    def opt_out_answer(self, started: int, line: int = 0) -> None:
        self.begin(Pending("opt-out of an answer"))
        self.vault.opt_out_begun(line, started)
        self.acknowledge(replace(self.promise, begun={**self.promise.begun, max(self.promise.begun): True}))

    def row_of(self, started: int, line: int = 0, outcome: Outcome = Outcome.NOTICE_NOT_COMPLETED) -> None:
        """The call ends without anything kept of it."""
        self.begin(Pending("row"))
        now = self.now_utc_ms()
        self.vault.write_row(LedgerRow(line, outcome, Direction.INBOUND, "ring_then_loop", started, now, True))
        self.acknowledge()

    def open_call(self, line: int = 0, started: int | None = None) -> bytes:
        opened = self.answer(line) if started is None else started
        self.begin(Pending("open", capacity=True))
        call_id = self.vault.open_call(line, opened, AudioCodec.PCMU, 1, 8000, meta_of(opened, opened))
        self.samples[call_id] = 0
        self.days[call_id] = opened // MS_PER_DAY
        self.acknowledge(self.promise.with_call(Kept(call_id, line, opened)))
        return call_id

    def append(self, call_id: bytes, blocks: int = 1) -> None:
        """One sealed frame of ``blocks`` 4 KiB blocks."""
        self.begin(Pending("append", capacity=True))
        samples = PIECE_SAMPLES if blocks == 1 else (blocks - 1) * 4096
        first = self.samples[call_id]
        audio = (PCM_MARK * (samples // len(PCM_MARK) + 1))[:samples]
        self.vault.append_audio(call_id, first, samples, audio)
        self.vault.flush(call_id)
        self.samples[call_id] = first + samples
        self._note_frames()
        self._acknowledge_frames(call_id)

    def gap(self, call_id: bytes, reason: GapReason = GapReason.PAYMENT) -> None:
        self.begin(Pending("gap", capacity=True))
        first = self.samples[call_id]
        self.vault.append_gap(call_id, first, PIECE_SAMPLES, reason)
        self.vault.flush(call_id)
        self.samples[call_id] = first + PIECE_SAMPLES
        self._acknowledge_frames(call_id)

    def _acknowledge_frames(self, call_id: bytes) -> None:
        self._note_frames()
        kept = self.promise.calls[call_id]
        self.acknowledge(self.promise.with_call(replace(kept, frames=len(self.frames.get(call_id, ())))))

    def _without_capacity_victims(self, promise: Promise) -> Promise:
        """Whole oldest days may have gone for space, and then a hold's copy with its hold: the log must say so."""
        there = {call.call_id for call in retained(self.vault)}
        lost = frozenset(c.call_id for c in promise.calls.values() if c.closed and c.call_id not in there)
        if lost:
            lines = [line for line in recent_log(self.vault, promise.audit_seq) if line.event == "DESTROYED"]
            for_space = any(line.fields["op"] == "capacity" for line in lines)
            by_name = {line.fields["call"] for line in lines if line.fields["op"] == "release"}
            unexplained = [call_id for call_id in lost if not for_space and call_id.hex() not in by_name]
            assert not unexplained, "I10: calls went without a logged reason"
        return promise.without(lost)

    def close(self, call_id: bytes) -> None:
        self.begin(Pending("close", may_hold=frozenset({call_id} & self.asked.keys()), capacity=True))
        kept = self.promise.calls[call_id]
        ended = self.now_utc_ms()
        row = LedgerRow(
            kept.line, Outcome.RECORDED, Direction.INBOUND, "ring_then_loop", kept.opened_utc_ms, ended, True, call_id
        )
        self.vault.close_call(call_id, meta_of(kept.opened_utc_ms, ended), row)
        self._note_frames()
        frames = len(self.frames.get(call_id, ()))
        self.acknowledge(self._holding_asked(self.promise.with_call(replace(kept, closed=True, frames=frames))))

    def call(self, line: int = 0, frames: int = 1) -> bytes:
        """A whole recorded call."""
        call_id = self.open_call(line)
        for _ in range(frames):
            self.append(call_id)
        self.close(call_id)
        return call_id

    def opt_out(self, call_id: bytes) -> None:
        kept = self.promise.calls[call_id]
        self.begin(Pending("opt_out", may_go=frozenset({call_id}), may_unhold=frozenset({call_id})))
        self.vault.opt_out((call_id,), kept.line)
        self.asked.pop(call_id, None)
        promise = self.promise.without(frozenset({call_id}))
        self.acknowledge(replace(promise, latched=promise.latched | {kept.line}))

    def on_hook(self, line: int) -> None:
        self.begin(Pending("latch"))
        self.vault.latch_opt_out(line, False)
        self.acknowledge(replace(self.promise, latched=self.promise.latched - {line}))

    def row(self, line: int = 0) -> None:
        self.begin(Pending("row"))
        now = self.now_utc_ms()
        self.vault.write_row(LedgerRow(line, Outcome.UNANSWERED, Direction.INBOUND, "ring_then_loop", now, now, True))
        self.acknowledge()

    def keep(self, call_id: bytes) -> str | None:
        """The KEEP key; on a running call it takes effect at its close. The first press counts."""
        self.begin(Pending("keep", may_hold=frozenset({call_id})))
        refused = self.vault.keep(call_id)
        kept = self.promise.calls.get(call_id)
        if refused is not None:
            self.promise = self.promise.refusing(call_id)
        elif kept is not None and not kept.hold:
            self.asked.setdefault(call_id, self.now_utc_ms() + PROVISIONAL_HOLD_DAYS * MS_PER_DAY)
        self.acknowledge(self._holding_asked(self.promise))
        return refused

    def _holding_asked(self, promise: Promise, *, told: bool = True) -> Promise:
        """KEEP presses whose call is closed by now are holds in force, but for those that there was no space for."""
        for call_id, until in list(self.asked.items()):
            kept = promise.calls.get(call_id)
            refused = hold_refused_for_space(self.vault, call_id, told=told)
            if kept is not None and kept.closed and not kept.hold and not refused:
                promise = promise.with_call(replace(kept, hold="provisional", hold_until_utc_ms=until))
            if refused and not hold_undecided(self.vault, call_id):
                promise = promise.refusing(call_id)
            if kept is None or kept.closed:
                del self.asked[call_id]
        return promise

    def discard(self, call_id: bytes) -> None:
        """A running call turns out to be nothing that may be kept; a KEEP pressed in it comes to nothing."""
        kept, now = self.promise.calls[call_id], self.now_utc_ms()
        self.begin(Pending("discard", may_go=frozenset({call_id})))
        outcome, direction = Outcome.UNKNOWN_DIRECTION, Direction.UNKNOWN
        row = LedgerRow(kept.line, outcome, direction, "no_ring", kept.opened_utc_ms, now, True, call_id)
        self.vault.write_row(row)
        promise = self.promise.refusing(call_id) if call_id in self.asked else self.promise
        self.asked.pop(call_id, None)
        self.acknowledge(promise.without(frozenset({call_id})))

    def hold_refused(self, call_id: bytes) -> None:
        """A HOLD order that finds no room for the call."""
        self.begin(Pending("hold", may_hold=frozenset({call_id})))
        try:
            self.vault.hold(call_id, b"case sealed by the desk", self.now_utc_ms() + 90 * MS_PER_DAY)
            raise AssertionError("there was room for the hold")
        except Refused:
            self.acknowledge(self.promise.refusing(call_id))

    def hold(self, call_id: bytes, days: int = 90) -> None:
        self._change_hold(call_id, days, lambda review: self.vault.hold(call_id, b"case sealed by the desk", review))

    def confirm(self, call_id: bytes, days: int = 90) -> None:
        self._change_hold(call_id, days, lambda review: self.vault.confirm(call_id, b"confirmed by the desk", review))

    def extend(self, call_id: bytes, days: int = 180) -> None:
        self._change_hold(call_id, days, lambda review: self.vault.extend(call_id, review))

    def _change_hold(self, call_id: bytes, days: int, act: Callable[[int], object]) -> None:
        self.begin(Pending("hold", may_hold=frozenset({call_id})))
        review = self.now_utc_ms() + days * MS_PER_DAY
        act(review)
        kept = replace(self.promise.calls[call_id], hold="confirmed", hold_until_utc_ms=review)
        self.acknowledge(self.promise.with_call(kept))

    def release(self, call_id: bytes) -> None:
        kept = self.promise.calls[call_id]
        past = self.promise.limit(kept) <= self.now_utc_ms()
        only = frozenset({call_id})
        self.begin(Pending("release", may_go=only, may_unhold=only))
        self.vault.release(call_id)
        promise = self.promise.with_call(replace(kept, hold="", hold_until_utc_ms=0))
        self.acknowledge(promise.without(only) if past else promise)

    def erase(self, call_id: bytes) -> None:
        self.begin(Pending("erase", may_go=frozenset({call_id})))
        self.vault.erase(call_id)
        self.acknowledge(self.promise.without(frozenset({call_id})))

    def order(self, order_id: bytes) -> None:
        self.begin(Pending("order"))
        until = self.now_utc_ms() + ORDER_MS
        self.vault.remember_order(order_id, until)
        self.acknowledge(replace(self.promise, orders={**self.promise.orders, order_id: until}))

    def log(self) -> None:
        self.begin(Pending("log"))
        self.vault.log("DISCLOSE", {"purpose": "quality", "calls": 1})
        self.acknowledge()

    def document(self, name: str, data: bytes) -> None:
        self.begin(Pending("document"))
        self.vault.put_document(name, data)
        self.acknowledge(replace(self.promise, documents={**self.promise.documents, name: data}))

    def tick(self) -> None:
        """Expiry, lapses, persistence of T, overwriting: what is due by then goes."""
        self.begin(self._pending("tick", self.now_utc_ms() + 1000))
        self.vault.tick()
        self._check_time_saved(PERSIST_MS)
        self.acknowledge(self._after_expiry())

    def _check_time_saved(self, lag_ms: int) -> None:
        """I20: T is on the card often enough, or a cut with a dead clock would turn it back."""
        assert persisted_utc_ms(self.vault) >= self.now_utc_ms() - lag_ms, "I20 TIME-MONOTONE: T is not saved"

    def _pending(self, what: str, now: int) -> Pending:
        calls = self.promise.calls.values()
        lapsing = frozenset(c.call_id for c in calls if c.hold == "provisional" and now >= c.hold_until_utc_ms)
        going = frozenset(c.call_id for c in calls if self.promise.must_be_gone(c, now) or c.call_id in lapsing)
        return Pending(what, may_go=going, may_unhold=lapsing)

    def _after_expiry(self) -> Promise:
        """By the calendar alone, after the holds that lapsed by T."""
        now = self.now_utc_ms()
        promise = self.promise.doing(Pending())
        for call in list(promise.calls.values()):
            if call.hold == "provisional" and now >= call.hold_until_utc_ms:
                promise = promise.with_call(replace(call, hold="", hold_until_utc_ms=0))
        return promise.without(frozenset(c.call_id for c in promise.calls.values() if promise.must_be_gone(c, now)))

    def midnight(self) -> None:
        """On to just past the next midnight UTC."""
        now = self.now_utc_ms()
        self.pass_ms((now // MS_PER_DAY + 1) * MS_PER_DAY - now + 1000)
        self.tick()

    def change_keys(self) -> None:
        self.begin(Pending("change_keys"))
        self.vault.change_keys(self._charter.recipients, self._charter.request_keys)
        self.acknowledge()

    def settle_time(self, utc_ms: int) -> None:
        self.begin(self._pending("settle_time", utc_ms))
        self.vault.settle_time(utc_ms)
        self.acknowledge(self._after_expiry())

    def reboot(self, off_ms: int = 0) -> None:
        self.power_cut(off_ms)
        self.boot()

    def power_cut(self, off_ms: int = 0) -> None:
        self._note_frames()
        self.clock.power_off(off_ms)
        self.disk = self.disk.cut(self.rng)
        self.powered = False

    def boot(self) -> None:
        """Open calls were interrupted: closed by the boot, and kept."""
        self.open_vault()
        promise = self.promise
        for call in list(promise.calls.values()):
            if not call.closed:
                promise = promise.with_call(replace(call, closed=True))
        self.promise = self._holding_asked(promise, told=False)
        self.acknowledge(self._after_boot())

    def open_vault(self) -> None:
        """Boot, and acknowledge nothing yet: what was pending may have happened as well."""
        claimed = self.rtc.read().utc_ms or 0
        pending = self._pending("boot", max(claimed, self.promise.watermark_utc_ms))
        self.begin(self.promise.pending.also(pending))
        self.vault = self._open(f"boot-{self.boots}")
        self.powered = True
        self._check_time_saved(0)

    def retry(self) -> None:
        """An erasure that the memory did not confirm is tried again."""
        self.begin(self.promise.pending.also(self._pending("retry", self.now_utc_ms() + 1000)))
        self.vault.tick()

    def try_to_record(self, line: int) -> None:
        """A call offered while an erasure is not confirmed: refused, or acknowledged and then kept."""
        pending = self.promise.pending
        try:
            opened = self.now_utc_ms()
            call_id = self.vault.open_call(line, opened, AudioCodec.PCMU, 1, 8000, meta_of(opened, opened))
        except (ErasureUnconfirmed, Refused):
            return
        self._set(self.promise.with_call(Kept(call_id, line, opened)).doing(pending))
        self.samples[call_id], self.days[call_id] = 0, opened // MS_PER_DAY

    def take_over(self) -> None:
        """After a judgement: what is there is promised from here on."""
        self.acknowledge(self.settled())

    def _after_boot(self) -> Promise:
        """Boot expires by the calendar; holds lapse at the first tick."""
        now = self.now_utc_ms()
        promise = self.promise.doing(Pending())
        return promise.without(frozenset(c.call_id for c in promise.calls.values() if promise.must_be_gone(c, now)))

    def settled(self) -> Promise:
        """What is there after an operation whose outcome nobody saw: cut off, failed or refused. To be taken over only
        after the state was judged against the promise with what was pending."""
        promise = self.promise.doing(Pending())
        self._note_frames()
        there = {call.call_id: call for call in retained(self.vault)}
        promise = promise.without(frozenset(promise.calls) - there.keys())
        for call_id, call in there.items():
            hold = "" if call.hold is None else "provisional" if call.hold.provisional else "confirmed"
            until = 0 if call.hold is None else call.hold.review_utc_ms
            known = promise.calls.get(call_id, Kept(call_id, call.line, call.opened_utc_ms))
            frames = len(frames_of(self.vault, call_id)) if call.close is not None else known.frames
            closed = call.close is not None
            promise = promise.with_call(
                replace(known, frames=frames, closed=closed, hold=hold, hold_until_utc_ms=until)
            )
        self.asked = {call_id: until for call_id, until in self.asked.items() if call_id in there}
        latched = frozenset(line for line in range(2) if self.vault.opted_out(line))
        return replace(self._holding_asked(promise, told=False), latched=latched)

    # --------------------------------------------------------------------------------------------------- in detail

    def image(self) -> Image:
        return self.disk.freeze()


def meta_of(answered: int, ended: int) -> CallMeta:
    return CallMeta(
        number=NUMBER,
        number_absence=None if answered % 2 else Absence.WITHHELD,
        caller_name=None,
        direction=Direction.INBOUND,
        rule="ring_then_loop",
        evidence=(("ring", -3000),),
        notice=NoticeProof("v1", bytes(32), 12_000, "appliance"),
        answered_utc_ms=answered,
        ended_utc_ms=ended,
        ended=Ended.ON_HOOK,
        samples=0,
    )


def chain_is_whole(lines: Sequence[AuditLine]) -> bool:
    """I15: seq without a hole, each line names its predecessor's hash, epochs follow each other."""
    epochs = [line.integer("epoch") for line in lines if line.event == "DAYEND"]
    return all(after == before + 1 for before, after in pairwise(epochs)) and all(
        after.seq == before.seq + 1 and after.prev == before.hash for before, after in pairwise(lines)
    )


def one_fate_each(world: World) -> list[str]:
    """The whole log against the whole history: one row per call, one certificate per destroyed call or its day."""
    lines = [parse_line(raw) for raw in world.vault.audit_lines()]
    rows = Counter(line.fields["call"] for line in lines if line.event == "CALL" and "call" in line.fields)
    bad = [f"one row each: {count} rows of one call" for count in rows.values() if count > 1]
    destroyed = [line for line in lines if line.event == "DESTROYED"]
    named = {line.fields["call"] for line in destroyed if "call" in line.fields}
    days = {line.integer("day") for line in destroyed if "day" in line.fields}
    for call_id, day in world.days.items():
        if call_id in world.promise.gone and call_id.hex() not in named and day not in days:
            bad.append("no certificate names a destroyed call or its day")
        if call_id in world.promise.calls and world.promise.calls[call_id].closed and call_id.hex() not in rows:
            bad.append("a closed call has no ledger row")
    return bad
