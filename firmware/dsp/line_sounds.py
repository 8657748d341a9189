"""What a line without sense wires lets one hear of its state: ringing current, and the clicks of the hook.

Ringing is 25 Hz (UK, SIN 350; 17 to 30 Hz elsewhere) and far below speech; a hook click is a short pulse with silence
behind it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.filters import History, Signal
from firmware.dsp.levels import rms_counts
from firmware.units import SAMPLE_RATE_HZ

RING_HZ = (16.7, 20.0, 22.5, 25.0, 27.5, 30.0)
RING_WINDOW = SAMPLE_RATE_HZ // 5
RING_HOP = SAMPLE_RATE_HZ // 20
RING_SHARE_MIN = 0.5
"""Of all energy: its harmonics are 18 dB and more below, speech and hum have nothing there."""

RING_LEVEL_MIN_DBM0 = -46.0
RING_HOPS_MIN = 3
"""At least 200 ms (SIN 227's cable form has one such burst): three windows that are mostly ringing."""

CLICK_FRAME = SAMPLE_RATE_HZ // 200
"""5 ms."""

CLICK_LEVEL_MIN_DBM0 = -36.0
CLICK_DROP_DB = 15.0
"""The frames 15 to 80 ms after a click and 10 to 50 ms before it are at least this much below it; in speech and at the
end of a tone they are not."""

CLICK_FRAMES_AFTER = (3, 16)
CLICK_FRAMES_BEFORE = (2, 10)
CLICK_FRAMES_MAX = 3


@dataclass(frozen=True)
class RingHeard:
    line: int
    onset_sample: int
    end_sample: int


@dataclass(frozen=True)
class ClickHeard:
    line: int
    sample: int


class RingReceiver:
    """Streaming. ``feed`` gives finished bursts of ringing."""

    def __init__(self, lines: int) -> None:
        self._audio = History(lines, SAMPLE_RATE_HZ // 2)
        self._next = 0
        angle = 2.0 * np.pi * np.outer(np.arange(RING_WINDOW), RING_HZ) / SAMPLE_RATE_HZ
        self._basis: NDArray[np.float32] = np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        self._first: list[int | None] = [None] * lines
        self._hops = [0] * lines
        self._energy_min = rms_counts(RING_LEVEL_MIN_DBM0) ** 2 * RING_WINDOW

    def feed(self, x: Signal) -> list[RingHeard]:
        self._audio.append(x)
        out: list[RingHeard] = []
        while self._next + RING_WINDOW <= self._audio.end:
            window = self._audio.all_lines(self._next, self._next + RING_WINDOW)
            z = window @ self._basis
            power = np.max(z[:, : len(RING_HZ)] ** 2 + z[:, len(RING_HZ) :] ** 2, axis=1) * (2.0 / RING_WINDOW)
            energy = np.sum(window**2, axis=1) + 1e-3
            good = (power > RING_SHARE_MIN * energy) & (energy > self._energy_min)
            for line, hit in enumerate(good.tolist()):
                out.extend(self._follow(line, hit))
            self._next += RING_HOP
        return out

    def reset(self, line: int) -> None:
        self._first[line] = None

    def _follow(self, line: int, hit: bool) -> list[RingHeard]:
        first = self._first[line]
        if hit:
            if first is None:
                self._first[line], self._hops[line] = self._next, 0
            self._hops[line] += 1
            return []
        self._first[line] = None
        if first is None or self._hops[line] < RING_HOPS_MIN:
            return []
        half = RING_WINDOW // 2
        return [RingHeard(line, first + half, self._next - RING_HOP + half)]


class ClickReceiver:
    """Streaming. ``feed`` gives hook clicks."""

    def __init__(self, lines: int) -> None:
        self._audio = History(lines, SAMPLE_RATE_HZ // 2)
        self._frame = CLICK_FRAMES_BEFORE[1]

    def feed(self, x: Signal) -> list[ClickHeard]:
        self._audio.append(x)
        behind, ahead = CLICK_FRAMES_BEFORE[1], CLICK_FRAMES_AFTER[1]
        count = self._audio.end // CLICK_FRAME - self._frame - ahead
        if count <= 0:
            return []
        first = (self._frame - behind) * CLICK_FRAME
        span = self._audio.all_lines(first, first + (behind + count + ahead) * CLICK_FRAME)
        energy = np.mean(span.reshape(len(span), -1, CLICK_FRAME) ** 2, axis=2)
        around = np.lib.stride_tricks.sliding_window_view(energy, behind + ahead + 1, axis=1)[:, :count]
        now = energy[:, behind : behind + count]
        quiet = np.maximum(
            around[:, :, behind + CLICK_FRAMES_AFTER[0] :].max(axis=2),
            around[:, :, : behind - CLICK_FRAMES_BEFORE[0] + 1].max(axis=2),
        )
        peak = around[:, :, behind - 1 : behind + CLICK_FRAMES_MAX].max(axis=2)
        drop = 10.0 ** (CLICK_DROP_DB / 10.0)
        good = (now >= peak) & (now > drop * quiet) & (now > rms_counts(CLICK_LEVEL_MIN_DBM0) ** 2)
        places = zip(*np.nonzero(good), strict=True)
        out = [ClickHeard(int(line), (self._frame + int(i)) * CLICK_FRAME) for line, i in places]
        self._frame += count
        return out
