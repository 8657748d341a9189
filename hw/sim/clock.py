"""Virtual time (ports ``Clock`` and ``Rtc``): it moves when the test or the tape says so, and lies when told to."""

from firmware.ports import RtcReading


class SimClock:
    """The machine's clock over one true time. ``power_off`` loses the monotonic clock, as a real cut does."""

    def __init__(self, true_utc_ms: int) -> None:
        self._true_utc_us = true_utc_ms * 1000
        self._mono_us = 0
        self._boots = 1

    def mono_us(self) -> int:
        return self._mono_us

    def boot_id(self) -> str:
        return f"boot-{self._boots}"

    @property
    def true_utc_ms(self) -> int:
        """What the time really is; no part of the product may ask."""
        return self._true_utc_us // 1000

    def advance_us(self, us: int) -> None:
        """Powered time passes."""
        assert us >= 0
        self._true_utc_us += us
        self._mono_us += us

    def advance_ms(self, ms: int) -> None:
        self.advance_us(ms * 1000)

    def power_off(self, ms: int = 0) -> None:
        """The power fails, ``ms`` of true time pass, the machine boots again."""
        assert ms >= 0
        self._true_utc_us += ms * 1000
        self._mono_us = 0
        self._boots += 1


class SimRtc:
    """A battery-backed clock beside ``clock``: it runs on through power cuts, jumps, stops, dies."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._offset_ms = 0
        self._stopped_at_ms: int | None = None
        self.synchronised = False
        """NTP disciplines the system clock: readings tell the true time plus ``ntp_offset_ms``."""
        self.ntp_offset_ms = 0
        self.silent = False

    def read(self) -> RtcReading:
        if self.synchronised:
            return RtcReading(self._clock.true_utc_ms + self.ntp_offset_ms, synchronised=True)
        if self.silent:
            return RtcReading(None)
        if self._stopped_at_ms is not None:
            return RtcReading(self._stopped_at_ms, stopped=True)
        return RtcReading(max(0, self._clock.true_utc_ms + self._offset_ms))

    def jump_ms(self, ms: int) -> None:
        """The clock is wrong by ``ms`` more from now on."""
        self._offset_ms += ms

    def set_utc_ms(self, utc_ms: int) -> None:
        """Somebody sets it; it runs again if it had stopped."""
        self._offset_ms = utc_ms - self._clock.true_utc_ms
        self._stopped_at_ms = None

    def stop(self) -> None:
        """Its battery dies: it shows the time of its death, with the oscillator-stop flag."""
        self._stopped_at_ms = max(0, self._clock.true_utc_ms + self._offset_ms)

    def beside(self, clock: SimClock) -> "SimRtc":
        """The same clock, with its faults, read at the moments of another timeline (a crash image's)."""
        other = SimRtc(clock)
        other._offset_ms, other._stopped_at_ms = self._offset_ms, self._stopped_at_ms
        other.synchronised, other.ntp_offset_ms, other.silent = self.synchronised, self.ntp_offset_ms, self.silent
        return other
