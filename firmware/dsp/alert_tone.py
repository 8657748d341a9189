"""The alert tone before caller-ID data (DT-AS on-hook, CAS off-hook): 2130 and 2750 Hz for about a tenth of a second.

Figures: MT88E45 data sheet table 3 (SIN 227, GR-30): 88 to 110 ms on-hook, 75 to 85 ms off-hook, +-1.1 %, twist +-7 dB,
-2 to -40 dBV per tone, not below 20 ms. Each tone is sought on its own over +-5.5 %.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.filters import BlockFir, History, Signal, bandpass_taps
from firmware.dsp.levels import rms_counts
from firmware.units import SAMPLE_RATE_HZ

LOW_HZ, HIGH_HZ = 2130.0, 2750.0
OFFSET_MAX = 0.055
OFFSET_STEP_HZ = 11.0
"""Half a bin of the 40 ms window."""

BAND_HZ = (280.0, 3500.0)
TAPS = 97
WINDOW = 40 * SAMPLE_RATE_HZ // 1000
HOP = 10 * SAMPLE_RATE_HZ // 1000
SHARE_MIN = 0.60
"""Explained share of 280 to 3500 Hz: 0.83 at 6 dB SNR (0 to 4 kHz), 0.71 at 3 dB."""

TONE_SHARE_MIN = 0.08
"""Share of the weaker tone: 0.14 at 7 dB of twist and 6 dB SNR, less what noise takes from a single window."""

LEVEL_MIN_DBM0 = -49.0
DURATION_MIN_S, DURATION_MAX_S = 0.052, 0.135
"""75 ms and 110 ms with what noise at 6 dB SNR takes from our own measure (one or two 10 ms steps)."""

MEAN_SHARE_MIN = 0.70
"""Mean share inside a burst: 0.83 at 6 dB SNR."""

DISAGREEMENT_MAX = 0.028
"""Between the relative offsets of the two tones: each may be 1.1 % off, our steps are 0.5 %, and one oscillator shifts
both alike. Two
partials of music agree by chance only."""

SURE_DEVIATION, SURE_DISAGREEMENT = 0.016, 0.018
"""1.1 % and a step. What is further off must stand alone, as SIN 227 has it (100 ms of silence before, 45 ms after):
the notes of a scale (a major third is 2130 to 2684 Hz) do not."""

ALONE_FROM, ALONE_TO = SAMPLE_RATE_HZ // 100, 45 * SAMPLE_RATE_HZ // 1000
ALONE_BEFORE, ALONE_AFTER = 10.0**-0.3, 10.0**-0.2
"""Power 10 to 45 ms before and after over that inside: -7 dB at 6 dB SNR; music goes on."""

RUN_MAX = 50
STEADY_DB = 2.5
"""Inside a burst its windows differ by less."""

SPREAD_HZ = 14.0
"""Standard deviation of the frequencies inside a burst: a tone stands, a voice glides."""


@dataclass(frozen=True)
class AlertTone:
    line: int
    onset_sample: int
    end_sample: int


@dataclass
class _Run:
    first: int
    powers: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def cut(self) -> None:
        """Half a second is too long already; what is longer is not kept."""
        for values in (self.powers, self.shares, self.low, self.high):
            del values[RUN_MAX:]


def _grid(hz: float) -> NDArray[np.float64]:
    reach = hz * OFFSET_MAX
    return hz + np.arange(-reach, reach + 1e-9, OFFSET_STEP_HZ)


def _basis(hz: NDArray[np.float64]) -> NDArray[np.float32]:
    angle = 2.0 * np.pi * np.outer(np.arange(WINDOW), hz) / SAMPLE_RATE_HZ
    return np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32)


class AlertToneReceiver:
    """Streaming, any block length."""

    def __init__(self, lines: int) -> None:
        self._fir = BlockFir(lines, bandpass_taps(*BAND_HZ, TAPS, 5.65))
        self._band = History(lines, SAMPLE_RATE_HZ // 4)
        self._next = 0
        self._grids = (_grid(LOW_HZ), _grid(HIGH_HZ))
        self._bases = (_basis(self._grids[0]), _basis(self._grids[1]))
        self._runs: list[_Run | None] = [None] * lines
        self._energy_min = rms_counts(LEVEL_MIN_DBM0) ** 2 * WINDOW

    def feed(self, x: Signal) -> list[AlertTone]:
        """float32 [lines, n] in counts."""
        self._band.append(self._fir.feed(x))
        count = (self._band.end - WINDOW - self._next) // HOP + 1
        if count <= 0:
            return []
        span = self._band.all_lines(self._next, self._next + (count - 1) * HOP + WINDOW)
        windows = np.lib.stride_tricks.sliding_window_view(span, WINDOW, axis=1)[:, ::HOP]
        energy = np.einsum("lfk,lfk->lf", windows, windows) + 1e-3
        flat = np.ascontiguousarray(windows).reshape(-1, WINDOW)
        low, low_index = self._strongest(flat, 0, energy)
        high, high_index = self._strongest(flat, 1, energy)
        weaker = np.minimum(low, high)
        good = (low + high > SHARE_MIN) & (weaker > TONE_SHARE_MIN) & (energy > self._energy_min)
        out: list[AlertTone] = []
        for line in range(len(span)):
            power = (low[line] + high[line]) * energy[line]
            if not good[line].any() and self._runs[line] is None:
                continue
            for i in range(count):
                if good[line, i]:
                    run = self._runs[line] or _Run(self._next + i * HOP)
                    self._runs[line] = run
                    run.powers.append(float(power[i]))
                    run.shares.append(float(low[line, i] + high[line, i]))
                    run.low.append(float(self._grids[0][low_index[line, i]]))
                    run.high.append(float(self._grids[1][high_index[line, i]]))
                    run.cut()
                else:
                    out.extend(self._finish(line))
        self._next += count * HOP
        return out

    def reset(self, line: int) -> None:
        self._fir.reset(line)
        self._band.reset(line)
        self._runs[line] = None

    def _strongest(
        self, flat: NDArray[np.float32], which: int, energy: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        z = flat @ self._bases[which]
        half = z.shape[1] // 2
        power = z[:, :half] ** 2 + z[:, half:] ** 2
        best = np.argmax(power, axis=1)
        share = (power[np.arange(len(best)), best] * (2.0 / WINDOW)).reshape(energy.shape) / energy
        return share, best.reshape(energy.shape)

    def _finish(self, line: int) -> list[AlertTone]:
        """The burst by half power: a window counts as on when more than half of it is tone."""
        run, self._runs[line] = self._runs[line], None
        if run is None:
            return []
        powers = np.array(run.powers)
        # amplitude grows with the part of the window that is filled: half filled is a quarter of the power
        on = np.flatnonzero(powers > 0.25 * powers.max())
        first, last = int(on[0]), int(on[-1])
        seconds = (last - first + 1) * HOP / SAMPLE_RATE_HZ
        full = powers > 0.7 * powers.max()
        if not DURATION_MIN_S <= seconds <= DURATION_MAX_S or full.sum() < 3:
            return []
        steady = 10.0 * np.log10(powers[full].max() / powers[full].min())
        low, high = np.array(run.low)[full], np.array(run.high)[full]
        spread = max(float(np.std(low)), float(np.std(high)))
        low_off, high_off = float(np.mean(low)) / LOW_HZ - 1.0, float(np.mean(high)) / HIGH_HZ - 1.0
        disagreement = abs(low_off - high_off)
        if steady > STEADY_DB or spread > SPREAD_HZ or disagreement > DISAGREEMENT_MAX:
            return []
        if float(np.mean(np.array(run.shares)[full])) < MEAN_SHARE_MIN:
            return []
        begin = run.first + first * HOP + WINDOW // 2 - HOP // 2
        end = begin + int(seconds * SAMPLE_RATE_HZ)
        sure = max(abs(low_off), abs(high_off)) <= SURE_DEVIATION and disagreement <= SURE_DISAGREEMENT
        if not sure and not self._stands_alone(line, begin, end):
            return []
        return [AlertTone(line, begin - self._fir.delay, end - self._fir.delay)]

    def _stands_alone(self, line: int, begin: int, end: int) -> bool:
        inside = self._power(line, begin + ALONE_FROM, end - ALONE_FROM)
        before = self._power(line, begin - ALONE_TO, begin - ALONE_FROM)
        after = self._power(line, end + ALONE_FROM, min(end + ALONE_TO, self._band.end))
        return bool(before < ALONE_BEFORE * inside and after < ALONE_AFTER * inside)

    def _power(self, line: int, first: int, last: int) -> float:
        x = self._band.span(line, first, last)
        return float(x @ x) / max(1, len(x))
