"""What the vault knows while it runs: the table in force, its bags, the calls in them, and the ports.

Everything here but ``Call.running`` can be rebuilt from card and erasable memory (I23); the same function,
``index_bag``, fills it at boot and after a ROTATE.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from firmware.policy.records import AudioCodec
from firmware.policy.trusted_time import Reading, TrustedTime
from firmware.ports import AudioEncoder, Clock, Disk, ErasableMemory, Rtc
from firmware.store.auditlog import AuditLog
from firmware.store.bag import Bag, Entry, Pool
from firmware.store.card import Card
from firmware.store.ciphers import REAL, Ciphers
from firmware.store.entries import (
    Close,
    HoldInfo,
    Intent,
    Kind,
    decode_close,
    decode_hold,
    decode_intent,
    decode_open,
    subject,
)
from firmware.store.errors import ErasureUnconfirmed
from firmware.store.holdarea import HoldArea
from firmware.store.identity import Identity
from firmware.store.layout import digest
from firmware.store.ring import Ring
from firmware.store.running import Running
from firmware.store.table import BagType, Op, Table

NO_META = bytes(32)
Contents = list[tuple[Kind, bytes]]


@dataclass(frozen=True)
class VaultParts:
    """The world, as ports. ``random`` gives that many bytes (os.urandom in production)."""

    disk: Disk
    memory: ErasableMemory
    clock: Clock
    rtc: Rtc
    random: Callable[[int], bytes]
    encoder: AudioEncoder
    ciphers: Ciphers = REAL


@dataclass
class Call:
    """One kept call. ``day_bag`` and ``hold_bag``: ids of the bags that hold its entries."""

    call_id: bytes
    opened_utc_ms: int
    line: int
    codec: AudioCodec
    channels: int
    rate_hz: int
    first: int
    day_bag: int | None = None
    hold_bag: int | None = None
    meta_hash: bytes = NO_META
    close: Close | None = None
    hold: HoldInfo | None = None
    intents: dict[int, list[Intent]] = field(default_factory=dict)
    """By the bag they lie in: voided when that bag is rewritten."""
    running: Running | None = None

    @property
    def wanted_hold(self) -> Intent | None:
        """The hold that is intended and not yet carried out."""
        found = [x for intents in self.intents.values() for x in intents if x.op in (Op.KEEP, Op.HOLD)]
        return found[-1] if found and self.hold is None else None


class Core:
    """Shared by the transactions (``rotate``, ``recording``, ``destroy``, ``holding``, ``expiry``, ``recover``)."""

    def __init__(self, parts: VaultParts, identity: Identity, table: Table, table_hash: bytes) -> None:
        shape = identity.geometry
        self.parts = parts
        self.identity = identity
        self.device_id = identity.device_id
        self.ciphers = parts.ciphers
        self.card = Card(parts.disk)
        self.pool = Pool(self.card, self.ciphers, self.device_id, shape.bag_slots, shape.bag_slot_bytes)
        self.ring = Ring(self.card, shape)
        self.hold_area = HoldArea(self.card, shape.hold_blocks)
        self.log = AuditLog(self.card, self.ciphers, identity)
        self.table = table
        self.table_hash = table_hash
        self.bags: dict[int, Bag] = {}
        self.calls: dict[bytes, Call] = {}
        self.time = TrustedTime.boot(table.clock, self.rtc_reading(), parts.clock.mono_us())
        self.running: dict[bytes, Call] = {}
        """Calls that take audio."""
        self.unfinished: Callable[[], None] | None = None
        """R3 and R4 of a ROTATE whose erasable memory did not answer: nothing else may happen before it is done."""
        self.used_slots: list[int] = []
        """Slots that no table names and that may hold old ciphertext."""
        self.documents: dict[str, bytes] = {}
        """Documents that were read or put by this process."""
        self.healed = 0
        self.bags_damaged = 0
        self.ring_full = False
        """Today alone fills the storage; until midnight."""
        self.encoder_failures = 0
        self.holds_refused = 0
        self.refused_keeps: set[tuple[bytes | int, str]] = set()
        """Call and reason, as the log has them: a key that is pressed again and again does not fill it."""
        self.holds_lapsed = 0
        self.capacity_expiries = 0
        """Days destroyed early by this process, for the alarm."""

    # -------------------------------------------------------------------------------------------------------- time

    def rtc_reading(self) -> Reading:
        return self.parts.rtc.read()

    def now_utc_ms(self) -> int:
        """Any thread may ask: nothing is changed (``self.time`` is read before the clock, which never goes back)."""
        time = self.time
        return time.advance(self.parts.clock.mono_us()).utc_ms

    def export_utc_ms(self) -> int:
        """The time at which exports and new holds are judged: what a suspected clock claims counts, too."""
        time = self.time
        return time.advance(self.parts.clock.mono_us()).export_utc_ms

    def advance_time(self, *, look: bool) -> None:
        """On the vault's own thread. ``look``: at the clock part, too."""
        time = self.time
        self.time = time.advance(self.parts.clock.mono_us(), self.rtc_reading() if look else None)

    # ------------------------------------------------------------------------------------------------------- checks

    def ready(self) -> None:
        """Before anything is written. Raises CardFailed, ErasureUnconfirmed."""
        self.card.check()
        if self.unfinished is not None:
            raise ErasureUnconfirmed

    # ------------------------------------------------------------------------------------------------ running calls

    def start(self, call: Call, running: Running) -> None:
        call.running = running
        self.running[call.call_id] = call

    def stop(self, call: Call) -> None:
        """Its keys and pending audio are overwritten."""
        if call.running is not None:
            call.running.forget()
            call.running = None
            del self.running[call.call_id]

    def held(self) -> list[Call]:
        """Calls with a hold in force."""
        bags = [bag for bag in self.bags.values() if bag.row.type is BagType.HOLD]
        ids = {entry.call_id for bag in bags for entry in bag.entries if entry.kind is Kind.OPEN}
        return [self.calls[call_id] for call_id in sorted(ids)]

    # ---------------------------------------------------------------------------------------------------- catalogue

    def index_bag(self, bag: Bag, bodies: Sequence[tuple[Kind, bytes]]) -> None:
        """Take up a bag's entries, oldest first; the last META, CLOSE and HOLDINFO of a call count."""
        self.bags[bag.row.bag_id] = bag
        for kind, body in bodies:
            self.index_entry(bag, kind, body)

    def index_entry(self, bag: Bag, kind: Kind, body: bytes) -> None:
        if kind is Kind.OPEN:
            self._index_open(bag, body)
            return
        call = self.calls[subject(kind, body)]
        if kind is Kind.META:
            call.meta_hash = digest(body)
        elif kind is Kind.CLOSE:
            if call.close is None or not body.endswith(call.close.signature):
                call.close = decode_close(body)
        elif kind is Kind.HOLDINFO:
            call.hold = decode_hold(body)
        else:
            call.intents.setdefault(bag.row.bag_id, []).append(decode_intent(body))

    def _index_open(self, bag: Bag, body: bytes) -> None:
        call = self.calls.get(subject(Kind.OPEN, body))
        if call is None:
            entry, _ = decode_open(body)
            call = Call(
                entry.call_id,
                entry.opened_utc_ms,
                entry.line,
                entry.codec,
                entry.channels,
                entry.rate_hz,
                entry.first,
            )
            self.calls[entry.call_id] = call
        if bag.row.type is BagType.DAY:
            call.day_bag = bag.row.bag_id
        else:
            call.hold_bag = bag.row.bag_id

    def drop_bags(self, bag_ids: Iterable[int]) -> None:
        """Forget bags that the table no longer names; calls in no bag at all are forgotten by ``drop_orphans``."""
        for bag_id in bag_ids:
            del self.bags[bag_id]
            for call in self.calls.values():
                call.intents.pop(bag_id, None)
                if call.day_bag == bag_id:
                    call.day_bag = None
                if call.hold_bag == bag_id:
                    call.hold_bag = None
                    call.hold = None

    def drop_orphans(self) -> None:
        for call in [call for call in self.calls.values() if call.day_bag is None and call.hold_bag is None]:
            self.stop(call)
            del self.calls[call.call_id]

    def contents(
        self, bag: Bag, without: frozenset[bytes] = frozenset(), void: frozenset[bytes] = frozenset()
    ) -> Contents:
        """A successor's entries: those of calls not in ``without``, superseded ones and intents of ``void`` left
        out."""
        last: dict[tuple[Kind, bytes], int] = {}
        for entry in bag.entries:
            if entry.kind is not Kind.INTENT:
                last[entry.kind, entry.call_id] = entry.index
        kept: list[Entry] = []
        for entry in bag.entries:
            superseded = entry.kind is not Kind.INTENT and last[entry.kind, entry.call_id] != entry.index
            voided = entry.kind is Kind.INTENT and entry.call_id in void
            if entry.call_id not in without and not superseded and not voided:
                kept.append(entry)
        kinds = [entry.kind for entry in kept]
        return list(zip(kinds, self.pool.bodies(bag, kept), strict=True))

    def entry_body(self, call: Call, kind: Kind) -> bytes | None:
        """The entry of this kind that counts, from the day bag or, where that is gone, from the hold bag."""
        bag_id = call.day_bag if call.day_bag is not None else call.hold_bag
        assert bag_id is not None
        bag = self.bags[bag_id]
        for entry in reversed(bag.entries):
            if entry.kind is kind and entry.call_id == call.call_id:
                return self.pool.body(bag, entry)
        return None

    # --------------------------------------------------------------------------------------------------------- ring

    def live_tail(self) -> int:
        """The position below which no frame of a call in a day bag lies."""
        firsts = [call.first for call in self.calls.values() if call.day_bag is not None]
        return min(firsts, default=self.ring.head)
