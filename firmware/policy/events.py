"""Everything that can happen to a line, as frozen facts, made by inputs, dsp, voip and the loop, heard by
``policy/call``.

Every event names its line (0, 1, ... in the order of the configuration) and the monotonic time at which it was true.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Signal(StrEnum):
    """What a pin can say, per line."""

    PAYMENT = "payment"
    OPT_OUT = "opt_out"
    KEEP = "keep"
    RING = "ring"
    """Active while ringing current is on the line (one edge pair per burst, or per cycle where the detector is
    fast)."""
    LOOP = "loop"
    """Active while the handset draws loop current: off-hook."""
    REVERSAL = "reversal"


class Lamp(StrEnum):
    REC = "rec"
    PAYMENT = "payment"
    OPT_OUT = "opt_out"
    KEEP = "keep"
    FAULT = "fault"
    STICK = "stick"


@dataclass(frozen=True)
class Edge:
    """One latched change of one pin, before any debouncing."""

    line: int
    signal: Signal
    active: bool
    at_mono_us: int


# ------------------------------------------------------------------------------------------- what the line told us


class Event:
    """Base of everything ``policy/call`` can be told."""

    line: int
    at_mono_us: int


@dataclass(frozen=True)
class RingBurst(Event):
    """Ringing current was there for at least 200 ms from ``at_mono_us``."""

    line: int
    at_mono_us: int


@dataclass(frozen=True)
class OffHook(Event):
    line: int
    at_mono_us: int
    outbound_heard: bool = False
    """By sound alone: dial tone or ringing tone was heard in the receiver before anybody spoke. Where the loop is
    sensed the tones come as events of their own, after this one."""


@dataclass(frozen=True)
class OffHookAtBoot(Event):
    """The loop was already closed when the recorder started: nobody can tell whose call this is."""

    line: int
    at_mono_us: int


@dataclass(frozen=True)
class OnHook(Event):
    """The loop has been open for longer than a hook flash can be; ``at_mono_us`` is when it opened."""

    line: int
    at_mono_us: int


@dataclass(frozen=True)
class LoopOpened(Event):
    """The loop opened just now: a hang-up or a hook flash, not yet known which. Mutes at once."""

    line: int
    at_mono_us: int


@dataclass(frozen=True)
class LoopRestored(Event):
    """The loop closed again at ``at_mono_us`` after less than a hook flash: a glitch of the wire."""

    line: int
    at_mono_us: int
    opened_mono_us: int


@dataclass(frozen=True)
class HookFlash(Event):
    """The loop was open for 50 to 400 ms and closed at ``at_mono_us``."""

    line: int
    at_mono_us: int
    opened_mono_us: int


@dataclass(frozen=True)
class Reversal(Event):
    line: int
    at_mono_us: int


class Key(StrEnum):
    PAYMENT = "payment"
    OPT_OUT = "opt_out"
    KEEP = "keep"


@dataclass(frozen=True)
class KeyPressed(Event):
    line: int
    at_mono_us: int
    key: Key


@dataclass(frozen=True)
class KeyReleased(Event):
    line: int
    at_mono_us: int
    key: Key
    pressed_mono_us: int


@dataclass(frozen=True)
class KeyHeld(Event):
    """The key has been down for its hold time (OPT-OUT 1 s, PAYMENT 1.5 s) and is still down."""

    line: int
    at_mono_us: int
    key: Key
    pressed_mono_us: int


@dataclass(frozen=True)
class NoticeFinished(Event):
    """The notice's last sample left the codec at ``at_mono_us``."""

    line: int
    at_mono_us: int
    played_ms: int


@dataclass(frozen=True)
class NoticeFailed(Event):
    """The codec was lost, or the audio was not heard back, while the notice played."""

    line: int
    at_mono_us: int
    played_ms: int


@dataclass(frozen=True)
class NoticeMatched(Event):
    """Upstream notice heard: the site's notice audio ended at ``at_mono_us``; ``offset_ms`` from the answer to its
    start."""

    line: int
    at_mono_us: int
    offset_ms: int


@dataclass(frozen=True)
class CodecLost(Event):
    """No audio of this line since ``at_mono_us``."""

    line: int
    at_mono_us: int


@dataclass(frozen=True)
class CodecBack(Event):
    line: int
    at_mono_us: int


# ----------------------------------------------------------------------------------------- what was heard (dsp)


class Tone(StrEnum):
    """E.180 supervisory tones, and the alert tone that precedes caller-ID data."""

    DIAL = "dial"
    SPECIAL_DIAL = "special_dial"
    RINGING = "ringing"
    BUSY = "busy"
    CONGESTION = "congestion"
    NU = "nu"
    CALL_WAITING = "call_waiting"
    DT_AS = "dtas"


@dataclass(frozen=True)
class ToneHeard(Event):
    """A tone was recognised at ``at_mono_us``; it began at ``onset_mono_us``."""

    line: int
    at_mono_us: int
    tone: Tone
    onset_mono_us: int


@dataclass(frozen=True)
class ToneEnded(Event):
    line: int
    at_mono_us: int
    tone: Tone


@dataclass(frozen=True)
class DigitHeard(Event):
    """A keyed digit (DTMF), presence only: its value exists nowhere outside the detector.

    ``at_mono_us`` is its onset, ``end_mono_us`` its end, both to the sample on the capture axis. ``strict`` is the
    score of a command key; a loose score is enough for masking. ``continued``: the same press as the event before (a
    tone that lasts is reported a second at a time); to be masked, not to be counted again.
    """

    line: int
    at_mono_us: int
    end_mono_us: int
    strict: bool
    continued: bool = False


@dataclass(frozen=True)
class OptOutKeyHeard(Event):
    """The one configured opt-out key was held on a telephone for 1 s; the press began at ``at_mono_us``."""

    line: int
    at_mono_us: int


class Absence(StrEnum):
    """Why there is no number. Withheld and unavailable are different in law."""

    WITHHELD = "withheld"
    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"
    NONE_SENT = "none_sent"


@dataclass(frozen=True, repr=False)
class CallerIdHeard(Event):
    """One caller-ID message; fields of line.md 7. Not shown by ``repr``: a number never reaches a log or an
    exception."""

    line: int
    at_mono_us: int
    number: str | None
    number_absence: Absence | None
    name: str | None = None
    call_type: str | None = None
    date: str | None = None
    """MMDDHHMM as sent; it has no year."""
    standard: str = "v23"
    """v23, bell202, dtmf or sip."""
    repaired: bool = False
    snr_db: float | None = None

    def __repr__(self) -> str:
        return f"CallerIdHeard(line={self.line}, at_mono_us={self.at_mono_us}, ...)"


@dataclass(frozen=True)
class ChannelQuality(Event):
    """Measured over the last second of one line, in dBm0 (full-scale sine = +3.14 dBm0)."""

    line: int
    at_mono_us: int
    level_dbm0: float
    noise_dbm0: float
    clipped_samples: int
    silent: bool
    digital_zero: bool
    hum_dbm0: float = -96.0


# --------------------------------------------------------------------------------------------- the line as packets


class Port(StrEnum):
    """The two sides of the bridge. The port at which a packet *arrives* decides, nothing in the packet does."""

    TRUNK = "trunk"
    INSIDE = "inside"


class Packet(NamedTuple):
    """One Ethernet frame as it came, without its check sum; ``at_mono_us`` is its capture time."""

    port: Port
    at_mono_us: int
    data: bytes

    def __repr__(self) -> str:
        return f"Packet({self.port.value}, {self.at_mono_us}, ...)"
