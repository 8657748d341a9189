"""What goes into the VoIP line (a packet) and everything that can come out of it, as frozen facts.

One call, one key. Every call key has exactly one ``CallStarted`` and exactly one ``CallEnded``, so a consumer that
writes one ledger row per ``CallEnded`` has one row per call event. Between ``CallAnswered`` and ``CallEnded`` of an
*inbound* call its ``MediaPiece`` outputs cover the call's axis from 0 to ``CallEnded.samples`` once, in order, without
hole or overlap: a stretch without audio is a piece with a reason. For outbound, consult and unknown calls no audio
leaves this package at all.

The axis. Positions and lengths count at SAMPLE_RATE_HZ (8 kHz) from the answer (the 200 to the INVITE), for every
codec: G.711 has one byte per channel and sample, G.722 has one byte per channel and 8 kHz sample too (it decodes to two
samples at 16 kHz; RFC 3551 4.5.2 keeps its RTP clock at 8000), linear audio at 16 kHz has two values per 8 kHz sample.

No output shows caller-controlled text in ``repr``: what the far end wrote (numbers, names, addresses, codec names)
is either kept out or reduced to a closed list.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from firmware.policy.events import CallerIdHeard, DigitHeard, OptOutKeyHeard
from firmware.policy.records import AudioCodec, Direction, Ended, GapReason, Outcome


class Channel(StrEnum):
    """Whose voice. The numbers of the audio channels: caller 0, agent 1."""

    CALLER = "caller"
    AGENT = "agent"


class Rule(StrEnum):
    """How a direction was decided. The word is kept in the ledger row."""

    TRUNK_INVITE_DDI = "trunk_invite_ddi"
    """Initial INVITE at the trunk port, from a configured peer, for a number of the DDI list: inbound."""
    TRUNK_INVITE_OTHER_NUMBER = "trunk_invite_other_number"
    """The same, for a number that is not in the list: unknown."""
    TRUNK_INVITE_OTHER_PEER = "trunk_invite_other_peer"
    """At the trunk port, from an address that is no configured peer: unknown."""
    TRUNK_INVITE_TRANSFERRED = "trunk_invite_transferred"
    """The caller's new dialog after a transfer that the site does not follow (``on_transfer = "stop"``): unknown."""
    INSIDE_INVITE = "inside_invite"
    """Initial INVITE at the inside port: outbound."""
    INSIDE_INVITE_SECOND = "inside_invite_second"
    """The same while the line has an answered inbound call: the agent's second dialog, outbound, never mixed in."""
    DIALOG_ALREADY_RUNNING = "dialog_already_running"
    """A request inside a dialog whose beginning was not seen (recorder started in mid-call): unknown."""
    RTP_WITHOUT_DIALOG = "rtp_without_dialog"
    """Media of which no signalling was seen: unknown."""
    TLS_SIGNALLING = "tls_signalling"
    """Media of which the signalling ran inside TLS: unknown, not recordable."""
    TOO_MANY_CALLS = "too_many_calls"
    """The limit of dialogs was reached: unknown, fault."""


@dataclass(frozen=True)
class CallStarted:
    """An initial INVITE (or one of the stand-ins of ``Rule``). ``evidence``: (input, milliseconds relative to this
    event). ``waiting``: the line already has an answered inbound call (call waiting: own row, own notice, own
    opt-out)."""

    call: int
    line: int
    at_mono_us: int
    direction: Direction
    rule: Rule
    evidence: tuple[tuple[str, int], ...]
    waiting: bool = False


@dataclass(frozen=True)
class CallAnswered:
    """200 to the INVITE; ``at_mono_us`` is sample 0 of the call's axis.

    ``evidence`` is the whole vector, in milliseconds relative to the answer, oldest first (``CallMeta.evidence``).
    ``line`` counts from here on: where several lines share a number, the agent who answered decides, so it can differ
    from ``CallStarted.line``.
    """

    call: int
    line: int
    at_mono_us: int
    direction: Direction
    rule: Rule
    evidence: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Heard:
    """A fact for ``policy/call`` that belongs to one call: caller ID, presence of a keyed digit (RFC 4733), the
    opt-out key held for 1 s. ``channel`` None: from signalling."""

    call: int
    event: CallerIdHeard | DigitHeard | OptOutKeyHeard
    channel: Channel | None = None


@dataclass(frozen=True)
class HoldStarted:
    """Either side offered sendonly, recvonly or inactive, or a null address. The pieces from this sample on are gaps
    ``on_hold``."""

    call: int
    line: int
    at_mono_us: int
    at_sample: int


@dataclass(frozen=True)
class HoldEnded:
    """Both sides agreed on sendrecv again."""

    call: int
    line: int
    at_mono_us: int
    at_sample: int


@dataclass(frozen=True)
class Transferred:
    """The caller's dialog goes on with another agent and the site follows it (``on_transfer = "continue"``): the same
    call, the same axis. ``line`` counts from here on and can be another one: the keys on the desk of the agent who has
    the caller now must silence this call."""

    call: int
    line: int
    at_mono_us: int
    at_sample: int


@dataclass(frozen=True, eq=False)
class MediaPiece:
    """A stretch of one inbound call, at most ``Limits.piece_samples`` long where it holds audio.

    ``payload``

    * PCMU, PCMA, G722: codec bytes as they came, both channels interleaved byte by byte (caller, agent, caller, ...),
      so ``len == 2 * samples`` and any cut at a sample is the slice ``payload[2 * a : 2 * b]``. Interleaved, because
      the loop cuts keyed digits sample-exactly and must not know the codec to do it.
    * FLAC: int16 [2, samples * rate_hz / 8000], linear, still to be encoded. Used for L16 and where the two sides
      speak different codecs at that moment (lossless with regard to the decoded samples).
    * None: no audio, ``gap`` says why: ``lost_samples`` (neither side has a packet for the stretch), ``on_hold``,
      ``fault`` (encrypted or not recordable from the middle of the call on).

    Where one side has audio and the other lost a packet, the lost side holds its codec's silence and is counted in
    ``lost_caller`` / ``lost_agent`` (samples): the words of the side that came through are kept. Where a side sent
    nothing on purpose (silence suppression, comfort noise: time jumped and the sequence did not), its silence is not
    counted as lost. Both lost: a gap.

    ``at_mono_us`` is the capture time of the first sample.
    """

    call: int
    line: int
    at_mono_us: int
    first_sample: int
    samples: int
    codec: AudioCodec
    rate_hz: int
    payload: bytes | NDArray[np.int16] | None
    gap: GapReason | None = None
    lost_caller: int = 0
    lost_agent: int = 0

    def __repr__(self) -> str:
        return f"MediaPiece(call={self.call}, first_sample={self.first_sample}, samples={self.samples}, ...)"


@dataclass(frozen=True)
class Encrypted:
    """Alarm ENCRYPTED_CALL: SRTP, DTLS or ZRTP was agreed (``call`` set), or a signalling connection runs inside TLS
    (``call`` and ``line`` None; its calls show as media without a dialog and end ``not_recordable_encrypted``)."""

    call: int | None
    line: int | None
    at_mono_us: int


@dataclass(frozen=True)
class NotRecordableCodec:
    """Alarm CODEC_NOT_RECORDABLE. ``codec``: g729, opus, g723, ilbc, amr, gsm, fax or other (a closed list, never the
    far end's text)."""

    call: int
    line: int
    at_mono_us: int
    codec: str


@dataclass(frozen=True)
class RtpWithoutDialog:
    """Media without signalling; its call began with ``CallStarted(rule=rtp_without_dialog)`` just before."""

    call: int
    line: int
    at_mono_us: int


@dataclass(frozen=True)
class MediaMissing:
    """No RTP for 10 s in a live dialog that is not on hold: of one side (alarm ONE_SIDED) or, ``channel`` None, of
    both (DEAD_CHANNEL)."""

    call: int
    line: int
    at_mono_us: int
    channel: Channel | None


@dataclass(frozen=True)
class CallEnded:
    """The end of every call key.

    ``outcome`` is what the ledger row says unless the gate knows better (opted out, notice not completed): recorded
    means that audio was there to be recorded. ``ended`` is None where the call was not answered. ``samples``: length
    of the axis from answer to end, 0 where it was not answered.
    """

    call: int
    line: int
    at_mono_us: int
    direction: Direction
    rule: Rule
    outcome: Outcome
    ended: Ended | None
    samples: int
    started_mono_us: int
    answered_mono_us: int | None
    late_packets: int = 0
    """Packets that came after their stretch was cut, or over the limit: heard by the far end, not kept by us."""


VoipOutput = (
    CallStarted
    | CallAnswered
    | Heard
    | HoldStarted
    | HoldEnded
    | Transferred
    | MediaPiece
    | Encrypted
    | NotRecordableCodec
    | RtpWithoutDialog
    | MediaMissing
    | CallEnded
)
