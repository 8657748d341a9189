"""A line and its keys: what PAYMENT, OPT-OUT and KEEP mean, whichever way the line speaks (two wires or SIP).

Which call a key means is the line's own knowledge (``_callers_call``); everything else about keys stands here once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from firmware.policy import events as ev
from firmware.policy.call import Call
from firmware.policy.gate import Silence
from firmware.policy.privacy import Privacy
from firmware.policy.records import Direction
from firmware.units import US_PER_S

UNDELIVERED_US = 15 * US_PER_S
"""A codec's own queue holds 10 s that the loop has not seen yet (hw/codec); and some reserve."""

OPT_OUT_AFTER_END_US = 60 * US_PER_S
"""product.md 5: OPT-OUT works until 60 s after on-hook."""


class NoticeSource(StrEnum):
    APPLIANCE = "appliance"
    UPSTREAM = "upstream"


@dataclass(frozen=True)
class LineSettings:
    look_back_us: int = 10 * US_PER_S
    ring_latch_us: int = 8 * US_PER_S
    notice_source: NoticeSource = NoticeSource.APPLIANCE
    notice_delay_us: int = US_PER_S
    """From the answer to the notice's first sample: time to notice a dial tone (rule 3), and for a telephone to reach
    an ear."""
    upstream_claim_suffices: bool = False
    payment_latching: bool = False
    voip: bool = False
    sense: bool = True
    """False: no loop is sensed; off-hook and on-hook come from what is heard, and an end tone ends the call."""


@dataclass(frozen=True)
class PlayNotice:
    line: int
    call: int


@dataclass(frozen=True)
class StopNotice:
    line: int


@dataclass(frozen=True)
class DestroyCall:
    """OPT-OUT was held: irrevocable. ``call`` None: what a reboot interrupted on this line."""

    line: int
    call: int | None


@dataclass(frozen=True)
class HoldCall:
    line: int
    call: int


@dataclass(frozen=True)
class LatchOptOut:
    line: int
    active: bool


Act = PlayNotice | StopNotice | DestroyCall | HoldCall | LatchOptOut


class KeyedLine:
    """Calls of one line and the silences that its keys and digits make. Subclasses know what a call is."""

    def __init__(self, line: int, settings: LineSettings, next_call: Callable[[], int]) -> None:
        self.line = line
        self.settings = settings
        self.calls: list[Call] = []
        """Every call event that the recorder has not yet finished: those going on, waiting and just ended."""
        self.last: Call | None = None
        self.privacy = Privacy(settings.look_back_us, settings.payment_latching)
        self._next_call = next_call
        self._interrupted_by_boot = False

    def silences(self) -> list[Silence]:
        return self.privacy.silences

    def interrupted(self) -> None:
        """The last boot cut a call of this line off: until the next caller OPT-OUT means that one too."""
        self._interrupted_by_boot = True

    def judged_before(self, at_mono_us: int) -> None:
        """Nothing captured earlier can come any more: what silenced only that may be forgotten."""
        self.privacy.forget_before(at_mono_us - 3 * self.settings.look_back_us - UNDELIVERED_US)

    def finished(self, call: Call) -> None:
        """The recorder has written the call's row: only OPT-OUT and KEEP may still reach it."""
        self.calls.remove(call)

    def apply(self, event: ev.Event) -> list[Act]:
        raise AssertionError("a line hears events")

    def pass_time(self, now_mono_us: int) -> list[Act]:
        """What time alone decides."""
        raise AssertionError("a line knows time")

    @property
    def state(self) -> str:
        """One word for people."""
        raise AssertionError("a line has a state")

    def at_rest(self, now_mono_us: int) -> bool:
        """Nothing is going on, and no key can reach back to the last call."""
        ended = self.last.ended_mono_us if self.last is not None else None
        reach = ended is not None and now_mono_us - ended <= OPT_OUT_AFTER_END_US
        return not self.calls and not reach

    @property
    def busy(self) -> bool:
        """Somebody is on the line."""
        return self._callers_call() is not None

    def _callers_call(self) -> Call | None:
        """The call that the keys mean; None when nobody is on the line."""
        raise AssertionError("a line says which call its keys mean")

    def _answered(self) -> bool:
        """Somebody has answered: the keys cannot mean the call before any more."""
        raise AssertionError("a line says whether it was answered")

    # ------------------------------------------------------------------------------------------------- keys

    def _pressed(self, event: ev.KeyPressed) -> Iterable[Act]:
        if event.key is ev.Key.PAYMENT:
            self.privacy.payment_pressed(event.at_mono_us)
            call = self._callers_call()
            if call is not None:
                call.payment_presses_mono_us.append(event.at_mono_us)
        elif event.key is ev.Key.OPT_OUT:
            self.privacy.opt_out_pressed(event.at_mono_us)
        else:
            return self._keep()
        return ()

    def _released(self, event: ev.KeyReleased) -> Iterable[Act]:
        if event.key is ev.Key.PAYMENT:
            self.privacy.payment_released(event.at_mono_us)
        elif event.key is ev.Key.OPT_OUT:
            self.privacy.opt_out_released(event.at_mono_us)
        return ()

    def _held(self, event: ev.KeyHeld) -> Iterable[Act]:
        if event.key is ev.Key.PAYMENT:
            self.privacy.payment_held(event.at_mono_us, event.pressed_mono_us)
            return ()
        return self._opt_out(event.pressed_mono_us)

    def _opt_out_key(self, event: ev.OptOutKeyHeard) -> Iterable[Act]:
        call = self._callers_call()
        inbound = call is not None and call.direction is Direction.INBOUND and self._answered()
        return self._opt_out(event.at_mono_us) if inbound else ()

    def _opt_out(self, at_mono_us: int) -> list[Act]:
        """Irrevocable for the call that the agent can mean: the one going on, or the one that ended up to 60 s ago."""
        reach = self._within_reach(at_mono_us)
        if self._interrupted_by_boot:
            return [DestroyCall(self.line, None), *self._latch()] if reach else []
        return self._opt_out_of(reach)

    def _opt_out_of(self, calls: Iterable[Call]) -> list[Act]:
        acts: list[Act] = []
        for call in calls:
            if not call.opted_out:
                call.opted_out = True
                acts.append(DestroyCall(self.line, call.call))
        return [*acts, *self._latch()] if acts else []

    def _latch(self) -> list[Act]:
        return [LatchOptOut(self.line, True)] if self.busy else []

    def _within_reach(self, at_mono_us: int) -> list[Call]:
        """An outbound or unknown call on the line does not put the caller's call of a moment ago out of reach."""
        last, call = self.last, self._callers_call()
        ended = last.ended_mono_us if last is not None else None
        recent = ended is not None and at_mono_us - ended <= OPT_OUT_AFTER_END_US
        inbound = call is not None and call.direction is Direction.INBOUND and self._answered()
        if recent and last is not None and not inbound:
            return [last] if call is None or not self._answered() else [last, call]
        return [call] if call is not None else []

    def _keep(self) -> Iterable[Act]:
        """KEEP means the call going on, else the last one. After OPT-OUT it is refused (the vault tells so)."""
        call = self._callers_call()
        if call is None or call.answered_mono_us is None or call.direction is not Direction.INBOUND:
            call = self.last
        if call is None:
            return ()
        call.keep_pressed = not call.opted_out
        return (HoldCall(self.line, call.call),)

    # ----------------------------------------------------------------------------------------------- digits

    def _digit(self, event: ev.DigitHeard) -> Iterable[Act]:
        self.privacy.digit(event)
        return ()

    def _codec_lost(self, event: ev.CodecLost) -> Iterable[Act]:
        self.privacy.codec_lost(event.at_mono_us)
        return ()

    def _codec_back(self, event: ev.CodecBack) -> Iterable[Act]:
        self.privacy.codec_back(event.at_mono_us)
        return ()

    # ---------------------------------------------------------------------------------------------- helpers

    def _new_call(self, direction: Direction, rule: str, started_mono_us: int) -> Call:
        call = Call(self._next_call(), self.line, direction, rule, started_mono_us)
        self.calls.append(call)
        return call


Handler = Callable[[Any, Any], Iterable[Act]]
"""A method of a line that takes the event its row of the table names."""

KEYS: dict[type[ev.Event], Handler] = {
    ev.KeyPressed: KeyedLine._pressed,
    ev.KeyReleased: KeyedLine._released,
    ev.KeyHeld: KeyedLine._held,
    ev.OptOutKeyHeard: KeyedLine._opt_out_key,
    ev.DigitHeard: KeyedLine._digit,
    ev.CodecLost: KeyedLine._codec_lost,
    ev.CodecBack: KeyedLine._codec_back,
}
"""What is the same on every line and in every phase."""
