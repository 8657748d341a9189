"""What V.23 and Bell 202 look like: the sync word, and one template for each of the 256 characters.

A character is decided as a whole (its start and stop bit are known, its phase is continuous, only the first phase is
unknown): at 11 bits the loss against a coherent receiver is about 0.1 dB, against 6 dB for single bits (measured, see
line.md 5 in the design: 50 % of messages at 6.0 / 2.1 / 0.6 / 0.2 dB for windows of 1 / 3 / 5 / 7 bits).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firmware.units import SAMPLE_RATE_HZ

BAUD = 1200.0
"""EN 300 659-1 clause 5 and Bell 202: 1200 bit/s."""

BIT = SAMPLE_RATE_HZ / BAUD
PAIRS_HZ = {"v23": (1300.0, 2100.0), "bell202": (1200.0, 2200.0)}
"""(mark, space): ITU-T V.23 mode 2 as EN 300 659-1 uses it; Bell 202 (GR-30)."""

FRACTIONS = 4
"""Templates exist at quarter samples: an error of 1/8 sample is 0.02 bit."""

CHARACTER_BITS = 11
"""The stop bit before, start, eight data bits, stop."""

START_BITS = 6
"""Stop bit, start or a further stop bit, four bits: enough phase to tell which."""

SYNC_MARKS = 6
SYNC_BITS = SYNC_MARKS + 10
SYNC_BLOCK_BITS = 4
SYNC_WORDS = (0x80, 0x04, 0x82, 0x06)
"""First characters of a message (GR-30, EN 300 659-3): the sync word is six mark bits and one of these."""

SYNC_SCALES = (0.975, 1.025)
"""Carriers are sought 2.5 % low and high: 5 % off costs 0.4 dB of the sync score and nothing else."""

Complex = NDArray[np.complex64]


def character_bits(byte: int) -> list[int]:
    return [0, *((byte >> k) & 1 for k in range(8)), 1]


def waveforms(
    bits: NDArray[np.int64], hz: tuple[float, float], baud: float, ratio: float, fraction: float, samples: int
) -> NDArray[np.complex64]:
    """Phase-continuous FSK, complex (cos + j sin), [patterns, samples]; sample i lies (i + ``fraction``) sample times
    after the first bit's edge. ``ratio``: amplitude of space over mark."""
    frequency = np.where(bits == 1, hz[0], hz[1])
    cycles = np.concatenate([np.zeros((len(bits), 1)), np.cumsum(frequency / baud, axis=1)], axis=1)
    t = (np.arange(samples) + fraction) / SAMPLE_RATE_HZ
    k = np.minimum((t * baud).astype(int), bits.shape[1] - 1)
    inside = t < bits.shape[1] / baud
    phase = cycles[:, k] + frequency[:, k] * (t - k / baud)
    level = np.where(bits[:, k] == 1, 1.0, ratio) * inside
    turn = (2.0 * np.pi * (phase - np.floor(phase))).astype(np.float32)
    out: NDArray[np.complex64] = (level * np.cos(turn) + 1j * (level * np.sin(turn))).astype(np.complex64)
    return out


def orthonormal(waves: NDArray[np.complex64]) -> NDArray[np.float32]:
    """[patterns, n] complex to [n, 2 * patterns] real columns (first all cosines, then all sines), each pair
    orthonormal: with few cycles per window cosine and sine are not orthogonal by themselves."""
    c = waves.real / np.linalg.norm(waves.real, axis=1, keepdims=True)
    s = waves.imag - c * np.sum(waves.imag * c, axis=1, keepdims=True)
    s = s / np.linalg.norm(s, axis=1, keepdims=True)
    return np.concatenate([c, s]).T.astype(np.float32)


def window_samples(bits: int, baud: float) -> int:
    return int(np.ceil(bits * SAMPLE_RATE_HZ / baud))


_CHARACTERS: NDArray[np.int64] = np.array([[1, *character_bits(byte)] for byte in range(256)])

Key = tuple[str, int, int, int]
"""Standard, carrier offset in quarter per cent, rate offset in half per cent, space over mark in 3 dB."""


def carriers(key: Key) -> tuple[tuple[float, float], float, float]:
    """(mark, space) Hz, baud, amplitude ratio."""
    mark, space = PAIRS_HZ[key[0]]
    scale = 1.0 + key[1] / 400.0
    return (mark * scale, space * scale), BAUD * (1.0 + key[2] / 200.0), 10.0 ** (3.0 * key[3] / 20.0)


COARSE = 4
"""Quarter per cents between the carrier offsets whose banks are kept once they are made: nearly everything that looks
like a message and is none is turned away with these. All of them are 16 MB and 80 ms of work; a line's own exchange
needs a few, at its first message after the start."""


def character_bank(key: Key) -> NDArray[np.float32]:
    """[FRACTIONS, samples, 512]: all 256 characters with the stop bit before."""
    return _coarse_characters(key) if _is_coarse(key) else _characters(key)


def start_bank(key: Key) -> NDArray[np.float32]:
    """[FRACTIONS, samples, 64]: 16 patterns that start here, then 16 that go on with a stop bit."""
    return _coarse_starts(key) if _is_coarse(key) else _starts(key)


def _is_coarse(key: Key) -> bool:
    return key[1] % COARSE == 0 and key[2] == 0 and key[3] == 0


def _make_characters(key: Key) -> NDArray[np.float32]:
    hz, baud, ratio = carriers(key)
    n = window_samples(CHARACTER_BITS, baud)
    banks = [orthonormal(waveforms(_CHARACTERS, hz, baud, ratio, q / FRACTIONS, n)) for q in range(FRACTIONS)]
    return np.stack(banks)


def _make_starts(key: Key) -> NDArray[np.float32]:
    hz, baud, ratio = carriers(key)
    free = [[(p >> k) & 1 for k in range(START_BITS - 2)] for p in range(16)]
    bits = np.array([[1, second, *rest] for second in (0, 1) for rest in free])
    n = window_samples(START_BITS, baud)
    return np.stack([orthonormal(waveforms(bits, hz, baud, ratio, q / FRACTIONS, n)) for q in range(FRACTIONS)])


_coarse_characters, _coarse_starts = lru_cache(maxsize=64)(_make_characters), lru_cache(maxsize=64)(_make_starts)
_characters, _starts = lru_cache(maxsize=16)(_make_characters), lru_cache(maxsize=16)(_make_starts)


def sync_bits(word: int) -> list[int]:
    return [1] * SYNC_MARKS + character_bits(word)


def sync_block_starts() -> list[int]:
    """Sample offset of each block of the sync word."""
    return [int(b * BIT) for b in range(0, SYNC_BITS, SYNC_BLOCK_BITS)]


@lru_cache(maxsize=1)
def sync_blocks() -> tuple[list[NDArray[np.float32]], NDArray[np.intp]]:
    """Per block a matrix [samples, 2 * templates]; and for each template of the whole (pair, scale, word) the column
    it uses in each block: [pairs * scales * words, blocks]."""
    n = int(np.ceil(SYNC_BLOCK_BITS * BIT))
    banks, index = [], []
    starts = sync_block_starts()
    for block, start in enumerate(starts):
        waves: list[NDArray[np.complex64]] = []
        seen: dict[tuple[str, float, tuple[int, ...]], int] = {}
        columns = []
        for pair, (mark, space) in PAIRS_HZ.items():
            for scale in SYNC_SCALES:
                for word in SYNC_WORDS:
                    bits = tuple(sync_bits(word)[block * SYNC_BLOCK_BITS : (block + 1) * SYNC_BLOCK_BITS])
                    key = (pair, scale, bits)
                    if key not in seen:
                        seen[key] = len(waves)
                        hz = (mark * scale, space * scale)
                        before = start - block * SYNC_BLOCK_BITS * BIT
                        waves.append(waveforms(np.array([bits]), hz, BAUD, 1.0, before, n)[0])
                    columns.append(seen[key])
        banks.append(orthonormal(np.array(waves)))
        index.append(columns)
    return banks, np.array(index).T


@lru_cache(maxsize=1)
def sync_half() -> NDArray[np.float32]:
    """The first two blocks (six marks, a start bit and the first data bit) are the same in all words: one matrix
    [samples, 4 * pairs * scales], the cosines of the first block and of the second, then their sines."""
    (first, second, *_), index = sync_blocks()
    # np.unique would read in numpy.ma, 1.3 MB that nothing here uses.
    pairs = np.array(sorted(set(map(tuple, index[:, :2].tolist()))))
    half = first.shape[1] // 2
    columns = [
        first[:, pairs[:, 0]],
        second[:, pairs[:, 1]],
        first[:, half + pairs[:, 0]],
        second[:, half + pairs[:, 1]],
    ]
    return np.hstack(columns)


def sync_template(number: int) -> tuple[str, int]:
    """(standard, first character) of template ``number``."""
    per_pair = len(SYNC_SCALES) * len(SYNC_WORDS)
    return list(PAIRS_HZ)[number // per_pair], SYNC_WORDS[number % len(SYNC_WORDS)]
