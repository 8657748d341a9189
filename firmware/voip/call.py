"""One call event: a dialog (or its stand-in), its verdict, its two tracks. What it may tell is in ``output``."""

from dataclasses import dataclass, field

from firmware.policy.events import DigitHeard, OptOutKeyHeard
from firmware.policy.records import Direction, Ended, GapReason, Outcome
from firmware.voip.axis import Axis
from firmware.voip.dialog import Dialog
from firmware.voip.output import (
    CallEnded,
    Channel,
    Encrypted,
    Heard,
    HoldEnded,
    HoldStarted,
    MediaMissing,
    MediaPiece,
    NotRecordableCodec,
    Rule,
    VoipOutput,
)
from firmware.voip.rtp import agreed_encoding, payload_types
from firmware.voip.sdp import is_encrypted
from firmware.voip.settings import Limits
from firmware.voip.track import Track

MEDIA_MISSING_US = 10_000_000
EVIDENCE_MAX = 32


@dataclass
class Call:
    key: int
    line: int
    direction: Direction
    rule: Rule
    started_mono_us: int
    dialog: Dialog | None
    """None: media without signalling."""
    limits: Limits
    evidence: list[tuple[str, int]] = field(default_factory=list)
    answered_mono_us: int | None = None
    axis: Axis | None = None
    caller: Track | None = None
    agent: Track | None = None
    held: bool = False
    encrypted: bool = False
    unrecordable: bool = False
    faulty: bool = False
    kept: bool = False
    missing: set[Channel | None] = field(default_factory=set)
    successor: Dialog | None = None
    """The caller's next dialog of a transfer that is followed, until it is answered."""
    successor_line: int = 0
    transferring: bool = False
    over_mono_us: int | None = None
    """The dialog ended in a transfer; the call waits for its successor."""
    pushed_out: bool = False
    """It made room for another at the limit of dialogs: whether it was ever answered is not known."""

    @property
    def inbound(self) -> bool:
        return self.direction is Direction.INBOUND

    def witness(self, word: str, at_mono_us: int) -> None:
        """Add an input to the evidence, once a word."""
        if len(self.evidence) < EVIDENCE_MAX and all(word != known for known, _ in self.evidence):
            self.evidence.append((word, at_mono_us))

    def evidence_from(self, zero_mono_us: int) -> tuple[tuple[str, int], ...]:
        return tuple((word, (at - zero_mono_us) // 1000) for word, at in self.evidence)

    # ---------------------------------------------------------------------------------------------------- the answer

    def answer(self, at_mono_us: int, opt_out_event: int | None) -> None:
        """Sample 0 is now. Only an inbound call gets an axis and tracks: of others nothing can leave."""
        self.answered_mono_us = at_mono_us
        if not self.inbound:
            return
        self.axis = Axis(self.key, self.line, at_mono_us, self.limits.piece_samples)
        packets_max = self.limits.channel_packets
        self.caller = Track(Channel.CALLER, at_mono_us, packets_max=packets_max, opt_out_event=opt_out_event)
        self.agent = Track(Channel.AGENT, at_mono_us, packets_max=packets_max)

    def follow_agreement(self, at_mono_us: int) -> list[VoipOutput]:
        """Take what the dialog now says (payload types, hold, encryption) onto the axis."""
        if self.axis is None or self.caller is None or self.agent is None or self.dialog is None:
            return []
        out: list[VoipOutput] = []
        agreement = self.dialog.agreement
        if agreement is not None:
            self.agent.change_types(payload_types(agreement.trunk, agreement.inside))
            self.caller.change_types(payload_types(agreement.inside, agreement.trunk))
            out += self._judge_encryption(is_encrypted(agreement.trunk, agreement.inside), at_mono_us)
            out += self._judge_encoding(agreed_encoding(agreement.trunk, agreement.inside), at_mono_us)
        out += self._judge_hold(self.dialog.held, at_mono_us)
        self._mark(at_mono_us)
        return out

    def _judge_encryption(self, encrypted: bool, at_mono_us: int) -> list[VoipOutput]:
        told, self.encrypted = self.encrypted, encrypted
        return [Encrypted(self.key, self.line, at_mono_us)] if encrypted and not told else []

    def _judge_encoding(self, word: str | None, at_mono_us: int) -> list[VoipOutput]:
        told, self.unrecordable = self.unrecordable, word is not None
        if word is None or told:
            return []
        return [NotRecordableCodec(self.key, self.line, at_mono_us, word)]

    def _judge_hold(self, held: bool, at_mono_us: int) -> list[VoipOutput]:
        if self.axis is None or held is self.held:
            return []
        self.held = held
        sample = self.axis.sample_at(at_mono_us)
        if held:
            return [HoldStarted(self.key, self.line, at_mono_us, sample)]
        self._touch(at_mono_us)
        return [HoldEnded(self.key, self.line, at_mono_us, sample)]

    def _touch(self, at_mono_us: int) -> None:
        for track in (self.caller, self.agent):
            if track is not None:
                track.last_mono_us = max(track.last_mono_us, at_mono_us)
        self.missing.clear()

    def _mark(self, at_mono_us: int) -> None:
        if self.axis is None:
            return
        reason = None
        if self.encrypted or self.unrecordable:
            reason = GapReason.FAULT
        elif self.held or self.over_mono_us is not None:
            reason = GapReason.ON_HOLD
        self.faulty = self.faulty or reason is GapReason.FAULT
        sample = self.axis.sample_at(at_mono_us)
        if (reason is None) is not (self.axis.reason is None):
            for track in (self.caller, self.agent):
                if track is not None:
                    track.pause() if reason is not None else track.resume(sample)
        self.axis.mark(sample, reason)

    def wait_for_successor(self, at_mono_us: int) -> None:
        """The dialog is over and another is to take the caller: nothing is kept until it is there."""
        self.over_mono_us = at_mono_us
        self._mark(at_mono_us)

    def succeed(self, at_mono_us: int) -> None:
        """The successor was answered: the same call, the same axis, its media."""
        self.dialog, self.successor = self.successor, None
        self.line = self.successor_line
        if self.axis is not None:
            self.axis.line = self.line
        self.over_mono_us = None
        self.transferring = False
        self._touch(at_mono_us)

    # ------------------------------------------------------------------------------------------------- as time passes

    def advance(self, now_mono_us: int) -> list[VoipOutput]:
        """Pieces that are whole and have waited for late packets; keyed digits; what the packets themselves showed."""
        if self.axis is None or self.caller is None or self.agent is None:
            return []
        out: list[VoipOutput] = []
        for track in (self.caller, self.agent):
            out += self._keyed(track, now_mono_us)
            out += self._seen_in_packets(track, now_mono_us)
        ready = now_mono_us - self.limits.reorder_wait_us
        if self.over_mono_us is not None:
            ready = min(ready, self.over_mono_us)
        return out + self._cut(self.axis.due(ready))

    def _cut(self, until: int) -> list[VoipOutput]:
        if self.axis is None or self.caller is None or self.agent is None:
            return []
        pieces: list[MediaPiece] = self.axis.cut(until, self.caller, self.agent)
        if pieces and not self.kept:
            self.kept = any(piece.payload is not None for piece in pieces)
        return list(pieces)

    def _keyed(self, track: Track, now_mono_us: int) -> list[VoipOutput]:
        out: list[VoipOutput] = []
        for keyed in track.keys.drain(now_mono_us):
            event: DigitHeard | OptOutKeyHeard
            event = DigitHeard(self.line, keyed.at_mono_us, keyed.end_mono_us, True, keyed.continued)
            if keyed.opt_out:
                event = OptOutKeyHeard(self.line, keyed.at_mono_us)
            out.append(Heard(self.key, event, keyed.channel))
        return out

    def _seen_in_packets(self, track: Track, now_mono_us: int) -> list[VoipOutput]:
        out: list[VoipOutput] = []
        if track.encrypted_mono_us is not None and not self.encrypted:
            out += self._judge_encryption(True, track.encrypted_mono_us)
            self._mark(track.encrypted_mono_us)
        if track.unrecordable is not None:
            if not self.unrecordable and not self.faulty:
                out.append(NotRecordableCodec(self.key, self.line, now_mono_us, track.unrecordable))
                self.faulty = True
            track.unrecordable = None
        return out

    def look_for_media(self, now_mono_us: int) -> list[VoipOutput]:
        """MediaMissing once per outage."""
        if self.axis is None or self.caller is None or self.agent is None or self.held or self.over_mono_us is not None:
            return []
        silent = [
            track.channel
            for track in (self.caller, self.agent)
            if now_mono_us - track.last_mono_us > MEDIA_MISSING_US and not track.quiet
        ]
        now_missing: set[Channel | None] = {None} if len(silent) == 2 else set(silent)
        new = now_missing - self.missing
        self.missing = now_missing
        return [MediaMissing(self.key, self.line, now_mono_us, channel) for channel in new]

    def media_idle_us(self, now_mono_us: int) -> int | None:
        """How long neither side has sent anything; None where that says nothing (no tracks, on hold, silent on
        purpose)."""
        if self.caller is None or self.agent is None or self.held or self.over_mono_us is not None:
            return None
        if self.caller.quiet or self.agent.quiet:
            return None
        return now_mono_us - max(self.caller.last_mono_us, self.agent.last_mono_us)

    # ------------------------------------------------------------------------------------------------------- the end

    def end(self, at_mono_us: int, ended: Ended) -> list[VoipOutput]:
        """The rest of the axis, then the row."""
        out: list[VoipOutput] = []
        samples = 0
        late = 0
        if self.axis is not None and self.caller is not None and self.agent is not None:
            samples = self.axis.sample_at(at_mono_us)
            for track in (self.caller, self.agent):
                out += self._keyed(track, at_mono_us + MEDIA_MISSING_US)
                out += self._seen_in_packets(track, at_mono_us)
            out += self._cut(samples)
            late = self.caller.late_packets + self.agent.late_packets
        answered = self.answered_mono_us
        row = CallEnded(
            self.key,
            self.line,
            at_mono_us,
            self.direction,
            self.rule,
            self._outcome(),
            ended if answered is not None else None,
            samples,
            self.started_mono_us,
            answered,
            late,
        )
        return [*out, row]

    def _outcome(self) -> Outcome:
        if self.direction is Direction.OUTBOUND:
            return Outcome.OUTBOUND
        if self.rule is Rule.TOO_MANY_CALLS:
            return Outcome.FAULT
        if self.answered_mono_us is None:
            return Outcome.FAULT if self.pushed_out else Outcome.UNANSWERED
        if self.kept:
            return Outcome.RECORDED
        if self.dialog is not None and self.dialog.crossed:
            return Outcome.UNANSWERED
        if self.encrypted:
            return Outcome.NOT_RECORDABLE_ENCRYPTED
        return Outcome.FAULT if self.inbound else Outcome.UNKNOWN_DIRECTION
