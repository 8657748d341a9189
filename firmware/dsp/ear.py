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

from firmware.dsp.alert_tone import AlertTone, AlertToneReceiver
from firmware.dsp.audio_line import AudioLines
from firmware.dsp.call_shape import CallHeard
from firmware.dsp.callerid import FskReceiver
from firmware.dsp.dtmf import Digit, DtmfReceiver
from firmware.dsp.dtmf_cli import KeyedCallerId, KeyedCallerIdReceiver
from firmware.dsp.fsk_decoder import Reading
from firmware.dsp.levels import LevelMeter, Quality
from firmware.dsp.notice import NoticeMatcher
from firmware.dsp.opt_out_key import OptOutKeyReceiver
from firmware.dsp.tone_plan import UK, TonePlan
from firmware.dsp.tones import ToneFound, ToneGone, ToneReceiver
from firmware.dsp.vad import Voice, VoiceDetector
from firmware.policy.events import (
    Absence,
    CallerIdHeard,
    ChannelQuality,
    DigitHeard,
    Event,
    NoticeMatched,
    OffHook,
    OnHook,
    OptOutKeyHeard,
    RingBurst,
    Tone,
    ToneEnded,
    ToneHeard,
)
from firmware.units import BLOCK_SAMPLES, SAMPLE_RATE_HZ, SAMPLE_US

Samples = NDArray[np.int16]

TIME_MARKS_MAX = 256
"""Blocks whose capture time is remembered per line: 25 s of 100 ms blocks, longer than any detector looks back."""

ACKNOWLEDGE_KEY = "D"
ACKNOWLEDGE_WITHIN_SAMPLES = 250 * SAMPLE_RATE_HZ // 1000
"""A telephone answers the call-waiting alert within 100 ms by a DTMF D of 65 to 75 ms (W91030 fig. 9-6): not a key."""

VOICE_EDGE = SAMPLE_RATE_HZ // 5
"""The detector adds a little at both ends of a voice, up to 150 ms in noise 10 dB below it."""

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
    ``upstream_notice``: int16 [n], the site's notice where the telephone system plays it. ``audio_only``: no ring and
    loop sense is wired, so RingBurst, OffHook and OnHook are made of what is heard (some seconds late, with the time
    at which they were true).
    """

    def __init__(
        self,
        lines: int,
        *,
        tone_plan: TonePlan = UK,
        cid_signalling: str = "auto",
        opt_out_digit: str | None = None,
        upstream_notice: Samples | None = None,
        audio_only: bool = False,
    ) -> None:
        assert cid_signalling in SIGNALLINGS
        self._lines = lines
        self._signalling = cid_signalling
        self._position = 0
        self._held: list[Samples] = []
        self._held_listening: list[Listening] = []
        self._ready: list[Event] = []
        self._axes = [CaptureAxis() for _ in range(lines)]
        self._keys_heard, self._fsk_heard, self._idle = [False] * lines, [False] * lines, [False] * lines
        self._alert_end = [-SAMPLE_RATE_HZ] * lines
        self._call_began = [0] * lines
        self._voice_end = [0] * lines
        self._levels = LevelMeter(lines)
        self._unjudged: list[Quality] = []
        """Seconds of which it is not known yet whether somebody spoke."""
        self._voice = VoiceDetector(lines)
        self._tones = ToneReceiver(lines, tone_plan)
        self._alerts = AlertToneReceiver(lines)
        self._keys = DtmfReceiver(lines)
        self._keyed_caller_id = KeyedCallerIdReceiver(lines, plain=cid_signalling == "dtmf")
        self._fsk = FskReceiver(lines)
        self._opt_out = OptOutKeyReceiver(lines, opt_out_digit) if opt_out_digit is not None else None
        self._notice = NoticeMatcher(lines, upstream_notice) if upstream_notice is not None else None
        self._shapes = AudioLines(lines, self._voice) if audio_only else None

    def hear(self, samples: Samples, first_mono_us: Sequence[int], listening: Sequence[Listening]) -> list[Event]:
        """int16 [lines, n] at SAMPLE_RATE_HZ, n at most 1 s; ``first_mono_us``: capture time of sample 0 of each line.
        Events come in no particular order; each carries its own time.

        Pieces shorter than a block (packets) are gathered to one: four times cheaper, 100 ms later. What was gathered
        under other permissions is heard under those."""
        assert samples.shape[0] == self._lines == len(first_mono_us) == len(listening)
        for axis, mono_us in zip(self._axes, first_mono_us, strict=True):
            axis.mark(self._position, mono_us)
        self._position += samples.shape[1]
        if list(listening) != self._held_listening:
            self._hear_held()
            self._held_listening = list(listening)
        self._held.append(samples)
        if sum(piece.shape[1] for piece in self._held) >= BLOCK_SAMPLES:
            self._hear_held()
        events, self._ready = self._ready, []
        return events

    def _hear_held(self) -> None:
        if self._held:
            samples, self._held = np.concatenate(self._held, axis=1), []
            self._ready.extend(self._hear_block(samples, self._held_listening))

    def _hear_block(self, samples: Samples, listening: Sequence[Listening]) -> list[Event]:
        x = samples.astype(np.float32)
        voices = self._voice.feed(x)
        events: list[Event] = [self._quality(quality) for quality in self._hear_levels(samples, voices)]
        events.extend(self._tone(found) for found in self._tones.feed(x))
        for alert in self._alerts.feed(x):
            events.extend(self._alert(alert))
        events.extend(self._hear_keys(x, listening))
        events.extend(self._hear_fsk(x, [line.caller_id for line in listening]))
        if self._opt_out is not None:
            held = self._opt_out.feed(x)
            events.extend(OptOutKeyHeard(line, self._axes[line].mono_us(onset)) for line, onset in held)
        if self._notice is not None:
            events.extend(self._hear_notice(self._notice, x))
        if self._shapes is not None:
            events.extend(self._hear_shapes(self._shapes, x, voices))
        return events

    def reset(self, line: int) -> None:
        """A call is answered: nothing of the one before is remembered. The notice's offset counts from here."""
        self._hear_held()
        self._call_began[line] = self._position
        self._levels.reset(line)
        self._unjudged = [quality for quality in self._unjudged if quality.line != line]
        self._voice.reset(line)
        self._tones.reset(line)
        self._alerts.reset(line)
        self._keys.reset(line)
        self._keyed_caller_id.reset(line)
        self._fsk.reset(line)
        if self._opt_out is not None:
            self._opt_out.reset(line)
        if self._notice is not None:
            self._notice.reset(line)

    def _hear_levels(self, samples: Samples, voices: list[Voice]) -> list[Quality]:
        for voice in voices:
            self._voice_end[voice.line] = max(self._voice_end[voice.line], voice.end_sample)
        self._unjudged.extend(self._levels.feed(samples))
        judged = [quality for quality in self._unjudged if quality.end_sample <= self._voice.judged_until]
        self._unjudged = [quality for quality in self._unjudged if quality.end_sample > self._voice.judged_until]
        return judged

    def _hear_keys(self, x: NDArray[np.float32], listening: Sequence[Listening]) -> list[Event]:
        """Keys while digits may be heard; keyed caller-ID while the line is idle (caller-ID may be heard and digits may
        not): what is keyed in a call is never read. Otherwise the detector gets zeros."""
        keyed = self._signalling in ("auto", "dtmf") and self._shapes is None
        idle = [keyed and line.caller_id and not line.digits for line in listening]
        allowed = [line.digits or idle[number] for number, line in enumerate(listening)]
        for line in _silenced(self._idle, idle):
            self._keyed_caller_id.reset(line)
        self._idle = idle
        for line in _silenced(self._keys_heard, allowed):
            self._keys.reset(line)
        self._keys_heard = allowed
        events: list[Event] = []
        for digit in self._keys.feed(_only(x, allowed)):
            if listening[digit.line].digits:
                events.extend(self._digit(digit))
            if idle[digit.line] and digit.strict and not digit.continued:
                found = self._keyed_caller_id.key(digit)
                events.extend([self._keyed(found)] if found is not None else [])
        return events

    def _hear_fsk(self, x: NDArray[np.float32], allowed: list[bool]) -> list[Event]:
        for line in _silenced(self._fsk_heard, allowed):
            self._fsk.reset(line)
        self._fsk_heard = allowed
        if self._signalling == "dtmf" or not any(allowed):
            x, allowed = np.zeros_like(x), [False] * self._lines
        found = self._fsk.feed(_only(x, allowed))
        return [event for line, reading in found for event in self._reading(line, reading)]

    def _hear_notice(self, matcher: NoticeMatcher, x: NDArray[np.float32]) -> list[Event]:
        events: list[Event] = []
        for found in matcher.feed(x):
            offset_ms = (found.onset_sample - self._call_began[found.line]) * 1000 // SAMPLE_RATE_HZ
            events.append(NoticeMatched(found.line, self._axes[found.line].mono_us(found.end_sample), offset_ms))
        return events

    def _hear_shapes(self, shapes: AudioLines, x: NDArray[np.float32], voices: list[Voice]) -> list[Event]:
        rings, calls = shapes.feed(x, voices)
        events: list[Event] = [RingBurst(ring.line, self._axes[ring.line].mono_us(ring.onset_sample)) for ring in rings]
        return [*events, *(self._call(call) for call in calls)]

    # ------------------------------------------------------------------------------------------- detectors to events

    def _quality(self, quality: Quality) -> ChannelQuality:
        return ChannelQuality(
            line=quality.line,
            at_mono_us=self._axes[quality.line].mono_us(quality.end_sample),
            level_dbm0=quality.level_dbm0,
            noise_dbm0=quality.noise_dbm0,
            clipped_samples=quality.clipped_samples,
            silent=self._silent(quality),
            digital_zero=quality.digital_zero,
            hum_dbm0=quality.hum_dbm0,
        )

    def _silent(self, quality: Quality) -> bool:
        """No voice in this second but what reaches into it by less than VOICE_EDGE."""
        going_on = self._voice.going_on(quality.line)
        if going_on is not None and going_on.onset_sample < quality.end_sample - VOICE_EDGE:
            return False
        return self._voice_end[quality.line] <= quality.end_sample - SAMPLE_RATE_HZ + VOICE_EDGE

    def _call(self, call: CallHeard) -> Event:
        axis = self._axes[call.line]
        if call.end_sample is None:
            return OffHook(call.line, axis.mono_us(call.onset_sample), outbound_heard=not call.inbound)
        return OnHook(call.line, axis.mono_us(call.end_sample))

    def _tone(self, found: ToneFound | ToneGone) -> Event:
        if self._shapes is not None:
            self._shapes.tone(found)
        axis = self._axes[found.line]
        if isinstance(found, ToneGone):
            return ToneEnded(found.line, axis.mono_us(found.at_sample), found.tone)
        return ToneHeard(found.line, axis.mono_us(found.at_sample), found.tone, axis.mono_us(found.onset_sample))

    def _alert(self, alert: AlertTone) -> list[Event]:
        self._alert_end[alert.line] = alert.end_sample
        if self._shapes is not None:
            self._shapes.signal(alert.line, alert.onset_sample, alert.end_sample)
        axis = self._axes[alert.line]
        end_us = axis.mono_us(alert.end_sample)
        return [
            ToneHeard(alert.line, end_us, Tone.DT_AS, axis.mono_us(alert.onset_sample)),
            ToneEnded(alert.line, end_us, Tone.DT_AS),
        ]

    def _digit(self, digit: Digit) -> list[Event]:
        if digit.strict and self._shapes is not None:
            self._shapes.signal(digit.line, digit.onset_sample, digit.end_sample)
        since_alert = digit.onset_sample - self._alert_end[digit.line]
        if digit.value == ACKNOWLEDGE_KEY and 0 <= since_alert <= ACKNOWLEDGE_WITHIN_SAMPLES:
            return []
        if not digit.loose:
            return []
        axis = self._axes[digit.line]
        onset_us, end_us = axis.mono_us(digit.onset_sample), axis.mono_us(digit.end_sample)
        return [DigitHeard(digit.line, onset_us, end_us, digit.strict, digit.continued)]

    def _keyed(self, found: KeyedCallerId) -> CallerIdHeard:
        absence = None if found.number is not None else ABSENCE[found.absence or "O"]
        at_us = self._axes[found.line].mono_us(found.end_sample)
        return CallerIdHeard(found.line, at_us, found.number, absence, standard="dtmf")

    def _reading(self, line: int, reading: Reading) -> list[Event]:
        wanted = STANDARD_OF.get(self._signalling)
        if wanted is not None and reading.standard != wanted:
            return []
        first, end = self._fsk.position(reading.first_sample), self._fsk.position(reading.end_sample)
        if self._shapes is not None:
            self._shapes.signal(line, first - SAMPLE_RATE_HZ // 2, end)
        at_us = self._axes[line].mono_us(end)
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


def _silenced(before: list[bool], now: list[bool]) -> list[int]:
    """Lines that may no longer be heard."""
    return [line for line, (was, is_) in enumerate(zip(before, now, strict=True)) if was and not is_]


def _only(x: NDArray[np.float32], allowed: list[bool]) -> NDArray[np.float32]:
    """Zeros where a line must not be heard: the detector never sees that audio."""
    return np.where(np.array(allowed)[:, None], x, np.float32(0.0))
