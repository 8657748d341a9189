"""A clock fault neither wipes evidence nor keeps it for ever (storage.md 3.6; I20 TIME-MONOTONE, I21, I22)."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.policy.trusted_time import (
    BUDGET_CAPACITY_MS,
    BUDGET_REGROWTH,
    HOUR_MS,
    PERSIST_SUSPECT_MS,
    TICK_MS,
    ClockState,
    TrustedTime,
    provisioned,
)

START = 1_790_000_000_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True)
class Look:
    utc_ms: int | None
    stopped: bool = False
    synchronised: bool = False


class Box:
    """A device with a true time, an RTC that is off by ``rtc_error_ms`` and a table that survives power cuts."""

    def __init__(self) -> None:
        self.true_ms = START
        self.rtc_error_ms = 0
        self.rtc_silent = False
        self.rtc_stopped = False
        self.ntp_error_ms: int | None = None
        self.record = provisioned(START)
        self.mono_us = 0
        self.time = self._boot()

    def look(self) -> Look:
        if self.ntp_error_ms is not None:
            return Look(self.true_ms + self.ntp_error_ms, synchronised=True)
        if self.rtc_silent:
            return Look(None)
        return Look(self.true_ms + self.rtc_error_ms, stopped=self.rtc_stopped)

    def _boot(self) -> TrustedTime:
        self.mono_us = 0
        before = self.record.watermark_utc_ms
        time = TrustedTime.boot(self.record, self.look(), self.mono_us)
        assert time.utc_ms >= before + TICK_MS, "I20"
        self.record = time.record()
        return time.persisted(self.record)

    def run(self, ms: int, step_ms: int = 60_000) -> None:
        while ms > 0:
            step = min(step_ms, ms)
            ms -= step
            self.true_ms += step
            self.mono_us += step * 1000
            before = self.time.utc_ms
            self.time = self.time.advance(self.mono_us, self.look())
            assert self.time.utc_ms >= before, "I20"
            if self.time.persist_due:
                self.record = self.time.record()
                self.time = self.time.persisted(self.record)

    def cut(self, off_ms: int) -> None:
        self.true_ms += off_ms
        self.time = self._boot()

    @property
    def error_ms(self) -> int:
        return self.time.utc_ms - self.true_ms


def test_an_office_box_that_is_off_at_night_and_at_weekends_keeps_the_time() -> None:
    box = Box()
    for day in range(60):
        box.run(9 * HOUR_MS, step_ms=600_000)
        box.cut((63 if day % 5 == 4 else 15) * HOUR_MS)
        assert box.time.state is ClockState.OK
        assert abs(box.error_ms) <= HOUR_MS
        assert box.time.may_record


def test_running_time_follows_boottime_whatever_the_clock_does() -> None:
    box = Box()
    box.rtc_error_ms = 400 * DAY_MS
    box.run(3 * DAY_MS, step_ms=600_000)
    assert abs(box.error_ms) <= TICK_MS
    assert box.time.state is ClockState.OK


def test_a_small_drift_is_slewed_by_at_most_one_percent() -> None:
    box = Box()
    box.rtc_error_ms = 10 * 60_000
    box.run(HOUR_MS)
    assert box.error_ms == pytest.approx(HOUR_MS // 100 + TICK_MS, abs=TICK_MS)
    box.run(DAY_MS)
    assert box.error_ms == pytest.approx(10 * 60_000, abs=TICK_MS)


@pytest.mark.parametrize("jump_h", [73, 24 * 61, 24 * 365 * 20])
def test_a_forward_jump_at_boot_destroys_nothing_for_72_powered_hours_and_exports_nothing_past_it(jump_h: int) -> None:
    box = Box()
    box.rtc_error_ms = jump_h * HOUR_MS
    box.cut(0)
    assert box.time.state is ClockState.SUSPECT_FWD
    assert box.time.export_utc_ms >= box.true_ms + jump_h * HOUR_MS
    assert box.time.may_record
    box.run(72 * HOUR_MS - 60_000)
    assert abs(box.error_ms) <= 2 * TICK_MS
    box.run(2 * 60_000)
    assert box.time.state is ClockState.OK
    assert box.error_ms == pytest.approx(jump_h * HOUR_MS, abs=HOUR_MS)


def test_the_quarantine_counts_powered_time_only_and_survives_reboots() -> None:
    box = Box()
    box.rtc_error_ms = 61 * DAY_MS
    for _ in range(9):
        box.cut(8 * HOUR_MS)
        assert box.time.state is ClockState.SUSPECT_FWD
        box.run(8 * HOUR_MS - PERSIST_SUSPECT_MS)
    assert box.error_ms < 0
    box.run(2 * HOUR_MS)
    assert box.time.state is ClockState.OK
    assert box.error_ms == pytest.approx(61 * DAY_MS, abs=HOUR_MS)


def test_a_second_jump_in_the_quarantine_starts_it_anew() -> None:
    box = Box()
    box.rtc_error_ms = 80 * HOUR_MS
    box.cut(0)
    box.run(71 * HOUR_MS)
    box.rtc_error_ms = 61 * DAY_MS
    box.run(2 * HOUR_MS)
    assert box.time.state is ClockState.SUSPECT_FWD
    assert abs(box.error_ms) <= TICK_MS * 2
    box.cut(0)
    box.run(69 * HOUR_MS)
    assert box.time.state is ClockState.SUSPECT_FWD


def test_a_clock_that_falls_silent_in_the_quarantine_is_not_believed() -> None:
    box = Box()
    box.rtc_error_ms = 61 * DAY_MS
    box.cut(0)
    box.run(70 * HOUR_MS)
    box.rtc_silent = True
    box.run(20 * HOUR_MS)
    assert abs(box.error_ms) <= 2 * TICK_MS
    box.run(5 * HOUR_MS)
    assert not box.time.may_record


def test_a_time_order_that_disproves_the_clock_saves_the_calls() -> None:
    box = Box()
    box.rtc_error_ms = 61 * DAY_MS
    box.cut(0)
    box.run(71 * HOUR_MS)
    settled = box.time.settle(box.true_ms - 5 * HOUR_MS)
    assert settled is not None
    assert settled.state is ClockState.OK
    assert settled.utc_ms == box.time.utc_ms
    assert settled.export_utc_ms == settled.utc_ms


def test_a_time_order_that_confirms_the_clock_is_believed_at_once() -> None:
    box = Box()
    box.cut(30 * DAY_MS)
    assert box.time.state is ClockState.SUSPECT_FWD
    settled = box.time.settle(box.true_ms - HOUR_MS)
    assert settled is not None
    assert settled.utc_ms == box.true_ms - HOUR_MS


def test_a_time_order_from_long_before_what_is_known_is_refused() -> None:
    box = Box()
    assert box.time.settle(START - 73 * HOUR_MS) is None


def test_a_long_holiday_without_power_ends_in_the_true_time_within_72_powered_hours() -> None:
    """I21: calls that passed their limit while the box was off are gone by then."""
    box = Box()
    box.cut(14 * DAY_MS)
    box.run(72 * HOUR_MS + 60_000)
    assert box.time.state is ClockState.OK
    assert abs(box.error_ms) <= HOUR_MS


def test_plus_71_hours_at_each_of_21_boots_is_not_believed() -> None:
    """I22: many small jumps do not add up to a wiped ring."""
    box = Box()
    for _ in range(21):
        box.rtc_error_ms += 71 * HOUR_MS
        box.cut(0)
        box.run(PERSIST_SUSPECT_MS)
    assert box.error_ms <= 72 * HOUR_MS
    assert box.time.state is ClockState.SUSPECT_FWD


def test_plus_71_hours_of_a_lying_ntp_at_each_of_21_boots_is_not_believed_either() -> None:
    box = Box()
    for boot in range(1, 22):
        box.ntp_error_ms = None
        box.rtc_error_ms = box.error_ms  # the kernel has set the RTC from NTP
        box.cut(0)
        box.ntp_error_ms = boot * 71 * HOUR_MS
        box.run(PERSIST_SUSPECT_MS)
        box.cut(0)
        box.run(PERSIST_SUSPECT_MS)
    assert box.error_ms <= 73 * HOUR_MS + 21 * 2 * BUDGET_REGROWTH * PERSIST_SUSPECT_MS


def test_ntp_that_confirms_the_rtc_gives_the_budget_back() -> None:
    box = Box()
    box.cut(60 * HOUR_MS)
    assert box.time.budget_ms < 13 * HOUR_MS
    box.ntp_error_ms = 0
    box.run(60_000)
    assert box.time.budget_ms == BUDGET_CAPACITY_MS
    box.ntp_error_ms = None
    box.cut(60 * HOUR_MS)
    assert box.time.state is ClockState.OK


def test_a_clock_set_back_stops_nothing_and_after_a_day_no_new_call_is_recorded() -> None:
    box = Box()
    box.rtc_error_ms = -90 * DAY_MS
    box.cut(HOUR_MS)
    assert box.time.state is ClockState.SUSPECT_BACK
    box.run(24 * HOUR_MS - HOUR_MS)
    assert box.time.may_record
    box.run(2 * HOUR_MS)
    assert not box.time.may_record
    box.rtc_error_ms = 0
    box.run(60_000)
    assert box.time.state is ClockState.OK
    assert box.time.may_record


@pytest.mark.parametrize("dead", ["stopped", "silent"])
def test_a_dead_clock_power_cycled_every_four_minutes_cannot_stop_time_and_record_for_ever(dead: str) -> None:
    box = Box()
    box.rtc_stopped = dead == "stopped"
    box.rtc_silent = dead == "silent"
    watermarks = []
    for _ in range(290):
        box.cut(1000)
        box.run(4 * 60_000)
        watermarks.append(box.record.watermark_utc_ms)
    assert watermarks == sorted(set(watermarks)), "time never stands still"
    assert not box.time.may_record


def test_a_stopped_clock_that_shows_the_future_exports_nothing_and_destroys_nothing() -> None:
    box = Box()
    box.rtc_stopped = True
    box.rtc_error_ms = 61 * DAY_MS
    box.cut(0)
    assert box.time.export_utc_ms > START + 60 * DAY_MS
    box.run(100 * HOUR_MS)
    assert abs(box.error_ms) <= 2 * TICK_MS
    assert not box.time.may_record


def test_a_box_without_a_battery_clock_takes_ntps_word_after_the_weekend() -> None:
    box = Box()
    box.rtc_silent = True
    box.cut(60 * HOUR_MS)
    assert box.time.state is ClockState.UNKNOWN
    box.ntp_error_ms = 0
    box.run(60_000)
    assert box.time.state is ClockState.OK
    assert abs(box.error_ms) <= HOUR_MS


FAULTS = st.sampled_from(["jump", "stop", "silent", "heal", "cut", "run", "ntp", "no_ntp"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FAULTS, st.integers(-80, 200)), max_size=25))
def test_whatever_the_clock_does_time_gains_no_more_than_the_budget_without_a_matured_quarantine(
    story: list[tuple[str, int]],
) -> None:
    """I20 in every step (Box asserts it); I22: 72 h + 4 h per powered hour + 1 % slew, unless a claim stood 72 h."""
    box = Box()
    powered_ms = 0
    for what, amount in story:
        if what == "jump":
            box.rtc_error_ms += amount * HOUR_MS
        elif what == "stop":
            box.rtc_stopped = True
        elif what == "silent":
            box.rtc_silent = True
        elif what == "heal":
            box.rtc_error_ms, box.rtc_silent, box.rtc_stopped = 0, False, False
        elif what == "ntp":
            box.ntp_error_ms = amount * HOUR_MS
        elif what == "no_ntp":
            box.ntp_error_ms = None
        elif what == "cut":
            box.cut(abs(amount) * 60_000)
        else:
            span = min(abs(amount), 71) * HOUR_MS // 4
            powered_ms += span
            box.run(span, step_ms=15 * 60_000)
        if powered_ms > 71 * HOUR_MS:
            return
        refunds = BUDGET_CAPACITY_MS * sum(1 for kind, _ in story if kind == "ntp")
        bound = BUDGET_CAPACITY_MS + BUDGET_REGROWTH * powered_ms + powered_ms // 100 + refunds + len(story) * TICK_MS
        assert box.error_ms <= bound
