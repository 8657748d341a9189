"""Voice activity on a telephone line, every line at once: is somebody speaking?

Energies in eleven bands over 32 ms every 10 ms; the floor of each band is the least 200 ms mean of the last seconds
(minimum statistics); what stands out is compared with how much the noise itself stands out (a hum is steady, babble is
not); a hangover closes gaps between words. Decisions come in steps of 100 ms, with at most 0.5 s of delay.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.filters import History, Signal
from firmware.units import SAMPLE_RATE_HZ

FRAME, HOP = 256, 80
"""32 ms every 10 ms."""

STEP = 10
"""Frames per decision step (100 ms)."""

BAND_EDGES_HZ = (150, 300, 450, 600, 800, 1000, 1300, 1600, 2000, 2500, 3000, 3600)
SMOOTH = 9
"""90 ms: about a syllable."""

FLOOR_SMOOTH = 20
FLOOR_STEPS = 50
"""The floor is the least of 200 ms means over 5 s: a talker pauses at least that often."""

MEMORY_STEPS = 80
"""8 s of the statistic tell how restless the noise is."""

TOP_BANDS = 4
QUIET_SHARE, CALM_SHARE = 0.15, 0.03
"""Quantiles of the statistic that stand for noise: even a monologue pauses for a seventh of its time."""

OVER_DB, RESTLESS = 2.0, 2.5
THRESHOLD_MAX_DB = 16.0
"""What stands out this far is voice however restless the rest is: a long monologue must not become its own noise."""

KNOWN_MIN, EARLY_OVER_DB = 150, 6.0
"""For the first 1.5 s the noise is known by few frames only: more is asked."""

PEAK_SHARE, BELOW_PEAK_DB = 0.97, 34.0
"""Nothing more than 34 dB below the loudest frames of the last 8 s is speech (echo, cross-talk)."""

RUN_MIN = 4
GAP_MAX = 30
HANGOVER = 9
LEAD = 6
"""Frames: least run, gap closed, and what is added after and before (with the smoothing a hangover of 200 ms)."""

CLEAR_DB, HIDING_DB = 24.0, 10.0
HANGOVER_HIDDEN, LEAD_HIDDEN, GAP_HIDDEN = 6, 3, 30
"""Where the loudest of the last 8 s stands out of the noise by less than the first, the faint ends of words are in it:
up to so many frames more (as the hangover of ITU-T G.729 annex B grows with the noise)."""

STEADY_DB = 2.0
"""Where the noise itself is restless (voices far away) nothing is added: it would be carried from one to the next."""

EXCESS = 2.0
"""Of a band's energy this many floors are not the talker's: a hum does not raise his level."""

ENERGY_FLOOR = 30.0
"""Added to every band energy: rounding noise of 16-bit samples is no signal."""


@dataclass(frozen=True)
class Voice:
    """Somebody spoke from ``onset_sample`` to ``end_sample`` (stream positions)."""

    line: int
    onset_sample: int
    end_sample: int


@dataclass
class _Run:
    first: int | None = None
    last: int = 0
    candidate: int | None = None
    candidate_last: int = 0
    spoken: list[tuple[int, int]] = field(default_factory=list)


class VoiceDetector:
    """Streaming, any block length. ``feed`` gives finished stretches of speech; ``speaking`` the present state."""

    def __init__(self, lines: int) -> None:
        self._audio = History(lines, SAMPLE_RATE_HZ)
        self._frame = 0
        self._window = np.hanning(FRAME + 2)[1:-1].astype(np.float32)
        edges = [round(hz * FRAME / SAMPLE_RATE_HZ) for hz in BAND_EDGES_HZ]
        self._edges = np.array(edges)
        bands = len(BAND_EDGES_HZ) - 1
        self._recent: NDArray[np.float64] = np.full((lines, FLOOR_SMOOTH, bands), np.nan)
        self._floors: NDArray[np.float64] = np.full((lines, FLOOR_STEPS, bands), np.inf)
        self._memory: NDArray[np.float64] = np.full((lines, MEMORY_STEPS * STEP), np.nan)
        self._levels: NDArray[np.float64] = np.full((lines, MEMORY_STEPS * STEP), np.nan)
        self._known: NDArray[np.int64] = np.zeros(lines, dtype=np.int64)
        self._hidden: NDArray[np.float64] = np.zeros(lines)
        """0 to 1: how much of the faint ends of words the noise hides."""
        self._runs = [_Run() for _ in range(lines)]

    def feed(self, x: Signal) -> list[Voice]:
        """float32 [lines, n] in counts, at most 1 s."""
        assert x.shape[1] <= SAMPLE_RATE_HZ
        self._audio.append(x)
        out: list[Voice] = []
        while (self._frame + STEP - 1) * HOP + FRAME <= self._audio.end:
            on = self._step()
            for line in range(len(self._runs)):
                out.extend(self._follow(line, on[line].tolist()))
            self._frame += STEP
        return out

    def going_on(self, line: int) -> Voice | None:
        """The stretch that has begun and not ended, up to now."""
        run = self._runs[line]
        return None if run.first is None else self._voice(line, run.first, run.last)

    def reset(self, line: int) -> None:
        self._floors[line] = np.inf
        self._memory[line] = self._levels[line] = np.nan
        self._known[line] = 0
        self._runs[line] = _Run()

    def flush(self) -> list[Voice]:
        """End of the recording: what is still going on ends now."""
        out = []
        for line, run in enumerate(self._runs):
            if run.first is not None:
                out.append(self._voice(line, run.first, run.last))
                self._runs[line] = _Run()
        return out

    def _step(self) -> NDArray[np.bool_]:
        """[lines, STEP]: which of the next frames stand out."""
        energies = self._energies()
        history = np.concatenate([self._recent, energies], axis=1)
        self._recent = history[:, -FLOOR_SMOOTH:]
        fast, slow = _means(history, SMOOTH), _means(history, FLOOR_SMOOTH)
        self._floors = np.roll(self._floors, 1, axis=1)
        self._floors[:, 0] = slow.min(axis=1)
        floor = self._floors.min(axis=1)
        over = 10.0 * np.log10(fast / floor[:, None])
        statistic = np.mean(np.sort(over, axis=2)[:, :, -TOP_BANDS:], axis=2)
        above = np.maximum(fast - EXCESS * floor[:, None], 0.0)
        level = 10.0 * np.log10(above.sum(axis=2) + ENERGY_FLOOR)
        self._memory = np.concatenate([self._memory[:, STEP:], statistic], axis=1)
        self._levels = np.concatenate([self._levels[:, STEP:], level], axis=1)
        self._known = np.minimum(self._known + STEP, MEMORY_STEPS * STEP)
        quiet, calm = self._quantiles(self._memory, (QUIET_SHARE, CALM_SHARE))
        (loud,) = self._quantiles(self._memory, (PEAK_SHARE,))
        (peak,) = self._quantiles(self._levels, (PEAK_SHARE,))
        steady = np.clip(STEADY_DB - (quiet - calm), 0.0, 1.0)
        self._hidden = steady * np.clip((CLEAR_DB - loud + quiet) / (CLEAR_DB - HIDING_DB), 0.0, 1.0)
        over_db = np.where(self._known < KNOWN_MIN, EARLY_OVER_DB, OVER_DB)
        threshold = np.minimum(quiet + np.maximum(over_db, RESTLESS * (quiet - calm)), THRESHOLD_MAX_DB)
        out: NDArray[np.bool_] = (statistic > threshold[:, None]) & (level > (peak - BELOW_PEAK_DB)[:, None])
        return out

    def _quantiles(self, memory: NDArray[np.float64], shares: tuple[float, ...]) -> list[NDArray[np.float64]]:
        """Of what is known of each line; unknown entries (NaN) sort to the end."""
        ordered = np.sort(memory, axis=1)
        lines = np.arange(len(memory))
        return [ordered[lines, (share * (self._known - 1)).astype(int)] for share in shares]

    def _energies(self) -> NDArray[np.float64]:
        """Mean power per bin in each band, [lines, STEP, bands]."""
        first = self._frame * HOP
        span = self._audio.all_lines(first, first + (STEP - 1) * HOP + FRAME)
        frames = np.lib.stride_tricks.sliding_window_view(span, FRAME, axis=1)[:, ::HOP] * self._window
        power = np.abs(np.fft.rfft(frames, axis=2)) ** 2
        sums = np.add.reduceat(power, self._edges, axis=2)[:, :, :-1]
        out: NDArray[np.float64] = sums / np.diff(self._edges) + ENERGY_FLOOR
        return out

    def _follow(self, line: int, on: list[bool]) -> list[Voice]:
        run, out = self._runs[line], []
        gap_max = GAP_MAX + float(self._hidden[line]) * GAP_HIDDEN
        for i, hit in enumerate(on):
            frame = self._frame + i
            if hit:
                if run.candidate is None or frame - run.candidate_last > gap_max:
                    run.candidate = frame
                run.candidate_last = frame
                if run.first is None and frame - run.candidate >= RUN_MIN:
                    run.first = run.candidate
                if run.first is not None:
                    run.last = frame
            elif run.first is not None and frame - run.last > gap_max:
                out.append(self._voice(line, run.first, run.last))
                run.first = run.candidate = None
        return out

    def _voice(self, line: int, first: int, last: int) -> Voice:
        middle, hidden = FRAME // 2, float(self._hidden[line])
        lead, hangover = LEAD + round(hidden * LEAD_HIDDEN), HANGOVER + round(hidden * HANGOVER_HIDDEN)
        return Voice(line, max(0, (first - lead) * HOP + middle), (last + hangover) * HOP + middle)


def _means(history: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Mean over the last ``frames`` for each of the newest STEP frames; what has not been heard yet does not count."""
    known = ~np.isnan(history[:, :, 0])
    total = _sums(np.where(known[:, :, None], history, 0.0), frames)
    out: NDArray[np.float64] = total / np.maximum(_sums(known.astype(np.float64)[:, :, None], frames), 1.0)
    return out


def _sums(values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    until = np.cumsum(values, axis=1)
    out: NDArray[np.float64] = until[:, -STEP:] - until[:, -STEP - frames : -frames]
    return out
