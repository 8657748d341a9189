"""The machine's clocks: CLOCK_BOOTTIME (port ``Clock``), the battery-backed clock and NTP's word (port ``Rtc``)."""

import ctypes
import time
from pathlib import Path

from firmware.ports import RtcReading

RTC_ROOT = Path("/sys/class/rtc")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TIMESYNC_FLAG = Path("/run/systemd/timesync/synchronized")
"""Made by systemd-timesyncd at its first synchronisation of this boot."""
STA_UNSYNC = 0x40
"""adjtimex(2): the clock is not synchronised. chrony and ntpd clear it; timesyncd does since systemd 250."""


class MachineClock:
    """CLOCK_BOOTTIME counts while the machine sleeps, unlike CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._boot_id = BOOT_ID.read_text(encoding="ascii").strip()

    def mono_us(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def boot_id(self) -> str:
        return self._boot_id


class SystemRtc:
    """The system clock while NTP disciplines it; else the part ``name`` (rtc0) below /sys/class/rtc.

    ``oscillator_stop``: a file that reads non-zero when the part's oscillator-stop flag is set, where its driver shows
    one. Drivers without one (ds1307 family, pcf85063) make ``since_epoch`` fail with EINVAL in that state instead,
    which is told as stopped too.
    """

    def __init__(self, name: str = "rtc0", root: Path = RTC_ROOT, oscillator_stop: Path | None = None) -> None:
        assert "/" not in name
        self._since_epoch = root / name / "since_epoch"
        self._oscillator_stop = oscillator_stop

    def read(self) -> RtcReading:
        if ntp_synchronised():
            return RtcReading(time.time_ns() // 1_000_000, synchronised=True)
        try:
            seconds = int(self._since_epoch.read_text(encoding="ascii"))
        except FileNotFoundError:
            return RtcReading(None)
        except (OSError, ValueError):
            return RtcReading(None, stopped=True)
        return RtcReading(max(0, seconds) * 1000, stopped=self._stopped())

    def _stopped(self) -> bool:
        if self._oscillator_stop is None:
            return False
        try:
            return self._oscillator_stop.read_text(encoding="ascii").strip() not in ("0", "")
        except OSError:
            return True


def ntp_synchronised() -> bool:
    """By the kernel's own flag; timesyncd's file where the call cannot be made."""
    flags = _adjtimex_status()
    return TIMESYNC_FLAG.exists() if flags is None else not flags & STA_UNSYNC


class _Timex(ctypes.Structure):
    """``struct timex`` up to ``status`` (adjtimex(2)); the rest is room for the kernel to write into."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_char * 256),
    )


def _adjtimex_status() -> int | None:
    """None where the C library or the sandbox does not let us ask (``modes`` 0 only reads)."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        timex = _Timex(modes=0)
        state = int(library.adjtimex(ctypes.byref(timex)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else int(timex.status)
