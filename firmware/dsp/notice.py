"""The site's notice, heard: where the telephone system plays it, was it really this one, and to its end?

The notice is cut into pieces of one second; each is sought in what was heard by normalised cross-correlation (FFT),
independent of gain. Long pieces would drift apart (codec clocks differ by 100 ppm: 12 samples in 15 s), short ones
match by chance. Pieces must be found in order, each within 10 ms of its place.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.filters import BlockFir, History, Signal, bandpass_taps
from firmware.units import SAMPLE_RATE_HZ

PIECE = SAMPLE_RATE_HZ
BAND_HZ = (280.0, 3500.0)
TAPS = 97
EMPHASIS = 0.9
"""First difference: flattens speech, so that the correlation has one sharp peak."""

MATCH_MIN = 0.40
"""Normalised correlation of one piece. Another second of speech reaches 0.2 (measured); A-law gives 0.99, 6 dB SNR
0.85, an equally loud talker across it 0.7."""

QUIET_DB = 26.0
"""A piece this far below the loudest is a pause in the notice and is not sought."""

DRIFT = 10 * SAMPLE_RATE_HZ // 1000
MATCHED_SHARE = 0.8
"""Of the pieces that are not quiet; the last of them always."""

SEARCH = 2 * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class NoticeFound:
    """The notice was heard from ``onset_sample`` to ``end_sample`` (stream positions)."""

    line: int
    onset_sample: int
    end_sample: int
    share: float
    """Of the pieces that were found."""


@dataclass
class _Track:
    """One possible place of the notice on one line."""

    onset: int
    matched: set[int] = field(default_factory=set)


class NoticeMatcher:
    """Streaming, any block length. ``notice``: int16 [n] at SAMPLE_RATE_HZ, at least one second."""

    def __init__(self, lines: int, notice: NDArray[np.int16]) -> None:
        assert len(notice) >= PIECE
        self._length = len(notice)
        fir = BlockFir(1, bandpass_taps(*BAND_HZ, TAPS, 5.65))
        self._delay = fir.delay
        padded = np.concatenate([notice.astype(np.float32), np.zeros(fir.delay, dtype=np.float32)])
        whole = _emphasised(fir.feed(padded[None]))[0, fir.delay :]
        count = len(notice) // PIECE
        pieces = whole[: count * PIECE].reshape(count, PIECE)
        energy = np.sum(pieces**2, axis=1)
        loud = energy > energy.max() * 10.0 ** (-QUIET_DB / 10.0)
        self._places = [int(i) for i in np.flatnonzero(loud)]
        unit = pieces[loud] / np.sqrt(energy[loud])[:, None]
        size = SEARCH + PIECE
        self._size = 1 << (size - 1).bit_length()
        self._spectra = np.conj(np.fft.rfft(unit, self._size, axis=1))
        self._fir = BlockFir(lines, bandpass_taps(*BAND_HZ, TAPS, 5.65))
        self._audio = History(lines, SEARCH + PIECE + SAMPLE_RATE_HZ)
        self._last: Signal = np.zeros((lines, 1), dtype=np.float32)
        self._searched = 0
        self._tracks: list[list[_Track]] = [[] for _ in range(lines)]

    def feed(self, x: Signal) -> list[NoticeFound]:
        """float32 [lines, n] in counts, at most 1 s."""
        assert x.shape[1] <= SAMPLE_RATE_HZ
        band = self._fir.feed(x)
        joined = np.concatenate([self._last, band], axis=1)
        self._last = band[:, -1:]
        self._audio.append((joined[:, 1:] - EMPHASIS * joined[:, :-1]).astype(np.float32))
        out: list[NoticeFound] = []
        while self._searched + SEARCH + PIECE <= self._audio.end:
            for line in range(len(self._tracks)):
                out.extend(self._search(line))
            self._searched += SEARCH
        return out

    def reset(self, line: int) -> None:
        self._fir.reset(line)
        self._audio.reset(line)
        self._tracks[line].clear()

    def _search(self, line: int) -> list[NoticeFound]:
        """Every piece at every place that begins in the next SEARCH samples."""
        x = self._audio.span(line, self._searched, self._searched + SEARCH + PIECE)
        sums = np.concatenate([[0.0], np.cumsum(x.astype(np.float64) ** 2)])
        energy = np.sqrt(np.maximum(sums[PIECE : PIECE + SEARCH] - sums[:SEARCH], 1.0))
        spectrum = np.fft.rfft(x, self._size)
        tracks = self._tracks[line]
        for number, piece in enumerate(self._spectra):
            match = np.abs(np.fft.irfft(spectrum * piece, self._size)[:SEARCH]) / energy
            best = int(np.argmax(match))
            if match[best] >= MATCH_MIN:
                onset = self._searched + best - self._places[number] * PIECE
                self._found(tracks, onset, number)
        tracks[:] = [t for t in tracks if t.onset + self._length + SEARCH > self._searched][-8:]
        return self._complete(line)

    def _found(self, tracks: list[_Track], onset: int, number: int) -> None:
        for track in tracks:
            if abs(track.onset - onset) <= DRIFT:
                track.matched.add(number)
                return
        tracks.append(_Track(onset, {number}))

    def _complete(self, line: int) -> list[NoticeFound]:
        last = len(self._places) - 1
        for track in self._tracks[line]:
            share = len(track.matched) / len(self._places)
            if last in track.matched and share >= MATCHED_SHARE:
                self._tracks[line].remove(track)
                onset = track.onset - self._delay
                return [NoticeFound(line, onset, onset + self._length, share)]
        return []


def _emphasised(x: Signal) -> Signal:
    return np.concatenate([x[:, :1], x[:, 1:] - EMPHASIS * x[:, :-1]], axis=1).astype(np.float32)
