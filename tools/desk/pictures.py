"""A call as a picture: waveform (SVG) and spectrogram (PNG) of any stretch of it. The page draws the gaps on top."""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tools.desk.audio import Sound

COLUMNS = 1200
WAVE_HEIGHT = 160
WAVE_COLOUR = "#1f5f8b"
FULL_SCALE = 32768.0
LOUDEST_SHARE_MIN = 0.05
"""A silent call is not magnified more than to a twentieth of full scale."""

WINDOW_SAMPLES = 256
"""32 ms at 8 kHz: harmonics of a voice and syllables both show."""
FRAMES_PER_COLUMN_MAX = 8
FLOOR_DB, CEILING_DB = -95.0, -25.0
"""Of full scale: from line noise to a loud vowel."""

_ANCHORS = (
    (0.0, (8, 12, 38)),
    (0.3, (38, 50, 132)),
    (0.55, (34, 130, 142)),
    (0.8, (130, 204, 92)),
    (1.0, (253, 246, 180)),
)
"""Dark blue over green to pale yellow: grows evenly in lightness, so that it reads without colour vision too."""

Grid = NDArray[np.float64]


def envelope(axis: Sound, columns: int = COLUMNS) -> tuple[Grid, Grid]:
    """(lowest, highest) of each column, of full scale; fewer columns for a short stretch."""
    columns = min(columns, len(axis))
    if not columns:
        return np.zeros(1), np.zeros(1)
    starts = np.arange(columns, dtype=np.int64) * len(axis) // columns
    low, high = np.minimum.reduceat(axis, starts), np.maximum.reduceat(axis, starts)
    return low / FULL_SCALE, high / FULL_SCALE


def waveform_path(axis: Sound, width: int = COLUMNS, height: int = WAVE_HEIGHT, loudest: float | None = None) -> str:
    """The ``d`` of an SVG path that fills ``width`` by ``height``. ``loudest``: the share of full scale that fills the
    height (else the stretch's own)."""
    low, high = envelope(axis, width)
    if loudest is None:
        loudest = float(max(high.max(), -low.min()))
    scale = height / 2 / max(loudest, LOUDEST_SHARE_MIN) * 0.96
    middle, step = height / 2, width / len(low)
    tops = np.clip(middle - high * scale - 0.4, 0, height)
    bottoms = np.clip(middle - low * scale + 0.4, 0, height)
    across = (np.arange(len(low)) + 0.5) * step
    there = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, tops, strict=True))
    back = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across[::-1], bottoms[::-1], strict=True))
    return f"M{there}L{back}Z"


def waveform_svg(axis: Sound, loudest: float | None = None) -> str:
    """Stretches to whatever box the page gives it."""
    path = waveform_path(axis, COLUMNS, WAVE_HEIGHT, loudest)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS} {WAVE_HEIGHT}" width="{COLUMNS}"'
        f' height="{WAVE_HEIGHT}" preserveAspectRatio="none"><path d="M0 {WAVE_HEIGHT / 2}H{COLUMNS}"'
        f' stroke="#b8c4d0" vector-effect="non-scaling-stroke"/><path d="{path}" fill="{WAVE_COLOUR}"/></svg>'
    )


def loudest_of(axis: Sound) -> float:
    return float(np.abs(axis.astype(np.int32)).max(initial=0)) / FULL_SCALE


def spectrogram_png(axis: Sound, columns: int = COLUMNS) -> bytes:
    """0 Hz below, half the sampling rate above; one pixel column per column, 128 rows."""
    levels = _levels_db(axis, columns)
    share = np.clip((levels - FLOOR_DB) / (CEILING_DB - FLOOR_DB), 0, 1)
    pixels = _palette()[(share * 255).astype(np.uint8)]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[::-1])).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _levels_db(axis: Sound, columns: int) -> Grid:
    """[rows, columns]: the strongest of up to eight windows of each column."""
    padded = np.concatenate([axis, np.zeros(WINDOW_SAMPLES, np.int16)]).astype(np.float32) / FULL_SCALE
    span = max(len(axis) / columns, 1e-9)
    count = int(np.clip(span // WINDOW_SAMPLES, 1, FRAMES_PER_COLUMN_MAX))
    offsets = (np.arange(columns)[:, None] + np.arange(count)[None, :] / count) * span
    starts = np.minimum(offsets.astype(np.int64), max(len(axis) - 1, 0))
    window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
    power: Grid = np.zeros((columns, WINDOW_SAMPLES // 2))
    for at in range(count):
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[starts[:, at]] * window
        strength = np.abs(np.fft.rfft(frames, axis=1))[:, : WINDOW_SAMPLES // 2] / (window.sum() / 2)
        power = np.maximum(power, strength)
    levels: Grid = 20 * np.log10(np.maximum(power, 1e-6)).T
    return levels


@lru_cache(maxsize=1)
def _palette() -> NDArray[np.uint8]:
    at = np.linspace(0, 1, 256)
    places = [place for place, _ in _ANCHORS]
    channels = [np.interp(at, places, [colour[channel] for _, colour in _ANCHORS]) for channel in range(3)]
    return np.stack(channels, axis=1).astype(np.uint8)
