"""What is heard in the sound of one VoIP call: pieces of codec bytes to the ear's events, on the channels 0 (caller)
and 1 (agent)."""

from firmware.dsp.ear import Ear, Listening
from firmware.policy.events import Event
from firmware.voip.audio import EarDecoder
from firmware.voip.output import MediaPiece


class CallEar:
    """``ear``: of two channels."""

    def __init__(self, ear: Ear) -> None:
        self._ear = ear
        self._decoder = EarDecoder()

    def hear(self, piece: MediaPiece, *, digits: bool) -> list[Event]:
        """``digits``: whether they may be searched for in this piece."""
        listening = [Listening(digits=digits, caller_id=False)] * 2
        return self._ear.hear(self._decoder.hear(piece), [piece.at_mono_us] * 2, listening)
