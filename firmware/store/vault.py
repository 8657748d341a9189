"""The vault: encrypted ring storage whose forgetting can be proved. The one door for the rest of the firmware.

One thread at a time. No hidden threads, no clock of its own, all disk and memory access through the ports. What a
function here returned from is durable. Errors: ``firmware/store/errors.py``.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from numpy import int16
from numpy.typing import NDArray

from firmware.policy import retention
from firmware.policy.records import AudioCodec, CallMeta, GapReason, LedgerRow, Outcome
from firmware.ports import Disk
from firmware.store import (
    background,
    begun,
    destroy,
    documents,
    expiry,
    forecast,
    holding,
    identity,
    ledger,
    recording,
    recover,
    rotate,
    space,
)
from firmware.store import provision as provisioning
from firmware.store.audit import Value
from firmware.store.auditlog import read_everything
from firmware.store.ciphers import Ciphers
from firmware.store.commands import Alarm
from firmware.store.core import Call, Core, VaultParts
from firmware.store.entries import OUTCOMES, Kind
from firmware.store.errors import OrdersFull, Refused
from firmware.store.identity import Geometry
from firmware.store.keys import Recipient, RequestKey
from firmware.store.layout import digest
from firmware.store.provision import Charter
from firmware.store.scrub import Scrubber
from firmware.store.table import NO_CALL, ORDERS_MAX, Certificate

__all__ = ["CallEntry", "Charter", "SealedCall", "Vault", "VaultParts"]


@dataclass(frozen=True)
class CallEntry:
    """A retained, closed call, as the appliance itself may know it."""

    call_id: bytes
    line: int
    opened_utc_ms: int
    closed_utc_ms: int
    outcome: Outcome
    held: bool
    provisional: bool
    review_day: int | None
    """UTC day of a hold's review, or of a provisional hold's lapse."""

    def index_body(self) -> bytes:
        """INDEXENTRY of FORMAT.md 10."""
        return struct.pack(
            ">16sBQQBB",
            self.call_id,
            self.line,
            self.opened_utc_ms,
            self.closed_utc_ms,
            OUTCOMES.index(self.outcome) + 1,
            self.held,
        )


@dataclass(frozen=True)
class SealedCall:
    """What leaves on a stick: bodies of FORMAT.md 6, and the frames as they lie in the ring."""

    open_entry: bytes
    meta_entry: bytes | None
    close_entry: bytes
    frames: Callable[[], Iterator[bytes]]
    """Ends early when the call is destroyed meanwhile."""


class Vault:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._sweeper = background.Sweeper(core)
        self._scrubber = Scrubber(core)
        self._forecast = forecast.Forecast(core)

    @classmethod
    def provision(cls, parts: VaultParts, charter: Charter, geometry: Geometry | None = None) -> None:
        """Only a never-provisioned card. ``geometry``: other sizes than those that follow from the ring (tests)."""
        provisioning.provision(parts, charter, geometry)

    @classmethod
    def open(cls, parts: VaultParts, *, simulation: bool) -> Self:
        """Boot order of ``recover``."""
        return cls(recover.open_core(parts, simulation=simulation))

    # ------------------------------------------------------------------------------------------------------ identity

    @property
    def device_id(self) -> str:
        return self._core.device_id

    @property
    def genesis_public_key(self) -> bytes:
        return self._core.identity.genesis_key

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the genesis public key: what the desk pins and the label shows."""
        return digest(self._core.identity.genesis_key)

    @property
    def ciphers(self) -> Ciphers:
        return self._core.ciphers

    @property
    def charter(self) -> Charter:
        core, shape = self._core, self._core.identity.geometry
        return Charter(
            core.device_id,
            core.identity.simulation,
            core.table.recipients,
            core.table.request_keys,
            shape.ring_blocks * 4096,
            shape.hold_blocks * 4096,
            core.table.period.months,
            shape.lines,
            core.table.period.days,
        )

    def now_utc_ms(self) -> int:
        """Trusted time T."""
        return self._core.now_utc_ms()

    def mono_us(self) -> int:
        return self._core.parts.clock.mono_us()

    # ----------------------------------------------------------------------------------------------------- recording

    def kept(self, call_id: bytes) -> bool:
        """The call is in the vault, open or closed."""
        return call_id in self._core.calls

    @property
    def may_record(self) -> bool:
        """False after 24 powered hours with a clock behind T or silent: new calls would be kept too long."""
        return self._core.time.may_record

    def begin_call(self, line: int, started_utc_ms: int, *, opted_out: bool = False) -> None:
        """An inbound call was answered at that time, which its recording and its row will name, too: a power cut before
        either leaves a row all the same."""
        begun.begin(self._core, line, started_utc_ms, opted_out=opted_out)

    def opt_out_begun(self, line: int, started_utc_ms: int) -> None:
        """Nothing of that call is kept yet, and its caller refuses."""
        begun.opt_out(self._core, line, started_utc_ms)

    def open_call(
        self,
        line: int,
        opened_utc_ms: int,
        codec: AudioCodec = AudioCodec.FLAC,
        channels: int = 1,
        rate_hz: int = 8000,
        meta: CallMeta | None = None,
    ) -> bytes:
        """Returns the call id. Raises Refused (``opted_out``), RingFull, CardFailed, ErasureUnconfirmed."""
        return recording.open_call(self._core, line, opened_utc_ms, codec, channels, rate_hz, meta)

    def append_audio(
        self,
        call_id: bytes,
        first_sample: int,
        samples: int,
        payload: NDArray[int16] | bytes,
        codec: AudioCodec | None = None,
    ) -> int | None:
        """int16 [channels, n] (FLAC) or codec bytes, at most 2 s; ``codec`` None: the call's. Returns the sample
        through which the call is durable where a frame was sealed. Raises Refused (``not_kept``), RingFull,
        CardFailed, ErasureUnconfirmed."""
        return recording.append_audio(self._core, call_id, first_sample, samples, payload, codec)

    def append_gap(self, call_id: bytes, first_sample: int, samples: int, reason: GapReason) -> int | None:
        return recording.append_gap(self._core, call_id, first_sample, samples, reason)

    def flush(self, call_id: bytes) -> int | None:
        """Seal what is pending, now."""
        return recording.flush(self._core, call_id)

    def seal_quiet(self, quiet_us: int) -> None:
        """Seal the pending audio of calls for which nothing has come for so long. Raises VaultError."""
        recording.seal_quiet(self._core, quiet_us)

    def close_call(self, call_id: bytes, meta: CallMeta, row: LedgerRow) -> int | None:
        """Last frame, META, CLOSE, ledger row, and the hold that KEEP asked for. May be called again after
        ErasureUnconfirmed: what is done is not done twice."""
        call = self._core.calls.get(call_id)
        if call is None:
            raise Refused("not_kept")
        sealed = None if call.close is not None else recording.close_call(self._core, call_id, meta, row)
        if call.wanted_hold is not None and not holding.carry_out(self._core, call):
            self._core.holds_refused += 1
        return sealed

    def write_row(self, row: LedgerRow) -> int:
        """The ledger row of a call event of which nothing is kept; ``row.call_id`` names the call that was opened and
        destroyed for it. One that is still running is discarded first: nothing of it may stay. Returns the audit
        seq."""
        call = None if row.call_id is None else self._core.calls.get(row.call_id)
        if call is not None and call.running is not None:
            destroy.discard(self._core, call)
        return recording.write_row(self._core, row)

    # -------------------------------------------------------------------------------------------------- opt-out, keep

    def latch_opt_out(self, line: int, active: bool) -> None:
        destroy.latch(self._core, line, active=active)

    def opted_out(self, line: int) -> bool:
        """Latched, also over a reboot, until on-hook lifts it."""
        return self._core.table.lines[line].opted_out

    def interrupted_call(self, line: int) -> bytes | None:
        """The call that the last boot found open on this line: OPT-OUT destroys it while the line is still off-hook."""
        call_id = self._core.table.lines[line].interrupted
        return None if call_id == NO_CALL else call_id

    def opt_out(self, call_ids: Sequence[bytes], line: int) -> bool:
        """Returns after R4: these calls are gone and the line is latched. False: there was nothing to destroy.
        Raises Refused (``confirmed_hold``), CardFailed, ErasureUnconfirmed."""
        return destroy.opt_out(self._core, call_ids, line)

    def keep(self, call_id: bytes) -> str | None:
        """KEEP key. Returns a refusal's word (policy/holds.Refusal) or None when the hold is in force or promised."""
        return holding.keep(self._core, call_id)

    def refuse_keep(self, of: bytes | int, why: str) -> str:
        """KEEP of a call that is not in the vault, told by its id or by its telephone line: the press is logged."""
        return holding.refuse_keep(self._core, of, why)

    # ------------------------------------------------------------------------------------------------ orders: effects

    def hold(self, call_id: bytes, info: bytes, review_utc_ms: int) -> None:
        """``info`` is sealed to the recipients. Raises Refused with a word of policy/holds.Refusal."""
        holding.hold(self._core, call_id, info, review_utc_ms)

    def confirm(self, call_id: bytes, info: bytes, review_utc_ms: int) -> None:
        holding.confirm(self._core, call_id, info, review_utc_ms)

    def extend(self, call_id: bytes, review_utc_ms: int) -> None:
        holding.extend(self._core, call_id, review_utc_ms)

    def release(self, call_id: bytes) -> None:
        holding.release(self._core, call_id)
        self._expire()

    def mark_exported(self, call_id: bytes) -> None:
        """A held call was given out, sealed: no reminder of its export any more."""
        holding.mark_exported(self._core, call_id)

    def erase(self, call_id: bytes) -> Certificate:
        """Raises Refused (``not_kept``, ``held``)."""
        return destroy.erase(self._core, call_id)

    def change_keys(self, recipients: Sequence[Recipient], request_keys: Sequence[RequestKey]) -> None:
        """New calls are sealed to the new recipients. Raises Refused."""
        provisioning.check_keys(recipients, request_keys)
        change = rotate.begin(self._core)
        change.table.recipients = tuple(recipients)
        change.table.request_keys = tuple(request_keys)
        rotate.commit(self._core, change)

    def change_retention(self, period: retention.Period) -> None:
        """A shorter period takes effect at once."""
        change = rotate.begin(self._core)
        change.table.period = period
        rotate.commit(self._core, change)
        self._expire()

    def settle_time(self, utc_ms: int) -> None:
        """TIME order. Raises Refused (``time_refused``)."""
        core = self._core
        core.advance_time(look=False)
        settled = core.time.settle(utc_ms)
        if settled is None:
            raise Refused("time_refused")
        core.time = settled
        rotate.plain(core)
        self._expire()

    def order_seen(self, order_id: bytes) -> bool:
        return order_id in self._core.table.orders

    def remember_order(self, order_id: bytes, not_after_utc_ms: int) -> None:
        """Durable when it returns. Raises OrdersFull."""
        core = self._core
        change = rotate.begin(core)
        now_s = core.now_utc_ms() // 1000
        orders = {order: until for order, until in change.table.orders.items() if until >= now_s}
        if len(orders) >= ORDERS_MAX:
            raise OrdersFull
        change.table.orders = orders | {order_id: -(-not_after_utc_ms // 1000)}
        rotate.commit(core, change)

    def document(self, name: str) -> bytes | None:
        return documents.get(self._core, name)

    def names_document(self, name: str) -> bool:
        """Whether there is such a document by the table, readable or not."""
        return name in self._core.table.documents

    def put_document(self, name: str, data: bytes) -> None:
        """At most 4 MiB. Raises Refused."""
        documents.put(self._core, name, data)

    # ------------------------------------------------------------------------------------------- orders: what is there

    def calls(self) -> list[CallEntry]:
        """Retained, closed calls that are not past their limit, oldest first. Judged at what a suspected clock claims,
        too: a call that may be past its limit is not handed out."""
        now = self._core.export_utc_ms()
        entries = [_entry(call) for call in self._core.calls.values() if self._exportable(call, now)]
        return sorted(entries, key=lambda entry: (entry.opened_utc_ms, entry.call_id))

    def sealed(self, call_id: bytes) -> SealedCall:
        """Raises Refused (``not_kept``)."""
        core = self._core
        call = core.calls.get(call_id)
        if call is None or not self._exportable(call, core.export_utc_ms()):
            raise Refused("not_kept")
        open_entry = core.entry_body(call, Kind.OPEN)
        close_entry = core.entry_body(call, Kind.CLOSE)
        assert open_entry is not None
        assert close_entry is not None
        return SealedCall(open_entry, core.entry_body(call, Kind.META), close_entry, lambda: self._frames(call))

    def _frames(self, call: Call) -> Iterator[bytes]:
        for raw in holding.frames(self._core, call):
            if call.call_id not in self._core.calls:
                return
            yield raw

    def _exportable(self, call: Call, now_utc_ms: int) -> bool:
        if call.close is None:
            return False
        return call.hold is not None or not retention.is_past_limit(
            call.opened_utc_ms, now_utc_ms, self._core.table.period
        )

    # --------------------------------------------------------------------------------------------------------- audit

    def log(self, event: str, fields: Mapping[str, Value]) -> int:
        """One durable line, before the effect. Words of closed lists, integers, bytes (hex). Returns its seq."""
        self._core.ready()
        return self._core.log.append(self._core.now_utc_ms(), event, fields, self._core.table.seed).seq

    def audit_lines(self, from_seq: int = 0) -> Iterator[bytes]:
        """The exported log, each line without newline: kept DAYEND lines older than it, then the log without a hole.
        Raises AuditDamaged."""
        first: int | None = None
        for line in self._core.log.lines():
            if first is None:
                first = line.seq
                yield from (old.raw for old in self._core.log.dayends(first) if old.seq >= from_seq)
            if line.seq >= from_seq:
                yield line.raw

    def certificates(self) -> Iterator[bytes]:
        """The DESTROYED lines."""
        return (line.raw for line in self._core.log.lines() if line.event == "DESTROYED")

    def ledger_rows(self) -> list[tuple[int, LedgerRow]]:
        """(audit seq, row), one per call event. A call that was opted out after its row was written shows so."""
        return ledger.rows(list(self._core.log.lines()))

    @classmethod
    def read_ledger(cls, disk: Disk) -> list[tuple[int, LedgerRow]]:
        """The ledger of a card that nobody has open, without its keys: the log is in clear. Signatures are not checked.
        Raises NotProvisioned, IdentityDamaged, OSError."""
        return ledger.rows(read_everything(disk, identity.read(disk)))

    @classmethod
    def read_document(cls, parts: VaultParts, name: str) -> bytes | None:
        """A document of a vault that nobody has open; nothing is changed. Raises NotProvisioned, NoRoot, OSError."""
        return documents.get(recover.look(parts), name)

    def health(self) -> Mapping[str, int | str]:
        return forecast.health(self._core)

    # ---------------------------------------------------------------------------------------------------------- tick

    def tick(self) -> list[Alarm]:
        """Once a second or so: time, midnight, expiry, lapses, overwriting in small portions, scrub, forecast.

        Returns the alarms as they stand. Raises CardFailed; an unfinished erasure is tried again and shows as an alarm.
        """
        core = self._core
        core.card.check()
        if core.unfinished is not None:
            core.unfinished()
        core.advance_time(look=True)
        expiry.lapse(core)
        if not self._expire() and core.time.persist_due:
            rotate.plain(core)
        self._sweeper.tick()
        self._scrubber.tick()
        outlook = self._forecast.outlook()
        space.relieve(core, outlook.rate_blocks)
        return forecast.alarms(core, outlook, self._scrubber.damaged)

    def _expire(self) -> bool:
        if not expiry.due(self._core):
            return False
        expiry.run(self._core)
        return True

    def overwrite_all(self) -> None:
        """All overwriting that is due, without a pause: shutdown, tests, decommissioning."""
        for _ in background.steps(self._core):
            pass


def _entry(call: Call) -> CallEntry:
    close = call.close
    assert close is not None
    hold = call.hold
    return CallEntry(
        call.call_id,
        call.line,
        call.opened_utc_ms,
        close.closed_utc_ms,
        close.outcome,
        hold is not None,
        hold is not None and hold.provisional,
        None if hold is None else retention.utc_day(hold.review_utc_ms),
    )
