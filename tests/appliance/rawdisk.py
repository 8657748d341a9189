"""Looks for sound and digits on a raw disk image: every byte position, whatever file system or none lies there."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WINDOW = 4
"""Samples that must agree: 64 bits, which noise has by chance once in 10**9 such searches."""
PREFIX_BITS = 24
PIECE_BYTES = 16 << 20


def finds_sound(disk: Path, stretches: Sequence[NDArray[np.int16]]) -> list[int]:
    """Byte positions at which four successive samples of a stretch stand, in either byte order; all-zero ones do not
    count."""
    windows = np.concatenate([_windows(stretch) for stretch in stretches])
    needles = np.unique(np.concatenate([windows, _swapped(windows)]))
    needles = needles[needles != 0]
    likely = np.zeros(1 << PREFIX_BITS, bool)
    likely[needles & (len(likely) - 1)] = True
    found = []
    for start, piece in pieces(disk, overlap=WINDOW * 2 - 1):
        for shift in range(8):
            words = np.frombuffer(piece, np.uint64, (len(piece) - shift) // 8, shift)
            [near] = np.nonzero(likely[words & np.uint64(len(likely) - 1)])
            hits = near[np.isin(words[near], needles)]
            found += [start + shift + 8 * int(hit) for hit in hits]
    return found


def finds_bytes(disk: Path, needles: Sequence[bytes]) -> list[int]:
    """Byte positions at which one of the needles stands."""
    found = []
    for start, piece in pieces(disk, overlap=max(map(len, needles)) - 1):
        for needle in needles:
            at = piece.find(needle)
            while at >= 0:
                found.append(start + at)
                at = piece.find(needle, at + 1)
    return found


def digits_as_stored(number: str) -> list[bytes]:
    """As text in two encodings, with and without the trunk prefix, and two digits to a byte in both orders."""
    text = [number.encode(), number[1:].encode(), number.encode("utf-16-le"), number.encode("utf-16-be")]
    even = number[1:] if len(number) % 2 else number
    packed = bytes.fromhex(even)
    return [*text, packed, bytes((byte & 15) << 4 | byte >> 4 for byte in packed)]


def pieces(disk: Path, overlap: int) -> Iterator[tuple[int, bytes]]:
    """What was ever written, in parts that overlap; holes of the image are zeros and are left out."""
    with open(disk, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole behind
                return
            stop = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < stop:
                yield at, os.pread(file.fileno(), min(PIECE_BYTES + overlap, stop - at), at)
                at = min(at + PIECE_BYTES, stop)


def _windows(samples: NDArray[np.int16]) -> NDArray[np.uint64]:
    """Every run of four samples as the eight bytes that it is in memory."""
    runs = np.lib.stride_tricks.sliding_window_view(samples.astype("<i2"), WINDOW)
    return np.ascontiguousarray(runs).view("<u8")[:, 0]


def _swapped(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(words).view("<i2").byteswap().view("<u8")
