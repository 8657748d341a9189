"""A call as a picture: waveform over time, every gap shaded and named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLOURS = {
    "notice": "#c8d4e3",
    "payment": "#f2b8a0",
    "keyed_digits": "#f5d58a",
    "opt_out_key": "#d9b3e6",
    "on_hold": "#cfe3c8",
    "consult": "#b9dfe0",
    "fault": "#e0a0a0",
    "lost_samples": "#bbbbbb",
}
COLUMNS = 1600


@dataclass(frozen=True)
class Gap:
    """Seconds from the answer."""

    start_s: float
    end_s: float
    reason: str


def draw(path: Path, samples: NDArray[np.int16], rate_hz: int, gaps: Sequence[Gap], title: str) -> None:
    """PNG of 1280 by 360 pixels."""
    figure = Figure(figsize=(12.8, 3.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    low, high, times = envelope(samples, rate_hz)
    axes.fill_between(times, low, high, color="#1f4e79", linewidth=0)
    limit = max(0.05, float(max(high.max(initial=0), -low.min(initial=0))) * 1.25)
    for gap in gaps:
        axes.axvspan(gap.start_s, gap.end_s, color=COLOURS.get(gap.reason, "#dddddd"), linewidth=0)
        words = gap.reason.replace("_", " ")
        axes.text((gap.start_s + gap.end_s) / 2, limit * 0.9, words, ha="center", va="top", fontsize=9)
    axes.set_xlim(0, max(len(samples) / rate_hz, 0.1))
    axes.set_ylim(-limit, limit)
    axes.set_xlabel("seconds from the answer")
    axes.set_yticks([])
    axes.set_title(title, fontsize=10, loc="left")
    figure.savefig(path)


def envelope(
    samples: NDArray[np.int16], rate_hz: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(lowest, highest, time in s) of each picture column, of full scale."""
    size = max(1, len(samples) // COLUMNS)
    columns = len(samples) // size
    if not columns:
        return np.zeros(1), np.zeros(1), np.zeros(1)
    grid = samples[: columns * size].reshape(columns, size) / 32768
    return grid.min(axis=1), grid.max(axis=1), (np.arange(columns) + 0.5) * size / rate_hz
