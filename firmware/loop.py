"""The loop: one step is the whole walk of a block, top to bottom. Everything else is called from here.

keys and line sense → codec blocks → the ear → the lines → portions that waited out the look-back → the gate → the
vault's queue → lamps. The loop never waits: not for the card (the writer has its own thread), not for the stick, not
for a sound device.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Protocol

from firmware.dsp.ear import Ear, Listening
from firmware.lookback import LookBack
from firmware.panel import Panel
from firmware.policy import events as ev
from firmware.policy.call import Call
from firmware.policy.gate import would_keep
from firmware.policy.inputs import Inputs
from firmware.policy.keyed import KeyedLine
from firmware.policy.line import Act, DestroyCall, HoldCall, Line, LineSettings, Phase, PlayNotice, StopNotice
from firmware.policy.line import LatchOptOut as LatchAct
from firmware.policy.records import GapReason, Outcome
from firmware.policy.share import UnknownShare
from firmware.policy.sides import Second, WiresHeard
from firmware.ports import Block, Clock, Codec, CodecState, Pins, Samples, Watchdog
from firmware.recording import NoticeUsed, Recorder, played_ms
from firmware.store.commands import (
    Alarm,
    Command,
    FrameSealed,
    KeepCall,
    KeepDone,
    LatchOptOut,
    OptOut,
    OptOutDone,
    Report,
)
from firmware.units import BLOCK_MS, BLOCK_SAMPLES, MS_PER_DAY, US_PER_S

if TYPE_CHECKING:
    from firmware.voipfeed import VoipFeed, VoipWiring
    from firmware.voipline import VoipLine

BLOCKS_PER_STEP_MAX = 50
"""5 s of audio of one codec in one step: after a stall the keys are read again in between."""

ON_HOOK = (Phase.IDLE, Phase.RINGING)

SENSED = (ev.RingBurst, ev.OffHook, ev.OnHook)
"""Where ring and loop are sensed, the ear's own guess of them does not count."""

CODEC_WAIT_US = 2 * US_PER_S
"""How long a finished call waits for the last blocks of a codec that delivers late."""


@dataclass
class Rig:
    """One codec and the lines on its channels, in channel order."""

    codec: Codec
    lines: tuple[int, ...]
    ear: Ear
    lookback: LookBack
    lost_since_mono_us: int | None = None
    delivered_until_mono_us: int | None = None
    behind: bool = False
    """The codec has more: nothing may be judged ahead of what the ear has heard."""


class Queue(Protocol):
    """The writer's, as the loop sees it: neither call ever waits."""

    def submit(self, command: Command) -> None: ...
    def poll(self) -> list[Report]: ...


@dataclass(frozen=True)
class Settings:
    """What the site and the machine fix for a run of the loop."""

    lines: tuple[LineSettings, ...]
    remind_us: int = 120 * US_PER_S
    unknown_share_max_percent: int = 10
    flash_min_ms: int = 50
    flash_max_ms: int = 400
    notice: Samples | None = None
    notice_used: NoticeUsed = field(default_factory=lambda: NoticeUsed("", bytes(32)))


class Loop:
    """``utc_ms`` is the vault's trusted time now; ``told`` hears what the vault reports and the loop does not follow.
    Call ``step`` at least every ``BLOCK_MS``; it never blocks."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        rigs: Sequence[Rig],
        pins: Pins,
        writer: Queue,
        watchdog: Watchdog,
        utc_ms: Callable[[], int],
        told: Callable[[Report], None],
        voip: "VoipWiring | None" = None,
    ) -> None:
        self._clock = clock
        self._rigs = rigs
        self._pins = pins
        self._writer = writer
        self._watchdog = watchdog
        self._utc_ms_now = utc_ms
        self._told = told
        self._now_us = clock.mono_us()
        self._followed_us = self._now_us - BLOCK_MS * 1000
        calls = count(1)
        self._look_back_us = max(line.look_back_us for line in settings.lines)
        self._wires = {i: Line(i, line, lambda: next(calls)) for i, line in enumerate(settings.lines) if not line.voip}
        """Lines on two wires, by number; the others are VoIP."""
        voip_lines = _voip_lines(settings.lines, lambda: next(calls))
        self.lines: list[KeyedLine] = [line for _, line in sorted({**self._wires, **voip_lines}.items())]
        self._rig_of = {line: rig for rig in rigs for line in rig.lines}
        self._inputs = Inputs(len(self.lines), settings.flash_min_ms, settings.flash_max_ms)
        self._recorder = Recorder(writer.submit, self._utc_ms, [line.sense for line in settings.lines])
        self.panel = Panel(len(self.lines), settings.remind_us)
        self.outcomes: Counter[str] = Counter()
        """Ledger rows since the start, by outcome."""
        self._unknown_share = UnknownShare(settings.unknown_share_max_percent)
        self._playing: dict[int, int] = {}
        self._heard: dict[int, tuple[Call, WiresHeard]] = {}
        """By line: the call that is talked on, and what was heard of it."""
        self.set_notice(settings.notice, settings.notice_used)
        self.voip = None if voip is None else self._feed(voip, voip_lines)

    def _feed(self, voip: "VoipWiring", lines: "Mapping[int, VoipLine]") -> "VoipFeed":
        from firmware.voipfeed import VoipFeed

        slots = {slot: lines[line] for slot, line in enumerate(voip.lines)}
        return VoipFeed(voip.port, voip.trunk, slots, self._recorder, self.panel, voip.make_ear, self._carry_out)

    def set_notice(self, notice: Samples | None, used: NoticeUsed) -> None:
        """A new notice counts from the next call on."""
        self._notice = notice
        self._recorder.notice = used

    @property
    def now_us(self) -> int:
        """Monotonic time of the last step."""
        return self._now_us

    @property
    def finishing(self) -> bool:
        """A call has ended and its row is not written yet."""
        return any(call.ended_mono_us is not None for line in self.lines for call in line.calls)

    @property
    def idle(self) -> bool:
        """No call on any line, none that waits to be finished, and nobody who could still mean the last one."""
        quiet = self.voip is None or self.voip.idle
        return quiet and all(line.at_rest(self._now_us) for line in self._wires.values())

    # ---------------------------------------------------------------------------------------- the walk

    def step(self) -> None:
        """Keys, sound and lamps at every step; the rest of the walk when one of them moved, or 100 ms have passed."""
        now = self._now_us = self._clock.mono_us()
        events = self._inputs.sample(self._pins.read(), now)
        if self.voip is not None:
            self.voip.hear(now, at_once=bool(events))
        for event in events:
            self._tell(event)
        heard = [self._hear_out(rig, now) for rig in self._rigs]
        if self.voip is not None:
            self.voip.judge(now)
        reports = self._writer.poll()
        for report in reports:
            self._report(report)
        if events or any(heard) or reports or now - self._followed_us >= BLOCK_MS * 1000:
            self._follow(now)
        self._pins.show(*self.panel.show(now))
        self._watchdog.kick()

    def _follow(self, now: int) -> None:
        """What time and the events of this step lead to, down to the vault's queue and the lamps."""
        self._followed_us = now
        self._follow_notices()
        for line in self.lines:
            for call in line.calls:
                self._recorder.begin(call)
            self._carry_out(line.pass_time(now))
        for rig in self._rigs:
            heard_until = rig.delivered_until_mono_us
            self._judge_due(rig, now if heard_until is None or not rig.behind else heard_until)
        for line in self.lines:
            self._finish_calls(line, now)
            self.panel.set_fault("CARD_SUSPECTED", line.line, line.privacy.card_suspected)
        for number, line in self._wires.items():
            line.judged_before(self._rig_of[number].lookback.oldest_mono_us(now))
        self.panel.follow(self.lines, now)

    # ------------------------------------------------------------------------------------ what is heard

    def _hear_out(self, rig: Rig, now: int) -> bool:
        """Everything that the codec has by now, in the limits of one step. Returns whether there was anything."""
        self._watch(rig, now)
        blocks = rig.codec.drain(BLOCKS_PER_STEP_MAX)
        rig.behind = len(blocks) == BLOCKS_PER_STEP_MAX
        for block in blocks:
            self._hear(rig, block)
        return bool(blocks)

    def _hear(self, rig: Rig, block: Block) -> None:
        rig.delivered_until_mono_us = block.captured_mono_us + BLOCK_MS * 1000
        listening = [self._listening(self._wires[line], block.captured_mono_us) for line in rig.lines]
        heard = rig.ear.hear(block.samples, [block.captured_mono_us] * len(rig.lines), listening)
        for event in sorted(heard, key=lambda event: event.at_mono_us):
            event = _on_line(event, rig.lines)
            if isinstance(event, ev.ChannelQuality):
                self._measure(event)
            elif not (self._wires[event.line].settings.sense and isinstance(event, SENSED)):
                self._tell(event)
        newest = rig.lookback.newest
        if newest is not None:
            newest.muted = tuple(self._muted(self._wires[line], newest.block) for line in rig.lines)
        rig.lookback.push(block)
        for line in rig.lines:
            self.panel.lines[line].would_keep = self._would_keep(self._wires[line], block)

    def _listening(self, line: Line, at_mono_us: int) -> Listening:
        """As it was when the block was captured, which may be a stall ago. Digits and caller ID are not listened for
        during a payment and its look-back; digits only where somebody is on the line."""
        payment = line.privacy.all_payment(at_mono_us, at_mono_us + BLOCK_MS * 1000)
        was_up = any(
            call.answered_mono_us is not None and call.ended_mono_us is not None and call.ended_mono_us > at_mono_us
            for call in line.calls
        )
        off_hook = line.phase not in ON_HOOK or was_up
        return Listening(digits=not payment and off_hook, caller_id=not payment and not was_up)

    def _watch(self, rig: Rig, now_us: int) -> None:
        lost = rig.codec.state() is CodecState.LOST
        if lost and rig.lost_since_mono_us is None:
            rig.lost_since_mono_us = now_us if rig.delivered_until_mono_us is None else rig.delivered_until_mono_us
            for line in rig.lines:
                self._tell(ev.CodecLost(line, rig.lost_since_mono_us))
                self.panel.set_fault("CODEC_LOST", line, True)
        elif not lost and rig.lost_since_mono_us is not None:
            rig.lost_since_mono_us = None
            for line in rig.lines:
                self._tell(ev.CodecBack(line, now_us))
                self.panel.set_fault("CODEC_LOST", line, False)

    def _measure(self, quality: ev.ChannelQuality) -> None:
        line = self._wires[quality.line]
        self.panel.lines[quality.line].level_dbm0 = quality.level_dbm0
        call = line.current
        if call is None or line.phase is not Phase.TALKING:
            self._heard.pop(quality.line, None)
            self.panel.set_fault("DEAD_CHANNEL", quality.line, False)
            return
        self._recorder.measured(call, quality.level_dbm0, quality.noise_dbm0, quality.clipped_samples, quality.silent)
        if quality.line not in self._heard or self._heard[quality.line][0] is not call:
            self._heard[quality.line] = call, WiresHeard()
        dead = self._heard[quality.line][1].dead(Second(zero=quality.digital_zero, voice=not quality.silent))
        self.panel.set_fault("DEAD_CHANNEL", quality.line, dead)

    # ------------------------------------------------------------------------------------- what follows

    def _tell(self, event: ev.Event) -> None:
        self.panel.heard(event)
        wires = self._wires.get(event.line)
        on_hook = wires is not None and wires.phase in ON_HOOK
        self._carry_out(self.lines[event.line].apply(event))
        if wires is None and self.voip is not None:
            self.voip.show(event.line)
        if wires is not None and on_hook and wires.phase not in ON_HOOK and wires.settings.sense:
            rig = self._rig_of[event.line]
            rig.ear.reset(rig.lines.index(event.line))

    def _carry_out(self, acts: Sequence[Act]) -> None:
        for act in acts:
            if isinstance(act, PlayNotice):
                self._play_notice(act)
            elif isinstance(act, StopNotice):
                self._stop_notice(act.line)
            elif isinstance(act, DestroyCall):
                self._destroy(act)
            elif isinstance(act, HoldCall):
                self._hold(act)
            elif isinstance(act, LatchAct):
                self._writer.submit(LatchOptOut(act.line, act.active))

    def _destroy(self, act: DestroyCall) -> None:
        """Nothing of a call that was never opened exists outside the look-back, which the gate already refuses."""
        waiting = self._call(act.line, act.call)
        if waiting is not None and not self._recorder.was_opened(waiting.call):
            self._recorder.opted_out(waiting)
            self.panel.opt_out_done(act.line, self._now_us)
            return
        self.panel.opt_out_begun(act.line)
        self._writer.submit(OptOut(act.line, act.call))

    def _hold(self, act: HoldCall) -> None:
        call = self._call(act.line, act.call) or self.lines[act.line].last
        if call is None:
            self.panel.keep_done(act.line, refused=True, now_us=self._now_us)
        elif call in self.lines[act.line].calls and not call.opted_out and not self._recorder.was_opened(call.call):
            self._recorder.want_keep(call)
        else:
            self._writer.submit(KeepCall(act.line, call.call, call.opted_out))

    def _call(self, line: int, call: int | None) -> Call | None:
        return next((known for known in self.lines[line].calls if known.call == call), None)

    # ------------------------------------------------------------------------------------------- notice

    def _play_notice(self, act: PlayNotice) -> None:
        rig = self._rig_of[act.line]
        if self._notice is None or rig.codec.state() is CodecState.LOST:
            self._tell(ev.NoticeFailed(act.line, self._now_us, 0))
            return
        rig.codec.play(rig.lines.index(act.line), self._notice)
        self._playing[act.line] = act.call

    def _stop_notice(self, line: int) -> None:
        if self._playing.pop(line, None) is not None:
            rig = self._rig_of[line]
            playback = rig.codec.playback(rig.lines.index(line))
            rig.codec.stop(rig.lines.index(line))
            self._tell(ev.NoticeFailed(line, self._now_us, played_ms(playback.samples_played) if playback else 0))

    def _follow_notices(self) -> None:
        for line in tuple(self._playing):
            rig = self._rig_of[line]
            playback = rig.codec.playback(rig.lines.index(line))
            if playback is None:
                del self._playing[line]
                self._tell(ev.NoticeFailed(line, self._now_us, 0))
            elif playback.finished_mono_us is not None:
                del self._playing[line]
                self._tell(ev.NoticeFinished(line, playback.finished_mono_us, played_ms(playback.samples_played)))

    # ------------------------------------------------------------------------------------------ judging

    def _judge_due(self, rig: Rig, now_us: int) -> None:
        for waiting in rig.lookback.due(now_us):
            for channel, number in enumerate(rig.lines):
                line = self._wires[number]
                kept = False
                for call in line.calls:
                    if call.answered_mono_us is not None:
                        fault = self.panel.stops_capture(number)
                        kept |= self._recorder.take(call, line.silences(), fault, waiting.block, channel)
                self.panel.lines[number].keeping = kept
                if kept and waiting.muted and waiting.muted[channel]:
                    self.panel.set_fault("GATE_MISMATCH", number, True)

    def _would_keep(self, line: Line, block: Block) -> bool:
        calls = [call.view() for call in line.calls if call.answered_mono_us is not None]
        fault = self.panel.stops_capture(line.line)
        return would_keep(calls, line.silences(), fault, block.captured_mono_us, BLOCK_SAMPLES)

    def _muted(self, line: Line, block: Block) -> bool:
        """Whether a key has silenced the line since before the block and still does: it must not be kept later."""
        keys = (GapReason.PAYMENT, GapReason.OPT_OUT_KEY)
        return any(
            silence.reason in keys and silence.to_mono_us is None and silence.from_mono_us <= block.captured_mono_us
            for silence in line.silences()
        )

    def _finish_calls(self, line: KeyedLine, now_us: int) -> None:
        for call in tuple(line.calls):
            if call.ended_mono_us is not None and self._all_judged(call, now_us):
                outcome = self._recorder.finish(call, line.silences(), self.panel.stops_capture(line.line))
                line.finished(call)
                self.outcomes[outcome.value] += 1
                self.panel.set_fault("CALL_NOT_RECORDED", line.line, outcome is Outcome.FAULT)
                too_many = self._unknown_share.passed(self._utc_ms(call.ended_mono_us) // MS_PER_DAY, outcome)
                self.panel.set_fault("UNKNOWN_DIRECTION_SHARE", None, too_many)

    def _all_judged(self, call: Call, now_us: int) -> bool:
        """The look-back has passed since the end, and no sound of the call still waits or is late."""
        assert call.ended_mono_us is not None
        if call.line not in self._wires:
            assert self.voip is not None
            return self.voip.ready_to_finish(call, now_us, self._look_back_us)
        since_end = now_us - call.ended_mono_us
        late = since_end < self._look_back_us + CODEC_WAIT_US
        waits = self._rig_of[call.line].lookback.waits_for(call.ended_mono_us) and late
        return since_end >= self._look_back_us + BLOCK_MS * 1000 and not waits

    # ------------------------------------------------------------------------------------------ reports

    def _report(self, report: Report) -> None:
        if isinstance(report, OptOutDone):
            self.panel.opt_out_done(report.line, self._now_us)
        elif isinstance(report, KeepDone):
            self.panel.keep_done(report.line, refused=report.refused is not None, now_us=self._now_us)
        elif isinstance(report, Alarm):
            self.panel.set_fault(report.code, report.line, report.active)
        elif not isinstance(report, FrameSealed):
            self._told(report)

    def _utc_ms(self, at_mono_us: int) -> int:
        return self._utc_ms_now() - (self._now_us - at_mono_us) // 1000


def _voip_lines(lines: Sequence[LineSettings], next_call: Callable[[], int]) -> "dict[int, VoipLine]":
    """Imported here: SIP and its packet library cost 6 MB and a tenth of a second, and an analogue recorder has no use
    for them."""
    if not any(line.voip for line in lines):
        return {}
    from firmware.voipline import VoipLine

    return {i: VoipLine(i, line, next_call) for i, line in enumerate(lines) if line.voip}


def _on_line(event: ev.Event, lines: Sequence[int]) -> ev.Event:
    """The ear counts channels; the recorder counts lines."""
    number = lines[event.line]
    return event if number == event.line else replace(event, line=number)  # type: ignore[type-var]
