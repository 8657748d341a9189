"""From a card of zeros to a recorder: files, first table, first slot, first audit line, and last the identity."""

from collections.abc import Sequence
from dataclasses import dataclass

from firmware.policy import trusted_time
from firmware.policy.retention import Period, utc_day
from firmware.store import erasable, identity
from firmware.store import table as tables
from firmware.store.auditlog import EPOCH_BYTES, EPOCHS_STEM, AuditLog
from firmware.store.auditlog import STEM as AUDIT_STEM
from firmware.store.bag import STEM as BAGS_STEM
from firmware.store.card import MIRRORS, Card
from firmware.store.core import VaultParts
from firmware.store.documents import STEM as DOCUMENTS_STEM
from firmware.store.errors import AlreadyProvisioned, NotProvisioned, Refused, VaultError
from firmware.store.holdarea import FILE as HOLD_FILE
from firmware.store.identity import Geometry, Identity
from firmware.store.keys import RECIPIENTS_MAX, REQUEST_KEYS_MAX, Recipient, RequestKey
from firmware.store.layout import BLOCK_BYTES
from firmware.store.ring import FILE as RING_FILE
from firmware.store.table import Line, Table


@dataclass(frozen=True)
class Charter:
    """What a provisioning pack decides. ``retention_days`` other than 0 replaces the months (policy/retention)."""

    device_id: str
    simulation: bool
    recipients: tuple[Recipient, ...]
    request_keys: tuple[RequestKey, ...]
    ring_bytes: int
    hold_bytes: int
    retention_months: int
    lines: int
    retention_days: int = 0

    @property
    def period(self) -> Period:
        """Raises PeriodRefused."""
        return Period(self.retention_months, self.retention_days)


def provision(parts: VaultParts, charter: Charter, geometry: Geometry | None = None) -> None:
    """Raises AlreadyProvisioned, Refused (keys, clock), PeriodRefused, ErasureUnconfirmed, CardFailed, OSError."""
    _refuse_provisioned(parts)
    check_keys(charter.recipients, charter.request_keys)
    utc_ms = parts.rtc.read().utc_ms
    if utc_ms is None:
        raise Refused("clock_unknown")
    shape = geometry or Geometry.of(charter.ring_bytes, charter.hold_bytes, charter.lines)
    seed = parts.random(32)
    genesis = parts.ciphers.public_key(seed)
    who = Identity(charter.device_id, charter.simulation, parts.memory.kind, genesis, shape)
    table = Table(
        gen=1,
        clock=trusted_time.provisioned(utc_ms),
        period=charter.period,
        seed=seed,
        epoch_day=utc_day(utc_ms),
        lines=[Line() for _ in range(charter.lines)],
        recipients=charter.recipients,
        request_keys=charter.request_keys,
    )
    _create_files(parts, shape)
    log = AuditLog(Card(parts.disk), parts.ciphers, who)
    log.append(utc_ms, "PROVISIONED", {"pk": genesis}, seed)
    table.audit = log.cursor
    _write_table(parts, who, table)
    identity.write(parts.disk, who)


def check_keys(recipients: Sequence[Recipient], request_keys: Sequence[RequestKey]) -> None:
    """Raises Refused: at least two recipients (custodian and escrow), at least one request key, all different."""
    ids = {key.key_id for key in recipients}
    if not 2 <= len(ids) == len(recipients) <= RECIPIENTS_MAX:
        raise Refused("recipients")
    orders = {key.key_id for key in request_keys}
    if not 1 <= len(orders) == len(request_keys) <= REQUEST_KEYS_MAX:
        raise Refused("request_keys")


def _refuse_provisioned(parts: VaultParts) -> None:
    try:
        identity.read(parts.disk)
    except NotProvisioned:
        return
    except VaultError:
        raise AlreadyProvisioned from None
    raise AlreadyProvisioned


def _create_files(parts: VaultParts, shape: Geometry) -> None:
    """All ``.a`` files, then ring and hold, then all ``.b``: mirrors far apart on the card. Files that an interrupted
    provisioning left are used as they are."""
    mirrored = {
        "kt0": tables.FILE_BYTES,
        "kt1": tables.FILE_BYTES,
        BAGS_STEM: shape.bag_slots * shape.bag_slot_bytes,
        AUDIT_STEM: shape.audit_segments * shape.audit_segment_bytes,
        EPOCHS_STEM: shape.epochs * EPOCH_BYTES,
        DOCUMENTS_STEM: shape.document_blocks * BLOCK_BYTES,
    }
    between = {RING_FILE: shape.ring_blocks * BLOCK_BYTES, HOLD_FILE: shape.hold_blocks * BLOCK_BYTES}
    first, second = ({f"{stem}.{mirror}": size for stem, size in mirrored.items()} for mirror in MIRRORS)
    there = set(parts.disk.names())
    for name, size in ({identity.FILE: 2 * identity.COPY_BYTES} | first | between | second).items():
        if name not in there:
            parts.disk.create(name, size)


def _write_table(parts: VaultParts, who: Identity, table: Table) -> None:
    root = parts.random(erasable.ROOT_BYTES)
    used = tables.seal(parts.ciphers, who, table, root)
    for mirror in MIRRORS:
        name = tables.file_of(table.gen, mirror)
        parts.disk.write(name, 0, used)
        parts.disk.sync(name)
    erasable.write_confirmed(parts.memory, table.gen & 1, erasable.encode_slot(table.gen, root))
    erasable.zero_confirmed(parts.memory, (table.gen - 1) & 1)
