"""Trusted time T: what the recorder believes the UTC time to be when its clocks may be dead, wrong or lied to.

T decides what is destroyed, so a clock fault must neither wipe evidence nor keep calls beyond their limit:

* T never decreases, and grows by at least ``TICK_MS`` per boot (I20).
* While powered, T follows CLOCK_BOOTTIME alone, slewed by at most 1 % towards the RTC (or NTP where the system clock is
  synchronised). A jump of a clock in a running machine moves nothing.
* At boot the time that passed without power is taken from the clock, if it claims -1 h to +72 h and the *budget* covers
  it. The budget holds 72 h and regrows by 4 h per powered hour (96 h per 24 powered hours): a box that is switched off
  at night and over the weekend lives within it, +71 h at each of many boots does not (I22). NTP gives back what the RTC
  drew at this boot when it confirms it (never what NTP itself drew); a TIME order refills it.
* A larger claim is SUSPECT_FWD: T stays, calls that the claim says are past their limit are not exportable, and the
  claim is believed after 72 h of powered time in which it stood (I21), or on a TIME order; a TIME order that disproves
  it saves the calls.
* A clock behind T is SUSPECT_BACK, a stopped or silent one UNKNOWN: after 24 powered hours no new recording, because T
  may lag by the time the box was without power and would keep new calls too long.

Pure: readings and times are arguments, states are values.
"""

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Protocol, Self

HOUR_MS = 3_600_000
TICK_MS = 1
"""T grows by at least this much at each boot. The least that orders two boots: a box that is restarted often must not
run ahead of its own clock, for the ledger's times are T."""
BACK_TOLERANCE_MS = 1 * HOUR_MS
JUMP_MAX_MS = 72 * HOUR_MS
BUDGET_CAPACITY_MS = JUMP_MAX_MS
BUDGET_REGROWTH = 4
"""Hours of budget per powered hour: 96 h per 24."""
QUARANTINE_MS = 72 * HOUR_MS
RECORD_WHILE_SUSPECT_MS = 24 * HOUR_MS
PERSIST_MS = 1 * HOUR_MS
PERSIST_SUSPECT_MS = 5 * 60 * 1000
SLEW_DIVISOR = 100
"""T runs at 0.99 to 1.01 of CLOCK_BOOTTIME."""


class ClockState(IntEnum):
    """The byte ``clock_state`` of the key table."""

    OK = 0
    SUSPECT_BACK = 1
    SUSPECT_FWD = 2
    UNKNOWN = 3
    """The clock's oscillator stopped, or it does not answer."""


class Reading(Protocol):
    """One look at the clock (``ports.RtcReading`` is one)."""

    @property
    def utc_ms(self) -> int | None:
        """None: it does not answer."""

    @property
    def stopped(self) -> bool:
        """Its oscillator stood still since it was set: the value means nothing."""

    @property
    def synchronised(self) -> bool:
        """The value is the system clock's, disciplined by NTP."""


@dataclass(frozen=True)
class ClockRecord:
    """What the key table keeps of T."""

    watermark_utc_ms: int
    """T when it was written (u64)."""
    state: ClockState
    budget_s: int
    """Unpowered time that a clock may still claim (u32)."""
    suspect_s: int
    """Powered time since the state was last OK; for SUSPECT_FWD: in which the claim stood (u32)."""
    claim_utc_ms: int
    """What the suspected clock said when this was written; 0: nothing (u64)."""


def _usable_utc_ms(reading: Reading) -> int | None:
    return None if reading.stopped and not reading.synchronised else reading.utc_ms


def provisioned(utc_ms: int) -> ClockRecord:
    """The first record of a device, from the time its provisioning pack was accepted at."""
    return ClockRecord(utc_ms, ClockState.OK, BUDGET_CAPACITY_MS // 1000, 0, 0)


@dataclass(frozen=True)
class TrustedTime:
    """T at one instant of this boot. Make one with ``boot``, carry it on with ``advance``."""

    utc_ms: int
    mono_us: int
    state: ClockState
    budget_ms: int
    suspect_ms: int
    claim_utc_ms: int
    """What the suspected clock says now; 0 while it says nothing usable."""
    refund_ms: int
    """Drawn from the budget on the RTC's word at this boot and not yet confirmed by NTP."""
    saved: ClockRecord

    @classmethod
    def boot(cls, record: ClockRecord, reading: Reading, mono_us: int) -> Self:
        """Judge the clock at power-on. The result is to be persisted before anything relies on it."""
        state = cls(
            utc_ms=record.watermark_utc_ms + TICK_MS,
            mono_us=mono_us,
            state=record.state,
            budget_ms=record.budget_s * 1000,
            suspect_ms=record.suspect_s * 1000,
            claim_utc_ms=record.claim_utc_ms,
            refund_ms=0,
            saved=record,
        )
        if record.state in (ClockState.SUSPECT_BACK, ClockState.UNKNOWN):
            # Up to this much powered time was not persisted: cutting the power every few minutes must not hide it.
            state = replace(state, suspect_ms=state.suspect_ms + PERSIST_SUSPECT_MS)
        return state._judge(reading, powered_ms=0, booting=True)

    # ------------------------------------------------------------------------------------------ what others may ask

    @property
    def export_utc_ms(self) -> int:
        """The time at which exports are judged: a call that a suspected clock says is past its limit stays inside."""
        return max(self.utc_ms, self.claim_utc_ms)

    @property
    def may_record(self) -> bool:
        lagging = self.state in (ClockState.SUSPECT_BACK, ClockState.UNKNOWN)
        return not (lagging and self.suspect_ms > RECORD_WHILE_SUSPECT_MS)

    @property
    def suspect(self) -> bool:
        return self.state is not ClockState.OK

    @property
    def persist_due(self) -> bool:
        """True when the table should be written: hourly, every 5 minutes while suspect, at once on a change or a refund
        worth losing."""
        if self.budget_ms - self.saved.budget_s * 1000 > BUDGET_CAPACITY_MS // 2:
            return True
        interval = PERSIST_SUSPECT_MS if self.suspect else PERSIST_MS
        return self.state is not self.saved.state or self.utc_ms - self.saved.watermark_utc_ms >= interval

    def record(self) -> ClockRecord:
        return ClockRecord(self.utc_ms, self.state, self.budget_ms // 1000, self.suspect_ms // 1000, self.claim_utc_ms)

    def persisted(self, record: ClockRecord) -> Self:
        """Call when ``record`` is durable."""
        return replace(self, saved=record)

    # ---------------------------------------------------------------------------------------------- what moves T

    def advance(self, mono_us: int, reading: Reading | None = None) -> Self:
        """Carry T on to ``mono_us``; ``reading`` is a fresh look at the clock, or None when there was none."""
        powered_ms = (mono_us - self.mono_us) // 1000
        assert powered_ms >= 0
        if reading is None and powered_ms == 0:
            return self
        slew_ms = 0 if reading is None else self._slew_ms(reading, powered_ms)
        moved = replace(
            self,
            utc_ms=self.utc_ms + powered_ms + slew_ms,
            mono_us=self.mono_us + powered_ms * 1000,
            budget_ms=min(BUDGET_CAPACITY_MS, self.budget_ms + BUDGET_REGROWTH * powered_ms),
        )
        if reading is None:
            return moved._count(powered_ms)
        if not self.suspect:
            return moved._confirm(reading)
        return moved._judge(reading, powered_ms)

    def settle(self, order_utc_ms: int) -> Self | None:
        """A TIME order: it is at least ``order_utc_ms`` now, says the custodian. None: refused, for the order is more
        than 72 h (a stick's journey) behind what T is already known to be, and T never goes back."""
        if order_utc_ms < self.utc_ms - JUMP_MAX_MS:
            return None
        return replace(
            self,
            utc_ms=max(self.utc_ms, order_utc_ms),
            state=ClockState.OK,
            budget_ms=BUDGET_CAPACITY_MS,
            suspect_ms=0,
            claim_utc_ms=0,
            refund_ms=0,
        )

    # ------------------------------------------------------------------------------------------------- in detail

    def _slew_ms(self, reading: Reading, powered_ms: int) -> int:
        """At most 1 % of the powered time, towards a clock that is near enough to be the same story."""
        utc_ms = _usable_utc_ms(reading)
        if utc_ms is None or self.state is ClockState.SUSPECT_FWD:
            return 0
        gap_ms = utc_ms - (self.utc_ms + powered_ms)
        if abs(gap_ms) > JUMP_MAX_MS:
            return 0
        limit_ms = powered_ms // SLEW_DIVISOR
        return max(-limit_ms, min(limit_ms, gap_ms))

    def _confirm(self, reading: Reading) -> Self:
        """NTP agreeing with T gives back what the RTC drew at this boot."""
        utc_ms = _usable_utc_ms(reading)
        if not reading.synchronised or utc_ms is None or abs(utc_ms - self.utc_ms) > BACK_TOLERANCE_MS:
            return self
        return replace(self, budget_ms=min(BUDGET_CAPACITY_MS, self.budget_ms + self.refund_ms), refund_ms=0)

    def _judge(self, reading: Reading, powered_ms: int, *, booting: bool = False) -> Self:
        """Where time without power may have passed (boot, or not yet OK since): believe, doubt or wait."""
        utc_ms = _usable_utc_ms(reading)
        if utc_ms is None:
            claimed = reading.utc_ms if reading.utc_ms is not None and reading.utc_ms > self.utc_ms else 0
            return self._lagging(ClockState.UNKNOWN, claimed, powered_ms)
        gap_ms = utc_ms - self.utc_ms
        if gap_ms < -BACK_TOLERANCE_MS:
            return self._lagging(ClockState.SUSPECT_BACK, 0, powered_ms)
        if gap_ms <= min(JUMP_MAX_MS, self.budget_ms):
            return self._believe(max(gap_ms, 0), reading.synchronised)
        return self._doubt(utc_ms, powered_ms, JUMP_MAX_MS if booting else BACK_TOLERANCE_MS)

    def _believe(self, gap_ms: int, synchronised: bool) -> Self:
        return replace(
            self,
            utc_ms=self.utc_ms + gap_ms,
            state=ClockState.OK,
            budget_ms=self.budget_ms - gap_ms,
            suspect_ms=0,
            claim_utc_ms=0,
            refund_ms=0 if synchronised else gap_ms,
        )

    def _lagging(self, state: ClockState, claim_utc_ms: int, powered_ms: int) -> Self:
        fresh = self.state is ClockState.OK
        suspect_ms = 0 if fresh else self.suspect_ms + powered_ms
        return replace(self, state=state, suspect_ms=suspect_ms, claim_utc_ms=claim_utc_ms)

    def _doubt(self, claim_utc_ms: int, powered_ms: int, forward_ms: int) -> Self:
        """The claim is too large to believe at once. It has to stand for 72 powered hours; one that moves by other
        than the powered time (or, over a power-off, than a believable gap) starts anew."""
        moved_ms = claim_utc_ms - self.claim_utc_ms - powered_ms
        stood = self.state is ClockState.SUSPECT_FWD and -BACK_TOLERANCE_MS <= moved_ms <= forward_ms
        suspect_ms = self.suspect_ms + powered_ms if stood else 0
        if suspect_ms < QUARANTINE_MS:
            return replace(self, state=ClockState.SUSPECT_FWD, suspect_ms=suspect_ms, claim_utc_ms=claim_utc_ms)
        return replace(
            self,
            utc_ms=claim_utc_ms,
            state=ClockState.OK,
            budget_ms=0,
            suspect_ms=0,
            claim_utc_ms=0,
            refund_ms=0,
        )

    def _count(self, powered_ms: int) -> Self:
        """Powered time without a look at the clock: it counts against recording, never towards destroying."""
        if self.state in (ClockState.SUSPECT_BACK, ClockState.UNKNOWN):
            return replace(self, suspect_ms=self.suspect_ms + powered_ms)
        if self.state is ClockState.SUSPECT_FWD:
            return replace(self, claim_utc_ms=self.claim_utc_ms + powered_ms)
        return self
