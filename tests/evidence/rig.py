"""A provisioned recorder with calls in it, persons who may sign, and a directory that stands for a stick."""

import hashlib
import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware.appliance import read_site_facts
from firmware.evidence.courier import Courier, InlineCourier
from firmware.evidence.judge import key_name
from firmware.evidence.note import compose, seal
from firmware.evidence.order import (
    ORDER_FILE,
    Basis,
    Ground,
    Op,
    Order,
    Purpose,
    RecipientKind,
)
from firmware.evidence.order import compose as order_lines
from firmware.evidence.visit import visit
from firmware.ports import Stick
from firmware.store.commands import DocumentChanged, Report, StickReport
from firmware.store.keys import RequestKey, Role
from hw.sim.stick import SimStick
from tests.store.world import DAY_MS, HOUR_MS, START_UTC_MS, World, charter

DEVICE = "SIM-TEST01"
SITE = '[[line]]\nname = "line1"\n[[line]]\nname = "line2"\n'


@dataclass(frozen=True)
class Signer:
    """One person's request key."""

    private: Ed25519PrivateKey
    role: Role

    @property
    def key(self) -> RequestKey:
        return RequestKey.of(self.private.public_key().public_bytes_raw(), self.role)

    def line(self) -> tuple[str, bytes, Any]:
        return key_name(self.key), self.key.public_key, self.private.sign


def signer(number: int, role: Role) -> Signer:
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32), role)


CUSTODIAN = signer(1, Role.CUSTODIAN)
ESCROW = signer(2, Role.CUSTODIAN)
SUPERVISOR = signer(3, Role.SUPERVISOR)
STRANGER = signer(9, Role.CUSTODIAN)


def wav(seconds: float = 2.0, rate_hz: int = 8000, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(bytes(2 * channels * round(seconds * rate_hz)))
    return buffer.getvalue()


@dataclass
class Rig:
    root: Path
    """The stick's directory."""
    memory_kind: str = "sim"
    world: World = field(init=False)
    orders_made: int = 0
    reports: list[Report] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        keys = tuple(person.key for person in (CUSTODIAN, ESCROW, SUPERVISOR))
        self.world = World(memory_kind=self.memory_kind, charter=charter(device_id=DEVICE, request_keys=keys))
        self.world.vault.put_document("site", SITE.encode())

    @property
    def vault(self) -> Any:
        return self.world.vault

    def order(self, op: Op = Op.EXPORT, **changes: Any) -> Order:
        self.orders_made += 1
        values: dict[str, Any] = {
            "device": DEVICE,
            "order_id": hashlib.sha256(b"order %d" % self.orders_made).digest()[:16],
            "simulation": True,
            "not_before_utc_ms": START_UTC_MS - HOUR_MS,
            "not_after_utc_ms": START_UTC_MS + 13 * DAY_MS,
            "op": op,
        }
        if op is Op.EXPORT:
            values |= {
                "purpose": Purpose.QUALITY,
                "basis": Basis.LEGITIMATE_INTERESTS,
                "recipient": RecipientKind.INTERNAL,
            }
            if not changes.get("calls"):
                values |= {"from_utc_ms": START_UTC_MS - HOUR_MS, "to_utc_ms": START_UTC_MS + DAY_MS}
        if op in (Op.HOLD, Op.CONFIRM, Op.EXTEND):
            values |= {"reason": "threat to staff", "review_utc_ms": START_UTC_MS + 40 * DAY_MS}
        if op in (Op.HOLD, Op.CONFIRM):
            values["case"] = "CASE 7"
        if op is Op.RELEASE:
            values["reason"] = "case closed"
        if op is Op.ERASE:
            values["ground"] = Ground.ERASURE_REQUEST
        return Order(**(values | changes))

    def write(self, order: Order | bytes, *signers: Signer) -> bytes:
        """The order onto the stick; bytes as they are."""
        data = order if isinstance(order, bytes) else sign(order, *(signers or (CUSTODIAN,)))
        path = self.root / ORDER_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return data

    def plug(self, stick: Stick | None = None, courier: Courier | None = None) -> StickReport:
        """The visit to its end; the last report."""
        self.reports = [report for report in self.steps(stick, courier) if report is not None]
        last = self.reports[-1]
        assert isinstance(last, StickReport)
        return last

    def steps(self, stick: Stick | None = None, courier: Courier | None = None) -> Iterator[Report | None]:
        return visit(self.vault, stick or SimStick(str(self.root)), read_site_facts, courier or InlineCourier())

    def give(self, order: Order | bytes, *signers: Signer) -> StickReport:
        self.write(order, *signers)
        return self.plug()

    def changed(self) -> list[str]:
        return [report.name for report in self.reports if isinstance(report, DocumentChanged)]

    def answer(self, order: Order) -> Path:
        return self.root / "TACET" / DEVICE / order.order_id.hex()

    def replies(self) -> list[str]:
        """All replies on the stick."""
        return [path.read_text() for path in sorted(self.root.rglob("REPLY*.txt"))]

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }

    def events(self, *names: str) -> list[dict[str, str]]:
        """Fields of the audit lines with one of these events, in order."""
        found = []
        for raw in self.vault.audit_lines():
            _, _, event, pairs, *_ = raw.decode().split("|")
            if event in names:
                found.append({"event": event} | dict(pair.split("=") for pair in pairs.split(";") if pair))
        return found


def sign(order: Order, *signers: Signer) -> bytes:
    return seal(compose(order_lines(order)), [person.line() for person in signers])


def later(order: Order, **changes: Any) -> Order:
    return replace(order, **changes)
