"""What has been promised to people so far: the plain truth that every crash image is judged against.

A *promise* is immutable; the operation under way adds what it may have done (``Pending``), and an acknowledgement
replaces the promise. Everything here comes from what the vault's caller saw, never from the vault's own tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from firmware.policy.retention import Period, limit_utc_ms
from hw.sim.clock import SimRtc


@dataclass(frozen=True)
class Kept:
    """A call whose OPEN was acknowledged. ``frames``: how many of its frames were."""

    call_id: bytes
    line: int
    opened_utc_ms: int
    frames: int = 0
    closed: bool = False
    hold: str = ""
    """"", provisional or confirmed."""
    hold_until_utc_ms: int = 0


@dataclass(frozen=True)
class Pending:
    """What the operation under way may have brought about already."""

    what: str = "nothing"
    may_go: frozenset[bytes] = frozenset()
    """Calls that are destroyed by it: readable, or gone for ever; nothing between."""
    may_hold: frozenset[bytes] = frozenset()
    may_unhold: frozenset[bytes] = frozenset()
    capacity: bool = False
    """The oldest days may go for space."""

    def also(self, other: "Pending") -> "Pending":
        """Both may have happened: a boot after an operation that was cut off."""
        return Pending(
            f"{self.what}, {other.what}",
            self.may_go | other.may_go,
            self.may_hold | other.may_hold,
            self.may_unhold | other.may_unhold,
            self.capacity or other.capacity,
        )


@dataclass(frozen=True)
class Promise:
    period: Period
    calls: Mapping[bytes, Kept] = field(default_factory=dict)
    gone: frozenset[bytes] = frozenset()
    """Destroyed, and that was acknowledged."""
    watermark_utc_ms: int = 0
    audit_seq: int = 0
    audit_hash: bytes = bytes(32)
    sign_epoch: int = 0
    orders: Mapping[bytes, int] = field(default_factory=dict)
    """Id -> until when it must not be carried out again."""
    latched: frozenset[int] = frozenset()
    asked: frozenset[bytes] = frozenset()
    """Running calls on which KEEP was pressed: held once they are closed, by whatever."""
    refused: Mapping[bytes, int] = field(default_factory=dict)
    """Calls of which a hold was asked for and refused -> a line of the log after which it says so."""
    begun: Mapping[int, bool] = field(default_factory=dict)
    """Answers that were acknowledged, by the seq of their line -> its caller refused before anything was kept."""
    documents: Mapping[str, bytes] = field(default_factory=dict)
    pending: Pending = Pending()
    true_utc_ms: int = 0
    """What the time really was at this moment; nothing of the product may know."""
    rtc: SimRtc | None = None
    """The battery-backed clock with its faults at this moment."""

    def with_call(self, call: Kept) -> "Promise":
        return replace(self, calls={**self.calls, call.call_id: call})

    def without(self, call_ids: frozenset[bytes]) -> "Promise":
        calls = {call_id: call for call_id, call in self.calls.items() if call_id not in call_ids}
        return replace(self, calls=calls, gone=self.gone | call_ids)

    def refusing(self, call_id: bytes) -> "Promise":
        """Somebody was told that the call is not held: the log says so, now and after any cut."""
        return replace(self, refused={call_id: self.audit_seq, **self.refused})

    def doing(self, pending: Pending) -> "Promise":
        return replace(self, pending=pending)

    # -------------------------------------------------------------------------------------------------- judgement

    def limit(self, call: Kept) -> int:
        return limit_utc_ms(call.opened_utc_ms, self.period)

    def must_be_gone(self, call: Kept, trusted_utc_ms: int) -> bool:
        """By the calendar, at trusted time T. A provisional hold that has lapsed binds until the next tick says so."""
        return call.hold == "" and call.call_id not in self.pending.may_hold and self.limit(call) <= trusted_utc_ms

    def must_be_there(self, call: Kept, trusted_utc_ms: int) -> bool:
        if call.call_id in self.pending.may_go or (self.pending.capacity and not call.hold):
            return False
        if call.hold == "confirmed" and call.call_id not in self.pending.may_unhold:
            return True
        if call.hold == "provisional" and trusted_utc_ms < call.hold_until_utc_ms:
            return True
        return self.limit(call) > trusted_utc_ms
