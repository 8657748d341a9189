"""The VoIP side of the loop: packets → trunk → lines; pieces wait out the look-back, then the same gate and the same
recorder.

port.drain → Trunk.hear → calls, holds, facts to the lines; pieces to the ear and the queue → gate.judge → vault
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from firmware.panel import Panel
from firmware.policy.call import Call
from firmware.policy.events import CallerIdHeard, ChannelQuality, DigitHeard, NoticeMatched, OptOutKeyHeard
from firmware.policy.gate import Silence, would_keep
from firmware.policy.keyed import Act
from firmware.policy.records import Direction
from firmware.policy.sides import Second, SidesHeard
from firmware.ports import Burst, PacketSource
from firmware.recording import Recorder
from firmware.units import PORTION_BLOCKS, SAMPLE_US, US_PER_S
from firmware.voip import output as vo
from firmware.voip.trunk import Trunk
from firmware.voipear import CallEar
from firmware.voipline import VoipLine, on_line

PACKETS_PER_STEP_MAX = 20_000
"""4 s of 50 calls both ways at 50 packets a second: after a stall the keys are read again in between."""

BURST_US = 200_000
"""What came in so long is heard at once: 50 calls cost the loop a third less than in bursts of 100 ms (measured). Sound
waits far longer for late packets, and a key hears at once what came before it."""

PIECES_MAX = 64 * 10 * 60 // PORTION_BLOCKS
"""64 calls' pieces for a minute."""

REORDER_US = 2 * US_PER_S
"""The trunk holds a stretch back for up to 1 s for late packets; a finished call waits for its last piece."""

MakeEar = Callable[[], CallEar]


@dataclass(frozen=True)
class VoipWiring:
    """What passes between trunk and telephones. ``lines``: recorder line of each of the trunk's slots, in their
    order."""

    port: PacketSource
    trunk: Trunk
    lines: tuple[int, ...]
    make_ear: MakeEar


@dataclass
class _Live:
    line: VoipLine
    call: Call
    ear: CallEar | None = None
    newest: vo.MediaPiece | None = None
    """With audio: what REC blinks for."""
    sides: SidesHeard = field(default_factory=SidesHeard)
    missing: bool = False
    """One side's packets stay away; what is heard of it is digital silence until they come again."""


@dataclass(frozen=True)
class _Waiting:
    call: Call
    piece: vo.MediaPiece

    @property
    def ends_mono_us(self) -> int:
        return self.piece.at_mono_us + self.piece.samples * SAMPLE_US


class VoipFeed:
    """``slots``: the trunk's line numbers to the recorder's lines. ``make_ear``: for one call."""

    def __init__(
        self,
        port: PacketSource,
        trunk: Trunk,
        slots: Mapping[int, VoipLine],
        recorder: Recorder,
        panel: Panel,
        make_ear: MakeEar,
        carry_out: Callable[[Sequence[Act]], None],
    ) -> None:
        self.port = port
        self._trunk = trunk
        self._slots = slots
        self._lines = {line.line: line for line in slots.values()}
        self._recorder = recorder
        self._panel = panel
        self._make_ear = make_ear
        self._carry_out = carry_out
        self._live: dict[int, _Live] = {}
        self._queue: deque[_Waiting] = deque()
        self._dropped = 0
        self._now_us = -BURST_US
        """Of the last burst."""
        self._unjudged = False
        """A burst was heard since, and it was all that there was."""
        self._listening = True
        self._left: dict[int, list[tuple[VoipLine, int]]] = {}
        """By call: the lines that it has left, and when."""

    def hear(self, now_us: int, *, at_once: bool = False) -> None:
        """What has come, in bursts. ``at_once``: before keys are told, for they mean the call that is there by now."""
        if not at_once and now_us - self._now_us < BURST_US:
            return
        self._now_us = now_us
        packets = self.port.drain(PACKETS_PER_STEP_MAX) if self._listening else Burst.of(())
        for told in self._trunk.hear(packets):
            self._told(told)
        for told in self._trunk.tick(now_us):
            self._told(told)
        dropped = self.port.dropped()
        self._panel.set_fault("PACKETS_DROPPED", None, dropped > self._dropped)
        self._panel.set_fault("TRUNK_LOST", None, self.port.lost())
        self._dropped = dropped
        self._unjudged = len(packets) < PACKETS_PER_STEP_MAX

    def judge(self, now_us: int) -> None:
        """What has waited out the look-back, after each burst; nothing ahead of packets that are not heard yet."""
        if self._unjudged:
            self._judge_due(now_us)
            self._unjudged = False
        oldest = self._queue[0].piece.at_mono_us if self._queue else now_us
        for line in self._lines.values():
            line.judged_before(oldest)

    @property
    def idle(self) -> bool:
        """No call, none that waits to be finished, and no key can reach back to the last one."""
        return not self._live and not self._queue and all(line.at_rest(self._now_us) for line in self._lines.values())

    def stop_listening(self) -> None:
        """No further packet is taken: the capture ended, or is damaged from here on."""
        self._listening = False

    def close(self, now_us: int) -> None:
        """The capture is over: every call that still runs ends here."""
        for told in self._trunk.close(now_us):
            self._told(told)

    def ready_to_finish(self, call: Call, now_us: int, look_back_us: int) -> bool:
        assert call.ended_mono_us is not None
        waits = any(waiting.call is call for waiting in self._queue)
        ready = not waits and now_us - call.ended_mono_us >= look_back_us + REORDER_US
        if ready:
            self._left.pop(call.call, None)
        return ready

    # ------------------------------------------------------------------------------------- what the trunk says

    def _told(self, told: vo.VoipOutput) -> None:
        if isinstance(told, vo.MediaPiece):
            self._piece(told)
        elif isinstance(told, vo.CallStarted):
            line = self._slots[told.line]
            self._live[told.call] = _Live(line, line.started(told))
        elif isinstance(told, vo.CallAnswered):
            self._answered(told)
        elif isinstance(told, vo.Heard):
            live = self._live[told.call]
            self._carry_out(live.line.heard(live.call, on_line(told.event, live.line.line)))
        elif isinstance(told, vo.HoldStarted | vo.HoldEnded):
            live = self._live[told.call]
            live.line.hold(live.call, told)
            live.sides, live.missing = SidesHeard(), False
            self._forget_sides(live.line)
        elif isinstance(told, vo.Transferred):
            self._transferred(told)
        elif isinstance(told, vo.CallEnded):
            live = self._live.pop(told.call)
            self._carry_out(live.line.ended(live.call, told))
            self._forget_sides(live.line)
            self._show_quiet(live.line)
        else:
            self._alarm(told)

    def _answered(self, told: vo.CallAnswered) -> None:
        """The agent who answered decides which line it is."""
        live = self._live[told.call]
        self._move(live, self._slots[told.line])
        live.line.answered(live.call, told)
        if live.call.direction is Direction.INBOUND:
            live.ear = self._make_ear()

    def _transferred(self, told: vo.Transferred) -> None:
        """Up to here the keys of the old line silence the call, also those that are pressed late; from here on the new
        agent's do."""
        live = self._live[told.call]
        live.call.saw("transferred", told.at_mono_us)
        if live.line is not self._slots[told.line]:
            self._left.setdefault(live.call.call, []).append((live.line, told.at_mono_us))
            self._move(live, self._slots[told.line])

    def _move(self, live: _Live, line: VoipLine) -> None:
        if line is not live.line:
            left = live.line
            left.calls.remove(live.call)
            line.calls.append(live.call)
            live.call.line, live.line = line.line, line
            self._forget_sides(left)
            self._show_quiet(left)

    def _alarm(self, told: vo.Encrypted | vo.NotRecordableCodec | vo.RtpWithoutDialog | vo.MediaMissing) -> None:
        line = self._slots[told.line].line if told.line is not None else None
        if isinstance(told, vo.Encrypted):
            self._panel.set_fault("ENCRYPTED_CALL", line, True)
        elif isinstance(told, vo.NotRecordableCodec):
            self._panel.set_fault("CODEC_NOT_RECORDABLE", line, True)
        elif isinstance(told, vo.MediaMissing):
            self._live[told.call].missing = told.channel is not None
            self._panel.set_fault("DEAD_CHANNEL" if told.channel is None else "ONE_SIDED", line, True)

    # ----------------------------------------------------------------------------------------------- pieces

    def _piece(self, piece: vo.MediaPiece) -> None:
        live = self._live[piece.call]
        if piece.payload is None:
            live.line.not_delivered(live.call, piece)
            live.newest = None
            self._panel.lines[live.line.line].would_keep = False
            return
        if live.ear is not None:
            self._listen(live, live.ear, piece)
        if len(self._queue) == PIECES_MAX:
            self._queue.popleft()
        self._queue.append(_Waiting(live.call, piece))
        live.newest = piece
        self._panel.lines[live.line.line].would_keep = self._would_keep(live, piece)

    def show(self, line: int) -> None:
        """A key of this line moved: REC answers before the next piece comes."""
        heard = [(live, live.newest) for live in self._live.values() if live.line.line == line]
        self._panel.lines[line].would_keep = any(
            self._would_keep(live, newest) for live, newest in heard if newest is not None
        )

    def _would_keep(self, live: _Live, piece: vo.MediaPiece) -> bool:
        fault = self._panel.stops_capture(live.line.line)
        return would_keep([live.call.view()], live.line.silences(), fault, piece.at_mono_us, piece.samples)

    def _listen(self, live: _Live, ear: CallEar, piece: vo.MediaPiece) -> None:
        """Keys that are pressed in the audio itself, the caller's opt-out key, and the site's notice. A payment's sound
        is not searched for digits, also where it arrives after the payment."""
        payment = live.line.privacy.all_payment(piece.at_mono_us, piece.at_mono_us + piece.samples * SAMPLE_US)
        seconds: list[ChannelQuality] = []
        for event in ear.hear(piece, digits=not payment):
            if isinstance(event, DigitHeard | OptOutKeyHeard | NoticeMatched):
                self._carry_out(live.line.heard(live.call, on_line(event, live.line.line)))
            elif isinstance(event, ChannelQuality):
                seconds.append(event)
            else:
                assert not isinstance(event, CallerIdHeard)
        seconds.sort(key=lambda second: (second.at_mono_us, second.line))
        for caller, agent in zip(seconds[::2], seconds[1::2], strict=True):
            self._measure(live, caller, agent)

    def _measure(self, live: _Live, caller: ChannelQuality, agent: ChannelQuality) -> None:
        """Once a second: the quality of the call is its caller's, its silence is that of both."""
        number = live.line.line
        self._panel.lines[number].level_dbm0 = caller.level_dbm0
        silent = caller.silent and agent.silent
        self._recorder.measured(live.call, caller.level_dbm0, caller.noise_dbm0, caller.clipped_samples, silent)
        live.sides.add(*(Second(zero=side.digital_zero, voice=not side.silent) for side in (caller, agent)))
        live.missing = live.missing and (caller.digital_zero or agent.digital_zero)
        self._panel.set_fault("DEAD_CHANNEL", number, live.sides.dead)
        self._panel.set_fault("ONE_SIDED", number, live.sides.one_sided or live.missing)

    def _judge_due(self, now_us: int) -> None:
        while self._queue:
            waiting = self._queue[0]
            line = self._lines[waiting.call.line]
            if waiting.ends_mono_us + line.settings.look_back_us > now_us:
                return
            self._queue.popleft()
            fault = self._panel.stops_capture(line.line)
            silences = [*line.silences(), *self._silences_left(waiting.call)]
            kept = self._recorder.take_piece(waiting.call, silences, fault, waiting.piece)
            self._panel.lines[line.line].keeping = kept

    def _silences_left(self, call: Call) -> list[Silence]:
        """What the lines that this call has left say of the time before it left them."""
        left = self._left.get(call.call, ())
        return [
            Silence(s.reason, s.from_mono_us, until if s.to_mono_us is None else min(s.to_mono_us, until))
            for line, until in left
            for s in line.silences()
            if s.from_mono_us < until
        ]

    def _forget_sides(self, line: VoipLine) -> None:
        """What was said of a call that is not heard on this line any more."""
        for code in ("DEAD_CHANNEL", "ONE_SIDED"):
            self._panel.set_fault(code, line.line, False)

    def _show_quiet(self, line: VoipLine) -> None:
        """Nobody is on the line any more: REC tells nothing of a call that is over."""
        if not line.busy:
            self._panel.lines[line.line].would_keep = self._panel.lines[line.line].keeping = False
