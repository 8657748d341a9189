"""Keyed digits (DTMF, ITU-T Q.23/Q.24): where they are, to the sample, on every line at once.

Band-pass 640 to 1760 Hz (dial tone, hum and the voice's fundamental are gone), 20 ms frames every 2.5 ms looked at for
each of the 8 tones at 9 frequencies, runs of one pair become a stretch, and the stretch is judged on its own samples
(``dtmf_segment``, ``dtmf_score``). One score, two thresholds: a loose one for masking and a strict one for keys.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import dtmf_score
from firmware.dsp.dtmf_segment import COLUMN_HZ, MARGIN, OFFSETS, ROW_HZ, Burst, analyse
from firmware.dsp.filters import BlockFir, History, Signal, bandpass_taps
from firmware.units import SAMPLE_RATE_HZ

BAND_HZ = (620.0, 1790.0)
"""-6 dB edges: 697 Hz - 3.5 % and 1633 Hz + 3.5 % pass, 440 Hz (dial tone) is 55 dB down."""

BAND_TAPS = 129
FRAME = 160
"""20 ms: half of the shortest key (40 ms, Q.24 annex A)."""

FRAME_HOP = 20
HOLE_FRAMES = 6
"""A stretch goes on over 15 ms without its pair: a 10 ms break must not split (Q.24 annex A)."""

RUN_FRAMES_MIN = 4
RUN_SHARE_MIN = 0.42
"""Mean explained share of a stretch's frames; 0.55 for a key at -4.5 dB SNR, 0.5 under equally loud speech."""

STRETCH_MAX = SAMPLE_RATE_HZ
"""A tone that goes on is reported in pieces of at most 1 s: within the smallest look-back (2 s) of its onset."""

RIVAL_WAIT = 120 * SAMPLE_RATE_HZ // 1000
"""A burst is reported 120 ms after its end: a stretch of another pair that overlaps it has then been analysed."""

SETTLED_MAX = 8
COMPANY_WAIT = 16 * SAMPLE_RATE_HZ // 10
"""1.6 s from the onset: with the 0.1 s of a block still within the smallest look-back of 2 s."""

ECHO_MAX, ECHO_SLACK, ECHO_LOSS_DB = SAMPLE_RATE_HZ // 2, SAMPLE_RATE_HZ // 100, 9.0
"""An echo comes within 0.5 s, as long to 10 ms, at least 9 dB down (a two-wire line's echo return loss, ITU-T G.122);
a finger does not press that evenly and that much fainter."""

FRAME_EXPLAINED_MIN = 0.30
"""Share of the frame's energy in the pair's two tones. Noise alone reaches 0.24 (22 complex degrees of freedom, best
of 8 by 9); speech as loud as the key leaves about 0.5."""

FRAME_TONE_MIN = 0.03
"""Share of each tone alone: 12 dB of twist in noise as strong as the key."""

FRAME_LEVEL_MIN = 4.0
"""Mean square in counts squared (-78 dBm0): below it there is only rounding."""

DIGITS = "123A456B789C*0#D"


def _basis(nominal: tuple[float, ...]) -> NDArray[np.float32]:
    hz = (np.array(nominal)[:, None] * (1.0 + OFFSETS)[None]).ravel()
    angle = 2.0 * np.pi * np.outer(np.arange(FRAME), hz) / SAMPLE_RATE_HZ
    return np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32)


@dataclass(frozen=True, repr=False)
class Digit:
    """One burst that may be a key. Stream positions of its first sample and of the one after its last.

    ``value`` never leaves firmware/dsp: the ear drops it, repr hides it."""

    line: int
    onset_sample: int
    end_sample: int
    score: float
    value: str
    going_on: bool
    """The tone was still there: its next piece follows with ``continued``."""
    continued: bool
    burst: Burst = field(compare=False)
    strict: bool = False
    """A key: to be counted."""
    loose: bool = False
    """Enough to be masked."""

    def __repr__(self) -> str:
        return f"Digit(line={self.line}, onset_sample={self.onset_sample}, end_sample={self.end_sample})"


@dataclass
class _Stretch:
    """Frames of one pair that hang together."""

    first: int
    last: int
    count: int = 0
    share: float = 0.0
    """Sum over the frames of what the pair explains."""
    continued: bool = False
    offsets: list[tuple[int, int]] = field(default_factory=list)


_Waiting = tuple[tuple[int, int], _Stretch, bool]
"""Pair, stretch, and whether the tone goes on after it."""


def _overlap(a: Digit, b: Digit) -> bool:
    """They claim the same sound: more than the slack of two edges in common."""
    common = min(a.end_sample, b.end_sample) - max(a.onset_sample, b.onset_sample)
    return 4 * common > min(a.end_sample - a.onset_sample, b.end_sample - b.onset_sample)


def _echoes(digit: Digit, earlier: Digit) -> bool:
    """The same tones again soon after, much fainter and as long: an echo, to be masked and not to be counted."""
    delay = digit.onset_sample - earlier.onset_sample
    longer = abs((digit.end_sample - digit.onset_sample) - (earlier.end_sample - earlier.onset_sample))
    fainter_db = earlier.burst.level_db - digit.burst.level_db
    same = digit.value == earlier.value
    return same and 0 < delay < ECHO_MAX and longer < ECHO_SLACK and fainter_db > ECHO_LOSS_DB


def _mostly_inside(burst: Burst, span: tuple[int, int]) -> bool:
    """A neighbour that only reaches into the margin belongs to another stretch."""
    return 2 * (min(burst.last, span[1]) - max(burst.first, span[0])) > burst.last - burst.first


class DtmfReceiver:
    """Streaming, any block length. ``feed`` gives every burst that became certain, with its score and verdict."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._fir = BlockFir(lines, bandpass_taps(*BAND_HZ, BAND_TAPS, 5.65))
        capacity = STRETCH_MAX + SAMPLE_RATE_HZ
        self._band = History(lines, capacity)
        self._wide = History(lines, capacity + self._fir.delay)
        self._next_frame = 0
        """Start of the next frame, on the band's axis."""
        self._rows, self._columns = _basis(ROW_HZ), _basis(COLUMN_HZ)
        self._open: list[dict[tuple[int, int], _Stretch]] = [{} for _ in range(lines)]
        self._waiting: list[list[_Waiting]] = [[] for _ in range(lines)]
        self._rivals: list[list[Digit]] = [[] for _ in range(lines)]
        self._settled: list[list[Digit]] = [[] for _ in range(lines)]
        self._pending: list[list[Digit]] = [[] for _ in range(lines)]
        self._company: list[dict[int, Burst]] = [{} for _ in range(lines)]
        """Likely keys of the last 5 s by their onset."""

    def feed(self, x: Signal) -> list[Digit]:
        """float32 [lines, n] in counts, at most 1 s. Zeros where a line must not be heard."""
        assert x.shape[1] <= SAMPLE_RATE_HZ
        self._wide.append(x)
        self._band.append(self._fir.feed(x))
        self._frames()
        out: list[Digit] = []
        for line in range(self._lines):
            out.extend(self._judge(line))
        return out

    def reset(self, line: int) -> None:
        """Forget everything heard on this line, the audio too."""
        self._fir.reset(line)
        self._band.reset(line)
        self._wide.reset(line)
        self._open[line].clear()
        self._waiting[line].clear()
        self._rivals[line].clear()
        self._settled[line].clear()
        self._pending[line].clear()
        self._company[line].clear()

    def _frames(self) -> None:
        """Look at all frames that are complete, and sort them into stretches."""
        count = (self._band.end - FRAME - self._next_frame) // FRAME_HOP + 1
        if count <= 0:
            return
        first = self._next_frame
        self._next_frame += count * FRAME_HOP
        span = self._band.all_lines(first, first + (count - 1) * FRAME_HOP + FRAME)
        frames = np.lib.stride_tricks.sliding_window_view(span, FRAME, axis=1)[:, ::FRAME_HOP]
        energy = np.einsum("lfk,lfk->lf", frames, frames) + 1e-3
        flat = np.ascontiguousarray(frames).reshape(-1, FRAME)
        row, row_offset, row_share = self._best(flat, self._rows, energy)
        column, column_offset, column_share = self._best(flat, self._columns, energy)
        gate = (
            (row_share + column_share > FRAME_EXPLAINED_MIN)
            & (np.minimum(row_share, column_share) > FRAME_TONE_MIN)
            & (energy > FRAME_LEVEL_MIN * FRAME)
        )
        for line in range(self._lines):
            chosen = np.flatnonzero(gate[line])
            found = zip(
                (first + chosen * FRAME_HOP).tolist(),
                row[line, chosen].tolist(),
                column[line, chosen].tolist(),
                row_offset[line, chosen].tolist(),
                column_offset[line, chosen].tolist(),
                (row_share[line, chosen] + column_share[line, chosen]).tolist(),
                strict=True,
            )
            for at, r, c, ro, co, share in found:
                self._extend(line, at, (r, c), (ro, co), share)
            self._close(line)

    def _best(
        self, flat: NDArray[np.float32], basis: NDArray[np.float32], energy: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Strongest tone of a group per frame: its index, its offset index, and its share of the frame's energy."""
        z = flat @ basis
        half = z.shape[1] // 2
        power = z[:, :half] ** 2 + z[:, half:] ** 2
        best = np.argmax(power, axis=1)
        share = power[np.arange(len(best)), best] * (2.0 / FRAME)
        shape = energy.shape
        index = (best // len(OFFSETS)).reshape(shape), (best % len(OFFSETS)).reshape(shape)
        return index[0], index[1], share.reshape(shape) / energy

    def _extend(self, line: int, at: int, pair: tuple[int, int], offsets: tuple[int, int], share: float) -> None:
        stretch = self._open[line].get(pair)
        if stretch is not None and at - stretch.last > HOLE_FRAMES * FRAME_HOP:
            self._finish(line, pair, going_on=False)
            stretch = None
        if stretch is None:
            stretch = self._open[line][pair] = _Stretch(at, at)
        stretch.last = at
        stretch.count += 1
        stretch.share += share
        stretch.offsets.append(offsets)
        if at + FRAME - stretch.first >= STRETCH_MAX:
            self._finish(line, pair, going_on=True)
            self._open[line][pair] = _Stretch(at, at, 1, share, True, [offsets])

    def _close(self, line: int) -> None:
        for pair, stretch in list(self._open[line].items()):
            if self._next_frame - stretch.last > (HOLE_FRAMES + 1) * FRAME_HOP:
                self._finish(line, pair, going_on=False)

    def _finish(self, line: int, pair: tuple[int, int], *, going_on: bool) -> None:
        stretch = self._open[line].pop(pair)
        likely = stretch.count >= RUN_FRAMES_MIN and stretch.share >= RUN_SHARE_MIN * stretch.count
        if likely or stretch.continued:
            self._waiting[line].append((pair, stretch, going_on))

    def _judge(self, line: int) -> list[Digit]:
        """Analyse the stretches whose surroundings have arrived; where two pairs overlap the likelier one stays."""
        ready: list[_Waiting] = []
        later: list[_Waiting] = []
        for item in self._waiting[line]:
            (ready if item[1].last + FRAME + MARGIN <= self._band.end else later).append(item)
        self._waiting[line] = later
        self._rivals[line].extend(digit for item in ready for digit in self._digits(line, *item))
        return self._settle(line)

    def _settle(self, line: int) -> list[Digit]:
        """The likeliest of those that overlap, once no rival can come any more, in order, with the verdict on each."""
        if not self._rivals[line] and not self._pending[line]:
            return []
        kept: list[Digit] = []
        for digit in sorted(self._rivals[line], key=lambda digit: -digit.score):
            if all(not _overlap(digit, other) for other in (*kept, *self._settled[line])):
                kept.append(digit)
        limit = self._band.end - RIVAL_WAIT
        self._rivals[line] = [digit for digit in self._rivals[line] if digit.end_sample >= limit]
        due = sorted((d for d in kept if d.end_sample < limit), key=lambda digit: digit.onset_sample)
        self._settled[line] = [*self._settled[line], *due][-SETTLED_MAX:]
        self._pending[line].extend(due)
        return self._verdicts(line)

    def _verdicts(self, line: int) -> list[Digit]:
        """A burst that would be a key in company waits a little for company: before it, or within COMPANY_WAIT of its
        onset. What waits is still reported within the smallest look-back."""
        newest = self._settled[line][-1].onset_sample if self._settled[line] else 0
        company = {at: b for at, b in self._company[line].items() if newest - at < dtmf_score.COMPANY_WITHIN}
        for digit in self._pending[line]:
            if (
                dtmf_score.is_likely(digit.burst, digit.score)
                and not digit.continued
                and not self._is_echo(line, digit)
            ):
                company[digit.onset_sample] = digit.burst
        self._company[line] = company
        out, waiting = [], []
        for digit in self._pending[line]:
            others = [burst for at, burst in company.items() if at != digit.onset_sample]
            strict, loose = dtmf_score.verdict(digit.burst, digit.score, others)
            undecided = not strict and dtmf_score.is_possible(digit.burst, digit.score)
            if undecided and self._band.end - digit.onset_sample < COMPANY_WAIT:
                waiting.append(digit)
            else:
                out.append(replace(digit, strict=strict and not self._is_echo(line, digit), loose=loose))
        self._pending[line] = waiting
        return out

    def _is_echo(self, line: int, digit: Digit) -> bool:
        return any(_echoes(digit, other) for other in self._settled[line])

    def _digits(self, line: int, pair: tuple[int, int], stretch: _Stretch, going_on: bool) -> list[Digit]:
        first, last = max(stretch.first - MARGIN, self._band.start), stretch.last + FRAME + MARGIN
        band = self._band.span(line, first, last)
        wide = self._wide.span(line, first - self._fir.delay, last - self._fir.delay)
        middle = sorted(stretch.offsets)[len(stretch.offsets) // 2]
        inner = (stretch.first - first, stretch.last + FRAME - first)
        bursts = [burst for burst in analyse(band, wide, *pair, middle) if _mostly_inside(burst, inner)]
        out = []
        for number, burst in enumerate(bursts):
            continued = stretch.continued and number == 0
            goes_on = going_on and number == len(bursts) - 1
            # pieces of one tone meet exactly: at the end of the frame at which it was cut
            onset = stretch.first + FRAME if continued else first + burst.first
            end = stretch.last + FRAME if goes_on else first + burst.last
            odds, value = dtmf_score.score(burst), DIGITS[4 * pair[0] + pair[1]]
            delay = self._fir.delay
            out.append(Digit(line, onset - delay, end - delay, odds, value, goes_on, continued, burst))
        return [digit for digit in out if digit.end_sample > digit.onset_sample]
