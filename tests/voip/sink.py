"""Takes the outputs of a trunk as the loop would, and checks on the way what must hold for every call."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from firmware.policy.events import CallerIdHeard, DigitHeard, OptOutKeyHeard, Packet
from firmware.policy.records import AudioCodec, Direction, GapReason
from firmware.ports import Burst
from firmware.voip.output import (
    CallAnswered,
    CallEnded,
    CallStarted,
    Heard,
    MediaPiece,
    VoipOutput,
)
from firmware.voip.settings import TrunkSettings
from firmware.voip.trunk import Trunk


@dataclass
class Kept:
    """Everything that was told of one call."""

    started: CallStarted
    answered: CallAnswered | None = None
    ended: CallEnded | None = None
    pieces: list[MediaPiece] = field(default_factory=list)
    told: list[VoipOutput] = field(default_factory=list)

    @property
    def end(self) -> CallEnded:
        assert self.ended is not None
        return self.ended

    @property
    def row(self) -> tuple[str, str]:
        return self.end.outcome.value, self.end.rule.value

    @property
    def evidence(self) -> dict[str, int]:
        assert self.answered is not None
        return dict(self.answered.evidence)

    def heard(self, kind: type) -> list[object]:
        return [output.event for output in self.told if isinstance(output, Heard) and isinstance(output.event, kind)]

    @property
    def caller_id(self) -> CallerIdHeard:
        (event,) = self.heard(CallerIdHeard)
        assert isinstance(event, CallerIdHeard)
        return event

    @property
    def digits(self) -> list[DigitHeard]:
        return [event for event in self.heard(DigitHeard) if isinstance(event, DigitHeard)]

    @property
    def opt_outs(self) -> list[OptOutKeyHeard]:
        return [event for event in self.heard(OptOutKeyHeard) if isinstance(event, OptOutKeyHeard)]

    def audio(self, channel: int) -> bytes:
        """Codec bytes of one channel over all pieces that hold audio, gaps left out."""
        return b"".join(
            piece.payload[channel::2]
            for piece in self.pieces
            if piece.codec is not AudioCodec.FLAC and isinstance(piece.payload, bytes)
        )

    def gaps(self) -> list[tuple[str, int, int]]:
        """(reason, first sample, samples), neighbours of one reason joined."""
        out: list[tuple[str, int, int]] = []
        for piece in self.pieces:
            if piece.gap is None:
                continue
            if out and out[-1][0] == piece.gap.word and out[-1][1] + out[-1][2] == piece.first_sample:
                out[-1] = (out[-1][0], out[-1][1], out[-1][2] + piece.samples)
            else:
                out.append((piece.gap.word, piece.first_sample, piece.samples))
        return out

    def audio_samples(self) -> int:
        return sum(piece.samples for piece in self.pieces if piece.payload is not None)


@dataclass
class Sink:
    calls: dict[int, Kept] = field(default_factory=dict)
    others: list[VoipOutput] = field(default_factory=list)
    """Outputs that belong to no call."""

    def take(self, outputs: Iterable[VoipOutput]) -> None:
        for output in outputs:
            self._take(output)

    def _take(self, output: VoipOutput) -> None:
        if isinstance(output, CallStarted):
            assert output.call not in self.calls
            self.calls[output.call] = Kept(output)
            return
        if output.call is None:
            self.others.append(output)
            return
        call = self.calls[output.call]
        assert call.ended is None, "nothing comes after the end"
        if isinstance(output, CallAnswered):
            assert call.answered is None
            call.answered = output
        elif isinstance(output, CallEnded):
            call.ended = output
        elif isinstance(output, MediaPiece):
            self._piece(call, output)
        else:
            call.told.append(output)

    @staticmethod
    def _piece(call: Kept, piece: MediaPiece) -> None:
        assert call.answered is not None
        assert call.answered.direction is Direction.INBOUND, "audio of a call that is not inbound"
        assert piece.first_sample == sum(earlier.samples for earlier in call.pieces), "a hole or overlap on the axis"
        assert piece.samples > 0
        assert (piece.payload is None) is (piece.gap is not None)
        assert piece.gap in (None, GapReason.LOST_SAMPLES, GapReason.ON_HOLD, GapReason.FAULT)
        if isinstance(piece.payload, bytes):
            assert len(piece.payload) == 2 * piece.samples
        elif piece.payload is not None:
            assert piece.payload.shape == (2, piece.samples * piece.rate_hz // 8000)
        call.pieces.append(piece)

    def check(self) -> None:
        """After the end of everything: one row per call, the axis covered to its end."""
        for call in self.calls.values():
            if call.answered is not None and call.answered.direction is Direction.INBOUND:
                assert sum(piece.samples for piece in call.pieces) == call.end.samples
            else:
                assert not call.pieces
                assert call.end.samples == 0

    @property
    def rows(self) -> list[tuple[str, str]]:
        return [call.row for call in self.calls.values()]

    @property
    def only(self) -> Kept:
        (call,) = self.calls.values()
        return call


def run(settings: TrunkSettings, packets: list[Packet], *, linger_us: int = 1_000_000) -> Sink:
    """All packets through a trunk, then its end ``linger_us`` after the last one."""
    trunk, sink = Trunk(settings), Sink()
    sink.take(trunk.hear(Burst.of(packets)))
    end = max((packet.at_mono_us for packet in packets), default=0)
    for step in range(100_000, linger_us + 1, 100_000):
        sink.take(trunk.tick(end + step))
    sink.take(trunk.close(end + linger_us))
    sink.check()
    return sink
