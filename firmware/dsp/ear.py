"""The ear of the recorder: blocks of samples in, facts out (policy.events). No clock, no I/O.

What a line may hear is said with every block (``Listening``). A line that is muted for a payment keeps its supervisory
tones, its level meter and the one configured opt-out key; its digit and caller-ID detectors are cleared and are given
zeros, never that audio. No digit's value is in anything that leaves this class.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.dsp import dtmf_score
from firmware.dsp.alert_tone import AlertTone, AlertToneReceiver
from firmware.dsp.callerid import FskReceiver
from firmware.dsp.dtmf import Digit, DtmfReceiver
from firmware.dsp.fsk_decoder import Reading
from firmware.dsp.levels import LevelMeter, Quality
from firmware.dsp.opt_out_key import OptOutKeyReceiver
from firmware.dsp.tone_plan import UK, TonePlan
from firmware.dsp.tones import ToneFound, ToneGone, ToneReceiver
from firmware.policy.events import (
    Absence,
    CallerIdHeard,
    ChannelQuality,
    DigitHeard,
    Event,
    OptOutKeyHeard,
    Tone,
    ToneEnded,
    ToneHeard,
)
from firmware.units import SAMPLE_RATE_HZ, SAMPLE_US

Samples = NDArray[np.int16]

TIME_MARKS_MAX = 256
"""Blocks whose capture time is remembered per line: 25 s of 100 ms blocks, longer than any detector looks back."""

ACKNOWLEDGE_KEY = "D"
ACKNOWLEDGE_WITHIN_SAMPLES = 250 * SAMPLE_RATE_HZ // 1000
"""A telephone answers the call-waiting alert within 100 ms by a DTMF D of 65 to 75 ms (W91030 fig. 9-6): not a key."""

ABSENCE = {"P": Absence.WITHHELD, "O": Absence.UNAVAILABLE}
SIGNALLINGS = ("auto", "v23", "bell", "dtmf")
STANDARD_OF = {"v23": "v23", "bell": "bell202"}


@dataclass(frozen=True)
class Listening:
    """What the gate lets one line hear in this block. Supervisory tones, levels and the opt-out key are always on."""

    digits: bool
    caller_id: bool


class CaptureAxis:
    """Stream positions to capture time, per line, exact across lost samples."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, int]] = deque(maxlen=TIME_MARKS_MAX)

    def mark(self, sample: int, mono_us: int) -> None:
        self._marks.append((sample, mono_us))

    def mono_us(self, sample: int) -> int:
        """Capture time of the sample at this stream position (of the block it came in)."""
        first, first_us = self._marks[0]
        for mark, mark_us in reversed(self._marks):
            if mark <= sample:
                first, first_us = mark, mark_us
                break
        return first_us + (sample - first) * SAMPLE_US


class Ear:
    """All detectors of all lines of one codec. Deterministic: the same blocks give the same events.

    ``cid_signalling``: auto, v23, bell or dtmf (chan_dahdi's words). ``opt_out_digit``: the configured key, or None.
    ``upstream_notice``: int16 [n], the site's notice where the telephone system plays it.
    """

    def __init__(
        self,
        lines: int,
        *,
        tone_plan: TonePlan = UK,
        cid_signalling: str = "auto",
        opt_out_digit: str | None = None,
        upstream_notice: Samples | None = None,
    ) -> None:
        assert cid_signalling in SIGNALLINGS
        self._lines = lines
        self._signalling = cid_signalling
        self._position = 0
        self._axes = [CaptureAxis() for _ in range(lines)]
        self._heard_digits, self._heard_caller_id = [False] * lines, [False] * lines
        self._alert_end = [-SAMPLE_RATE_HZ] * lines
        self._levels = LevelMeter(lines)
        self._tones = ToneReceiver(lines, tone_plan)
        self._alerts = AlertToneReceiver(lines)
        self._digits = DtmfReceiver(lines)
        self._fsk = FskReceiver(lines)
        self._opt_out = OptOutKeyReceiver(lines, opt_out_digit) if opt_out_digit is not None else None

    def hear(self, samples: Samples, first_mono_us: Sequence[int], listening: Sequence[Listening]) -> list[Event]:
        """int16 [lines, n] at SAMPLE_RATE_HZ, n at most 1 s; ``first_mono_us``: capture time of sample 0 of each line.
        Events come in no particular order; each carries its own time."""
        assert samples.shape[0] == self._lines == len(first_mono_us) == len(listening)
        for axis, mono_us in zip(self._axes, first_mono_us, strict=True):
            axis.mark(self._position, mono_us)
        self._position += samples.shape[1]
        x = samples.astype(np.float32)
        events: list[Event] = [self._quality(quality) for quality in self._levels.feed(samples)]
        events.extend(self._tone(found) for found in self._tones.feed(x))
        for alert in self._alerts.feed(x):
            events.extend(self._alert(alert))
        events.extend(self._hear_digits(x, [heard.digits for heard in listening]))
        events.extend(self._hear_caller_id(x, [heard.caller_id for heard in listening]))
        if self._opt_out is not None:
            events.extend(
                OptOutKeyHeard(line, self._axes[line].mono_us(onset)) for line, onset in self._opt_out.feed(x)
            )
        return events

    def reset(self, line: int) -> None:
        """A new call begins: nothing of the one before is remembered."""
        self._levels.reset(line)
        self._tones.reset(line)
        self._alerts.reset(line)
        self._digits.reset(line)
        self._fsk.reset(line)
        if self._opt_out is not None:
            self._opt_out.reset(line)

    def _hear_digits(self, x: NDArray[np.float32], allowed: list[bool]) -> list[Event]:
        for line, heard in enumerate(allowed):
            if self._heard_digits[line] and not heard:
                self._digits.reset(line)
        self._heard_digits = allowed
        found = self._digits.feed(_only(x, allowed))
        return [event for digit in found if allowed[digit.line] for event in self._digit(digit)]

    def _hear_caller_id(self, x: NDArray[np.float32], allowed: list[bool]) -> list[Event]:
        for line, heard in enumerate(allowed):
            if self._heard_caller_id[line] and not heard:
                self._fsk.reset(line)
        self._heard_caller_id = allowed
        if self._signalling == "dtmf":
            return []
        found = self._fsk.feed(_only(x, allowed))
        return [event for line, reading in found if allowed[line] for event in self._reading(line, reading)]

    # ------------------------------------------------------------------------------------------- detectors to events

    def _quality(self, quality: Quality) -> ChannelQuality:
        return ChannelQuality(
            line=quality.line,
            at_mono_us=self._axes[quality.line].mono_us(quality.end_sample),
            level_dbm0=quality.level_dbm0,
            noise_dbm0=quality.noise_dbm0,
            clipped_samples=quality.clipped_samples,
            silent=quality.level_dbm0 - quality.noise_dbm0 < 6.0,
            digital_zero=quality.digital_zero,
            hum_dbm0=quality.hum_dbm0,
        )

    def _tone(self, found: ToneFound | ToneGone) -> Event:
        axis = self._axes[found.line]
        if isinstance(found, ToneGone):
            return ToneEnded(found.line, axis.mono_us(found.at_sample), found.tone)
        return ToneHeard(found.line, axis.mono_us(found.at_sample), found.tone, axis.mono_us(found.onset_sample))

    def _alert(self, alert: AlertTone) -> list[Event]:
        self._alert_end[alert.line] = alert.end_sample
        axis = self._axes[alert.line]
        end_us = axis.mono_us(alert.end_sample)
        return [
            ToneHeard(alert.line, end_us, Tone.DT_AS, axis.mono_us(alert.onset_sample)),
            ToneEnded(alert.line, end_us, Tone.DT_AS),
        ]

    def _digit(self, digit: Digit) -> list[Event]:
        strict = dtmf_score.is_key(digit.burst, digit.score)
        since_alert = digit.onset_sample - self._alert_end[digit.line]
        if digit.value == ACKNOWLEDGE_KEY and 0 <= since_alert <= ACKNOWLEDGE_WITHIN_SAMPLES:
            return []
        if not strict and digit.score <= dtmf_score.LOOSE:
            return []
        axis = self._axes[digit.line]
        onset_us, end_us = axis.mono_us(digit.onset_sample), axis.mono_us(digit.end_sample)
        return [DigitHeard(digit.line, onset_us, end_us, strict, digit.continued)]

    def _reading(self, line: int, reading: Reading) -> list[Event]:
        wanted = STANDARD_OF.get(self._signalling)
        if wanted is not None and reading.standard != wanted:
            return []
        at_us = self._axes[line].mono_us(self._fsk.position(reading.end_sample))
        message = reading.message
        if message is None:
            return [CallerIdHeard(line, at_us, None, Absence.UNREADABLE, standard=reading.standard)]
        if not message.is_call:
            return []
        absence = None if message.number is not None else ABSENCE.get(message.absence or "", Absence.NONE_SENT)
        return [
            CallerIdHeard(
                line,
                at_us,
                message.number,
                absence,
                message.name,
                message.call_type,
                message.date,
                reading.standard,
                reading.repaired,
                reading.snr_db,
            )
        ]


def _only(x: NDArray[np.float32], allowed: list[bool]) -> NDArray[np.float32]:
    """Zeros where a line must not be heard: the detector never sees that audio."""
    return np.where(np.array(allowed)[:, None], x, np.float32(0.0))
