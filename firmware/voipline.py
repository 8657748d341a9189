"""One VoIP line: what the trunk tells of its calls, and what its keys mean. Direction and shape come from ``voip/``,
by port.

Several calls may be on one line at a time (call waiting, a second dialog out); PAYMENT silences all of them, OPT-OUT
means the caller who is spoken with.
"""

from collections.abc import Iterable
from dataclasses import replace

from firmware.policy import events as ev
from firmware.policy.call import Call
from firmware.policy.keyed import KEYS, Act, KeyedLine, LatchOptOut, NoticeSource
from firmware.policy.records import Direction, Ended, GapReason, Outcome
from firmware.units import SAMPLE_US
from firmware.voip import output as vo

OUTCOMES_OF_THE_TRUNK = frozenset({Outcome.NOT_RECORDABLE_ENCRYPTED, Outcome.FAULT, Outcome.UNANSWERED})
"""What the trunk knows and the gate cannot: there was nothing that could be recorded, or the caller hung up while the
answer was on its way."""


class VoipLine(KeyedLine):
    """``apply`` takes keys and digits; ``told`` takes what the trunk says of one of this line's calls."""

    def apply(self, event: ev.Event) -> list[Act]:
        handler = KEYS.get(type(event))
        return list(handler(self, event)) if handler else []

    def pass_time(self, now_mono_us: int) -> list[Act]:
        return []

    @property
    def state(self) -> str:
        return "talking" if self._answered() else "ringing" if self._going_on() else "idle"

    # ------------------------------------------------------------------------------------- what the trunk says

    def started(self, told: vo.CallStarted) -> Call:
        call = self._new_call(told.direction, told.rule.value, told.at_mono_us)
        if told.direction is Direction.INBOUND:
            self._interrupted_by_boot = False
        _saw(call, told.evidence, told.at_mono_us)
        return call

    def answered(self, call: Call, told: vo.CallAnswered) -> None:
        call.direction, call.rule, call.answered_mono_us = told.direction, told.rule.value, told.at_mono_us
        call.evidence.clear()
        _saw(call, told.evidence, told.at_mono_us)
        call.notice_source = "upstream_claimed"
        if self.settings.upstream_claim_suffices and self.settings.notice_source is NoticeSource.UPSTREAM:
            call.permitted_from_mono_us = told.at_mono_us

    def heard(self, call: Call, event: ev.Event) -> list[Act]:
        if isinstance(event, ev.CallerIdHeard):
            call.caller_id = event
        elif isinstance(event, ev.NoticeMatched):
            self._notice_matched(call, event)
        elif isinstance(event, ev.OptOutKeyHeard):
            inbound = call.direction is Direction.INBOUND and call.answered_mono_us is not None
            return self._opt_out_of([call]) if inbound else []
        else:
            return self.apply(event)
        return []

    def _notice_matched(self, call: Call, event: ev.NoticeMatched) -> None:
        call.notice_source, call.notice_offset_ms = "upstream_matched", event.offset_ms
        if call.permitted_from_mono_us is None and self.settings.notice_source is NoticeSource.UPSTREAM:
            call.permitted_from_mono_us = event.at_mono_us

    def hold(self, call: Call, told: vo.HoldStarted | vo.HoldEnded) -> None:
        if isinstance(told, vo.HoldStarted):
            call.silence(GapReason.ON_HOLD, told.at_mono_us)
        else:
            call.end_silence(GapReason.ON_HOLD, told.at_mono_us)

    def not_delivered(self, call: Call, piece: vo.MediaPiece) -> None:
        """A stretch that nobody can record; lost packets need no word, their absence is judged as such."""
        if piece.gap is GapReason.FAULT:
            call.silence(GapReason.FAULT, piece.at_mono_us, piece.at_mono_us + piece.samples * SAMPLE_US)

    def ended(self, call: Call, told: vo.CallEnded) -> list[Act]:
        call.direction, call.rule = told.direction, told.rule.value
        call.samples = told.samples
        if call.answered_mono_us is not None:
            # Where no BYE was seen the axis went on in gaps until it was noticed; the call ended with its last sound.
            call.samples = min(told.samples, max(0, told.at_mono_us - call.answered_mono_us) // SAMPLE_US)
        if told.outcome in OUTCOMES_OF_THE_TRUNK:
            call.not_recordable = told.outcome
        call.end(told.at_mono_us, told.ended or Ended.ON_HOOK)
        if call.answered_mono_us is not None and call.direction is Direction.INBOUND:
            self.last = call
        if self._answered():
            return []
        self.privacy.call_ended(told.at_mono_us)
        return [LatchOptOut(self.line, False)] if call.opted_out else []

    # ---------------------------------------------------------------------------------------------- helpers

    def _going_on(self) -> list[Call]:
        return [call for call in self.calls if call.ended_mono_us is None]

    def _answered(self) -> bool:
        return any(call.answered_mono_us is not None for call in self._going_on())

    def _callers_call(self) -> Call | None:
        """The inbound call that is spoken with; where all are on hold, the one answered last; else what rings."""
        answered = [c for c in self._going_on() if c.answered_mono_us is not None and c.direction is Direction.INBOUND]
        spoken = [call for call in answered if not _on_hold(call)]
        found: Iterable[Call] = spoken or answered or self._going_on()
        return max(found, key=lambda call: call.answered_mono_us or call.started_mono_us, default=None)


def _on_hold(call: Call) -> bool:
    return any(s.reason is GapReason.ON_HOLD and s.to_mono_us is None for s in call.silences)


def _saw(call: Call, evidence: Iterable[tuple[str, int]], at_mono_us: int) -> None:
    for word, offset_ms in evidence:
        call.saw(word, at_mono_us + offset_ms * 1000)


def on_line(event: ev.Event, line: int) -> ev.Event:
    """The trunk counts its own lines; the recorder counts all."""
    return event if event.line == line else replace(event, line=line)  # type: ignore[type-var]
