"""Linear-phase filters and rolling history, vectorised over lines."""

from collections.abc import Sequence

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


class FilterBank:
    """Several streaming FIRs of one length over the same [lines, n], whose spectrum is computed once; output sample i
    belongs to input sample i - ``delay``."""

    def __init__(self, lines: int, taps: Sequence[NDArray[np.float64]]) -> None:
        self._taps = np.stack([one.astype(np.float32) for one in taps])
        self._tail: Signal = np.zeros((lines, self._taps.shape[1] - 1), dtype=np.float32)
        self._spectra: dict[int, NDArray[np.complex64]] = {}
        self.delay = (int(self._taps.shape[1]) - 1) // 2

    def feed(self, x: Signal) -> list[Signal]:
        padded = np.concatenate([self._tail, x], axis=1)
        self._tail = padded[:, x.shape[1] :]
        size = _fast_length(padded.shape[1])
        spectra = self._spectra.get(size)
        if spectra is None:
            if len(self._spectra) >= 8:
                self._spectra.clear()
            spectra = np.fft.rfft(self._taps, size, axis=1).astype(np.complex64)
            self._spectra[size] = spectra
        heard = np.fft.rfft(padded, size, axis=1)
        first = self._taps.shape[1] - 1
        whole = (np.fft.irfft(heard * one, size, axis=1) for one in spectra)
        return [y[:, first : first + x.shape[1]].astype(np.float32, copy=False) for y in whole]

    def reset(self, line: int) -> None:
        self._tail[line] = 0.0


class BlockFir:
    """One such filter."""

    def __init__(self, lines: int, taps: NDArray[np.float64]) -> None:
        self._bank = FilterBank(lines, [taps])
        self.delay = self._bank.delay

    def feed(self, x: Signal) -> Signal:
        return self._bank.feed(x)[0]

    def reset(self, line: int) -> None:
        self._bank.reset(line)


class History:
    """The last ``capacity`` samples of every line, addressed by stream position.

    Kept in a buffer of twice that size and moved to its front when it is full: a view is good until the next append."""

    def __init__(self, lines: int, capacity: int) -> None:
        self._capacity = capacity
        self._data: Signal = np.zeros((lines, 2 * capacity), dtype=np.float32)
        self._filled = self._kept = capacity
        self.end = 0
        """Stream position after the newest sample."""

    @property
    def start(self) -> int:
        """Position of the oldest sample kept (may be negative at the beginning: zeros)."""
        return self.end - self._kept

    def append(self, x: Signal) -> None:
        """Keeps ``capacity`` samples before this block."""
        count = x.shape[1]
        if self._filled + count > self._data.shape[1]:
            self._make_room(count)
        self._data[:, self._filled : self._filled + count] = x
        self._filled += count
        self._kept = self._capacity + count
        self.end += count

    def _make_room(self, count: int) -> None:
        kept = self._data[:, self._filled - self._capacity : self._filled]
        if self._capacity + count > self._data.shape[1]:
            self._data = np.zeros((len(kept), self._capacity + 2 * count), dtype=np.float32)
        self._data[:, : self._capacity] = kept
        self._filled = self._capacity

    def all_lines(self, first: int, last: int) -> Signal:
        """View [lines, last - first]."""
        assert self.start <= first <= last <= self.end
        zero = self.end - self._filled
        return self._data[:, first - zero : last - zero]

    def span(self, line: int, first: int, last: int) -> Signal:
        """View of one line; ``first`` is clamped to what is kept."""
        zero = self.end - self._filled
        return self._data[line, max(first, self.start) - zero : last - zero]

    def reset(self, line: int) -> None:
        self._data[line] = 0.0
