"""What the loop may ask of the vault, and what the vault tells the loop. The only words that cross the writer's queue.

The loop names a call by its own small number (``call``), given at the answer and never reused within a boot; the vault
draws the random call id that the disk knows. Commands are carried out in order, except that ``OptOut`` overtakes
queued audio (it is looked for at each dequeue). No command waits for the card on the loop's side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec, CallMeta, GapReason, LedgerRow


@dataclass(frozen=True)
class BeginCall:
    """An inbound call was answered: from here on it has its row, also if power goes before anything of it is kept.
    ``OpenCall`` and the row name the same ``started_utc_ms``."""

    call: int
    line: int
    started_utc_ms: int
    opted_out: bool = False


@dataclass(frozen=True)
class OptOutBegun:
    """OPT-OUT of a call of which nothing was handed on: there is nothing to destroy, and its row will say so."""

    call: int
    line: int
    started_utc_ms: int


@dataclass(frozen=True)
class OpenCall:
    """Makes the call durable (OPEN in both mirrors) before its first frame. ``opened_utc_ms`` (the answer) fixes
    its bag day."""

    call: int
    line: int
    opened_utc_ms: int
    meta: CallMeta
    """What is known by now (ended: power cut): sealed at once, so that a cut does not lose the number; ``CloseCall``
    supersedes it."""
    codec: AudioCodec = AudioCodec.FLAC
    channels: int = 1
    rate_hz: int = 8000


@dataclass(frozen=True, eq=False)
class AppendAudio:
    """int16 [channels, n], or codec bytes for G.711/G.722. ``first_sample`` counts from the answer; pieces come in
    order, without overlap."""

    call: int
    first_sample: int
    samples: int
    payload: NDArray[np.int16] | bytes
    codec: AudioCodec | None = None
    """Of this piece, where it is not the call's: the far ends may change it in mid-call."""


@dataclass(frozen=True)
class AppendGap:
    call: int
    first_sample: int
    samples: int
    reason: GapReason


@dataclass(frozen=True)
class CloseCall:
    """Seals the last frame, META and CLOSE, and writes the call's ledger row."""

    call: int
    meta: CallMeta
    row: LedgerRow


@dataclass(frozen=True)
class WriteRow:
    """The ledger row of a call event of which nothing is kept (not opened, or destroyed by ``OptOut``)."""

    row: LedgerRow
    call: int | None = None
    """The loop's name of the call where it was opened and then destroyed by ``OptOut``: one row for both."""


@dataclass(frozen=True)
class LatchOptOut:
    """Persist (or lift, at on-hook) the line's opt-out, so that a reboot in mid-call cannot forget it."""

    line: int
    active: bool


@dataclass(frozen=True)
class OptOut:
    """Irrevocable: destroy what was kept of the line's current or just ended call, whether open, closed or
    interrupted by a reboot.

    ``call`` None: whatever the line's latest call in the vault is, if it is still within reach (interrupted by the
    last boot).
    Answered by ``OptOutDone`` only after the erasure point R4.
    """

    line: int
    call: int | None


@dataclass(frozen=True)
class KeepCall:
    """Provisional hold on a running or closed call."""

    line: int
    call: int
    opted_out: bool = False
    """Its caller refused: the hold is, too, and the log says so."""


# ------------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True)
class OptOutDone:
    """``destroyed`` False: there was nothing kept to destroy."""

    line: int
    call: int | None
    destroyed: bool


@dataclass(frozen=True)
class KeepDone:
    """``refused``: a sentence's code (``hold_quota_full``, ``opted_out``, ``not_kept``) or None when the hold is
    in force."""

    line: int
    call: int
    refused: str | None


@dataclass(frozen=True)
class FrameSealed:
    """A durable write of this call's audio was confirmed; ``through_sample`` is exclusive. Feeds the watchdog."""

    call: int
    through_sample: int


@dataclass(frozen=True)
class Alarm:
    """``code`` is one of policy/faults; ``active`` False clears it. ``line`` None: the whole appliance."""

    code: str
    active: bool = True
    line: int | None = None


@dataclass(frozen=True)
class StickReport:
    """How the visit of a stick stands, for the STICK lamp: ``working``, ``done``, ``refused`` or ``failed``.

    ``code``: the refusal's word (also in REPLY.txt and the audit log), None otherwise.
    """

    state: str
    code: str | None = None


@dataclass(frozen=True)
class DocumentChanged:
    """An order put a new document in force: ``site`` (settings) or ``notice`` (audio). Read it again from the vault."""

    name: str


Command = (
    BeginCall
    | OptOutBegun
    | OpenCall
    | AppendAudio
    | AppendGap
    | CloseCall
    | WriteRow
    | LatchOptOut
    | OptOut
    | KeepCall
)
Report = OptOutDone | KeepDone | FrameSealed | Alarm | StickReport | DocumentChanged
