"""Supervisory tones (dial, ringing, busy ...) by frequency *and* cadence, on every line at once.

The band 300 to 900 Hz at 2 kHz; its share in 320 to 490 Hz every 10 ms tells when a tone is on; each stretch of "on" is
fitted with one and with two frequencies over windows of 100 ms (350/440 against 400/450 cannot be told in less than
60 ms); the sequence of stretches is compared with the plan's cadences. A tone is steady, in level and in frequency:
that is what keeps speech and music out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.filters import FilterBank, History, Signal, bandpass_taps
from firmware.dsp.levels import rms_counts
from firmware.dsp.tone_plan import CADENCE_SLACK_S, CADENCE_TOLERANCE, TonePlan, ToneSpec
from firmware.policy.events import Tone
from firmware.units import SAMPLE_RATE_HZ

DECIMATION = 4
RATE_HZ = SAMPLE_RATE_HZ // DECIMATION
WIDE_HZ = (290.0, 920.0)
NARROW_HZ = (310.0, 510.0)
"""-6 dB edges. 350 Hz - 5 % and 450 Hz + 5 % lie inside."""

HIGH_HZ = (1000.0, 3400.0)
BANDS_HZ = (WIDE_HZ, NARROW_HZ, HIGH_HZ)
BAND_SECONDS = (2, 1, 1)
"""A stretch is fitted on its last 2 s of the wide band; of the others only the power is wanted, once."""

TAPS = 129
HOP = 10 * SAMPLE_RATE_HZ // 1000
"""10 ms."""

SMOOTH_HOPS = 2
"""20 ms: one beat of 400 and 450 Hz."""

LEVEL_MIN_DBM0 = -46.0
"""Tones are 0 to -27 dBm at the line (SIN 350), -40 after loss (line.md T1)."""

ON_SHARE, OFF_SHARE = 0.74, 0.55
"""Share of the narrow band in the wide one; white noise has 0.3, a tone at 0 dB SNR 0.87."""

OFF_DROP = 0.22
"""A tone is off when its power falls to this share of its own level (-6.6 dB)."""

HIGH_SHARE_MAX = 0.7
"""Energy above 1 kHz over that of the tone: 0.16 at 6 dB SNR, 0.62 at 0 dB; open vowels have more."""

FIT_SHARE_MIN = 0.80
"""Explained share of the wide band; 0.96 at 6 dB SNR, 0.87 at 0 dB."""

SINGLE_MIN = 0.92
"""One frequency explains at least this much of what two explain: with two it is at most 0.8 at 6 dB of twist."""

TWIST_MAX_DB = 12.0
"""Of two frequencies the weaker is at most so far below the other: 6 dB at the line, noise, and a margin. One note of
music near either of them is 30 dB and more."""

SCALES = np.arange(-0.06, 0.0601, 0.005)
"""5 % of frequency (SIN 350) and a margin."""

SCALE_SPREAD_MAX = 1.01
"""In steps of 0.5 %: a tone does not glide; a voice does."""

LEVEL_SPREAD_DB = 2.0
CALL_WAITING_LEVEL_DB = 1.0
SEGMENT_HOPS_MIN = 5
SEGMENTS_MAX = 12
FIT_WINDOW = 200
FIT_WINDOW_SHORT = 100
"""100 ms and 50 ms at 2 kHz."""

FIT_INSET_S = 0.02


@dataclass(frozen=True)
class ToneFound:
    """``onset_sample``: where the tone (its first burst) began; ``at_sample``: where it became certain."""

    line: int
    tone: Tone
    onset_sample: int
    at_sample: int


@dataclass(frozen=True)
class ToneGone:
    line: int
    tone: Tone
    at_sample: int


@dataclass
class _Segment:
    """One stretch of tone, in hops."""

    first: int
    last: int = -1
    level: float = 0.0
    peak: float = 0.0
    hops: int = 0
    fit: "Fit | None" = None

    def seconds(self) -> float:
        return (self.last - self.first) * HOP / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Fit:
    """What a stretch is: the alternative of the plan that explains it, or none."""

    hz: tuple[float, ...] | None
    level_db: float


@dataclass
class _Line:
    on: _Segment | None = None
    done: list[_Segment] = field(default_factory=list)
    tone: ToneSpec | None = None
    """What is being heard now."""
    tone_last_hop: int = 0
    claimed_hop: int = 0
    """Stretches before this one have made a tone."""


@lru_cache(maxsize=16)
def _bases(hz: tuple[float, ...], window: int) -> NDArray[np.float32]:
    """Orthonormal columns for every scale: [window, scales * 2 * len(hz)]."""
    t = np.arange(window) / RATE_HZ
    columns = []
    for scale in SCALES:
        angle = 2.0 * np.pi * (1.0 + scale) * np.outer(t, hz)
        q, _ = np.linalg.qr(np.hstack([np.cos(angle), np.sin(angle)]))
        columns.append(q)
    return np.hstack(columns).astype(np.float32)


class ToneReceiver:
    """Streaming, any block length. ``feed`` gives what began and what ended."""

    def __init__(self, lines: int, plan: TonePlan) -> None:
        self._lines = [_Line() for _ in range(lines)]
        self._plan = plan
        self._filters = FilterBank(lines, [bandpass_taps(*band, TAPS, 5.65) for band in BANDS_HZ])
        self._bands = [History(lines, seconds * SAMPLE_RATE_HZ) for seconds in BAND_SECONDS]
        self._hop = 0
        self.delay = self._filters.delay
        self._alternatives = sorted({hz for spec in plan.tones for hz in spec.hz} | {plan.call_waiting_hz})
        self._power_min = rms_counts(LEVEL_MIN_DBM0) ** 2

    def feed(self, x: Signal) -> list[ToneFound | ToneGone]:
        """float32 [lines, n] in counts, at most 1 s."""
        assert x.shape[1] <= SAMPLE_RATE_HZ
        for history, band in zip(self._bands, self._filters.feed(x), strict=True):
            history.append(band)
        count = (self._bands[0].end - self._hop * HOP) // HOP - SMOOTH_HOPS
        if count <= 0:
            return []
        wide, narrow, high = (self._powers(band, count) for band in self._bands)
        events: list[ToneFound | ToneGone] = []
        for line in range(len(self._lines)):
            events.extend(self._follow(line, wide[line].tolist(), narrow[line].tolist(), high[line].tolist()))
        self._hop += count
        return events

    def reset(self, line: int) -> None:
        self._lines[line] = _Line()

    def _powers(self, band: History, count: int) -> NDArray[np.float64]:
        """Mean square over SMOOTH_HOPS from each new hop on, [lines, count]."""
        first = self._hop * HOP
        x = band.all_lines(first, first + (count + SMOOTH_HOPS - 1) * HOP)
        pieces = x.reshape(len(x), -1, HOP)
        hops = np.einsum("lhk,lhk->lh", pieces, pieces) / HOP
        out: NDArray[np.float64] = (hops[:, :count] + hops[:, 1 : count + 1]).astype(np.float64) / SMOOTH_HOPS
        return out

    # -------------------------------------------------------------------------------------------------- stretches

    def _follow(
        self, line: int, wide: Sequence[float], narrow: Sequence[float], high: Sequence[float]
    ) -> list[ToneFound | ToneGone]:
        state = self._lines[line]
        events: list[ToneFound | ToneGone] = []
        for i, power in enumerate(narrow):
            hop = self._hop + i
            share = power / (wide[i] + 1.0)
            segment = state.on
            if segment is None:
                if share > ON_SHARE and power > self._power_min and high[i] < HIGH_SHARE_MAX * power:
                    state.on = _Segment(hop, level=power, peak=power)
                elif state.tone is not None or state.done:
                    events.extend(self._silence(line, hop))
                continue
            # the level follows the first 60 ms upwards only: a tone rises at once
            if segment.hops < 6:
                segment.level = max(segment.level, power)
            segment.hops += 1
            if power < OFF_DROP * segment.level or share < OFF_SHARE:
                segment.last = hop
                state.on = None
                events.extend(self._ended(line, segment, hop))
            elif segment.hops % 5 == 0:
                events.extend(self._going_on(line, segment, hop))
        return events

    def _sample(self, hop: int) -> int:
        """Stream position of the middle of a hop's smoothing window."""
        return hop * HOP + SMOOTH_HOPS * HOP // 2 - self.delay

    def _found(self, line: int, spec: ToneSpec, first: int, hop: int) -> list[ToneFound | ToneGone]:
        state = self._lines[line]
        # a cadence may be known by its pause: it was last heard where its last burst ended
        state.tone_last_hop = state.done[-1].last if spec.cadence_s else hop
        if spec.cadence_s:
            state.claimed_hop = hop
        if state.tone is not None and state.tone.tone is spec.tone:
            return []
        events = self._gone(line, first)
        state.tone = spec
        return [*events, ToneFound(line, spec.tone, self._sample(first), self._sample(hop))]

    def _gone(self, line: int, hop: int) -> list[ToneFound | ToneGone]:
        state = self._lines[line]
        if state.tone is None:
            return []
        tone, state.tone = state.tone.tone, None
        return [ToneGone(line, tone, self._sample(hop))]

    def _going_on(self, line: int, segment: _Segment, hop: int) -> list[ToneFound | ToneGone]:
        """Continuous tones are recognised while they last."""
        seconds = (hop - segment.first) * HOP / SAMPLE_RATE_HZ
        for spec in self._plan.tones:
            if not spec.cadence_s and spec.heard_s <= seconds <= spec.heard_s + 0.3:
                segment.last = hop
                fit = self._fit(line, segment)
                if fit.hz in spec.hz:
                    return self._found(line, spec, segment.first, hop)
        state = self._lines[line]
        if state.tone is not None and not state.tone.cadence_s:
            state.tone_last_hop = hop
        return []

    def _ended(self, line: int, segment: _Segment, hop: int) -> list[ToneFound | ToneGone]:
        state = self._lines[line]
        if segment.last - segment.first < SEGMENT_HOPS_MIN:
            return []
        segment.fit = self._fit(line, segment)
        events: list[ToneFound | ToneGone] = []
        if state.tone is not None and not state.tone.cadence_s:
            events = self._gone(line, hop)
        if segment.fit.hz is None:
            state.done.clear()
            return events
        state.done = [*state.done[-SEGMENTS_MAX + 1 :], segment]
        same = len(state.done) > 1 and _alike(*state.done[-2:])
        if same and state.tone is not None and segment.fit.hz in state.tone.hz:
            state.tone_last_hop = segment.last
        return events + self._cadenced(line, hop, silence_s=0.0)

    def _silence(self, line: int, hop: int) -> list[ToneFound | ToneGone]:
        """Nothing on: cadences that are certain by their pause, and tones that did not come back."""
        state = self._lines[line]
        last = state.done[-1].last if state.done else state.tone_last_hop
        quiet_s = (hop - last) * HOP / SAMPLE_RATE_HZ
        events: list[ToneFound | ToneGone] = []
        if state.done and (hop - last) % 5 == 0:
            events = self._cadenced(line, hop, silence_s=quiet_s)
        if state.tone is not None:
            pause = max(state.tone.cadence_s[1::2], default=0.0)
            if quiet_s > pause * (1.0 + CADENCE_TOLERANCE) + 3 * CADENCE_SLACK_S:
                events = [*events, *self._gone(line, last)]
        if quiet_s > self._plan.call_waiting_s[3] + 0.5:
            state.done.clear()
        return events

    # -------------------------------------------------------------------------------------------------- frequency

    def _fit(self, line: int, segment: _Segment) -> Fit:
        """Which alternative of the plan explains the stretch: windows of 100 ms across its inside (50 ms when it is
        short)."""
        window, x = self._windows(line, segment)
        if len(x) == 0:
            return Fit(None, 0.0)
        energy = np.sum(x.astype(np.float64) ** 2, axis=1) + 1e-3
        level = 10.0 * np.log10(energy)
        if np.ptp(level) > LEVEL_SPREAD_DB:
            return Fit(None, 0.0)
        best: dict[tuple[float, ...], tuple[float, float]] = {}
        scales: dict[tuple[float, ...], float] = {}
        for hz in self._alternatives:
            z = x @ _bases(hz, window)
            power = np.sum(z.reshape(len(x), len(SCALES), 2 * len(hz)) ** 2, axis=2) / energy[:, None]
            scale = np.argmax(power, axis=1)
            best[hz] = float(np.mean(power[np.arange(len(x)), scale])), float(np.std(scale))
            scales[hz] = 1.0 + float(SCALES[int(np.median(scale))])
        chosen = _chosen({hz: share for hz, (share, _) in best.items()})
        share, spread = best[chosen]
        if share < FIT_SHARE_MIN or spread > SCALE_SPREAD_MAX:
            return Fit(None, 0.0)
        if len(chosen) == 2 and _twist_db(x, chosen, scales[chosen]) > TWIST_MAX_DB:
            return Fit(None, 0.0)
        return Fit(chosen, float(np.mean(level)))

    def _windows(self, line: int, segment: _Segment) -> tuple[int, Signal]:
        """Up to 12 windows spread over the inside of the stretch, at RATE_HZ."""
        inset = int(FIT_INSET_S * SAMPLE_RATE_HZ)
        first = max(segment.first * HOP + HOP + inset, self._bands[0].start)
        last = min(segment.last * HOP + HOP - inset, self._bands[0].end)
        x = self._bands[0].span(line, first, last)[::DECIMATION]
        window = FIT_WINDOW if len(x) >= FIT_WINDOW else FIT_WINDOW_SHORT
        if len(x) < window:
            return window, np.zeros((0, window), dtype=np.float32)
        views = np.lib.stride_tricks.sliding_window_view(x, window)
        places = np.linspace(0, len(views) - 1, min(12, 1 + 2 * len(x) // window)).astype(int)
        return window, np.ascontiguousarray(views[sorted(set(places.tolist()))])

    # ---------------------------------------------------------------------------------------------------- cadence

    def _cadenced(self, line: int, hop: int, *, silence_s: float) -> list[ToneFound | ToneGone]:
        """Compare the last stretches with every cadence. ``silence_s`` 0: the last stretch ended just now."""
        done = self._lines[line].done
        for spec in self._plan.tones:
            if spec.cadence_s:
                first = _matches(spec, done, silence_s)
                if first is not None and self._is_new(line, spec, first):
                    return self._found(line, spec, first, hop)
        return self._call_waiting(line, hop)

    def _is_new(self, line: int, spec: ToneSpec, first: int) -> bool:
        """Stretches that made one tone make no other and not the same again: a busy tone that is cut off within a
        burst ends like congestion."""
        state = self._lines[line]
        return (state.tone is not None and state.tone.tone is spec.tone) or first >= state.claimed_hop

    def _call_waiting(self, line: int, hop: int) -> list[ToneFound | ToneGone]:
        done = self._lines[line].done
        shortest, longest, pause_min, pause_max = self._plan.call_waiting_s
        if len(done) < 2 or any(s.fit is None or s.fit.hz != self._plan.call_waiting_hz for s in done[-2:]):
            return []
        a, b = done[-2:]
        pause = (b.first - a.last) * HOP / SAMPLE_RATE_HZ
        if not (shortest <= a.seconds() <= longest and abs(a.seconds() - b.seconds()) < 0.03):
            return []
        if not pause_min <= pause <= pause_max or not _alike(a, b):
            return []
        spec = ToneSpec(Tone.CALL_WAITING, (self._plan.call_waiting_hz,), (b.seconds(), pause_max))
        return self._found(line, spec, a.first, hop) if self._is_new(line, spec, a.first) else []


def _chosen(shares: dict[tuple[float, ...], float]) -> tuple[float, ...]:
    """The best alternative; one frequency where it explains nearly all that two do."""
    best = max(shares, key=lambda hz: shares[hz])
    single = max((hz for hz in shares if len(hz) == 1), key=lambda hz: shares[hz], default=best)
    return single if shares[single] > SINGLE_MIN * shares[best] else best


def _twist_db(x: Signal, hz: tuple[float, ...], scale: float) -> float:
    """How far the weaker of two frequencies is below the other, over all windows [windows, n]."""
    angle = 2.0 * np.pi * scale * np.outer(np.arange(x.shape[1]) / RATE_HZ, hz)
    parts = np.linalg.lstsq(np.hstack([np.cos(angle), np.sin(angle)]), x.T.astype(np.float64), rcond=None)[0]
    power = np.sum(parts.reshape(2, 2, -1) ** 2, axis=(0, 2)) + 1e-9
    return abs(10.0 * float(np.log10(power[0] / power[1])))


def _near(measured_s: float, nominal_s: float) -> bool:
    return abs(measured_s - nominal_s) <= CADENCE_TOLERANCE * nominal_s + CADENCE_SLACK_S


def _alike(a: _Segment, b: _Segment) -> bool:
    """Two bursts of one source: music repeats a note, but not at the same level."""
    return a.fit is not None and b.fit is not None and abs(a.fit.level_db - b.fit.level_db) < CALL_WAITING_LEVEL_DB


def _matches(spec: ToneSpec, done: list[_Segment], silence_s: float) -> int | None:
    """First hop of the pattern when the newest stretches follow the cadence, else None.

    A two-step cadence needs on-off-on; a four-step one needs both bursts, the pause between and enough of a long pause
    to be told from the short one. The pattern may be joined at either burst."""
    steps = spec.cadence_s
    if len(done) < 2:
        return None
    a, b = done[-2:]
    if a.fit is None or b.fit is None or a.fit.hz not in spec.hz or b.fit.hz != a.fit.hz:
        return None
    pause = (b.first - a.last) * HOP / SAMPLE_RATE_HZ
    if len(steps) == 2:
        good = _near(a.seconds(), steps[0]) and _near(pause, steps[1]) and _near(b.seconds(), steps[0])
        return a.first if good and silence_s < steps[1] * (1 + CADENCE_TOLERANCE) + CADENCE_SLACK_S else None
    for turn in (0, 2):
        on_1, off_1, on_2, off_2 = steps[turn:] + steps[:turn]
        if not (_near(a.seconds(), on_1) and _near(pause, off_1) and _near(b.seconds(), on_2)):
            continue
        enough = off_2 * (1.0 - CADENCE_TOLERANCE) - CADENCE_SLACK_S
        if off_2 > 2.0 * off_1:
            enough = min(enough, 2.5 * off_1)
        if silence_s >= enough or off_1 > 2.0 * off_2:
            return a.first
    return None
