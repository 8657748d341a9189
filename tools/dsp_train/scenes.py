"""Scenes for the voice detector: who talks on the line, what is behind it, and when somebody really spoke.

One talker or the two of a call say pieces of recorded or synthetic speech with pauses between; some scenes have nobody,
some music. Behind them is one of ``KINDS``: white, coloured or humming noise, or a babble of many talkers at several
levels, some of them with pauses of their own. Ringing, hook clicks, tones, keys and data come upon it, lost samples,
and a noise that begins late; none of these is a voice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tools.dsp_train import signals
from tools.dsp_train.signals import RATE_HZ, Rng, Wave

KINDS = ("babble", "white", "coloured", "hum")
TALKERS = (3, 12)
"""In a babble; where nobody is near at least NOBODY_TALKERS: two people far away are a call, too."""

NOBODY_TALKERS = 6
FRAME = RATE_HZ // 100
"""10 ms."""

ACTIVE_DB, LOUD_PERCENTILE = 40.0, 95
PAUSE_FRAMES_MIN, EDGE_FRAMES = 20, 10
"""A frame is voice within so much of the loud ones; gaps under 200 ms are the talker's; 100 ms at each edge count
neither way."""

SOFTEST_DB, AUDIBLE_DB = 16.0, 8.0
"""The second of two talkers is up to so much softer, but louder than what is behind him: what nobody hears teaches to
take noise for voice."""

SPEECH_DBM0 = -16.0
"""Of the speech that is handed in, while active."""


@dataclass(frozen=True)
class Scene:
    """``pcm`` int16 counts as float64; by 10 ms: did anybody near speak, and does the frame count."""

    pcm: Wave
    voiced: NDArray[np.bool_]
    counted: NDArray[np.bool_]


def truth(near: Wave) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """``voiced`` and ``counted`` of talk without noise."""
    frames = near[: len(near) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10.0 * np.log10(np.mean(frames**2, axis=1) + 1e-3)
    voiced = level > max(float(np.percentile(level, LOUD_PERCENTILE)) - ACTIVE_DB, 0.0)
    at = np.flatnonzero(voiced)
    for before, after in pairwise(at.tolist()):
        if after - before <= PAUSE_FRAMES_MIN:
            voiced[before:after] = True
    counted = np.ones(len(voiced), dtype=np.bool_)
    for edge in np.flatnonzero(np.diff(voiced.astype(int))):
        counted[max(0, edge - EDGE_FRAMES + 1) : edge + 1 + EDGE_FRAMES] = False
    return voiced, counted


def talk(n: int, speech: Wave, rng: Rng, *, piece_s: tuple[float, float], pause_s: tuple[float, float]) -> Wave:
    """Pieces of ``speech`` with pauses between them; each piece up to 10 dB softer than the loudest."""
    out = np.zeros(n)
    at = int(rng.uniform(0.0, pause_s[1]) * RATE_HZ)
    while at < n - RATE_HZ // 4:
        length = min(int(rng.uniform(*piece_s) * RATE_HZ), n - at)
        start = int(rng.integers(0, len(speech) - length))
        out[at : at + length] += speech[start : start + length] * _gain(rng.uniform(-10.0, 0.0))
        at += length + int(rng.uniform(*pause_s) * RATE_HZ)
    return out


def conversation(n: int, speeches: Sequence[Wave], rng: Rng, softest_db: float) -> Wave:
    """One talker, or two of whom one is softer by up to ``softest_db``; busy talk or long pauses."""
    busy = rng.random() < 0.3
    piece_s, pause_s = ((0.5, 8.0), (0.25, 1.5)) if busy else ((0.5, 4.0), (0.4, 5.0))
    out = np.zeros(n)
    for number in range(2 if rng.random() < 0.4 else 1):
        speech = speeches[int(rng.integers(len(speeches)))]
        softer_db = rng.uniform(0.0, softest_db) if number else 0.0
        out += talk(n, speech, rng, piece_s=piece_s, pause_s=pause_s) * _gain(-softer_db)
    return out


def babble(n: int, speeches: Sequence[Wave], rng: Rng, talkers: int) -> Wave:
    """Mean power one. Some of the talkers pause, some are nearer than others, some rooms are hard or dull."""
    out, spread_db, pausing = np.zeros(n), rng.uniform(0.0, 8.0), rng.random() < 0.4
    for _ in range(talkers):
        speech = speeches[int(rng.integers(len(speeches)))]
        if pausing:
            one = talk(n, speech, rng, piece_s=(0.6, 5.0), pause_s=(0.2, 3.0))
        else:
            one = np.roll(np.resize(speech, n), int(rng.integers(n)))
        out += one * _gain(rng.uniform(-spread_db, 0.0))
    if rng.random() < 0.3:
        out += sum(signals.echo(out, int(rng.uniform(0.01, 0.08) * RATE_HZ), -4.0) - out for _ in range(3))
    if rng.random() < 0.3:
        out = signals.convolve(out, signals.sinc_taps(0.0, rng.uniform(1200.0, 2500.0), RATE_HZ, 41, 5.0))
    return out / (np.std(out) + 1e-9)


def background(n: int, kind: str, rng: Rng) -> Wave:
    """Noise other than babble, mean power one."""
    if kind == "hum":
        y = signals.hum(n, 0.0, rng)
    elif kind == "coloured":
        low_hz = float(rng.uniform(100.0, 1500.0))
        taps = signals.sinc_taps(low_hz, low_hz + float(rng.uniform(300.0, 2000.0)), RATE_HZ, 81, 4.0)
        y = signals.convolve(rng.standard_normal(n), taps) + 0.05 * rng.standard_normal(n)
    else:
        y = rng.standard_normal(n)
    return np.asarray(y / (np.std(y) + 1e-9), dtype=np.float64)


def scene(
    seconds: float,
    near: Sequence[Wave],
    far: Sequence[Wave],
    rng: Rng,
    *,
    kind: str,
    snr_db: float,
    level_dbm0: float,
    talkers: int | None = None,
) -> Scene:
    """``snr_db``: loud talk over the mean of what is behind it. ``talkers`` in the babble, else some number."""
    n = round(seconds * RATE_HZ)
    somebody = rng.random() > 0.08
    softest_db = float(np.clip(snr_db - AUDIBLE_DB, 0.0, SOFTEST_DB))
    talked = conversation(n, near, rng, softest_db) if somebody else np.zeros(n)
    rung = ringing(rng) if rng.random() < 0.15 else np.zeros(0)
    talked[: len(rung)] = 0.0
    talked *= _gain(level_dbm0 - SPEECH_DBM0)
    if kind == "babble":
        fewest = TALKERS[0] if somebody else NOBODY_TALKERS
        behind = babble(n, far, rng, talkers or int(rng.integers(fewest, TALKERS[1] + 1)))
    else:
        behind = background(n, kind, rng)
    behind *= signals.rms(level_dbm0 - snr_db)
    if rng.random() < 0.1:
        behind[: int(rng.uniform(0.0, n))] *= _gain(-rng.uniform(10.0, 60.0))
    heard = talked + behind
    heard[: len(rung)] += rung
    heard = _accidents(heard, rng, level_dbm0)
    if rng.random() < 0.06:
        dead = int(rng.uniform(0.3, 1.0) * n)
        heard[dead:] = talked[dead:] = 0.0
    return Scene(signals.to_pcm(heard).astype(np.float64), *truth(talked))


def ringing(rng: Rng) -> Wave:
    """A line is rung after some silence, up to 15 s: 17 to 30 Hz and odd harmonics, in British rhythm or another."""
    hz, dbm0 = float(rng.uniform(16.7, 30.0)), float(rng.uniform(-32.0, -3.0))
    levels = (dbm0, dbm0 - float(rng.uniform(12.0, 25.0)), dbm0 - float(rng.uniform(18.0, 32.0)))
    pattern = (
        (0.4, 0.2, 0.4, 2.0) if rng.random() < 0.7 else (float(rng.uniform(0.25, 2.0)), float(rng.uniform(1.0, 4.0)))
    )
    parts = [np.zeros(int(rng.uniform(0.5, 4.0) * RATE_HZ))]
    for _ in range(int(rng.integers(1, 4))):
        for on_s, off_s in zip(pattern[::2], pattern[1::2], strict=True):
            parts += [
                signals.decimate(signals.tones((hz, 3 * hz, 5 * hz), levels, on_s, rng)),
                np.zeros(int(off_s * RATE_HZ)),
            ]
    whole = np.concatenate(parts)
    return whole[: min(15 * RATE_HZ, len(whole) - int(rng.uniform(0.0, 1.9) * RATE_HZ))]


def hook_click(rng: Rng) -> Wave:
    """Up to full scale, over in 3 to 20 ms."""
    length, peak = int(rng.integers(20, 160)), signals.amplitude(float(rng.uniform(-25.0, 3.0)))
    return np.asarray(peak * rng.choice([-1.0, 1.0]) * np.exp(-np.arange(length) / (length / 6.0)), dtype=np.float64)


def signal(rng: Rng) -> Wave:
    """A supervisory tone, keyed digits or caller-ID data."""
    which, dbm0 = rng.random(), float(rng.uniform(-35.0, -8.0))
    if which < 0.5:
        return signals.uk_tone(str(rng.choice(list(signals.UK_TONES))), float(rng.uniform(0.5, 6.0)), dbm0, rng)
    if which < 0.75:
        keys = "".join(rng.choice(list(signals.KEYS), size=int(rng.integers(1, 12))))
        return signals.keyed(
            keys, rng, on_s=float(rng.uniform(0.05, 0.3)), off_s=float(rng.uniform(0.05, 0.4)), dbm0=dbm0
        )[0]
    hz = signals.V23_HZ if rng.random() < 0.5 else signals.BELL202_HZ
    return signals.caller_id_burst(signals.fsk_bits(rng.bytes(int(rng.integers(10, 40))), 300, 80), hz, dbm0)


def _accidents(x: Wave, rng: Rng, level_dbm0: float) -> Wave:
    """What happens on a line beside talk and noise; most scenes have none or one."""
    n = len(x)
    if rng.random() < 0.85:
        x = x + signals.noise(n, float(rng.uniform(-75.0, -58.0)), rng)
    if rng.random() < 0.1:
        x = x + signals.clicks(n, float(rng.uniform(0.1, 2.0)), level_dbm0 + float(rng.uniform(-10.0, 10.0)), rng)
    if rng.random() < 0.15:
        for _ in range(int(rng.integers(1, 6))):
            _put(x, hook_click(rng), rng)
    if rng.random() < 0.15:
        _put(x, signal(rng), rng)
    if rng.random() < 0.3:
        x = signals.telephone_band(x)
    if rng.random() < 0.3:
        x = signals.a_law(x)
    if rng.random() < 0.08:
        for _ in range(int(rng.integers(1, 6))):
            at = int(rng.integers(0, n))
            x[at : at + int(rng.uniform(0.02, 0.3) * RATE_HZ)] = 0.0
    return x


def _put(x: Wave, sound: Wave, rng: Rng) -> None:
    """Onto ``x``, somewhere."""
    at = int(rng.integers(0, len(x) - len(sound)))
    x[at : at + len(sound)] += sound


def _gain(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))
