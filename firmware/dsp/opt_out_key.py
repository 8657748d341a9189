"""The one configured opt-out key, held on a telephone for a second: the only key whose identity is compared at all.

It has its own ear, which knows the two frequencies of this key and no other, so that it may go on listening while the
digit detector is off for a payment.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.dtmf import BAND_HZ, BAND_TAPS, DIGITS
from firmware.dsp.dtmf_segment import COLUMN_HZ, ROW_HZ
from firmware.dsp.filters import BlockFir, History, Signal, bandpass_taps
from firmware.units import SAMPLE_RATE_HZ

HELD_SAMPLES = SAMPLE_RATE_HZ
"""1 s (product.md 4): no dialled digit and no speech lasts that long."""

WINDOW = 50 * SAMPLE_RATE_HZ // 1000
HOP = WINDOW // 2
DEVIATION_MAX = 0.018
"""1.5 % + 2 Hz (ITU-T Q.24 annex A)."""

SHARE_MIN = 0.6
"""Of the energy in the band of the two groups: a person may speak across the key."""

TONE_SHARE_MIN = 0.06
"""Each tone alone: 8 dB of twist and noise."""

ENERGY_MIN = 16.0 * WINDOW
"""-72 dBm0."""

MISSES_MAX = 2
"""Windows in a row without the key that do not end the press: 50 ms of a lost packet or a click."""


@dataclass
class _Press:
    onset: int = 0
    hits: int = 0
    misses: int = 0
    told: bool = False


class OptOutKeyReceiver:
    """Streaming, any block length. ``feed`` gives (line, onset sample) once per press, when it has lasted 1 s."""

    def __init__(self, lines: int, key: str) -> None:
        index = DIGITS.index(key)
        self._fir = BlockFir(lines, bandpass_taps(*BAND_HZ, BAND_TAPS, 5.65))
        self._band = History(lines, SAMPLE_RATE_HZ // 4)
        self._next = 0
        self._bases = (_basis(ROW_HZ[index // 4]), _basis(COLUMN_HZ[index % 4]))
        self._presses = [_Press() for _ in range(lines)]

    def feed(self, x: Signal) -> list[tuple[int, int]]:
        """float32 [lines, n] in counts."""
        self._band.append(self._fir.feed(x))
        count = (self._band.end - WINDOW - self._next) // HOP + 1
        if count <= 0:
            return []
        span = self._band.all_lines(self._next, self._next + (count - 1) * HOP + WINDOW)
        windows = np.lib.stride_tricks.sliding_window_view(span, WINDOW, axis=1)[:, ::HOP]
        energy = np.einsum("lwk,lwk->lw", windows, windows) + 1e-3
        flat = np.ascontiguousarray(windows).reshape(-1, WINDOW)
        low, high = (self._share(flat, basis).reshape(energy.shape) / energy for basis in self._bases)
        good = (low + high > SHARE_MIN) & (np.minimum(low, high) > TONE_SHARE_MIN) & (energy > ENERGY_MIN)
        out: list[tuple[int, int]] = []
        for hits in good.T.tolist():
            for line, hit in enumerate(hits):
                if self._follow(self._presses[line], hit):
                    out.append((line, self._presses[line].onset - self._fir.delay))
            self._next += HOP
        return out

    def reset(self, line: int) -> None:
        self._presses[line] = _Press()

    def _share(self, window: Signal, basis: NDArray[np.float32]) -> NDArray[np.float32]:
        z = window @ basis
        half = z.shape[1] // 2
        best: NDArray[np.float32] = np.max(z[:, :half] ** 2 + z[:, half:] ** 2, axis=1) * np.float32(2.0 / WINDOW)
        return best

    def _follow(self, press: _Press, hit: bool) -> bool:
        """True when this window makes the press one second long."""
        if hit:
            if press.hits == 0:
                press.onset, press.told = self._next, False
            press.hits += 1
            press.misses = 0
        elif press.hits:
            press.misses += 1
            if press.misses > MISSES_MAX:
                press.hits = press.misses = 0
        if hit and not press.told and self._next + WINDOW - press.onset >= HELD_SAMPLES:
            press.told = True
            return True
        return False


def _basis(hz: float) -> NDArray[np.float32]:
    """Nine frequencies within the tolerance: 6 Hz apart at most, a third of the window's 20 Hz."""
    grid = hz * (1.0 + np.linspace(-DEVIATION_MAX, DEVIATION_MAX, 9))
    angle = 2.0 * np.pi * np.outer(np.arange(WINDOW), grid) / SAMPLE_RATE_HZ
    return np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32)
