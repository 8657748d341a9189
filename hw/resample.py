"""From the codec's rate to the line's 8 kHz, all channels at once, as a stream; and back for the notice.

Chosen by measurement (``tests/bench/codec_bench.py``): soxr MQ costs 0.6 CPU-seconds per line-hour at 1, 2 and 8
channels alike; an own FIR of equal reach (289 taps, block Toeplitz in numpy) 1.2, 0.8 and 0.5 with OpenBLAS held to
one thread, and 63 where its threads spin for work at 2 channels. So the library. MQ is flat to 3600 Hz (0.0 dB),
-2.7 dB at 3800 Hz and below -110 dB from 4100 Hz on; LQ would lose 7.9 dB at 3400 Hz, the top of the telephone band;
HQ gains nothing there and answers 100 ms later.

Two traps, both measured. soxr *dithers* 16-bit output, with a seed from the clock: digital silence would come out as
noise, hiding a dead channel, and no run could be repeated; so it works in float32 and the rounding is ours. And it
returns uneven portions (515 to 1030 samples for each 800); ``LATENCY_SAMPLES_MAX`` bounds how far they lag.
"""

import numpy as np
import soxr
from numpy.typing import NDArray

from firmware.ports import Samples
from firmware.units import SAMPLE_RATE_HZ

DELAY_SAMPLES = 0
"""Sample k at 8 kHz sounds at the instant of input sample k * rate / 8000: soxr trims its filter's delay by itself,
so capture times need no correction (proved by an impulse in ``tests/contract/test_resample.py``)."""

LATENCY_SAMPLES_MAX = 800
"""At most so many samples (100 ms) are still inside the resampler after a push: time spent waiting, not an offset."""


def _to_int16(samples: NDArray[np.float32]) -> Samples:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


class Resampler:
    """One stream. 8 kHz in is handed through untouched, bit for bit."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        assert rate_hz % SAMPLE_RATE_HZ == 0, rate_hz
        self.rate_hz = rate_hz
        self.channels = channels
        self._stream = None if rate_hz == SAMPLE_RATE_HZ else self._new()

    def _new(self) -> "soxr.ResampleStream":
        return soxr.ResampleStream(self.rate_hz, SAMPLE_RATE_HZ, self.channels, dtype="float32", quality="MQ")

    def push(self, samples: Samples) -> Samples:
        """int16 [channels, n] at ``rate_hz`` to int16 [channels, m] at 8 kHz; m may be 0."""
        return self._feed(samples, last=False)

    def flush(self) -> Samples:
        """What is still inside, and a fresh start: for the end of a stream, before a jump of the sample axis."""
        rest = self._feed(np.zeros((self.channels, 0), np.int16), last=True)
        if self._stream is not None:
            self._stream = self._new()
        return rest

    def _feed(self, samples: Samples, last: bool) -> Samples:
        assert samples.ndim == 2, samples.shape
        assert samples.shape[0] == self.channels, samples.shape
        if self._stream is None:
            return samples
        out = self._stream.resample_chunk(np.ascontiguousarray(samples.T, dtype=np.float32), last=last)
        return np.ascontiguousarray(_to_int16(out).T)


def to_rate(samples: Samples, rate_hz: int) -> Samples:
    """int16 [n] at 8 kHz to int16 [n * rate_hz / 8000]: the notice, for a codec that plays at ``rate_hz``."""
    if rate_hz == SAMPLE_RATE_HZ:
        return samples
    return _to_int16(soxr.resample(samples.astype(np.float32), SAMPLE_RATE_HZ, rate_hz, quality="MQ"))
