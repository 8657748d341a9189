"""How much like a key a burst is: a small trained network over the features of ``dtmf_segment``.

One hidden layer of tanh units; weights, training data and held-out results: ``tools/dsp_train/train_dtmf.py``. One
score, two thresholds: a wrong "loose" costs a few milliseconds of a recording, a wrong "strict" would be a key that
nobody pressed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import dtmf_weights
from firmware.dsp.dtmf_segment import FEATURES, Burst
from firmware.units import SAMPLE_RATE_HZ

LOOSE = 1.2
"""For masking: from held-out speech, see ``tools/dsp_table.md``."""

STRICT = 3.8
"""For counting keys."""

COMPANY_KEYS, COMPANY_WITHIN, COMPANY_ODDS = 2, 5 * SAMPLE_RATE_HZ, 3.0
"""Three bursts within 5 s that may be keys are likelier a keyed string than three accidents of speech: for each, both
thresholds are lower by this (nepers)."""

ALIKE_KEYS, ALIKE_ODDS = 4, 6.0
"""With four others of its length and level it is one of a string sent by one telephone: speech across it may spoil it
more, and speech by itself does not do that."""

LONE_COLUMN, LONE_ODDS = 3, 1.0
"""No telephone in use has the keys of the fourth column (A to D, Q.23), and the third and seventh harmonic of a voice
at 233 Hz are an A. Alone, one of them needs so much more to be counted."""

ALIKE_DB, ALIKE_SECONDS = 3.0, 0.015

KEY_SECONDS_MIN = 0.031
"""Shorter is no key: Q.24 annex A accepts from 40 ms and refuses up to 23 ms; half way between."""

KEY_DEVIATION_MAX = 0.0265
"""Half way between 1.8 % (accepted: 1.5 % + 2 Hz at 697 Hz) and 3.5 % (refused, Q.24 annex A)."""

STANDARDISED_MAX = 4.0
"""Features are clipped at 4 standard deviations: what was never seen in training must not carry the sum away."""


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float(word) for word in text.split()])


_MEAN, _SCALE = _numbers(dtmf_weights.MEAN), _numbers(dtmf_weights.SCALE)
_HIDDEN = _numbers(dtmf_weights.HIDDEN).reshape(len(FEATURES), -1)
_HIDDEN_BIAS, _OUTPUT = _numbers(dtmf_weights.HIDDEN_BIAS), _numbers(dtmf_weights.OUTPUT)
_BIAS = float(dtmf_weights.BIAS)


def score(burst: Burst) -> float:
    """Log odds that the burst is a keyed digit."""
    x = np.clip((burst.features - _MEAN) / _SCALE, -STANDARDISED_MAX, STANDARDISED_MAX)
    return float(np.tanh(x @ _HIDDEN + _HIDDEN_BIAS) @ _OUTPUT + _BIAS)


def is_likely(burst: Burst, odds: float) -> bool:
    """A key, if there is company: length and frequency as the standards want them, and the lower threshold."""
    return _is_shaped(burst) and odds > STRICT - COMPANY_ODDS


def is_possible(burst: Burst, odds: float) -> bool:
    """A key, if there is company of its kind."""
    return _is_shaped(burst) and odds > STRICT - ALIKE_ODDS


def verdict(burst: Burst, odds: float, company: Sequence[Burst]) -> tuple[bool, bool]:
    """(strict, loose): a key; enough to be masked. ``company``: the other likely keys of the last 5 s.

    A monotonous voice makes one pair again and again: for counting, company of that pair alone is none."""
    less = 0.0
    if len(company) >= COMPANY_KEYS:
        less = COMPANY_ODDS
    if sum(_alike(burst, other) for other in company) >= ALIKE_KEYS:
        less = ALIKE_ODDS
    counted_less = less if any(_pair(other) != _pair(burst) for other in company) else 0.0
    if not counted_less and burst.column == LONE_COLUMN:
        counted_less = -LONE_ODDS
    strict = _is_shaped(burst) and odds > STRICT - counted_less
    return strict, strict or odds > LOOSE - less


def _pair(burst: Burst) -> tuple[int, int]:
    return burst.row, burst.column


def _is_shaped(burst: Burst) -> bool:
    return burst.duration_s >= KEY_SECONDS_MIN and burst.deviation <= KEY_DEVIATION_MAX


def _alike(burst: Burst, other: Burst) -> bool:
    longer_s, louder_db = burst.duration_s - other.duration_s, burst.level_db - other.level_db
    return abs(longer_s) <= ALIKE_SECONDS and abs(louder_db) <= ALIKE_DB
