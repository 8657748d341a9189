"""One caller-ID message read character by character from where its sync word was found.

Every character is the best of 256 phase-continuous templates (``fsk_templates``); its timing is sought within 0.15 bit
and carried on by a second-order loop; extra stop bits are skipped one by one. A message whose checksum is wrong may be
repaired in exactly one character, only by one of its least certain readings, and then says so.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import clip_message, fsk_templates
from firmware.dsp.clip_message import ClipMessage
from firmware.dsp.fsk_templates import BIT, FRACTIONS, PAIRS_HZ, SYNC_MARKS, Key
from firmware.units import SAMPLE_RATE_HZ

TIMING_STEPS = np.array([-0.15, -0.075, 0.0, 0.075, 0.15])
"""In bits, round the expected start of a character."""

TIMING_PENALTY = 0.6
"""Explained share given up per squared bit off the expected place: noise must not drag the timing."""

LOOP_GAIN, LOOP_RATE_GAIN = 0.5, 0.02
"""Second-order loop: place and rate. 1 % of rate error is 0.1 bit a character."""

EXTRA_STOP_MARGIN = 0.12
"""A further stop bit must explain this much more than a start: one wrong bit early in the window costs about 0.3."""

EXTRA_STOP_MAX = 24
"""Bellcore allows 20 mark bits between characters (16.7 ms)."""

QUALITY_MIN = 0.30
"""Mean explained share of the last six characters below which reading is given up; noise alone reaches 0.25."""

UNREADABLE_QUALITY = 0.6
UNREADABLE_CHARACTERS = 10
"""A burst this clean for this long was a caller-ID message even if it cannot be read."""

PROBE_CHARACTERS = 4
MARK_SECONDS = 0.04
MARK_SAMPLES = int(MARK_SECONDS * SAMPLE_RATE_HZ)
"""Carrier offset comes from 40 ms before the start bit: the shortest mark is 45 ms (SIN 227)."""

OFFSET_MAX = 0.065
OFFSETS = 2 * int(400 * OFFSET_MAX) + 1
"""Quarter per cents."""

MARK_SHARE_MIN = 0.36
"""Explained share of those 40 ms by one tone: 0.57 at -1 dB SNR, 0.4 with 12 dB of twist against it and noise; speech
rarely stands still that long."""

PROBE_FIT_MIN = 0.40
"""Mean share of the first characters below which this is no message. (However well they fit, other rates are tried: at
2 % off the first four still fit well and the tenth does not.)"""

TWIST_PROBES = (-3, 3)
"""Space over mark in 3 dB steps, tried beside 0."""

RATE_PROBES = (-4, 4, -8, 8)
"""Half per cents: rates tried on the first characters; the loop follows 1 % by itself."""

REPAIR_READINGS = 6
REPAIR_LOSS_MAX = 0.16
"""A repair takes one of the six least certain readings of the whole message, and only if it explains nearly as much:
each reading tried lets a wrong message through with probability 1/256."""

RIVAL_MARGIN = 0.10
"""Explained share by which the message must beat any other. At 0 and 1 dB SNR of Bell 202 seven of 763 messages were
wrong without it and none with it, for a fifth of the right ones; at 2 dB of V.23 it costs 1 in 600 (seeds 1 to 3)."""

ATTEMPTS = 3


@dataclass(frozen=True)
class Sync:
    """A place where the sync word fits. ``sample``: position of the word's first bit edge on the history's axis."""

    sample: float
    score: float
    standard: str


@dataclass(frozen=True, repr=False)
class Reading:
    """A message as read. ``message`` is None for a clean burst that could not be read. Positions on the history's
    axis."""

    standard: str
    first_sample: int
    end_sample: int
    message: ClipMessage | None
    repaired: bool
    snr_db: float


class NeedMore(Exception):
    """The next character has not arrived yet."""


@dataclass
class _Character:
    byte: int
    share: float
    readings: list[tuple[float, int]]
    """(explained share lost, byte) of the next best readings."""


class Decoder:
    """All attempts at one sync. ``advance`` as audio arrives until ``done``."""

    def __init__(self, sync: Sync) -> None:
        self.sync = sync
        self.done = False
        self.result: Reading | None = None
        self._keys: list[tuple[Key, float]] | None = None
        self._attempt = 0
        self._restart()

    def advance(self, audio: NDArray[np.float32], start: int, *, final: bool = False) -> None:
        """``audio``: the history of the line, sample 0 at position ``start``. ``final``: no more will come."""
        self._audio, self._start = audio, start
        try:
            while not self.done:
                self._step()
        except NeedMore:
            self.done = self.done or final

    def _step(self) -> None:
        if self._keys is None:
            self._need(self.sync.sample + (SYNC_MARKS + 10 * (PROBE_CHARACTERS + 2)) * BIT)
            self._keys = self._probe()
            if not self._keys:
                self.done = True
                return
            self._begin()
        self._read_character()
        if self._given_up():
            self._failed()
        elif len(self._characters) >= 2 and len(self._characters) == self._characters[1].byte + 3:
            self._finish()

    # ------------------------------------------------------------------------------------------------ parameters

    def _probe(self) -> list[tuple[Key, float]]:
        """Carrier, twist and rate: hypotheses in order of how well the first characters fit; none when this cannot be
        a message."""
        offset = self._carrier_offset()
        if offset is None:
            return []
        first = self.sync.sample + SYNC_MARKS * BIT
        # whole per cents first: their templates are already there, and nearly all that is no message ends here
        if self._fit((self.sync.standard, 4 * round(offset / 4), 0, 0), first) < PROBE_FIT_MIN:
            return []
        plain = (self.sync.standard, offset, 0, 0)
        keys = [plain, *((self.sync.standard, offset, rate, 0) for rate in RATE_PROBES)]
        ranked = sorted(((self._fit(key, first), key) for key in keys), reverse=True)
        best = ranked[0][1]
        ranked += [(self._fit(key, first), key) for key in ((*best[:3], ratio) for ratio in TWIST_PROBES)]
        ranked.sort(reverse=True)
        return [(key, first) for _, key in ranked[:ATTEMPTS]]

    def _carrier_offset(self) -> int | None:
        """Quarter per cents by which the carriers are off, from the spectrum of the mark before the message; None when
        there is no steady mark."""
        end = self.sync.sample + SYNC_MARKS * BIT
        x = self._span(end - MARK_SECONDS * SAMPLE_RATE_HZ, MARK_SAMPLES)
        windowed, plain = _mark_basis(self.sync.standard)
        best = int(np.argmax(_pair_power(x @ windowed)))
        explained = 2.0 / len(x) * float(_pair_power(x @ plain[:, [best, OFFSETS + best]])[0])
        if explained < MARK_SHARE_MIN * float(x @ x):
            return None
        return best - OFFSETS // 2

    def _fit(self, key: Key, first: float) -> float:
        """Mean explained share of the first characters read with these parameters (timing loop included); 0 when the
        first is no type of message."""
        self._restart()
        self._key, self._position = key, first
        self._step_bits = SAMPLE_RATE_HZ / fsk_templates.carriers(key)[1]
        for number in range(PROBE_CHARACTERS):
            self._read_character()
            if number == 0 and self._characters[0].byte not in clip_message.TYPES:
                return 0.0
        return float(np.mean([c.share for c in self._characters])) - 0.002 * abs(key[2]) - 0.002 * abs(key[3])

    def _restart(self) -> None:
        self._characters: list[_Character] = []
        self._rate_error = 0.0

    def _begin(self) -> None:
        assert self._keys is not None
        self._restart()
        self._key, self._position = self._keys[self._attempt]
        self._step_bits = SAMPLE_RATE_HZ / fsk_templates.carriers(self._key)[1]

    # ------------------------------------------------------------------------------------------------ characters

    def _read_character(self) -> None:
        """The character whose start bit begins at ``_position`` (samples), skipping extra stop bits first."""
        bit = self._step_bits
        self._skip_stops()
        bank = fsk_templates.character_bank(self._key)
        shares = np.stack([self._shares(bank, self._position + (t - 1.0) * bit) for t in TIMING_STEPS])
        best = shares.max(axis=1) - TIMING_PENALTY * TIMING_STEPS**2
        chosen = int(np.argmax(best))
        share = shares[chosen]
        order = np.argpartition(-share, 4)[:4]
        order = order[np.argsort(-share[order])]
        top = float(share[order[0]])
        self._characters.append(_Character(int(order[0]), top, [(top - float(share[i]), int(i)) for i in order[1:]]))
        error = _peak(best, chosen)
        self._rate_error += LOOP_RATE_GAIN * error
        self._position += (LOOP_GAIN * error + self._rate_error + 10.0) * bit

    def _skip_stops(self) -> None:
        bank = fsk_templates.start_bank(self._key)
        for _ in range(EXTRA_STOP_MAX):
            shares = self._shares(bank, self._position - self._step_bits)
            if shares[16:].max() <= shares[:16].max() + EXTRA_STOP_MARGIN:
                return
            self._position += self._step_bits

    def _shares(self, bank: NDArray[np.float32], at: float) -> NDArray[np.float32]:
        """Share of the energy that each template of a bank explains with its first edge at ``at``."""
        first = int(np.ceil(at - 0.5 / FRACTIONS))
        fraction = min(FRACTIONS - 1, max(0, round((first - at) * FRACTIONS)))
        x = self._span(first, bank.shape[1])
        out: NDArray[np.float32] = _pair_power(x @ bank[fraction]) / (float(x @ x) + 1e-3)
        return out

    def _span(self, first: float, count: int) -> NDArray[np.float32]:
        self._need(first + count)
        begin = int(first) - self._start
        if begin < 0:
            return np.concatenate([np.zeros(-begin, dtype=np.float32), self._audio[: begin + count]])
        return self._audio[begin : begin + count]

    def _need(self, position: float) -> None:
        if position + 2 > self._start + len(self._audio):
            raise NeedMore

    # ----------------------------------------------------------------------------------------------------- ending

    def _given_up(self) -> bool:
        recent = self._characters[-6:]
        return len(recent) == 6 and float(np.mean([c.share for c in recent])) < QUALITY_MIN

    def _failed(self) -> None:
        assert self._keys is not None
        quality = float(np.mean([c.share for c in self._characters]))
        known = self._characters[0].byte in clip_message.TYPES
        if known and len(self._characters) >= UNREADABLE_CHARACTERS and quality > UNREADABLE_QUALITY:
            self.result = self._reading(None, False)
        self._attempt += 1
        if self._attempt >= len(self._keys):
            self.done = True
        else:
            self._begin()

    def _finish(self) -> None:
        chosen = self._chosen()
        if chosen is None or self._is_doubtful(*chosen):
            self._failed()
            return
        data, _ = chosen
        self.result, self.done = self._reading(clip_message.parse(data), data != self._data()), True

    def _data(self) -> bytes:
        return bytes(c.byte for c in self._characters)

    def _chosen(self) -> tuple[bytes, float] | None:
        """The message as it was read where its checksum is right, else with one character read otherwise so that it
        is; and what was lost by that. None when there is no such message."""
        data = self._data()
        if clip_message.parse(data) is not None:
            return data, 0.0
        wrong = sum(data) & 0xFF
        for loss, at, byte in self._readings()[:REPAIR_READINGS]:
            if loss <= REPAIR_LOSS_MAX and (byte - data[at] + wrong) & 0xFF == 0:
                repaired = _changed(data, (at, byte))
                return (repaired, loss) if clip_message.parse(repaired) is not None else None
        return None

    def _is_doubtful(self, chosen: bytes, loss: float) -> bool:
        """Another message, in one or two characters different from what was read, is nearly as likely: in such noise a
        right checksum says little, and no number is better than a wrong one."""
        data = self._data()
        needed = -sum(data) & 0xFF
        limit = loss + RIVAL_MARGIN
        readings = [reading for reading in self._readings() if reading[0] < limit]
        for i, (lost, at, byte) in enumerate(readings):
            if (byte - data[at]) & 0xFF == needed and _is_rival(_changed(data, (at, byte)), chosen):
                return True
            for also_lost, other, other_byte in readings[:i]:
                together = (byte - data[at] + other_byte - data[other]) & 0xFF
                if other == at or lost + also_lost >= limit or together != needed:
                    continue
                if _is_rival(_changed(data, (at, byte), (other, other_byte)), chosen):
                    return True
        return False

    def _readings(self) -> list[tuple[float, int, int]]:
        """(explained share lost, place, byte) of all other readings, likeliest first; the length is believed."""
        return sorted((loss, at, byte) for at, c in enumerate(self._characters) if at != 1 for loss, byte in c.readings)

    def _reading(self, message: ClipMessage | None, repaired: bool) -> Reading:
        share = min(0.999, max(0.01, float(np.mean([c.share for c in self._characters]))))
        return Reading(
            self.sync.standard,
            int(self.sync.sample),
            int(self._position),
            message,
            repaired,
            round(10.0 * float(np.log10(share / (1.0 - share))), 1),
        )


def _changed(data: bytes, *changes: tuple[int, int]) -> bytes:
    out = bytearray(data)
    for at, byte in changes:
        out[at] = byte
    return bytes(out)


def _is_rival(data: bytes, chosen: bytes) -> bool:
    return data != chosen and clip_message.parse(data) is not None


@lru_cache(maxsize=2)
def _mark_basis(standard: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines, then sines, of the mark at every quarter per cent round its nominal frequency, with and without a Hann
    window: [MARK_SAMPLES, 2 * OFFSETS]."""
    hz = PAIRS_HZ[standard][0] * (1.0 + (np.arange(OFFSETS) - OFFSETS // 2) / 400.0)
    angle = 2.0 * np.pi / SAMPLE_RATE_HZ * np.outer(np.arange(MARK_SAMPLES), hz)
    plain = np.hstack([np.cos(angle), np.sin(angle)])
    return (plain * np.hanning(MARK_SAMPLES)[:, None]).astype(np.float32), plain.astype(np.float32)


def _pair_power(z: NDArray[np.float32]) -> NDArray[np.float32]:
    half = len(z) // 2
    out: NDArray[np.float32] = z[:half] ** 2 + z[half:] ** 2
    return out


def _peak(values: NDArray[np.float64], chosen: int) -> float:
    """Place of the maximum in bits, by a parabola through its neighbours."""
    step = float(TIMING_STEPS[1] - TIMING_STEPS[0])
    if 0 < chosen < len(values) - 1:
        a, b, c = (float(v) for v in values[chosen - 1 : chosen + 2])
        curve = a - 2.0 * b + c
        if curve < 0:
            return float(TIMING_STEPS[chosen]) + step * 0.5 * (a - c) / curve
    return float(TIMING_STEPS[chosen])
