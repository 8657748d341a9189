"""Voice activity on a telephone line, every line at once: is somebody speaking?

A small trained network over the features of ``voice_features`` gives each 10 ms the odds that somebody near speaks, be
there noise, hum or a babble of voices far away behind him; what is likely is joined across short gaps and a little is
added at both ends. Decisions come in steps of 100 ms, with at most 0.5 s of delay. Weights, training data and held-out
results: ``tools/dsp_train/train_voice.py``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import voice_weights
from firmware.dsp.filters import Signal
from firmware.dsp.voice_features import COUNT, FRAME, HOP, VoiceFeatures

LIKELY, SURE = -0.4, 2.0
"""Log odds: frames above the first are a stretch of voice where one of them is above the second."""

RUN_MIN, GAP_MAX = 4, 30
LEAD, HANGOVER = 4, 4
"""Frames: least run, gap closed, and what is added before and after."""

STANDARDISED_MAX = 4.0
"""Features are clipped at 4 standard deviations: what was never seen in training must not carry the sum away."""


def _numbers(text: str) -> NDArray[np.float32]:
    return np.array([float(word) for word in text.split()], dtype=np.float32)


_MEAN = _numbers(voice_weights.MEAN)
_SCALE = _numbers(voice_weights.SCALE)
_HIDDEN = _numbers(voice_weights.HIDDEN).reshape(COUNT, -1)
_HIDDEN_BIAS = _numbers(voice_weights.HIDDEN_BIAS)
_OUTPUT = _numbers(voice_weights.OUTPUT)
_BIAS = float(voice_weights.BIAS)


@dataclass(frozen=True)
class Voice:
    """Somebody spoke from ``onset_sample`` to ``end_sample`` (stream positions)."""

    line: int
    onset_sample: int
    end_sample: int


@dataclass
class _Run:
    begin: int = 0
    """First frame that counts: what was before is forgotten."""
    first: int | None = None
    last: int = 0
    candidate: int | None = None
    candidate_last: int = 0
    sure: bool = False


class VoiceDetector:
    """Streaming, any block length. ``feed`` gives finished stretches of speech; ``going_on`` the present state."""

    def __init__(self, lines: int) -> None:
        self._features = VoiceFeatures(lines)
        self._runs = [_Run() for _ in range(lines)]

    def feed(self, x: Signal) -> list[Voice]:
        """float32 [lines, n] in counts, at most 1 s."""
        out: list[Voice] = []
        for first, features in self._features.feed(x):
            odds = log_odds(features)
            for line in range(len(self._runs)):
                out.extend(self._follow(line, first, odds[line].tolist()))
        return out

    @property
    def judged_until(self) -> int:
        """Stream position up to which it is known who spoke."""
        return self._features.next_judged * HOP

    def going_on(self, line: int) -> Voice | None:
        """The stretch that has begun and not ended, up to now."""
        run = self._runs[line]
        return None if run.first is None else self._voice(line, run.first, run.last)

    def reset(self, line: int) -> None:
        self._features.reset(line)
        self._runs[line] = _Run(self._features.next_frame)

    def flush(self) -> list[Voice]:
        """End of the recording: what is still going on ends now."""
        out = []
        for line, run in enumerate(self._runs):
            if run.first is not None:
                out.append(self._voice(line, run.first, run.last))
                self._runs[line] = _Run(run.begin)
        return out

    def _follow(self, line: int, first: int, odds: list[float]) -> list[Voice]:
        run, out = self._runs[line], []
        for frame, odd in enumerate(odds, first):
            if odd > LIKELY and frame >= run.begin:
                if run.candidate is None or frame - run.candidate_last > GAP_MAX:
                    run.candidate, run.sure = frame, False
                run.candidate_last = frame
                run.sure = run.sure or odd > SURE
                if run.first is None and run.sure and frame - run.candidate >= RUN_MIN:
                    run.first = run.candidate
                if run.first is not None:
                    run.last = frame
            elif run.first is not None and frame - run.last > GAP_MAX:
                out.append(self._voice(line, run.first, run.last))
                run.first = run.candidate = None
        return out

    def _voice(self, line: int, first: int, last: int) -> Voice:
        middle = FRAME // 2
        return Voice(line, max(0, (first - LEAD) * HOP + middle), (last + HANGOVER) * HOP + middle)


def log_odds(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., COUNT] to [...]: that somebody near speaks."""
    x = np.clip((features - _MEAN) / _SCALE, -STANDARDISED_MAX, STANDARDISED_MAX)
    out: NDArray[np.float32] = np.tanh(x @ _HIDDEN + _HIDDEN_BIAS) @ _OUTPUT + np.float32(_BIAS)
    return out
