"""One call event of a line: what is known of it from the first ring to the ledger. Facts only; the rules are in
``line``."""

from dataclasses import dataclass, field

from firmware.policy.events import Absence, CallerIdHeard
from firmware.policy.gate import CallView, Silence
from firmware.policy.records import Direction, Ended, GapReason, Outcome


@dataclass
class Call:
    """All times are ``_mono_us``. ``number`` and ``caller_id`` never appear in ``repr``."""

    call: int
    line: int
    direction: Direction
    rule: str
    started_mono_us: int
    answered_mono_us: int | None = None
    permitted_from_mono_us: int | None = None
    ended_mono_us: int | None = None
    ended: Ended = Ended.ON_HOOK
    opted_out: bool = False
    keep_pressed: bool = False
    notice_started_mono_us: int | None = None
    notice_played_ms: int = 0
    notice_source: str = "appliance"
    notice_offset_ms: int | None = None
    samples: int | None = None
    """From the answer to the end, where whoever delivers the sound counts them itself (VoIP)."""
    not_recordable: Outcome | None = None
    """There was nothing that could be recorded, and why (VoIP: encrypted, or a fault)."""
    caller_id: CallerIdHeard | None = field(default=None, repr=False)
    evidence: list[tuple[str, int]] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    payment_presses_mono_us: list[int] = field(default_factory=list)

    def saw(self, evidence: str, at_mono_us: int) -> None:
        """Note what the verdict rests on; bounded, the first observations are the ones that decide."""
        if len(self.evidence) < EVIDENCE_MAX:
            self.evidence.append((evidence, at_mono_us))

    def silence(self, reason: GapReason, from_mono_us: int, to_mono_us: int | None = None) -> None:
        self.silences.append(Silence(reason, from_mono_us, to_mono_us))

    def end_silence(self, reason: GapReason, at_mono_us: int) -> None:
        """Close the open silences of this reason; one that is closed stays, whatever happens later."""
        self.silences = [end_if_open(silence, reason, at_mono_us) for silence in self.silences]

    def end(self, at_mono_us: int, ended: Ended) -> None:
        self.ended_mono_us, self.ended = at_mono_us, ended

    def view(self) -> CallView:
        assert self.answered_mono_us is not None
        return CallView(
            call=self.call,
            direction=self.direction,
            answered_mono_us=self.answered_mono_us,
            permitted_from_mono_us=self.permitted_from_mono_us,
            ended_mono_us=self.ended_mono_us,
            opted_out=self.opted_out,
            silences=tuple(self.silences),
        )

    def number_and_absence(self) -> tuple[str | None, Absence | None]:
        if self.caller_id is None:
            return None, Absence.NONE_SENT
        return self.caller_id.number, self.caller_id.number_absence


EVIDENCE_MAX = 64


def end_if_open(silence: Silence, reason: GapReason, at_mono_us: int) -> Silence:
    if silence.reason is not reason or silence.to_mono_us is not None:
        return silence
    return Silence(reason, silence.from_mono_us, max(at_mono_us, silence.from_mono_us))
