"""Where to cut audio so that its FLAC stream ends where a 4 KiB block ends: how many bits each stretch will take, told
before it is encoded."""

import numpy as np
from numpy.typing import NDArray

SEGMENT_SAMPLES = 200
"""25 ms: shorter than a syllable's change of level, long enough to be cheap."""

RICE_BITS = 2.0
"""RFC 9639 9.2.7: a residual is Rice coded; beyond the parameter, log2 of its mean, a code has a stop bit and about
one unary bit."""


def expected_bits(pcm: NDArray[np.int16]) -> NDArray[np.float64]:
    """[channels, n], n >= 1, to [segments]: bits of each segment of ``SEGMENT_SAMPLES``, the last may be shorter. The
    first difference stands for the encoder's residual: right in proportion, not in size."""
    count = pcm.shape[1]
    starts = np.arange(0, count, SEGMENT_SAMPLES)
    lengths = np.minimum(SEGMENT_SAMPLES, count - starts)
    steps = np.diff(pcm, axis=1, prepend=pcm[:, :1]).astype(np.float32)
    np.abs(steps, out=steps)
    means = np.add.reduceat(steps, starts, axis=1) / lengths
    steps.fill(0)
    bits: NDArray[np.float64] = ((np.log2(1.0 + means) + RICE_BITS) * lengths).sum(axis=0, dtype=np.float64)
    return bits


def samples_within(bits: NDArray[np.float64], share: float) -> int:
    """How many samples from the start take this share (0 to 1) of all bits."""
    ends = np.cumsum(bits)
    wanted = share * ends[-1]
    segment = int(np.searchsorted(ends, wanted))
    before = float(ends[segment - 1]) if segment else 0.0
    return int((segment + (wanted - before) / float(bits[segment])) * SEGMENT_SAMPLES)


def bits_of_first(bits: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """What is left of them once all after the first ``samples`` is cut off."""
    whole, part = divmod(samples, SEGMENT_SAMPLES)
    return np.append(bits[:whole], bits[whole : whole + 1] * (part / SEGMENT_SAMPLES))
