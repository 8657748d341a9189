"""The line by sound alone, put together: rings, clicks, voice, tones and keys feed one ``CallShape`` per line.

Everything is judged ``BEHIND`` late, when it is known which sounds were tones; times are exact all the same.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware.dsp.call_shape import CallHeard, CallShape
from firmware.dsp.filters import Signal
from firmware.dsp.line_sounds import ClickReceiver, RingHeard, RingReceiver
from firmware.dsp.tones import ToneFound, ToneGone
from firmware.dsp.vad import Voice, VoiceDetector
from firmware.policy.events import Tone
from firmware.units import SAMPLE_RATE_HZ

STEP = SAMPLE_RATE_HZ // 10
BEHIND = 35 * STEP
"""3.5 s: ringing tone takes 1.5 s to be recognised and 2.4 s to be missed, number unobtainable 1.2 s (line.md T2)."""

MARGIN = SAMPLE_RATE_HZ // 5
"""200 ms round ringing, tones and data are no voice either: smearing of the voice detector's windows."""

REMEMBERED = 64


@dataclass
class _Line:
    shape: CallShape
    queue: list[tuple[int, Callable[[], None]]] = field(default_factory=list)
    """(time, what to tell the shape), not yet due."""
    spoken: deque[Voice] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    not_voice: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    tone_since: int | None = None
    run_onset: int | None = None


class AudioLines:
    """All lines of a codec. ``feed`` after what the other detectors heard in the same block was told."""

    def __init__(self, lines: int, voice: VoiceDetector) -> None:
        self._lines = [_Line(CallShape(line)) for line in range(lines)]
        self._rings, self._clicks = RingReceiver(lines), ClickReceiver(lines)
        self._voice = voice
        self._now = 0
        self._judged = 0

    def tone(self, found: ToneFound | ToneGone) -> None:
        line = self._lines[found.line]
        if isinstance(found, ToneFound):
            line.tone_since = found.onset_sample
            tone, onset, at = found.tone, found.onset_sample, found.at_sample
            self._later(line, onset, lambda: line.shape.tone(tone, onset, at))
            return
        since = line.tone_since if line.tone_since is not None else found.at_sample
        line.tone_since = None
        line.not_voice.append((since - MARGIN, found.at_sample + MARGIN))
        if found.tone is not Tone.CALL_WAITING:
            end = found.at_sample
            self._later(line, end, lambda: line.shape.tone_goes_on(end))

    def signal(self, line: int, onset: int, end: int) -> None:
        """Keys, alert tones, caller-ID data: a sound that is not a voice."""
        self._lines[line].not_voice.append((onset - MARGIN, end + MARGIN))

    def feed(self, x: Signal, voices: list[Voice]) -> tuple[list[RingHeard], list[CallHeard]]:
        """float32 [lines, n] in counts, at most 1 s; ``voices``: what the voice detector made of it."""
        self._now += x.shape[1]
        rings = self._rings.feed(x)
        for ring in rings:
            self._ring(ring)
        for click in self._clicks.feed(x):
            self._click(self._lines[click.line], click.sample)
        for voice in voices:
            self._lines[voice.line].spoken.append(voice)
        return rings, self._judge(self._now - BEHIND)

    def flush(self) -> list[CallHeard]:
        """End of the recording."""
        for voice in self._voice.flush():
            self._lines[voice.line].spoken.append(voice)
        out = self._judge(self._now)
        for line in self._lines:
            out.extend(line.shape.flush(self._now))
        return out

    def reset(self, line: int) -> None:
        self._lines[line] = _Line(CallShape(line))
        self._rings.reset(line)

    def _ring(self, ring: RingHeard) -> None:
        line = self._lines[ring.line]
        line.not_voice.append((ring.onset_sample - MARGIN, ring.end_sample + MARGIN))
        self._later(line, ring.onset_sample, lambda: line.shape.ring(ring.onset_sample, ring.end_sample))

    def _click(self, line: _Line, at: int) -> None:
        line.not_voice.append((at - MARGIN, at + MARGIN))
        self._later(line, at, lambda: line.shape.click(at))

    def _later(self, line: _Line, at: int, tell: Callable[[], None]) -> None:
        line.queue.append((max(at, self._judged), tell))

    def _judge(self, until: int) -> list[CallHeard]:
        """Tell every shape what happened in the steps up to ``until``, in order."""
        out: list[CallHeard] = []
        while self._judged + STEP <= until:
            end = self._judged + STEP
            for number, line in enumerate(self._lines):
                due = sorted((item for item in line.queue if item[0] < end), key=lambda item: item[0])
                line.queue = [item for item in line.queue if item[0] >= end]
                for _, tell in due:
                    tell()
                self._speak(number, line, self._judged, end)
                out.extend(line.shape.advance(end))
            self._judged = end
        return out

    def _speak(self, number: int, line: _Line, first: int, end: int) -> None:
        """Tell the shape of voice in this step, as one stretch since it began."""
        going_on = self._voice.going_on(number)
        voices = [*line.spoken, *([going_on] if going_on is not None else [])]
        spoken = [v for v in voices if v.onset_sample < end and v.end_sample > first]
        masked = any(a < end and b > first for a, b in line.not_voice)
        if line.tone_since is not None and end > line.tone_since - MARGIN:
            masked = True
        if not spoken or masked:
            line.run_onset = None
            return
        if line.run_onset is None:
            line.run_onset = max(first, spoken[0].onset_sample)
        line.shape.voice(line.run_onset, min(end, spoken[-1].end_sample))
