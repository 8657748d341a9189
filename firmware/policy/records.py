"""What is said about a call once it is judged: closed lists, and the two records that leave the loop (ledger row,
call meta)."""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from firmware.policy.events import Absence


class Outcome(StrEnum):
    """The closed list of product.md 8. Every call event gets exactly one."""

    RECORDED = "recorded"
    OPTED_OUT = "opted_out"
    OUTBOUND = "outbound"
    CONSULT = "consult"
    UNKNOWN_DIRECTION = "unknown_direction"
    UNANSWERED = "unanswered"
    NOTICE_NOT_COMPLETED = "notice_not_completed"
    FAULT = "fault"
    NOT_RECORDABLE_ENCRYPTED = "not_recordable_encrypted"


class GapReason(IntEnum):
    """Why a stretch of a recording is silent. The numbers are the bytes of FORMAT.md; order of worth when two
    coincide."""

    PAYMENT = 1
    OPT_OUT_KEY = 2
    KEYED_DIGITS = 3
    ON_HOLD = 4
    CONSULT = 5
    FAULT = 6
    LOST_SAMPLES = 7

    @property
    def word(self) -> str:
        return self.name.lower()


class Direction(StrEnum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"
    CONSULT = "consult"
    UNKNOWN = "unknown"


class Ended(StrEnum):
    """How a call that was kept came to its end."""

    ON_HOOK = "on_hook"
    TONE = "tone"
    POWER_CUT = "power_cut"
    FAULT = "fault"
    TRANSFER = "transfer"


class AudioCodec(IntEnum):
    """How the payload of a frame is encoded; the numbers are the bytes of FORMAT.md."""

    FLAC = 1
    PCMU = 2
    PCMA = 3
    G722 = 4


class Keep(StrEnum):
    """What became of KEEP, where it was pressed for a call."""

    HELD = "held"
    REFUSED = "refused"
    OVERRULED = "overruled"
    """OPT-OUT beats it."""
    RELEASED = "released"
    LAPSED = "lapsed"


@dataclass(frozen=True)
class LedgerRow:
    """One call event. No number and no identity, ever: it is kept for twelve months in clear."""

    line: int
    outcome: Outcome
    direction: Direction
    rule: str
    """Id of the direction rule that decided, e.g. ``ring_then_loop`` (policy/call)."""
    started_utc_ms: int
    ended_utc_ms: int
    sense: bool
    """Whether ring and loop were sensed, or the verdict rests on audio alone. It says nothing in a row of a boot."""
    call_id: bytes | None = None
    """The vault's id of the recording, where one was kept."""
    ended: Ended | None = None
    """How it ended, where it was kept."""
    keep: Keep | None = None
    """Told by the log, not written with the row: it may change for months."""


@dataclass(frozen=True)
class NoticeProof:
    """Which notice the caller heard. ``claimed_by_upstream`` where the telephone system plays it and nothing was
    matched."""

    version: str
    sha256: bytes
    played_ms: int
    source: str
    """appliance, upstream_matched or upstream_claimed."""
    offset_ms: int | None = None


@dataclass(frozen=True)
class Quality:
    """Per call, over what was kept. Levels in dBm0."""

    level_dbm0: float
    noise_dbm0: float
    clipped_samples: int
    silent_share: float
    lost_samples: int


@dataclass(frozen=True, repr=False)
class CallMeta:
    """Sealed with the call to the custodian, apart from its audio, so that an INDEX carries no key to audio
    (storage.md 3.3)."""

    number: str | None
    number_absence: Absence | None
    caller_name: str | None
    direction: Direction
    rule: str
    evidence: tuple[tuple[str, int], ...]
    """(input, milliseconds relative to the answer), oldest first: what the verdict rests on."""
    notice: NoticeProof
    answered_utc_ms: int
    ended_utc_ms: int
    ended: Ended
    samples: int
    """From the answer to the on-hook, at SAMPLE_RATE_HZ: the length of the exported WAV."""
    quality: Quality | None = None
    caller_id: dict[str, str] = field(default_factory=dict)
    """standard, call_type, date, repaired, snr_db as text."""
    payment_presses_ms: tuple[int, ...] = ()
    """Presses of PAYMENT relative to the answer: the missed-press review of the compliance pack."""
    keep_pressed: bool = False

    def __repr__(self) -> str:
        return "CallMeta(...)"
