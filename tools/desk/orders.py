"""Writing orders: built, checked by the rules that the recorder applies, signed, put onto the stick and kept here."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from firmware.evidence.fields import FieldError
from firmware.evidence.judge import MAY_SIGN, TWO_PERSONS, key_name
from firmware.evidence.note import NOTE_BYTES_MAX, NoteError, Sign, add_signature, compose, parse, seal
from firmware.evidence.order import ORDER_FILE, VALIDITY_MS_MAX, Op, Order
from firmware.evidence.order import compose as order_lines
from firmware.evidence.order import parse as parse_order
from tools.desk.errors import Refused
from tools.desk.files import make_directory, read_file, write_file
from tools.desk.home import Device, Home
from tools.desk.keys import Unlocked

ORDER_ID_BYTES = 16


@dataclass(frozen=True)
class Validity:
    not_before_utc_ms: int
    not_after_utc_ms: int

    @classmethod
    def of(cls, now_utc_ms: int, not_before_utc_ms: int | None, not_after_utc_ms: int | None) -> "Validity":
        """From an hour ago (the clocks of a PC and of a recorder differ), for as long as an order may be valid."""
        start = not_before_utc_ms if not_before_utc_ms is not None else now_utc_ms - 3_600_000
        start -= start % 1000
        return cls(start, not_after_utc_ms if not_after_utc_ms is not None else start + VALIDITY_MS_MAX)


@dataclass(frozen=True)
class Draft:
    """``fields``: the op's own attributes of :class:`~firmware.evidence.order.Order`. ``attached``: (path on the
    stick, bytes) of the file that a NOTICE or SETTINGS order signs."""

    op: Op
    fields: dict[str, object] = field(default_factory=dict)
    attached: tuple[str, bytes] | None = None


def build(device: Device, draft: Draft, validity: Validity) -> Order:
    """Raises Refused with the field that is wrong."""
    order = Order(
        device=device.device_id,
        order_id=os.urandom(ORDER_ID_BYTES),
        simulation=device.simulation,
        not_before_utc_ms=validity.not_before_utc_ms,
        not_after_utc_ms=validity.not_after_utc_ms,
        op=draft.op,
        **draft.fields,  # type: ignore[arg-type]  # checked by order_lines
    )
    if order.not_after_utc_ms - order.not_before_utc_ms > VALIDITY_MS_MAX:
        raise Refused("An order may be valid for at most 14 days; nothing was written.")
    try:
        order_lines(order)
    except FieldError as error:
        raise Refused(f"The order cannot be written: {error}.") from None
    return order


def write(
    home: Home, stick: Path, order: Order, signers: list[Unlocked], draft: Draft, now_utc_ms: int
) -> tuple[Path, bool]:
    """Sign and write onto the stick. Returns the file and whether a second person's signature is still missing."""
    roles = {signer.person.request_key().role for signer in signers}
    if not roles & MAY_SIGN[order.op]:
        raise Refused(f"{order.op.value} must be signed by the custodian; nothing was written.")
    try:
        note = seal(compose(order_lines(order)), [_signer(signer) for signer in signers])
    except NoteError as error:
        raise Refused(f"The order cannot be written: {error}; name fewer calls.") from None
    make_directory(stick)
    if draft.attached is not None:
        write_file(stick / draft.attached[0], draft.attached[1], replace=True)
    write_file(stick / ORDER_FILE, note, replace=True)
    write_file(home.path / "orders" / f"{order.order_id.hex()}.txt", note)
    fields = {"order": order.order_id.hex(), "op": order.op.value, "device": order.device, "by": signers[0].person.role}
    home.log.append("ORDER", now_utc_ms, fields)
    missing = order.op in TWO_PERSONS and len({signer.person for signer in signers}) < 2
    return stick / ORDER_FILE, missing


def cosign(home: Home, stick: Path, signer: Unlocked, now_utc_ms: int) -> Order:
    """A second person signs the order that is on the stick. Returns it, so that they can be shown what it was."""
    path = stick / ORDER_FILE
    data = read_file(path, NOTE_BYTES_MAX)
    try:
        order = parse_order(parse(data).lines)
        signed = add_signature(data, *_signer(signer))
    except (NoteError, FieldError) as error:
        raise Refused(f"What is on the stick is no order: {error}; nothing was signed.") from None
    write_file(path, signed, replace=True)
    write_file(home.path / "orders" / f"{order.order_id.hex()}.txt", signed, replace=True)
    home.log.append("COSIGN", now_utc_ms, {"order": order.order_id.hex(), "op": order.op.value})
    return order


def _signer(signer: Unlocked) -> tuple[str, bytes, Sign]:
    key = signer.person.request_key()
    return key_name(key), key.public_key, signer.sign
