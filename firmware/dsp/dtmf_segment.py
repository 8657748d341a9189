"""One suspected keyed digit, looked at on its own samples: where it begins and ends, and how much like a key it is.

Deciding per segment and not per 12.75 ms block is what gives tolerance and talk-off at once: a key is two pure, steady
tones of exact frequency that begin and end together; speech never is for long. The features are dimensionless, so
level does not matter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.units import SAMPLE_RATE_HZ

ROW_HZ = (697.0, 770.0, 852.0, 941.0)
COLUMN_HZ = (1209.0, 1336.0, 1477.0, 1633.0)
"""ITU-T Q.23 clause 6."""

OFFSETS = np.linspace(-0.03, 0.03, 9)
"""Relative frequency offsets at which each tone is looked for: Q.24 annex A accepts 1.5 %, refuses 3.5 %."""

WINDOW = 96
"""Hann window of the envelopes, 12 ms: its null at 167 Hz parts the nearest tones of the two groups (268 Hz)."""

HOP = 8
"""1 ms between envelope points."""

SPLIT_GAP_HOPS = 17
"""A pause of 17 ms and more separates two keys: half way between the 10 ms break that must not split (Q.24 annex A)
and the 25 ms pause that must (line.md D5)."""

BURST_HOPS_MIN = 11
"""Shorter than 11 ms is a click."""

EXPLAINED_MIN = 0.40
"""Mean share of the band that the two tones explain inside a burst; 0.55 for a key at -4.5 dB SNR."""

DEVIATION_MAX = 0.033
"""Further off no network's tone is taken for a key (refused from 3.5 % on, Q.24 annex A): more than half of
what speech and music offer."""

EDGE_REACH = 14 * SAMPLE_RATE_HZ // 1000
"""The exact edge is sought within 14 ms of the half-amplitude point."""

MARGIN = 30 * SAMPLE_RATE_HZ // 1000
"""Samples wanted on either side of a candidate: for the contrast with what was before and after."""

OUT_OF_BAND_HZ = ((60, 320), (320, 500), (500, 650), (1720, 2500), (2500, 3600))

FEATURES = (
    "explained",
    "explained_low_tenth",
    "flat_row",
    "flat_column",
    "phase_row",
    "phase_column",
    "deviation_row",
    "deviation_column",
    "twist",
    "twist_excess",
    "log_duration",
    "before",
    "after",
    "together_on",
    "together_off",
    "band_0",
    "band_1",
    "band_2",
    "band_3",
    "band_4",
    "second_row",
    "second_column",
    "rest_change",
)

_HANN: NDArray[np.float64] = np.hanning(WINDOW + 1)[:WINDOW]


def _demodulators(nominal: tuple[float, ...]) -> NDArray[np.complex64]:
    """[tone, offset, WINDOW], scaled so that a sine of amplitude 1 gives magnitude 1."""
    hz = np.array(nominal)[:, None] * (1.0 + OFFSETS)[None]
    n = np.arange(WINDOW)
    basis = np.exp(-2j * np.pi * hz[:, :, None] * n / SAMPLE_RATE_HZ) * _HANN * (2.0 / _HANN.sum())
    out: NDArray[np.complex64] = basis.astype(np.complex64)
    return out


_ROW_DEMODULATORS = _demodulators(ROW_HZ)
_COLUMN_DEMODULATORS = _demodulators(COLUMN_HZ)


@dataclass(frozen=True, repr=False)
class Burst:
    """One burst of one pair of tones. ``first`` and ``last`` are sample indices into the analysed stretch. Not shown
    by repr: it carries the pair, which is a digit's value."""

    row: int
    column: int
    first: int
    last: int
    features: NDArray[np.float64]
    level_db: float
    """Power of both tones, in decibels over one count squared."""

    @property
    def duration_s(self) -> float:
        return (self.last - self.first) / SAMPLE_RATE_HZ

    @property
    def deviation(self) -> float:
        """The larger relative frequency error of the two tones."""
        return float(max(abs(self.features[6]), abs(self.features[7]))) / 100.0

    @property
    def twist_db(self) -> float:
        return float(self.features[8])


@dataclass(frozen=True)
class _Tone:
    """Complex envelope of one tone at ``hz``, one point a HOP, in counts; phase referred to the stretch's start."""

    hz: float
    envelope: NDArray[np.complex128]


def _quantile(values: NDArray[np.float64], share: float) -> float:
    """The value below which that share lies; no interpolation."""
    index = min(len(values) - 1, int(share * len(values)))
    return float(np.sort(values)[index])


def _envelope(windows: NDArray[np.float32], demodulator: NDArray[np.complex64], hz: float) -> _Tone:
    """``windows`` [points, WINDOW]."""
    # two real products: BLAS would widen float32 @ complex64 in a copy
    real = windows @ demodulator.real
    imag = windows @ demodulator.imag
    points = np.arange(len(windows)) * HOP
    rotation = np.exp(-2j * np.pi * hz * points / SAMPLE_RATE_HZ)
    return _Tone(hz, (real + 1j * imag) * rotation)


def _corrected_hz(tone: _Tone, inside: slice) -> float:
    """Frequency from the mean phase step over 5 ms and then over half the burst: pauses and jumps of phase do little
    harm."""
    z = tone.envelope[inside]
    error_hz = 0.0
    for lag in (5, max(6, len(z) // 2)):
        if len(z) <= lag:
            break
        points = np.arange(len(z))
        flat = z * np.exp(-2j * np.pi * error_hz * points * HOP / SAMPLE_RATE_HZ)
        step = np.angle(np.sum(flat[lag:] * np.conj(flat[:-lag])))
        error_hz += float(step) / (2.0 * np.pi * lag * HOP / SAMPLE_RATE_HZ)
    return tone.hz + error_hz


def _runs(on: NDArray[np.bool_], gap_min: int, length_min: int) -> list[tuple[int, int]]:
    """[first, last) of the true stretches, closed over gaps shorter than ``gap_min``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    merged: list[tuple[int, int]] = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if merged and first - merged[-1][1] < gap_min:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return [run for run in merged if run[1] - run[0] >= length_min]


def analyse(
    band: NDArray[np.float32], wide: NDArray[np.float32], row: int, column: int, offsets: tuple[int, int]
) -> list[Burst]:
    """Bursts of one pair in a stretch. ``band``: the stretch band-passed to the two groups, ``wide``: unfiltered and
    aligned with it, both float32 [n] in counts; ``offsets``: indices into OFFSETS nearest to what was seen."""
    if len(band) < WINDOW + 4 * HOP:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(band, WINDOW)[::HOP]
    low = _envelope(windows, _ROW_DEMODULATORS[row, offsets[0]], ROW_HZ[row] * (1.0 + OFFSETS[offsets[0]]))
    high = _envelope(windows, _COLUMN_DEMODULATORS[column, offsets[1]], COLUMN_HZ[column] * (1 + OFFSETS[offsets[1]]))
    power = np.abs(low.envelope) ** 2 + np.abs(high.envelope) ** 2
    total = (windows**2) @ (_HANN * (2.0 / _HANN.sum())).astype(np.float32) + 1e-3
    explained = np.minimum(power / total, 1.2)
    # the level of the key: the upper quartile where the two tones explain most of what is there
    good = explained > 0.5 * np.max(explained)
    level = _quantile(power[good], 0.75)
    bursts = []
    for first, last in _runs(power > 0.25 * level, SPLIT_GAP_HOPS, BURST_HOPS_MIN):
        if float(np.mean(explained[first:last])) >= EXPLAINED_MIN:
            burst = _burst(band, wide, row, column, low, high, explained, total, (first, last))
            bursts.extend([burst] if burst is not None else [])
    return bursts


def _burst(
    band: NDArray[np.float32],
    wide: NDArray[np.float32],
    row: int,
    column: int,
    low: _Tone,
    high: _Tone,
    explained: NDArray[np.float64],
    total: NDArray[np.float64],
    run: tuple[int, int],
) -> Burst | None:
    """None when its frequencies say at once that this is no key: most of what speech offers."""
    inset = min(5, max(0, (run[1] - run[0] - 8) // 2))
    inside = slice(run[0] + inset, run[1] - inset)
    low_hz = _corrected_hz(low, inside)
    if abs(low_hz / ROW_HZ[row] - 1.0) > DEVIATION_MAX:
        return None
    high_hz = _corrected_hz(high, inside)
    if abs(high_hz / COLUMN_HZ[column] - 1.0) > DEVIATION_MAX:
        return None
    first, last = _edges(band, low_hz, high_hz, run)
    a, b = np.abs(low.envelope), np.abs(high.envelope)
    level_a, level_b = _quantile(a[inside], 0.5) + 1e-3, _quantile(b[inside], 0.5) + 1e-3
    tone_power = (level_a**2 + level_b**2) / 2.0
    spectrum = _band_powers(wide[first:last], low_hz, high_hz)
    before, after = _outside(a, b, run, level_a, level_b)
    values = [
        float(np.mean(explained[inside])),
        _quantile(explained[inside], 0.1),
        float(np.std(a[inside])) / level_a,
        float(np.std(b[inside])) / level_b,
        _phase_unrest(low, inside, low_hz),
        _phase_unrest(high, inside, high_hz),
        100.0 * (low_hz / ROW_HZ[row] - 1.0),
        100.0 * (high_hz / COLUMN_HZ[column] - 1.0),
        20.0 * np.log10(level_b / level_a),
        max(0.0, abs(20.0 * np.log10(level_b / level_a)) - 6.0),
        float(np.log2(max(8, last - first) / 400.0)),
        before,
        after,
        _together(a, b, run[0], level_a, level_b),
        _together(a, b, run[1] - 1, level_a, level_b),
        *(np.log10((p + 0.5) / tone_power + 1e-4) for p in spectrum),
        _rest_change(total, a, b, run, inside, tone_power),
    ]
    level_db = 10.0 * float(np.log10(tone_power))
    return Burst(row, column, first, last, np.array(values, dtype=np.float64), level_db)


def _edges(band: NDArray[np.float32], low_hz: float, high_hz: float, run: tuple[int, int]) -> tuple[int, int]:
    """Most likely first and last sample: the change point of 'two known tones in noise' (log-likelihood ratio
    2xs - s^2 summed), each from a fit to the 20 ms of burst next to that edge."""
    rough_first = run[0] * HOP + WINDOW // 2
    rough_last = min(len(band), (run[1] - 1) * HOP + WINDOW // 2)
    reach = min(160, max(80, rough_last - rough_first))
    begin, end = max(0, rough_first - EDGE_REACH), min(len(band), rough_last + EDGE_REACH)
    gain = _likelihood(band, low_hz, high_hz, begin, (rough_first, min(rough_last, rough_first + reach)))
    first = begin + int(np.argmin(np.concatenate([[0.0], np.cumsum(gain)])))
    tail = max(0, rough_last - reach)
    gain = _likelihood(band, low_hz, high_hz, tail, (tail, rough_last), end)
    last = tail + int(np.argmax(np.concatenate([[0.0], np.cumsum(gain)])))
    return first, max(last, first + 1)


def _likelihood(
    band: NDArray[np.float32], low_hz: float, high_hz: float, begin: int, fit: tuple[int, int], end: int | None = None
) -> NDArray[np.float64]:
    """2xs - s^2 from ``begin`` to ``end`` with s fitted over ``fit`` (least squares, two tones)."""
    end = fit[1] if end is None else end
    n = np.arange(begin, end) * (2.0 * np.pi / SAMPLE_RATE_HZ)
    basis = np.stack([np.cos(low_hz * n), np.sin(low_hz * n), np.cos(high_hz * n), np.sin(high_hz * n)], axis=1)
    chosen = slice(fit[0] - begin, fit[1] - begin)
    x = band[begin:end].astype(np.float64)
    gram = basis[chosen].T @ basis[chosen] + 1e-6 * np.eye(4)
    s = basis @ np.linalg.solve(gram, basis[chosen].T @ x[chosen])
    out: NDArray[np.float64] = s * (2.0 * x - s)
    return out


def _phase_unrest(tone: _Tone, inside: slice, hz: float) -> float:
    """Median absolute second difference of the phase over 5 ms steps, radians: 0 for a pure tone."""
    z = tone.envelope[inside]
    if len(z) <= 10:
        return 0.5
    return _quantile(np.abs(np.angle(z[10:] * z[:-10] * np.conj(z[5:-5]) ** 2)), 0.5)


def _outside(
    a: NDArray[np.float64], b: NDArray[np.float64], run: tuple[int, int], level_a: float, level_b: float
) -> tuple[float, float]:
    """Amplitude of the two tones 10 to 20 ms before and after, relative to inside (the louder of the two, 0 to 1.5)."""
    out = []
    for span in (slice(max(0, run[0] - 20), max(0, run[0] - 9)), slice(run[1] + 9, run[1] + 20)):
        if len(a[span]) == 0:
            out.append(0.5)
            continue
        ratio = max(_quantile(a[span], 0.5) / level_a, _quantile(b[span], 0.5) / level_b)
        out.append(min(1.5, ratio))
    return out[0], out[1]


def _together(a: NDArray[np.float64], b: NDArray[np.float64], edge: int, level_a: float, level_b: float) -> float:
    """How unequal the two tones are on the slope of an edge: mean difference of their relative amplitudes."""
    span = slice(max(0, edge - 6), edge + 7)
    return float(np.mean(np.abs(np.minimum(a[span] / level_a, 1.5) - np.minimum(b[span] / level_b, 1.5))))


def _rest_change(
    total: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    run: tuple[int, int],
    inside: slice,
    tone_power: float,
) -> float:
    """Log ratio of what the tones do not explain inside to everything in the band just outside."""
    rest = np.maximum(total - a**2 - b**2, 0.0) / 2.0
    outside = np.concatenate([total[max(0, run[0] - 22) : max(0, run[0] - 10)], total[run[1] + 10 : run[1] + 22]]) / 2.0
    reference = _quantile(outside, 0.5) if len(outside) else 0.0
    return float(np.log10((np.mean(rest[inside]) + 1e-4 * tone_power) / (reference + 1e-4 * tone_power)))


def _band_powers(wide: NDArray[np.float32], low_hz: float, high_hz: float) -> list[float]:
    """Power (mean square of that part, counts squared) in OUT_OF_BAND_HZ, then at the second harmonics of both
    tones."""
    n = len(wide)
    if n < 64:
        return [1.0] * (len(OUT_OF_BAND_HZ) + 2)
    size = max(512, 1 << (n - 1).bit_length())
    window = np.hanning(n + 2)[1:-1]
    spectrum = np.abs(np.fft.rfft(wide * window, size)) ** 2 * (2.0 / (size * np.sum(window**2)))
    bin_hz = SAMPLE_RATE_HZ / size
    powers = [float(np.sum(spectrum[int(lo / bin_hz) : int(hi / bin_hz)])) for lo, hi in OUT_OF_BAND_HZ]
    for harmonic in (2.0 * low_hz, 2.0 * high_hz):
        middle = round(harmonic / bin_hz)
        half = max(1, round(1.5 * SAMPLE_RATE_HZ / n / bin_hz))
        powers.append(float(np.sum(spectrum[middle - half : middle + half + 1])))
    return powers
