"""Linear-phase filters and rolling history, vectorised over lines."""

import numpy as np
from numpy.typing import NDArray

from firmware.units import SAMPLE_RATE_HZ

Signal = NDArray[np.float32]


def bandpass_taps(low_hz: float, high_hz: float, taps: int, kaiser_beta: float) -> NDArray[np.float64]:
    """Windowed-sinc band-pass of odd length; -6 dB at both edges, unity gain in between (``low_hz`` 0: low-pass).

    Kaiser (1974): beta 5.65 gives 60 dB of stop band; the transition is about 29 kHz / taps wide at 8 kHz.
    """
    assert taps % 2 == 1
    n = np.arange(taps) - (taps - 1) / 2.0
    high = 2.0 * high_hz / SAMPLE_RATE_HZ * np.sinc(2.0 * high_hz / SAMPLE_RATE_HZ * n)
    low = 2.0 * low_hz / SAMPLE_RATE_HZ * np.sinc(2.0 * low_hz / SAMPLE_RATE_HZ * n)
    window = np.kaiser(taps, kaiser_beta)
    out: NDArray[np.float64] = (high - low) * window
    return out


def _fast_length(n: int) -> int:
    """The next length of the form 2^k or 3*2^k: what the FFT likes."""
    power = 1 << max(0, int(n - 1).bit_length())
    return 3 * power // 4 if 3 * power // 4 >= n else power


class BlockFir:
    """Streaming FIR over [lines, n]; output sample i belongs to input sample i - ``delay``."""

    def __init__(self, lines: int, taps: NDArray[np.float64]) -> None:
        self._taps = taps.astype(np.float32)
        self._tail: Signal = np.zeros((lines, len(taps) - 1), dtype=np.float32)
        self._spectra: dict[int, NDArray[np.complex64]] = {}
        self.delay = (len(taps) - 1) // 2

    def feed(self, x: Signal) -> Signal:
        padded = np.concatenate([self._tail, x], axis=1)
        self._tail = padded[:, x.shape[1] :]
        size = _fast_length(padded.shape[1])
        spectrum = self._spectra.get(size)
        if spectrum is None:
            if len(self._spectra) >= 8:
                self._spectra.clear()
            spectrum = np.fft.rfft(self._taps, size).astype(np.complex64)
            self._spectra[size] = spectrum
        y = np.fft.irfft(np.fft.rfft(padded, size, axis=1) * spectrum, size, axis=1)
        first = len(self._taps) - 1
        return y[:, first : first + x.shape[1]].astype(np.float32, copy=False)

    def reset(self, line: int) -> None:
        self._tail[line] = 0.0


class History:
    """The last ``capacity`` samples of every line, addressed by stream position."""

    def __init__(self, lines: int, capacity: int) -> None:
        self._capacity = capacity
        self._data: Signal = np.zeros((lines, capacity), dtype=np.float32)
        self.end = 0
        """Stream position after the newest sample."""

    @property
    def start(self) -> int:
        """Position of the oldest sample kept (may be negative at the beginning: zeros)."""
        return self.end - int(self._data.shape[1])

    def append(self, x: Signal) -> None:
        """Keeps at least ``capacity`` samples before this block."""
        self._data = np.concatenate([self._data[:, -self._capacity :], x], axis=1)
        self.end += x.shape[1]

    def all_lines(self, first: int, last: int) -> Signal:
        """View [lines, last - first]."""
        assert self.start <= first <= last <= self.end
        return self._data[:, first - self.start : last - self.start]

    def span(self, line: int, first: int, last: int) -> Signal:
        """View of one line; ``first`` is clamped to what is kept."""
        first = max(first, self.start)
        return self._data[line, first - self.start : last - self.start]

    def reset(self, line: int) -> None:
        self._data[line] = 0.0
