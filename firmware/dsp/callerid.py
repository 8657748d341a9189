"""Caller-ID by FSK (V.23 and Bell 202), every line at once, from the first sample of an idle line on.

Neither alert tone, reversal nor channel seizure is needed: the sync word "six marks and the first character" is sought
in the whole stream (EN 300 659-1 on-hook and off-hook, cable form without alert tone, GR-30). Band-pass 650 to 2850 Hz,
levelled over 50 ms and clipped at 2.2 times that (crackle), then a noncoherent matched filter in four blocks.
"""

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import fsk_templates
from firmware.dsp.filters import BlockFir, History, Signal, bandpass_taps
from firmware.dsp.fsk_decoder import Decoder, Reading, Sync
from firmware.units import SAMPLE_RATE_HZ

BAND_HZ = (620.0, 2880.0)
"""-6 dB edges: 1200 Hz - 5 % and 2200 Hz + 5 % with their modulation; hum's seventh harmonic is 60 dB down."""

BAND_TAPS = 129
LEVEL_SAMPLES = 401
"""50 ms: longer than any pattern of bits, shorter than a change of the line's impedance."""

CLIP_RMS = 2.2
LEVEL_FLOOR = 3.0
"""Counts rms (-77 dBm0): what is quieter is rounding and is left small."""

SYNC_HOP = 2
SYNC_SHARE_MIN = 0.45
"""Explained share of the sync word; noise in the band reaches 0.40 once an hour (measured), a burst at 0 dB SNR 0.6."""

EARLY_SHARE_MIN = 0.40
"""The same for the first half of the word, which is the same in all words: a burst at 0 dB SNR has 0.6 +- 0.08."""

SYNC_SPAN = int(fsk_templates.SYNC_BITS * fsk_templates.BIT) + 2
FLUSHED_SAMPLES = BAND_TAPS + LEVEL_SAMPLES + SYNC_SPAN
"""After so many zeros there is nothing left in the filters and the search."""

GROUP_SAMPLES = 40
"""Peaks within 5 ms are one place; the better two are tried."""

DECODERS_MAX = 6
"""Per line: a limit on work, not on messages."""

HISTORY_SAMPLES = 4 * SAMPLE_RATE_HZ
"""Longest message: 258 characters at 1164 bit/s are 2.2 s, with extra stop bits 4 s."""


class FskReceiver:
    """Streaming, any block length up to 1 s. ``feed`` gives what became readable, with its line."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._fir = BlockFir(lines, bandpass_taps(*BAND_HZ, BAND_TAPS, 5.65))
        self._raw = History(lines, LEVEL_SAMPLES)
        self._level = History(lines, HISTORY_SAMPLES)
        self._searched = 0
        self._zeros = 0
        self._decoders: list[list[Decoder]] = [[] for _ in range(lines)]
        self._read_until = [0] * lines
        self.delay = self._fir.delay + LEVEL_SAMPLES // 2

    def feed(self, x: Signal) -> list[tuple[int, Reading]]:
        """float32 [lines, n] in counts."""
        assert x.shape[1] <= SAMPLE_RATE_HZ
        self._zeros = self._zeros + x.shape[1] if not x.any() else 0
        if self._zeros > x.shape[1] + FLUSHED_SAMPLES:
            return self._silence(x)
        self._raw.append(self._fir.feed(x))
        self._level.append(self._levelled(x.shape[1]))
        self._search()
        return [(line, reading) for line in range(self._lines) for reading in self._decode(line)]

    def reset(self, line: int) -> None:
        self._fir.reset(line)
        self._raw.reset(line)
        self._level.reset(line)
        self._decoders[line].clear()

    def position(self, sample: int) -> int:
        """Stream position of a position on the decoders' axis."""
        return sample - self.delay

    def _silence(self, x: Signal) -> list[tuple[int, Reading]]:
        """No line is heard and everything before has passed the filters: time passes, nothing is computed."""
        self._raw.append(x)
        self._level.append(x)
        self._searched = max(self._searched, self._level.end - SYNC_SPAN)
        return [(line, reading) for line in range(self._lines) for reading in self._decode(line)]

    def _levelled(self, count: int) -> Signal:
        """The newest samples whose surroundings are known, divided by their rms over 50 ms, clipped."""
        span = self._raw.all_lines(self._raw.end - count - LEVEL_SAMPLES + 1, self._raw.end)
        sums = np.cumsum(span.astype(np.float64) ** 2, axis=1)
        power = np.empty((len(span), count))
        power[:, 0] = sums[:, LEVEL_SAMPLES - 1]
        power[:, 1:] = sums[:, LEVEL_SAMPLES:] - sums[:, : count - 1]
        rms = np.sqrt(np.maximum(power, 0.0) / LEVEL_SAMPLES + LEVEL_FLOOR**2)
        middle = span[:, LEVEL_SAMPLES // 2 : LEVEL_SAMPLES // 2 + count]
        return np.clip(middle / rms, -CLIP_RMS, CLIP_RMS).astype(np.float32)

    def _search(self) -> None:
        """Explained share of every sync word at every second sample that is new."""
        count = (self._level.end - SYNC_SPAN - self._searched) // SYNC_HOP
        if count <= 0:
            return
        first = self._searched
        self._searched += count * SYNC_HOP
        span = self._level.all_lines(first, first + count * SYNC_HOP + SYNC_SPAN)
        sounding = np.flatnonzero(span.any(axis=1))
        if len(sounding) == 0:
            return
        span = span if len(sounding) == len(span) else span[sounding]
        energy = np.cumsum(span.astype(np.float64) ** 2, axis=1)
        at = np.arange(count) * SYNC_HOP
        half = int(fsk_templates.SYNC_BITS / 2 * fsk_templates.BIT)
        early = energy[:, at + half] - energy[:, at] + 0.5
        total = energy[:, at + SYNC_SPAN - 2] - energy[:, at] + 0.5
        marks = self._marks(span, count) / early
        lines, places = np.nonzero(marks > EARLY_SHARE_MIN)
        if len(lines) == 0:
            return
        shares = self._shares(span, lines, places)
        best = shares.max(axis=1) / total[lines, places]
        templates = shares.argmax(axis=1)
        for i in np.flatnonzero(best > SYNC_SHARE_MIN).tolist():
            standard = fsk_templates.sync_template(int(templates[i]))[0]
            sync = Sync(float(first + places[i] * SYNC_HOP), float(best[i]), standard)
            self._candidate(int(sounding[lines[i]]), sync)

    def _marks(self, span: Signal, count: int) -> NDArray[np.float32]:
        """Energy that the first half of the sync word explains (marks and a start bit, the same for all words) at
        every place, [lines, count]: most places fail here."""
        bank, step = fsk_templates.sync_half(), fsk_templates.sync_block_starts()[1] // SYNC_HOP
        length = len(bank)
        part = span[:, : (count + step - 1) * SYNC_HOP + length]
        windows = np.lib.stride_tricks.sliding_window_view(part, length, axis=1)[:, ::SYNC_HOP]
        z = bank.T @ np.ascontiguousarray(windows).reshape(-1, length).T
        z *= z
        power = (z[: len(z) // 2] + z[len(z) // 2 :]).reshape(2, -1, len(span), count + step)
        best: NDArray[np.float32] = (power[0, :, :, :count] + power[1, :, :, step:]).max(axis=0)
        return best

    def _shares(self, span: Signal, lines: NDArray[np.intp], places: NDArray[np.intp]) -> NDArray[np.float32]:
        """Energy that the whole word explains at some places, [places, templates]."""
        banks, index = fsk_templates.sync_blocks()
        out = np.zeros((len(lines), len(index)), dtype=np.float32)
        for block, start in enumerate(fsk_templates.sync_block_starts()):
            windows = np.lib.stride_tricks.sliding_window_view(span, len(banks[block]), axis=1)
            out += _powers(windows[lines, places * SYNC_HOP + start], banks[block])[:, index[:, block]]
        return out

    def _candidate(self, line: int, sync: Sync) -> None:
        """Keep the best peak of each standard within a group; the weakest gives way when there are too many."""
        if sync.sample < self._read_until[line]:
            return
        for i, other in enumerate(self._decoders[line]):
            same = other.sync.standard == sync.standard
            if same and abs(other.sync.sample - sync.sample) < GROUP_SAMPLES:
                if sync.score > other.sync.score:
                    self._decoders[line][i] = Decoder(sync)
                return
        self._decoders[line].append(Decoder(sync))
        if len(self._decoders[line]) > DECODERS_MAX:
            self._decoders[line].remove(min(self._decoders[line], key=lambda d: d.sync.score))

    def _decode(self, line: int) -> list[Reading]:
        """Advance the best first; a message read ends every rival inside it."""
        out: list[Reading] = []
        audio = self._level.span(line, self._level.start, self._level.end)
        settled = self._searched - 2 * GROUP_SAMPLES
        for decoder in sorted(self._decoders[line], key=lambda d: -d.sync.score):
            if decoder.sync.sample > settled or decoder.sync.sample < self._read_until[line]:
                continue
            stale = decoder.sync.sample < self._level.start + LEVEL_SAMPLES
            decoder.advance(audio, self._level.start, final=stale)
            if decoder.done and decoder.result is not None:
                out.append(decoder.result)
                if decoder.result.message is not None:
                    self._read_until[line] = decoder.result.end_sample
        self._decoders[line] = [
            d for d in self._decoders[line] if not d.done and d.sync.sample >= self._read_until[line]
        ]
        return _best(out)


def _powers(windows: Signal, bank: NDArray[np.float32]) -> NDArray[np.float32]:
    """[places, samples] and orthonormal pairs [samples, 2 * templates] to [places, templates]."""
    z = windows @ bank
    half = z.shape[1] // 2
    out: NDArray[np.float32] = z[:, :half] ** 2 + z[:, half:] ** 2
    return out


def _best(readings: list[Reading]) -> list[Reading]:
    """Messages that were read; an unreadable burst only where nothing else was read."""
    read = [r for r in readings if r.message is not None]
    return read if read else readings[:1]


def read_whole(samples: NDArray[np.int16]) -> list[Reading]:
    """All messages of one recording: int16 [n] at SAMPLE_RATE_HZ. Positions are on the recording's own axis plus
    ``FskReceiver.delay``."""
    receiver = FskReceiver(1)
    padded = np.concatenate([samples, np.zeros(SAMPLE_RATE_HZ // 2, dtype=np.int16)]).astype(np.float32)
    out = []
    for start in range(0, len(padded), SAMPLE_RATE_HZ):
        out += [reading for _, reading in receiver.feed(padded[None, start : start + SAMPLE_RATE_HZ])]
    return out
