"""One telephone line: which way each call goes, who may be heard, and when. All rules stand in ``TABLE``.

The numbers in the rule ids are those of the direction rules: 1 ring then off-hook is inbound; 2 off-hook without
ring, with dial tone or dialling, is outbound; 3 ring, off-hook, then dial tone was missed, then outbound; 4 neither
is unknown; 5 the recorder started in mid-call: unknown; 6 off-hook during caller-ID data waits for the ring latch.
Only inbound may be kept.

A hook flash mutes at once and is classified afterwards: after a call-waiting tone it swaps to a new inbound call with
its own notice and opt-out, otherwise it begins a consult that ends with the next flash. Where two readings are
possible the one that records less is taken.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

from firmware.policy import events as ev
from firmware.policy.call import Call
from firmware.policy.keyed import (
    KEYS,
    Act,
    DestroyCall,
    Handler,
    HoldCall,
    KeyedLine,
    LatchOptOut,
    LineSettings,
    NoticeSource,
    PlayNotice,
    StopNotice,
)
from firmware.policy.records import Direction, Ended, GapReason
from firmware.units import US_PER_S

__all__ = [
    "Act", "DestroyCall", "HoldCall", "LatchOptOut", "Line", "LineSettings", "NoticeSource", "Phase", "PlayNotice",
    "StopNotice",
]  # fmt: skip

DIAL_TONE_CERTAIN_US = 2 * US_PER_S
"""A dial tone in mid-call is believed after 2 s: speech gives up to one false tone an hour, none of this length."""

EARLY_DIAL_TONE_US = 5 * US_PER_S
"""Rule 3 where no notice of ours stands between the answer and the sound: a dial tone so soon after the off-hook is
the exchange's, which offers it within a second or two of a seizure (judgement; speech gives up to one false tone an
hour)."""

CALL_WAITING_REACH_US = 15 * US_PER_S
"""line.md 1: a flash at most 15 s after a call-waiting tone is a swap."""

HEARD_LATE_US = 4 * US_PER_S
"""Without sense inputs an answer is known 3.5 s after it happened (dsp/audio_line): the latch waits for it."""

DIAL_TONES = (ev.Tone.DIAL, ev.Tone.SPECIAL_DIAL)

CALL_WAITING_TONES = (ev.Tone.CALL_WAITING, ev.Tone.DT_AS)

END_TONES = (ev.Tone.BUSY, ev.Tone.CONGESTION, ev.Tone.NU, ev.Tone.DIAL)


class Phase(StrEnum):
    IDLE = "idle"
    RINGING = "ringing"
    ANSWERED = "answered"
    """Inbound, the notice not yet heard to its end: not permitted."""
    TALKING = "talking"
    CONSULT = "consult"
    UNEXPLAINED = "unexplained"
    """Off-hook and not inbound: outbound or unknown. Not permitted."""


class Line(KeyedLine):
    """State of one line. ``apply`` takes an event and returns what is to be done; ``pass_time`` does what time alone
    decides."""

    def __init__(self, line: int, settings: LineSettings, next_call: Callable[[], int]) -> None:
        super().__init__(line, settings, next_call)
        self.phase = Phase.IDLE
        self.current: Call | None = None
        self.parked: Call | None = None
        """The caller who waits while the agent consults or speaks with a second caller."""
        self._waiting_mono_us: int | None = None
        self._heard_id: ev.CallerIdHeard | None = None
        self._last_ring_mono_us = 0
        self._dial_since_mono_us: int | None = None

    # ------------------------------------------------------------------------------------------------- in

    def apply(self, event: ev.Event) -> list[Act]:
        handler = TABLE.get((self.phase, type(event))) or ANY_PHASE.get(type(event))
        return list(handler(self, event)) if handler else []

    @property
    def state(self) -> str:
        return self.phase.value

    def pass_time(self, now_mono_us: int) -> list[Act]:
        latch_us = self.settings.ring_latch_us + (0 if self.settings.sense else HEARD_LATE_US)
        if self.phase is Phase.RINGING and now_mono_us - self._last_ring_mono_us > latch_us:
            self._unanswered()
        if self._dial_since_mono_us is not None and now_mono_us - self._dial_since_mono_us >= DIAL_TONE_CERTAIN_US:
            self._dial_tone_in_call(self._dial_since_mono_us)
        return list(self._notice_due(now_mono_us))

    def at_rest(self, now_mono_us: int) -> bool:
        return self.phase is Phase.IDLE and super().at_rest(now_mono_us)

    def _unanswered(self) -> None:
        call = self._the_call()
        call.direction, call.rule = Direction.INBOUND, "ring_unanswered"
        self._finish(call, self._last_ring_mono_us, Ended.ON_HOOK)
        self.phase = Phase.IDLE

    # ------------------------------------------------------------------------------------- ring and answer

    def _ring(self, event: ev.RingBurst) -> Iterable[Act]:
        if self.phase is Phase.IDLE:
            self.current = self._new_call(Direction.UNKNOWN, "rule1_ring_then_off_hook", event.at_mono_us)
            self._adopt_caller_id(self.current, event.at_mono_us)
            self.phase = Phase.RINGING
        self._the_call().saw("ring", event.at_mono_us)
        self._last_ring_mono_us = event.at_mono_us
        return ()

    def _caller_id(self, event: ev.CallerIdHeard) -> Iterable[Act]:
        self._heard_id = event
        if self.phase in (Phase.RINGING, Phase.ANSWERED) and self._the_call().caller_id is None:
            self._adopt_caller_id(self._the_call(), event.at_mono_us)
        return ()

    def _answer(self, event: ev.OffHook) -> Iterable[Act]:
        call = self._the_call()
        call.direction = Direction.INBOUND
        self._begin_inbound(call, event.at_mono_us)
        return self._missed(event.at_mono_us) if event.outbound_heard else ()

    def _begin_inbound(self, call: Call, at_mono_us: int) -> None:
        call.answered_mono_us = at_mono_us
        call.saw("off_hook", at_mono_us)
        self.phase = Phase.ANSWERED
        if self.settings.notice_source is NoticeSource.UPSTREAM:
            call.notice_source = "upstream_claimed"
            if self.settings.upstream_claim_suffices:
                # By sound alone nobody listened for keyed digits before the answer was known.
                call.permitted_from_mono_us = at_mono_us + (0 if self.settings.sense else HEARD_LATE_US)
                self.phase = Phase.TALKING

    def _off_hook_without_ring(self, event: ev.OffHook) -> Iterable[Act]:
        during_id = self._heard_id is not None and event.at_mono_us - self._heard_id.at_mono_us < US_PER_S
        rule = "rule6_off_hook_during_caller_id" if during_id else "rule4_off_hook_without_ring"
        self._unexplained(rule, event.at_mono_us)
        if event.outbound_heard:
            self._is_outbound("rule2_dial_tone_after_off_hook", event.at_mono_us)
        return ()

    def _off_hook_at_boot(self, event: ev.OffHookAtBoot) -> Iterable[Act]:
        self._unexplained("rule5_started_in_mid_call", event.at_mono_us)
        self._interrupted_by_boot = True
        return ()

    def _unexplained(self, rule: str, at_mono_us: int) -> None:
        self.current = self._new_call(Direction.UNKNOWN, rule, at_mono_us)
        self.current.answered_mono_us = at_mono_us
        self.current.saw("off_hook", at_mono_us)
        self.phase = Phase.UNEXPLAINED

    # --------------------------------------------------------------------------------------------- outbound

    def _dial_tone_unexplained(self, event: ev.ToneHeard) -> Iterable[Act]:
        if event.tone in DIAL_TONES:
            self._is_outbound("rule2_dial_tone_after_off_hook", event.onset_mono_us)
        return ()

    def _dialling_unexplained(self, event: ev.DigitHeard) -> Iterable[Act]:
        if event.strict:
            self._is_outbound("rule2_dialling_after_off_hook", event.at_mono_us)
        return ()

    def _is_outbound(self, rule: str, at_mono_us: int) -> None:
        call = self._the_call()
        call.saw("dial_tone" if "tone" in rule else "dialling", at_mono_us)
        if call.direction is Direction.UNKNOWN and not self._interrupted_by_boot:
            call.direction, call.rule = Direction.OUTBOUND, rule

    def _tone_after_answer(self, event: ev.ToneHeard) -> Iterable[Act]:
        if event.tone in CALL_WAITING_TONES:
            self._call_waits(event)
        elif event.tone in DIAL_TONES and not self._the_call().notice_played_ms:
            return self._missed(event.onset_mono_us)
        return ()

    def _missed(self, dial_tone_mono_us: int) -> Iterable[Act]:
        """Rule 3: the caller had gone before the answer; what follows is an outbound call."""
        call = self._the_call()
        call.saw("dial_tone", dial_tone_mono_us)
        call.direction, call.rule = Direction.OUTBOUND, "rule3_dial_tone_after_ring"
        self.phase = Phase.UNEXPLAINED
        return (StopNotice(self.line),)

    # ----------------------------------------------------------------------------------------------- notice

    def _notice_due(self, now_mono_us: int) -> Iterable[Act]:
        call = self.current
        if (
            self.phase is not Phase.ANSWERED
            or self.settings.notice_source is not NoticeSource.APPLIANCE
            or call is None
            or call.answered_mono_us is None
            or call.notice_started_mono_us is not None
            or now_mono_us - call.answered_mono_us < self.settings.notice_delay_us
        ):
            return
        call.notice_started_mono_us = now_mono_us
        yield PlayNotice(self.line, call.call)

    def _notice_finished(self, event: ev.NoticeFinished) -> Iterable[Act]:
        call = self._the_call()
        call.notice_played_ms = event.played_ms
        call.permitted_from_mono_us = event.at_mono_us
        self.phase = Phase.TALKING
        return ()

    def _notice_failed(self, event: ev.NoticeFailed) -> Iterable[Act]:
        """Without the whole notice nothing of this call may be kept; it stays in this phase until its end."""
        self._the_call().notice_played_ms = event.played_ms
        return ()

    def _notice_matched(self, event: ev.NoticeMatched) -> Iterable[Act]:
        call = self._the_call()
        if self.settings.notice_source is NoticeSource.UPSTREAM:
            call.notice_source, call.notice_offset_ms = "upstream_matched", event.offset_ms
            if call.permitted_from_mono_us is None:
                call.permitted_from_mono_us = event.at_mono_us
            self.phase = Phase.TALKING
        return ()

    # ------------------------------------------------------------------------------- flash, consult, waiting

    def _loop_opened(self, event: ev.LoopOpened) -> Iterable[Act]:
        self._the_call().silence(GapReason.CONSULT, event.at_mono_us)
        return ()

    def _loop_restored(self, event: ev.LoopRestored) -> Iterable[Act]:
        self._the_call().end_silence(GapReason.CONSULT, event.at_mono_us)
        return ()

    def _flash(self, event: ev.HookFlash) -> Iterable[Act]:
        """A flash of an inbound call: swap to the one that waits, back to the one that is parked, or a consult."""
        acts = self._abandon_notice()
        if self._waiting_since(event.opened_mono_us) is not None or self.parked is not None:
            self._swap(event)
        else:
            self._begin_consult(event)
        return acts

    def _abandon_notice(self) -> list[Act]:
        return [StopNotice(self.line)] if self.phase is Phase.ANSWERED else []

    def _begin_consult(self, event: ev.HookFlash) -> None:
        self.parked = self._the_call()
        self.current = self._new_call(Direction.CONSULT, "flash_then_consult", event.opened_mono_us)
        self.current.answered_mono_us = event.at_mono_us
        self.current.saw("hook_flash", event.opened_mono_us)
        self.phase = Phase.CONSULT

    def _flash_in_consult(self, event: ev.HookFlash) -> Iterable[Act]:
        """Back to the caller. The flash itself muted nothing of the parked call that was not muted already."""
        self._finish(self._the_call(), event.opened_mono_us, Ended.ON_HOOK)
        self._take_back(event.at_mono_us)
        return ()

    def _take_back(self, at_mono_us: int) -> None:
        assert self.parked is not None
        self.current, self.parked = self.parked, None
        self.current.end_silence(GapReason.CONSULT, at_mono_us)
        self.phase = self._phase_of(self.current)

    def _swap(self, event: ev.HookFlash) -> None:
        leaving = self._the_call()
        leaving.end_silence(GapReason.CONSULT, event.at_mono_us)
        leaving.silence(GapReason.ON_HOLD, event.opened_mono_us)
        if self.parked is not None:
            self.current, self.parked = self.parked, leaving
            self.current.end_silence(GapReason.ON_HOLD, event.at_mono_us)
            self.phase = self._phase_of(self.current)
            return
        self.parked = leaving
        waiting = self._new_call(Direction.INBOUND, "call_waiting_swap", event.opened_mono_us)
        waiting.saw("call_waiting_tone", self._waiting_mono_us or event.opened_mono_us)
        self._adopt_caller_id(waiting, event.at_mono_us)
        self.current, self._waiting_mono_us = waiting, None
        self._begin_inbound(waiting, event.at_mono_us)

    def _phase_of(self, call: Call) -> Phase:
        return Phase.TALKING if call.permitted_from_mono_us is not None else Phase.ANSWERED

    def _waiting_since(self, at_mono_us: int) -> int | None:
        heard = self._waiting_mono_us
        return heard if heard is not None and at_mono_us - heard <= CALL_WAITING_REACH_US else None

    # --------------------------------------------------------------------------------------- tones in a call

    def _tone_in_call(self, event: ev.ToneHeard) -> Iterable[Act]:
        if event.tone in CALL_WAITING_TONES:
            self._call_waits(event)
        elif event.tone in DIAL_TONES and self._nobody_answered(event):
            return self._dial_tone_instead(event)
        elif event.tone in END_TONES and not self.settings.sense:
            self._the_call().saw(event.tone, event.onset_mono_us)
            self._end_all(event.onset_mono_us, Ended.TONE)
        elif event.tone is ev.Tone.DIAL:
            self._dial_since_mono_us = event.onset_mono_us
        return ()

    def _call_waits(self, tone: ev.ToneHeard) -> None:
        """Without loop sense nobody can tell whether the agent takes the second call, which has heard no notice: the
        reading that records less."""
        self._waiting_mono_us = tone.at_mono_us
        if not self.settings.sense:
            self._the_call().saw("call_waiting_tone", tone.onset_mono_us)
            self._the_call().silence(GapReason.ON_HOLD, tone.onset_mono_us)

    def _nobody_answered(self, tone: ev.ToneHeard) -> bool:
        """The telephone system's notice is taken on trust, so the call was permitted before a dial tone could tell."""
        answered = self._the_call().answered_mono_us
        trusted = self._the_call().notice_source == "upstream_claimed"
        return trusted and answered is not None and tone.onset_mono_us - answered <= EARLY_DIAL_TONE_US

    def _dial_tone_instead(self, event: ev.ToneHeard) -> Iterable[Act]:
        """Rule 3. All of it still waits in the look-back; where that is short, what was kept ends at the tone."""
        answered = self._the_call().answered_mono_us
        assert answered is not None
        if event.at_mono_us - answered < self.settings.look_back_us:
            return self._missed(event.onset_mono_us)
        self._dial_tone_in_call(event.onset_mono_us)
        return ()

    def _tone_ended(self, event: ev.ToneEnded) -> Iterable[Act]:
        if event.tone is ev.Tone.DIAL:
            self._dial_since_mono_us = None
        return ()

    def _dial_tone_in_call(self, onset_mono_us: int) -> None:
        """The caller is gone and the exchange offers a new call: what follows is not the caller's."""
        self._dial_since_mono_us = None
        if self.phase is Phase.TALKING:
            self._the_call().saw("dial_tone", onset_mono_us)
            self._finish(self._the_call(), onset_mono_us, Ended.TONE)
            self._unexplained("rule3_dial_tone_in_call", onset_mono_us)
            self._the_call().direction = Direction.OUTBOUND

    # -------------------------------------------------------------------------------------------------- end

    def _on_hook(self, event: ev.OnHook) -> Iterable[Act]:
        acts: list[Act] = self._abandon_notice()
        acts.extend(self._end_all(event.at_mono_us, Ended.ON_HOOK))
        return acts

    def _end_all(self, at_mono_us: int, ended: Ended) -> list[Act]:
        latched = any(call is not None and call.opted_out for call in (self.current, self.parked))
        transfer = self.phase is Phase.CONSULT
        for call in (self.parked, self.current):
            if call is not None:
                self._finish(call, at_mono_us, Ended.TRANSFER if transfer and call is self.parked else ended)
        self.current = self.parked = None
        self.phase = Phase.IDLE
        self.privacy.call_ended(at_mono_us)
        self._heard_id = self._waiting_mono_us = self._dial_since_mono_us = None
        return [LatchOptOut(self.line, False)] if latched or self._interrupted_by_boot else []

    def _finish(self, call: Call, at_mono_us: int, ended: Ended) -> None:
        call.end(at_mono_us, ended)
        if call.direction is not Direction.CONSULT:
            self.last = call
        if call is self.current:
            self.current = None

    # ---------------------------------------------------------------------------------------------- helpers

    def _new_call(self, direction: Direction, rule: str, started_mono_us: int) -> Call:
        self._interrupted_by_boot = False
        return super()._new_call(direction, rule, started_mono_us)

    def _callers_call(self) -> Call | None:
        """The call that the keys mean: during a consult that of the caller who waits."""
        return self.parked if self.phase is Phase.CONSULT else self.current

    def _answered(self) -> bool:
        return self.phase not in (Phase.IDLE, Phase.RINGING)

    def _the_call(self) -> Call:
        assert self.current is not None, self.phase
        return self.current

    def _adopt_caller_id(self, call: Call, at_mono_us: int) -> None:
        """The message heard last, if it is fresh enough to be this call's."""
        heard = self._heard_id
        if heard is not None and abs(at_mono_us - heard.at_mono_us) <= self.settings.ring_latch_us:
            call.caller_id, self._heard_id = heard, None
            call.saw("caller_id", heard.at_mono_us)


_OFF_HOOK_PHASES = (Phase.ANSWERED, Phase.TALKING, Phase.CONSULT, Phase.UNEXPLAINED)

TABLE: dict[tuple[Phase, type[ev.Event]], Handler] = {
    (Phase.IDLE, ev.RingBurst): Line._ring,
    (Phase.IDLE, ev.CallerIdHeard): Line._caller_id,
    (Phase.IDLE, ev.OffHook): Line._off_hook_without_ring,
    (Phase.IDLE, ev.OffHookAtBoot): Line._off_hook_at_boot,
    (Phase.RINGING, ev.RingBurst): Line._ring,
    (Phase.RINGING, ev.CallerIdHeard): Line._caller_id,
    (Phase.RINGING, ev.OffHook): Line._answer,
    (Phase.ANSWERED, ev.CallerIdHeard): Line._caller_id,
    (Phase.ANSWERED, ev.ToneHeard): Line._tone_after_answer,
    (Phase.ANSWERED, ev.NoticeFinished): Line._notice_finished,
    (Phase.ANSWERED, ev.NoticeFailed): Line._notice_failed,
    (Phase.ANSWERED, ev.NoticeMatched): Line._notice_matched,
    (Phase.ANSWERED, ev.HookFlash): Line._flash,
    (Phase.TALKING, ev.CallerIdHeard): Line._caller_id,
    (Phase.TALKING, ev.NoticeMatched): Line._notice_matched,
    (Phase.TALKING, ev.ToneHeard): Line._tone_in_call,
    (Phase.TALKING, ev.ToneEnded): Line._tone_ended,
    (Phase.TALKING, ev.HookFlash): Line._flash,
    (Phase.CONSULT, ev.HookFlash): Line._flash_in_consult,
    (Phase.UNEXPLAINED, ev.ToneHeard): Line._dial_tone_unexplained,
    (Phase.UNEXPLAINED, ev.DigitHeard): Line._dialling_unexplained,
    **{(phase, ev.LoopOpened): Line._loop_opened for phase in _OFF_HOOK_PHASES},
    **{(phase, ev.LoopRestored): Line._loop_restored for phase in _OFF_HOOK_PHASES},
    **{(phase, ev.OnHook): Line._on_hook for phase in _OFF_HOOK_PHASES},
}

ANY_PHASE = KEYS
"""What is the same in every phase, unless ``TABLE`` says otherwise."""
