"""From judged blocks to commands for the vault: when a call is opened, what is appended, when it is closed and its
row written.

Positions are samples from the answer. What the codec lost is judged like what it delivered: a stretch without samples
is a gap with the reason that held then, ``lost_samples`` where none did.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firmware.policy import ledger
from firmware.policy.call import Call
from firmware.policy.gate import Silence, Span, judge
from firmware.policy.ledger import Kept
from firmware.policy.records import (
    AudioCodec,
    CallMeta,
    Direction,
    Ended,
    GapReason,
    NoticeProof,
    Outcome,
    Quality,
)
from firmware.ports import Block
from firmware.store.commands import (
    AppendAudio,
    AppendGap,
    BeginCall,
    CloseCall,
    Command,
    KeepCall,
    LatchOptOut,
    OpenCall,
    OptOutBegun,
    WriteRow,
)
from firmware.units import MS_PER_S, SAMPLE_RATE_HZ, SAMPLE_US

if TYPE_CHECKING:
    from firmware.voip.output import MediaPiece

PAYMENT_PRESSES_MAX = 64


@dataclass(frozen=True)
class NoticeUsed:
    version: str
    sha256: bytes


@dataclass
class _Meter:
    """Sums of the ear's measurements while the call could be heard."""

    seconds: int = 0
    level_dbm0: float = 0.0
    noise_dbm0: float = 0.0
    clipped_samples: int = 0
    silent_seconds: int = 0


@dataclass
class _Recording:
    call: Call
    started_utc_ms: int | None = None
    """Of its answer, once it has begun: the log's first word on the call, its recording and its row name the same."""
    answer_sample: int | None = None
    """Position of the answer on the codec's sample axis."""
    next_sample: int = 0
    """Everything before it has been judged, from the answer on."""
    codec: AudioCodec | None = None
    channels: int = 1
    opened: bool = False
    keep_wanted: bool = False
    gap: tuple[GapReason, int, int] | None = None
    """(reason, first sample, samples) not yet handed on: gaps of one reason are one piece."""
    kept_samples: int = 0
    kept_until: int = 0
    """Past the last sample that was handed on. An end that is known late (a line by sound alone) may lie before it."""
    lost_samples: int = 0
    reasons: set[GapReason] = field(default_factory=set)
    meter: _Meter = field(default_factory=_Meter)


@dataclass(frozen=True)
class _Stretch:
    """Sound to be judged: positions from the answer; ``cut`` gives what is stored of samples [start, stop) of it."""

    first_sample: int
    samples: int
    captured_mono_us: int
    cut: Callable[[int, int], NDArray[np.int16] | bytes]
    codec: AudioCodec | None = None


class Recorder:
    """``submit`` hands a command to the writer; ``utc_ms`` turns a monotonic time of this boot into trusted UTC."""

    def __init__(self, submit: Callable[[Command], None], utc_ms: Callable[[int], int], sense: Sequence[bool]) -> None:
        self._submit = submit
        self._utc_ms = utc_ms
        self._sense = sense
        self._recordings: dict[int, _Recording] = {}
        self.notice = NoticeUsed("", bytes(32))

    def begin(self, call: Call) -> None:
        """An inbound call that is answered has a row from here on, whatever happens. Said once."""
        if call.answered_mono_us is None or call.direction is not Direction.INBOUND:
            return
        recording = self._of(call)
        if recording.started_utc_ms is None:
            recording.started_utc_ms = self._utc_ms(call.answered_mono_us)
            self._submit(BeginCall(call.call, call.line, recording.started_utc_ms, call.opted_out))

    def opted_out(self, call: Call) -> None:
        """OPT-OUT before anything of the call was handed on."""
        started_utc_ms = self._of(call).started_utc_ms
        if started_utc_ms is not None:
            self._submit(OptOutBegun(call.call, call.line, started_utc_ms))

    # -------------------------------------------------------------------------------------------- audio

    def take(self, call: Call, silences: Sequence[Silence], fault: bool, block: Block, channel: int) -> bool:
        """Judge one block for one call and hand on what follows from it. Returns whether anything was kept."""
        recording = self._of(call)
        if recording.answer_sample is None:
            assert call.answered_mono_us is not None
            since_answer = (block.captured_mono_us - call.answered_mono_us) // SAMPLE_US
            recording.answer_sample = block.first_sample - since_answer
        sound = block.samples[channel : channel + 1]
        stretch = _Stretch(
            block.first_sample - recording.answer_sample,
            sound.shape[1],
            block.captured_mono_us,
            lambda start, stop: np.ascontiguousarray(sound[:, start:stop]),
        )
        return self._take(recording, silences, fault, stretch)

    def take_piece(self, call: Call, silences: Sequence[Silence], fault: bool, piece: "MediaPiece") -> bool:
        """The same for a piece of a VoIP call, whose bytes are kept as they came."""
        recording = self._of(call)
        stretch = _Stretch(
            piece.first_sample,
            piece.samples,
            piece.at_mono_us,
            lambda start, stop: cut(piece, start, stop),
            piece.codec,
        )
        recording.codec, recording.channels = recording.codec or piece.codec, 2
        return self._take(recording, silences, fault, stretch)

    def _take(self, recording: _Recording, silences: Sequence[Silence], fault: bool, sound: _Stretch) -> bool:
        self._judge_missing(recording, silences, fault, sound.first_sample, sound.captured_mono_us)
        spans = judge(recording.call.view(), silences, fault, sound.captured_mono_us, sound.samples)
        for span in spans:
            self._span(recording, span, sound)
        recording.next_sample = sound.first_sample + sound.samples
        return any(span.keep for span in spans)

    def _span(self, recording: _Recording, span: Span, sound: _Stretch) -> None:
        first, count = sound.first_sample + span.start, span.stop - span.start
        if span.reason is not None:
            self._gap(recording, span.reason, first, count)
            return
        self._hand_on_gap(recording)
        self._open(recording)
        payload = sound.cut(span.start, span.stop)
        self._submit(AppendAudio(recording.call.call, first, count, payload, sound.codec))
        recording.kept_samples += count
        recording.kept_until = first + count

    def _judge_missing(
        self, recording: _Recording, silences: Sequence[Silence], fault: bool, position: int, at_mono_us: int
    ) -> None:
        """What lies between the last judged sample and ``position`` was never delivered."""
        if position <= recording.next_sample:
            return
        missing = position - recording.next_sample
        first, from_mono_us = recording.next_sample, at_mono_us - missing * SAMPLE_US
        for span in judge(recording.call.view(), silences, fault, from_mono_us, missing):
            reason = GapReason.LOST_SAMPLES if span.reason is None else span.reason
            if span.reason is None:
                recording.lost_samples += span.stop - span.start
            self._gap(recording, reason, first + span.start, span.stop - span.start)

    def _gap(self, recording: _Recording, reason: GapReason, first: int, count: int) -> None:
        """Gaps that touch and have one reason are one piece. Technical gaps alone do not open a call."""
        recording.reasons.add(reason)
        pending = recording.gap
        if pending is not None and pending[1] + pending[2] == first:
            alike = pending[0] is reason or (not recording.opened and {pending[0], reason} <= ledger.TECHNICAL)
            if alike:
                recording.gap = (pending[0], pending[1], pending[2] + count)
                return
        self._hand_on_gap(recording)
        recording.gap = (reason, first, count)

    def _hand_on_gap(self, recording: _Recording) -> None:
        if recording.gap is None:
            return
        (reason, first, count), recording.gap = recording.gap, None
        self._open(recording)
        self._submit(AppendGap(recording.call.call, first, count, reason))

    def _open(self, recording: _Recording) -> None:
        if recording.opened:
            return
        recording.opened = True
        call = recording.call
        assert call.answered_mono_us is not None
        meta = self._meta(recording, ended=Ended.POWER_CUT, ended_mono_us=call.answered_mono_us)
        codec = recording.codec or AudioCodec.FLAC
        self.begin(call)
        opened_utc_ms = self._started_utc_ms(recording)
        # A latch belongs to an earlier call: one that was itself opted out is refused by the gate and never gets here.
        self._submit(LatchOptOut(call.line, False))
        self._submit(OpenCall(call.call, call.line, opened_utc_ms, meta, codec, recording.channels))
        if recording.keep_wanted:
            self._submit(KeepCall(call.line, call.call))

    # -------------------------------------------------------------------------------------------- the end

    def finish(self, call: Call, silences: Sequence[Silence], fault: bool) -> Outcome:
        """The call is over and nothing of it waits any more: close it and write its row."""
        recording = self._of(call)
        assert call.ended_mono_us is not None
        if call.answered_mono_us is not None and not call.opted_out:
            self._judge_missing(recording, silences, fault, self._length(call), call.ended_mono_us)
        outcome = ledger.outcome(call, Kept(recording.kept_samples, frozenset(recording.reasons)))
        ended_utc_ms = self._utc_ms(call.ended_mono_us)
        row = ledger.row(call, outcome, self._started_utc_ms(recording), ended_utc_ms, self._sense[call.line])
        if outcome is Outcome.RECORDED:
            self._hand_on_gap(recording)
            meta = self._meta(recording, ended=call.ended, ended_mono_us=call.ended_mono_us)
            self._submit(CloseCall(call.call, meta, row))
        else:
            if recording.keep_wanted and not recording.opened:
                self._submit(KeepCall(call.line, call.call, call.opted_out))
            self._submit(WriteRow(row, call.call if recording.opened else None))
        del self._recordings[call.call]
        return outcome

    def was_opened(self, call: int) -> bool:
        return call in self._recordings and self._recordings[call].opened

    def want_keep(self, call: Call) -> None:
        """KEEP was pressed: hold the call as soon as there is something of it. Where nothing of it is ever kept, the
        vault refuses at its end, and the log says so."""
        self._of(call).keep_wanted = True

    def measured(self, call: Call, level_dbm0: float, noise_dbm0: float, clipped_samples: int, silent: bool) -> None:
        meter = self._of(call).meter
        meter.seconds += 1
        meter.level_dbm0 += level_dbm0
        meter.noise_dbm0 += noise_dbm0
        meter.clipped_samples += clipped_samples
        meter.silent_seconds += silent

    # --------------------------------------------------------------------------------------------- helpers

    def _of(self, call: Call) -> _Recording:
        recording = self._recordings.get(call.call)
        if recording is None:
            recording = self._recordings[call.call] = _Recording(call)
        return recording

    def _started_utc_ms(self, recording: _Recording) -> int:
        """The answer, or the first ring where nobody answered."""
        if recording.started_utc_ms is not None:
            return recording.started_utc_ms
        call = recording.call
        return self._utc_ms(call.started_mono_us if call.answered_mono_us is None else call.answered_mono_us)

    def _length(self, call: Call) -> int:
        assert call.ended_mono_us is not None
        assert call.answered_mono_us is not None
        if call.samples is not None:
            return call.samples
        return (call.ended_mono_us - call.answered_mono_us) // SAMPLE_US

    def _meta(self, recording: _Recording, *, ended: Ended, ended_mono_us: int) -> CallMeta:
        call = recording.call
        assert call.answered_mono_us is not None
        answered = call.answered_mono_us
        number, absence = call.number_and_absence()
        return CallMeta(
            number=number,
            number_absence=absence,
            caller_name=call.caller_id.name if call.caller_id else None,
            direction=call.direction,
            rule=call.rule,
            evidence=tuple((word, (at - answered) // 1000) for word, at in call.evidence),
            notice=self._proof(call),
            answered_utc_ms=self._utc_ms(answered),
            ended_utc_ms=self._utc_ms(ended_mono_us),
            ended=ended,
            samples=0 if ended is Ended.POWER_CUT else max(self._length(call), recording.kept_until),
            quality=_quality(recording),
            caller_id=_caller_id(call),
            payment_presses_ms=tuple(
                (at - answered) // 1000 for at in call.payment_presses_mono_us[:PAYMENT_PRESSES_MAX]
            ),
            keep_pressed=call.keep_pressed,
        )

    def _proof(self, call: Call) -> NoticeProof:
        return NoticeProof(
            self.notice.version, self.notice.sha256, call.notice_played_ms, call.notice_source, call.notice_offset_ms
        )


def _quality(recording: _Recording) -> Quality | None:
    meter = recording.meter
    if not meter.seconds:
        return None
    return Quality(
        level_dbm0=round(meter.level_dbm0 / meter.seconds, 1),
        noise_dbm0=round(meter.noise_dbm0 / meter.seconds, 1),
        clipped_samples=meter.clipped_samples,
        silent_share=round(meter.silent_seconds / meter.seconds, 3),
        lost_samples=recording.lost_samples,
    )


def _caller_id(call: Call) -> dict[str, str]:
    heard = call.caller_id
    if heard is None:
        return {}
    fields = {"standard": heard.standard, "repaired": str(heard.repaired).lower()}
    optional = {"call_type": heard.call_type, "date": heard.date}
    fields |= {key: value for key, value in optional.items() if value is not None}
    if heard.snr_db is not None:
        fields["snr_db"] = f"{heard.snr_db:.1f}"
    return fields


def played_ms(samples: int) -> int:
    return samples * MS_PER_S // SAMPLE_RATE_HZ


def cut(piece: "MediaPiece", start: int, stop: int) -> NDArray[np.int16] | bytes:
    """Samples [start, stop) of a piece: a slice of its codec bytes (two channels, byte by byte), or of linear samples.

    Linear audio at 16 kHz is kept at the line's 8 kHz: two neighbours become their mean. No telephone provider offers
    L16.
    """
    payload = piece.payload
    assert payload is not None
    if isinstance(payload, bytes):
        return payload[2 * start : 2 * stop]
    per_sample = payload.shape[1] // piece.samples
    part = payload[:, start * per_sample : stop * per_sample]
    if per_sample == 1:
        return np.ascontiguousarray(part)
    means = part.reshape(2, stop - start, per_sample).mean(axis=2)
    rounded: NDArray[np.int16] = np.rint(means).astype(np.int16)
    return rounded
