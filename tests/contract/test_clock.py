"""The ports ``Clock`` and ``Rtc``: the machine's and the simulated ones."""

import time
from pathlib import Path

import pytest

import hw.clock
from firmware.ports import Clock, RtcReading
from hw.clock import MachineClock, SystemRtc
from hw.sim.clock import SimClock, SimRtc

NOW = 1_790_000_000_000


@pytest.fixture(params=["machine", "sim"])
def clock(request: pytest.FixtureRequest) -> Clock:
    return MachineClock() if request.param == "machine" else SimClock(NOW)


def test_the_clock_never_goes_back_and_names_its_boot(clock: Clock) -> None:
    readings = [clock.mono_us() for _ in range(50)]
    assert readings == sorted(readings)
    assert clock.boot_id() == clock.boot_id() != ""


def test_the_machines_clock_counts_microseconds_since_boot() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    read = MachineClock().mono_us() / 1e6
    after = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before - 1e-5 <= read <= after + 1e-5


@pytest.fixture
def rtc_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hw.clock, "ntp_synchronised", lambda: False)
    (tmp_path / "rtc0").mkdir()
    return tmp_path


def test_the_rtc_tells_its_own_time_in_milliseconds(rtc_folder: Path) -> None:
    (rtc_folder / "rtc0" / "since_epoch").write_text("1790000000\n")
    assert SystemRtc(root=rtc_folder).read() == RtcReading(NOW)


def test_a_machine_without_an_rtc_says_so(rtc_folder: Path) -> None:
    assert SystemRtc("rtc7", root=rtc_folder).read() == RtcReading(None)


def test_a_clock_whose_driver_refuses_the_time_has_stopped(rtc_folder: Path) -> None:
    """The ds1307 family answers EINVAL while the oscillator-stop flag is set; a folder gives EISDIR here."""
    (rtc_folder / "rtc0" / "since_epoch").mkdir()
    assert SystemRtc(root=rtc_folder).read() == RtcReading(None, stopped=True)


@pytest.mark.parametrize(("shown", "stopped"), [("0\n", False), ("1\n", True), (None, True)])
def test_the_oscillator_stop_flag_is_heard(rtc_folder: Path, shown: str | None, stopped: bool) -> None:
    (rtc_folder / "rtc0" / "since_epoch").write_text("1790000000\n")
    flag = rtc_folder / "rtc0" / "flag"
    if shown is None:
        flag.mkdir()
    else:
        flag.write_text(shown)
    assert SystemRtc(root=rtc_folder, oscillator_stop=flag).read() == RtcReading(NOW, stopped=stopped)


def test_garbage_from_the_rtc_is_no_time(rtc_folder: Path) -> None:
    (rtc_folder / "rtc0" / "since_epoch").write_text("soon\n")
    assert SystemRtc(root=rtc_folder).read().utc_ms is None


def test_under_ntp_the_system_clock_is_told_as_synchronised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hw.clock, "ntp_synchronised", lambda: True)
    reading = SystemRtc(root=tmp_path).read()
    assert reading.synchronised
    assert reading.utc_ms is not None
    assert abs(reading.utc_ms - time.time() * 1000) < 60_000


@pytest.mark.parametrize(("status", "expected"), [(0x40, False), (0x2001, True), (0x2041, False)])
def test_the_kernels_unsynchronised_flag_decides(monkeypatch: pytest.MonkeyPatch, status: int, expected: bool) -> None:
    monkeypatch.setattr(hw.clock, "_adjtimex_status", lambda: status)
    assert hw.clock.ntp_synchronised() is expected


@pytest.mark.parametrize("there", [True, False])
def test_where_the_kernel_may_not_be_asked_timesyncds_file_decides(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool
) -> None:
    monkeypatch.setattr(hw.clock, "_adjtimex_status", lambda: None)
    monkeypatch.setattr(hw.clock, "TIMESYNC_FLAG", tmp_path / "synchronized")
    if there:
        (tmp_path / "synchronized").touch()
    assert hw.clock.ntp_synchronised() is there


def test_the_kernel_answers_adjtimex_or_refuses_it_cleanly() -> None:
    status = hw.clock._adjtimex_status()
    assert status is None or 0 <= status < 1 << 16


def test_a_simulated_cut_loses_the_monotonic_clock_and_not_the_rtc() -> None:
    clock = SimClock(NOW)
    rtc = SimRtc(clock)
    boot = clock.boot_id()
    clock.advance_ms(5000)
    clock.power_off(60_000)
    assert clock.mono_us() == 0
    assert clock.boot_id() != boot
    assert rtc.read() == RtcReading(NOW + 65_000)


def test_a_simulated_rtc_jumps_stops_falls_silent_and_is_set_again() -> None:
    clock = SimClock(NOW)
    rtc = SimRtc(clock)
    rtc.jump_ms(-3_600_000)
    assert rtc.read() == RtcReading(NOW - 3_600_000)
    rtc.stop()
    clock.advance_ms(1000)
    assert rtc.read() == RtcReading(NOW - 3_600_000, stopped=True)
    rtc.silent = True
    assert rtc.read() == RtcReading(None)
    rtc.synchronised = True
    assert rtc.read() == RtcReading(NOW + 1000, synchronised=True)
    rtc.synchronised = rtc.silent = False
    rtc.set_utc_ms(NOW)
    clock.advance_ms(1000)
    assert rtc.read() == RtcReading(NOW + 1000)
