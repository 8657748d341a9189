"""What tells a near talker from the rest, measured on every line at once, every 10 ms.

Energies in eleven bands over 32 ms stand out of a floor, the least 200 ms mean of the last 5 s (minimum statistics);
pitch and peaks of the spectrum tell one voice from many. Each is seen from 0.6 s before the frame to 0.26 s after it,
and against the quantiles of its own last 8 s: how restless the line is, and how loud its loudest talker.
"""

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.filters import History, Signal
from firmware.units import SAMPLE_RATE_HZ

FRAME, HOP = 256, 80
"""32 ms every 10 ms."""

STEP = 10
"""Frames at a time (100 ms)."""

AHEAD = 3 * STEP
"""Frames heard after a frame before it is judged."""

BAND_EDGES_HZ = (150, 300, 450, 600, 800, 1000, 1300, 1600, 2000, 2500, 3000, 3600)
BANDS = len(BAND_EDGES_HZ) - 1
SMOOTH = 9
"""90 ms, four frames to either side: about a syllable."""

FLOOR_SMOOTH = 20
FLOOR_STEPS = 50
"""The floor is the least of 200 ms means over 5 s: a talker pauses at least that often."""

ENERGY_FLOOR = 30.0
"""Added to every band energy: rounding noise of 16-bit samples is no signal."""

MEMORY = 80 * STEP
"""8 s of a measure tell what is usual on this line."""

TOP_BANDS = 4
"""``out_db``: how far the four bands that stand out most do so on average."""

PITCH_LAGS = slice(SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 80)
"""Voices from 80 to 400 Hz."""

PITCH_BINS = slice(5, 110)
"""150 Hz to 3.4 kHz."""

TRACKS = ("out_db", "level_db", "pitch", "peaks", "restless")
OUT, LEVEL, PITCH, PEAKS, RESTLESS = range(len(TRACKS))
REMEMBERED = (OUT, LEVEL, PITCH)
"""Tracks whose quantiles are features."""

QUANTILES = (0.03, 0.15, 0.5, 0.85, 0.97)
QUIET, LOUD = 1, 4
OFFSETS = (-60, -45, -30, -20, -10, 0, 10, 18, 26)
"""Frames from the judged one at which ``out_db`` and ``level_db`` are looked at."""

PITCH_OFFSETS = (-20, 0, 20)
NEAR = 26
"""Means and maxima are taken over so many frames to either side."""

COUNT = BANDS + 2 * len(OFFSETS) + len(PITCH_OFFSETS) + 2 + 6 + 3 * len(QUANTILES)
_FRAMES = np.arange(STEP)[:, None] * HOP + np.arange(FRAME)
_JUDGED = np.arange(STEP) - NEAR - STEP
"""Places of the judged frames, from the newest smoothed one (-1) backwards."""

_PLACES = _JUDGED[:, None] + np.array(OFFSETS)
_PITCH_PLACES = _JUDGED[:, None] + np.array(PITCH_OFFSETS)
_AROUND = _JUDGED[:, None] + np.arange(-NEAR, NEAR + 1)

assert AHEAD == NEAR + SMOOTH // 2


class VoiceFeatures:
    """Streaming, any block length. ``feed`` gives [lines, STEP, COUNT] for every step of judged frames."""

    def __init__(self, lines: int) -> None:
        self._audio = History(lines, SAMPLE_RATE_HZ)
        self._frame = 0
        """First frame that has not been measured."""
        window = np.hanning(FRAME + 2)[1:-1]
        self._window = window.astype(np.float32)
        own = np.fft.irfft(np.abs(np.fft.rfft(window)) ** 2)
        self._own_pitch = (own[0] / own[PITCH_LAGS]).astype(np.float32)
        """The window's own autocorrelation, to be taken out."""
        self._edges = np.array([round(hz * FRAME / SAMPLE_RATE_HZ) for hz in BAND_EDGES_HZ])
        self._widths = np.diff(self._edges).astype(np.float32)
        self._energies: NDArray[np.float32] = np.zeros((lines, FLOOR_SMOOTH, BANDS), dtype=np.float32)
        self._shapes: NDArray[np.float32] = np.zeros((lines, SMOOTH, len(TRACKS) - PITCH), dtype=np.float32)
        self._floors: NDArray[np.float32] = np.zeros((lines, FLOOR_STEPS, BANDS), dtype=np.float32)
        self._over: NDArray[np.float32] = np.zeros((lines, NEAR + STEP, BANDS), dtype=np.float32)
        self._tracks: NDArray[np.float32] = np.zeros((lines, MEMORY, len(TRACKS)), dtype=np.float32)
        self._known: NDArray[np.int64] = np.zeros(lines, dtype=np.int64)
        """Frames of each line that have been heard, up to MEMORY; 0: it begins with the next."""

    def feed(self, x: Signal) -> list[tuple[int, NDArray[np.float32]]]:
        """float32 [lines, n] in counts, at most 1 s: (first frame judged, features)."""
        assert x.shape[1] <= SAMPLE_RATE_HZ
        self._audio.append(x)
        out = []
        while (self._frame + STEP - 1) * HOP + FRAME <= self._audio.end:
            self._measure()
            judged = self._frame - AHEAD
            self._frame += STEP
            if judged >= 0:
                out.append((judged, self._seen()))
        return out

    @property
    def next_judged(self) -> int:
        """The first frame that has not been judged."""
        return max(0, self._frame - AHEAD)

    @property
    def next_frame(self) -> int:
        """The first frame that has not been heard."""
        return self._frame

    def reset(self, line: int) -> None:
        """What was heard until now is forgotten: the line begins with the next frame."""
        self._known[line] = 0

    # ----------------------------------------------------------------------------------------------------- measuring

    def _measure(self) -> None:
        """The next STEP frames into the tracks."""
        power = self._power()
        energies = np.add.reduceat(power, self._edges, axis=2)[:, :, :-1] / self._widths + np.float32(ENERGY_FLOOR)
        new = self._known == 0
        # a line begins as if it had always been like its first frame
        self._energies[new] = energies[new, :1]
        past = np.concatenate([self._energies, energies], axis=1)
        shapes = self._shapes_of(power, past)
        self._shapes[new] = shapes[new, :1]
        self._floors[new] = np.inf
        past_shapes: NDArray[np.float32] = np.concatenate([self._shapes, shapes], axis=1)
        self._energies, self._shapes = past[:, -FLOOR_SMOOTH:], past_shapes[:, -SMOOTH:]
        self._floors = np.roll(self._floors, 1, axis=1)
        self._floors[:, 0] = _means(past, FLOOR_SMOOTH).min(axis=1)
        floor = self._floors.min(axis=1)
        fast = _means(past, SMOOTH)
        over = 10.0 * np.log10(fast / floor[:, None])
        tracks = np.empty((len(over), STEP, len(TRACKS)), dtype=np.float32)
        tracks[:, :, OUT] = np.partition(over, -TOP_BANDS, axis=2)[:, :, -TOP_BANDS:].mean(axis=2)
        tracks[:, :, LEVEL] = 10.0 * np.log10(fast.sum(axis=2))
        tracks[:, :, PITCH:] = _means(past_shapes, SMOOTH)
        self._over[new], self._tracks[new] = over[new, :1], tracks[new, :1]
        self._over = np.concatenate([self._over[:, STEP:], over], axis=1)
        self._tracks = np.concatenate([self._tracks[:, STEP:], tracks], axis=1)
        self._known = np.minimum(self._known + STEP, MEMORY)

    def _power(self) -> NDArray[np.float32]:
        """Of the next STEP frames, [lines, STEP, bins]."""
        first = self._frame * HOP
        span = self._audio.all_lines(first, first + (STEP - 1) * HOP + FRAME)
        spectrum = np.fft.rfft(span[:, _FRAMES] * self._window, axis=2)
        out: NDArray[np.float32] = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
        return out

    def _shapes_of(self, power: NDArray[np.float32], energies: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pitch, peaks and restlessness of each new frame, [lines, STEP, 3]; ``energies`` of old and new frames."""
        heard = power[:, :, PITCH_BINS] + np.float32(ENERGY_FLOOR)
        peaks = np.log(heard.mean(axis=2)) - np.log(heard).mean(axis=2)
        changes = np.abs(np.diff(np.log(energies[:, -STEP - 1 :]), axis=1)).mean(axis=2)
        return np.stack([self._pitch(power), peaks, changes], axis=2)

    def _pitch(self, power: NDArray[np.float32]) -> NDArray[np.float32]:
        """Greatest autocorrelation at a voice's period, of the energy in PITCH_BINS: [lines, STEP], 0 to about 1."""
        heard = np.zeros_like(power)
        heard[:, :, PITCH_BINS] = power[:, :, PITCH_BINS]
        correlation = np.fft.irfft(heard, axis=2)
        best = (correlation[:, :, PITCH_LAGS] * self._own_pitch).max(axis=2)
        out: NDArray[np.float32] = best / (correlation[:, :, 0] + ENERGY_FLOOR)
        return out

    # ------------------------------------------------------------------------------------------------------- looking

    def _seen(self) -> NDArray[np.float32]:
        """[lines, STEP, COUNT] of the judged frames."""
        usual = self._quantiles()
        tracks = self._tracks[:, OFFSETS[0] - NEAR - STEP :].copy()
        tracks[:, :, OUT] -= usual[:, OUT, QUIET, None]
        tracks[:, :, LEVEL] -= usual[:, LEVEL, LOUD, None]
        around = tracks[:, _AROUND, :PEAKS]
        usual[:, OUT, np.arange(len(QUANTILES)) != QUIET] -= usual[:, OUT, QUIET, None]
        usual[:, LEVEL, :LOUD] -= usual[:, LEVEL, LOUD, None]
        parts = [
            self._over[:, _JUDGED],
            tracks[:, _PLACES, OUT],
            tracks[:, _PLACES, LEVEL],
            tracks[:, _PITCH_PLACES, PITCH],
            tracks[:, _JUDGED, PEAKS:],
            around.max(axis=2),
            around.mean(axis=2),
            np.broadcast_to(usual.reshape(len(usual), 1, -1), (len(usual), STEP, usual[0].size)),
        ]
        return np.concatenate(parts, axis=2)

    def _quantiles(self) -> NDArray[np.float32]:
        """[lines, REMEMBERED, QUANTILES] of what has been heard of each line."""
        memory = self._tracks[:, :, REMEMBERED].transpose(0, 2, 1)
        unheard = np.arange(MEMORY) < MEMORY - self._known[:, None]
        ordered = np.sort(np.where(unheard[:, None], np.float32(np.inf), memory), axis=2)
        places = (np.array(QUANTILES) * (self._known[:, None] - 1)).astype(int)
        out: NDArray[np.float32] = np.take_along_axis(ordered, places[:, None], axis=2)
        return out


def _means(past: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """Mean over the last ``frames`` for each of the newest STEP frames."""
    until = np.cumsum(past[:, -STEP - frames :], axis=1, dtype=np.float64)
    out: NDArray[np.float32] = ((until[:, frames:] - until[:, :STEP]) / frames).astype(np.float32)
    return out
