"""A call by its sounds alone: where neither ring nor loop is sensed, this makes RingBurst, OffHook and OnHook of them.

Inbound: ringing current, then a hook click or a voice within one ring period. Outbound: dial tone, or ringing tone
heard in the receiver, then a click or a voice. The end: a supervisory tone after the last voice, a click with silence
behind it, or silence longer than any hold. It is slower and less certain than a sense wire, and the ledger says so.
"""

from dataclasses import dataclass
from enum import Enum

from firmware.policy.events import Tone
from firmware.units import SAMPLE_RATE_HZ

RING_PERIOD_S = 3.6
"""UK ringing repeats every 3.0 s (0.4 0.2 0.4 2.0, SIN 350), and 10 % and a click's length more."""

ANSWER_VOICE_S = 12.0
"""A click after ringing is an answer when a voice follows within this time."""

ANSWER_BEFORE_VOICE_S, ANSWER_CUT_S = 0.6, 1.5
"""Where no click was heard it was covered by the ringing that it cut short, if a voice follows that within the second;
else the answer is put the first before the first word: people speak 0.2 to 1 s after it."""

CLICK_END_S = 7.0
"""A click by itself, followed by this much silence, was the end; hold silence does not begin with one."""

CLICK_APART_S = 0.3
"""A click this close to the voice before it may be the end of its last word (a "t" sounds like one): then the silence
must be longer than any hold. The end is the click all the same."""

SILENCE_END_S = 19.0
"""Silence this long is the end by itself: a hold of 15 s with the pauses round it must not split a call."""

END_TONES = (Tone.NU, Tone.BUSY, Tone.CONGESTION, Tone.DIAL, Tone.SPECIAL_DIAL)
VOICE_MIN_S = 0.25


class Phase(Enum):
    IDLE = "idle"
    RINGING = "ringing"
    DIALLING = "dialling"
    CALL = "call"


@dataclass(frozen=True)
class CallHeard:
    """One call by ear. ``end_sample`` None: it has just begun (told once), else it is over."""

    line: int
    inbound: bool
    onset_sample: int
    end_sample: int | None
    began: bool = True


class CallShape:
    """One line. Feed the sounds in time order, then ``advance`` to the present; calls come back when they begin and
    when they end."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._out: list[CallHeard] = []
        self._idle()

    def _idle(self) -> None:
        self._phase = Phase.IDLE
        self._inbound = True
        self._last_ring = 0
        self._last_call_tone = 0
        self._answer: int | None = None
        """A click that may have been the answer."""
        self._onset = 0
        self._last_voice = 0
        self._end_click: int | None = None

    # --------------------------------------------------------------------------------------------------- the sounds

    def ring(self, onset: int, end: int) -> None:
        if self._phase is Phase.CALL and onset > self._last_voice:
            self._finish(self._best_end(onset))
        if self._phase in (Phase.IDLE, Phase.DIALLING):
            self._idle()
            self._phase = Phase.RINGING
        if self._phase is Phase.RINGING:
            self._last_ring, self._answer = end, None

    def tone(self, tone: Tone, onset: int, at: int) -> None:
        if self._phase is Phase.CALL:
            if tone in END_TONES and onset > self._last_voice - SAMPLE_RATE_HZ // 2:
                self._finish(self._best_end(onset))
            return
        if tone in (Tone.DIAL, Tone.SPECIAL_DIAL, Tone.RINGING):
            self._phase, self._inbound = Phase.DIALLING, False
            self._last_call_tone, self._answer = at, None

    def tone_goes_on(self, at: int) -> None:
        """The last tone was still there at ``at``."""
        if self._phase is Phase.DIALLING:
            self._last_call_tone, self._answer = max(at, self._last_call_tone), None

    def click(self, at: int) -> None:
        if (
            self._phase is Phase.RINGING and at - self._last_ring < RING_PERIOD_S * SAMPLE_RATE_HZ
        ) or self._phase is Phase.DIALLING:
            self._answer = self._answer or at
        elif self._phase is Phase.CALL and self._end_click is None and at > self._last_voice - SAMPLE_RATE_HZ // 4:
            self._end_click = at

    def voice(self, onset: int, end: int) -> None:
        """``end`` may be the present: the voice goes on."""
        if end - onset < VOICE_MIN_S * SAMPLE_RATE_HZ:
            return
        if self._phase in (Phase.RINGING, Phase.DIALLING):
            reference = self._last_ring if self._phase is Phase.RINGING else self._last_call_tone
            if end > reference + VOICE_MIN_S * SAMPLE_RATE_HZ:
                cut = onset - reference < ANSWER_CUT_S * SAMPLE_RATE_HZ
                unheard = reference if cut else onset - int(ANSWER_BEFORE_VOICE_S * SAMPLE_RATE_HZ)
                self._onset = self._answer if self._answer is not None else unheard
                self._phase = Phase.CALL
                self._last_voice, self._end_click = end, None
                self._out.append(CallHeard(self._line, self._inbound, self._onset, None))
        elif self._phase is Phase.CALL:
            if self._end_click is not None and end > self._end_click + SAMPLE_RATE_HZ // 4:
                self._end_click = None
            self._last_voice = max(self._last_voice, end)

    def advance(self, now: int) -> list[CallHeard]:
        """The present is ``now``: what has been silent for too long ends."""
        if self._phase is Phase.RINGING:
            waited = ANSWER_VOICE_S if self._answer is not None else RING_PERIOD_S
            if now - (self._answer or self._last_ring) > waited * SAMPLE_RATE_HZ:
                self._idle()
        elif self._phase is Phase.DIALLING:
            if now - self._last_call_tone > 60 * SAMPLE_RATE_HZ:
                self._idle()
        elif self._phase is Phase.CALL:
            click = self._end_click
            if click is not None:
                apart = click - self._last_voice > CLICK_APART_S * SAMPLE_RATE_HZ
                if now - click > (CLICK_END_S if apart else SILENCE_END_S) * SAMPLE_RATE_HZ:
                    self._finish(click)
            elif now - self._last_voice > SILENCE_END_S * SAMPLE_RATE_HZ:
                self._finish(self._last_voice)
        out, self._out = self._out, []
        return out

    def flush(self, now: int) -> list[CallHeard]:
        """End of the recording."""
        if self._phase is Phase.CALL:
            self._finish(self._end_click if self._end_click is not None else min(self._last_voice, now))
        out, self._out = self._out, []
        return out

    def _best_end(self, limit: int) -> int:
        """A click after the last voice, else the voice's end, but never after ``limit``."""
        return min(limit, self._end_click if self._end_click is not None else self._last_voice)

    def _finish(self, end: int) -> None:
        self._out.append(CallHeard(self._line, self._inbound, self._onset, max(end, self._onset + 1)))
        self._idle()
