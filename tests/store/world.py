"""A small vault on a simulated card: keys, parts, calls, and what a person would do with them."""

import random as randomness
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from firmware.policy.events import Absence
from firmware.policy.records import (
    AudioCodec,
    CallMeta,
    Direction,
    Ended,
    GapReason,
    LedgerRow,
    NoticeProof,
    Outcome,
)
from firmware.ports import Samples
from firmware.store.identity import Geometry
from firmware.store.keys import Recipient, RequestKey, Role
from firmware.store.vault import Charter, Vault, VaultParts
from hw.sim.clock import SimClock, SimRtc
from hw.sim.disk import SimDisk
from hw.sim.memory import SimMemory

START_UTC_MS = int(datetime(2026, 3, 2, 9, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

SMALL = Geometry(
    lines=2,
    zone_blocks=32,
    ring_blocks=512,
    reserve_blocks=64,
    hold_blocks=64,
    bag_slots=120,
    bag_slot_bytes=32 * 1024,
    audit_segments=16,
    audit_segment_bytes=8 * 1024,
    epochs=400,
    document_blocks=64,
)


SMALL_RING = replace(SMALL, ring_blocks=192)
"""768 KiB: 48 s of the raw samples of one line."""


class RawEncoder:
    """Stands for FLAC where the codec is not what is tested: the samples' own bytes."""

    def encode(self, samples: Samples, rate_hz: int) -> bytes:
        return b"RAW:" + np.ascontiguousarray(samples.T).tobytes()


def raw_samples(payload: bytes, channels: int = 1) -> NDArray[np.int16]:
    return np.frombuffer(payload[4:], np.int16).reshape(-1, channels).T


CUSTODIAN = X25519PrivateKey.from_private_bytes(bytes(range(32)))
ESCROW = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
RECIPIENTS = tuple(Recipient.of(key.public_key().public_bytes_raw()) for key in (CUSTODIAN, ESCROW))
REQUEST_KEYS = (RequestKey.of(b"\1" * 32, Role.CUSTODIAN), RequestKey.of(b"\2" * 32, Role.SUPERVISOR))


def charter(**changes: object) -> Charter:
    values: dict[str, object] = {
        "device_id": "tacet-0001",
        "simulation": True,
        "recipients": RECIPIENTS,
        "request_keys": REQUEST_KEYS,
        "ring_bytes": 64 << 20,
        "hold_bytes": 16 << 20,
        "retention_months": 2,
        "lines": 2,
    }
    return Charter(**(values | changes))  # type: ignore[arg-type]


def meta(number: str | None = "02079460123", opened_utc_ms: int = START_UTC_MS, **changes: object) -> CallMeta:
    values: dict[str, object] = {
        "number": number,
        "number_absence": None if number else Absence.WITHHELD,
        "caller_name": None,
        "direction": Direction.INBOUND,
        "rule": "ring_then_loop",
        "evidence": (("ring", -4000), ("loop", 0)),
        "notice": NoticeProof("v1", bytes(32), 12000, "appliance"),
        "answered_utc_ms": opened_utc_ms,
        "ended_utc_ms": opened_utc_ms + 10_000,
        "ended": Ended.ON_HOOK,
        "samples": 80_000,
    }
    return CallMeta(**(values | changes))  # type: ignore[arg-type]


def row(line: int, opened_utc_ms: int, ended_utc_ms: int, outcome: Outcome = Outcome.RECORDED) -> LedgerRow:
    return LedgerRow(line, outcome, Direction.INBOUND, "ring_then_loop", opened_utc_ms, ended_utc_ms, True)


@dataclass
class World:
    """One device. ``cut`` is a power cut: everything in memory is gone, the card keeps what it had synced."""

    seed: int = 1
    geometry: Geometry = SMALL
    memory_kind: str = "sim"
    start_utc_ms: int = START_UTC_MS
    provisioned: bool = True
    disk: SimDisk = field(init=False)
    memory: SimMemory = field(init=False)
    clock: SimClock = field(init=False)
    rtc: SimRtc = field(init=False)
    vault: Vault = field(init=False)
    charter: Charter = field(default_factory=charter)

    def __post_init__(self) -> None:
        self.numbers: dict[bytes, str | None] = {}
        self.rng = randomness.Random(self.seed)
        self.disk = SimDisk(rng=randomness.Random(self.seed + 1))
        self.memory = SimMemory(kind=self.memory_kind)
        self.clock = SimClock(self.start_utc_ms)
        self.rtc = SimRtc(self.clock)
        if self.provisioned:
            Vault.provision(self.parts(), self.charter, self.geometry)
            self.boot()

    def parts(self) -> VaultParts:
        return VaultParts(self.disk, self.memory, self.clock, self.rtc, self.rng.randbytes, RawEncoder())

    def boot(self) -> Vault:
        self.vault = Vault.open(self.parts(), simulation=True)
        return self.vault

    def spoil(self, name: str, offset: int) -> None:
        """One byte decays, whatever it was: a byte that is written may be there already."""
        self.disk.corrupt(name, offset, bytes([self.disk.read(name, offset, 1)[0] ^ 0xFF]))

    def cut(self, off_ms: int = 60_000, lose: float = 0.5) -> Vault:
        self.disk = self.disk.cut(self.rng, lose=lose)
        self.clock.power_off(off_ms)
        return self.boot()

    def now(self) -> int:
        return self.vault.now_utc_ms()

    def open(self, line: int = 0, number: str | None = "02079460123") -> bytes:
        now = self.now()
        call_id = self.vault.open_call(line, now, meta=meta(number, now, ended=Ended.POWER_CUT))
        self.numbers[call_id] = number
        return call_id

    def speak(self, call_id: bytes, seconds: float = 2.0, first_sample: int = 0, level: int = 1000) -> int:
        """Noise in blocks of 100 ms; returns the sample after the last."""
        at = first_sample
        for _ in range(round(seconds * 10)):
            samples = np.frombuffer(self.rng.randbytes(1600), np.int16).reshape(1, 800) // 32
            self.vault.append_audio(call_id, at, 800, samples)
            at += 800
        return at

    def gap(self, call_id: bytes, first_sample: int, samples: int, reason: GapReason = GapReason.PAYMENT) -> int:
        self.vault.append_gap(call_id, first_sample, samples, reason)
        return first_sample + samples

    def close(self, call_id: bytes, line: int = 0) -> None:
        entry = self.vault._core.calls[call_id]
        now = self.now()
        opened = entry.opened_utc_ms
        final = meta(self.numbers.get(call_id), opened, ended_utc_ms=now)
        self.vault.close_call(call_id, final, row(line, opened, now))

    def call(self, line: int = 0, seconds: float = 4.0, number: str | None = "02079460123") -> bytes:
        call_id = self.open(line, number)
        self.speak(call_id, seconds)
        self.clock.advance_ms(round(seconds * 1000))
        self.close(call_id, line)
        return call_id

    def sleep(self, ms: int, step_ms: int = HOUR_MS) -> None:
        """Powered time passes, with a tick after each step."""
        while ms > 0:
            step = min(step_ms, ms)
            self.clock.advance_ms(step)
            self.vault.tick()
            ms -= step


G711 = AudioCodec.PCMA
Hook = Callable[[int, str, str], None]
