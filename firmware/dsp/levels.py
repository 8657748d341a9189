"""Levels in dBm0, and the quality of a line measured once a second.

Scale: dBm0 as in G.711 A-law (ITU-T G.711 table 1a): a full-scale sine is +3.14 dBm0. Samples are int16 counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.units import SAMPLE_RATE_HZ

Signal = NDArray[np.float32]
"""Samples in int16 counts as float32, shape [lines, n]."""

FULL_SCALE = 32767.0
FULL_SCALE_SINE_DBM0 = 3.14
"""ITU-T G.711: theoretical load capacity of A-law."""

FLOOR_DBM0 = -96.0
"""Below one count rms (-87 dBm0) nothing is measured; a silent line reads this."""

CLIPPED_COUNT = 32124
"""Largest value that mu-law decodes to (ITU-T G.711 table 2b); A-law's is 32256. At or above it a sample counts as
clipped."""

NOISE_BLOCK_SAMPLES = 400
"""50 ms pieces: short enough to fit between two words."""

NOISE_MEMORY_S = 4
"""Noise is the quietest piece of the last 4 s: a sentence rarely lasts longer without a gap (measured on prompts)."""

HUM_HARMONICS_HZ = (50, 100, 150, 250)
"""Mains hum of a European line and the harmonics that carry its energy."""


def dbm0(mean_square: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Level of a signal of the given mean square (counts squared), in dBm0, at least FLOOR_DBM0."""
    relative = 2.0 * np.asarray(mean_square, dtype=np.float64) / FULL_SCALE**2
    floor = 10.0 ** ((FLOOR_DBM0 - FULL_SCALE_SINE_DBM0) / 10.0)
    level: NDArray[np.float64] = 10.0 * np.log10(np.maximum(relative, floor)) + FULL_SCALE_SINE_DBM0
    return level


def rms_counts(level_dbm0: float) -> float:
    """Root mean square in counts of a signal at ``level_dbm0``."""
    return float(FULL_SCALE / np.sqrt(2.0) * 10.0 ** ((level_dbm0 - FULL_SCALE_SINE_DBM0) / 20.0))


@dataclass(frozen=True)
class Quality:
    """One line over one second that ended at stream position ``end_sample``."""

    line: int
    end_sample: int
    level_dbm0: float
    noise_dbm0: float
    hum_dbm0: float
    clipped_samples: int
    digital_zero: bool
    """Every sample of the second had one and the same value: nothing is connected, or the codec is dead."""


class LevelMeter:
    """Collects one second of every line and measures it."""

    def __init__(self, lines: int) -> None:
        self._second: NDArray[np.int16] = np.zeros((lines, SAMPLE_RATE_HZ), dtype=np.int16)
        self._filled = 0
        self._end_sample = 0
        self._quietest: NDArray[np.float64] = np.full((lines, NOISE_MEMORY_S), np.inf)
        seconds = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
        angle = 2.0 * np.pi * np.outer(seconds, HUM_HARMONICS_HZ)
        self._hum_basis: NDArray[np.float32] = np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32)

    def feed(self, samples: NDArray[np.int16]) -> list[Quality]:
        """int16 [lines, n], any n. Returns the seconds that became complete, one entry per line each."""
        out: list[Quality] = []
        for piece in self._pieces(samples):
            self._second[:, self._filled : self._filled + piece.shape[1]] = piece
            self._filled += piece.shape[1]
            self._end_sample += piece.shape[1]
            if self._filled == SAMPLE_RATE_HZ:
                out.extend(self._measure())
                self._filled = 0
        return out

    def reset(self, line: int) -> None:
        """Forget the noise floor of one line (a new call)."""
        self._quietest[line] = np.inf

    def _pieces(self, samples: NDArray[np.int16]) -> Iterator[NDArray[np.int16]]:
        start = 0
        while start < samples.shape[1]:
            stop = min(samples.shape[1], start + SAMPLE_RATE_HZ - self._filled)
            yield samples[:, start:stop]
            start = stop

    def _measure(self) -> list[Quality]:
        x = self._second.astype(np.float32)
        level = dbm0(np.mean(x**2, axis=1, dtype=np.float64))
        pieces = np.mean(x.reshape(len(x), -1, NOISE_BLOCK_SAMPLES) ** 2, axis=2, dtype=np.float64)
        self._quietest = np.roll(self._quietest, 1, axis=1)
        self._quietest[:, 0] = pieces.min(axis=1)
        noise = dbm0(self._quietest.min(axis=1))
        amplitude = x @ self._hum_basis * (2.0 / SAMPLE_RATE_HZ)
        hum = dbm0(np.sum(amplitude.astype(np.float64) ** 2, axis=1) / 2.0)
        clipped = np.sum(np.abs(self._second.astype(np.int32)) >= CLIPPED_COUNT, axis=1)
        constant = np.ptp(self._second, axis=1) == 0
        return [
            Quality(
                line,
                self._end_sample,
                float(level[line]),
                float(noise[line]),
                float(hum[line]),
                int(clipped[line]),
                bool(constant[line]),
            )
            for line in range(len(x))
        ]
