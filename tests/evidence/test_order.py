"""Orders as text: closed lists, bounds, one spelling; and the judge's table over every op and role."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.evidence.fields import FieldError, NewKey
from firmware.evidence.judge import MAY_SIGN, TWO_PERSONS, Circumstances, Refusal, judge, key_name
from firmware.evidence.local import day_text, local_text
from firmware.evidence.order import SHAPES, Basis, Ground, Op, Order, Purpose, RecipientKind, compose, parse
from firmware.evidence.replies import Stamp, refused
from firmware.store.keys import Role
from tests.evidence.rig import CUSTODIAN, DEVICE, ESCROW, SUPERVISOR, Signer
from tests.store.world import DAY_MS, HOUR_MS, START_UTC_MS

SECONDS = st.integers(1_000_000_000, 7_000_000_000).map(lambda s: s * 1000)
IDS = st.binary(min_size=16, max_size=16)
TEXTS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=200)
KEYS = st.builds(
    NewKey, st.binary(min_size=8, max_size=8), st.sampled_from(["1", "custodian"]), st.binary(min_size=32, max_size=32)
)

VALUES = {
    "purpose": st.sampled_from(Purpose),
    "basis": st.sampled_from(Basis),
    "recipient": st.sampled_from(RecipientKind),
    "case": TEXTS,
    "reason": TEXTS,
    "ground": st.sampled_from(Ground),
    "review": SECONDS,
    "time": SECONDS,
    "version": st.from_regex(r"[A-Za-z0-9._-]{1,32}", fullmatch=True),
    "sha256": st.binary(min_size=32, max_size=32),
}
ATTRIBUTES = {"review": "review_utc_ms", "time": "time_utc_ms"}


@st.composite
def any_order(draw: st.DrawFn) -> Order:
    op = draw(st.sampled_from(Op))
    start = draw(SECONDS)
    shape = SHAPES[op]
    values: dict[str, object] = {}
    for name in sorted(shape.needs | {field for field in shape.may if draw(st.booleans())}):
        if name in VALUES:
            values[ATTRIBUTES.get(name, name)] = draw(VALUES[name])
    if "call" in shape.needs | shape.may:
        most = 1 if op is Op.ERASE else 5
        values["calls"] = tuple(draw(st.lists(IDS, min_size=1, max_size=most, unique=True)))
    if op is Op.EXPORT and draw(st.booleans()):
        values |= {"calls": (), "from_utc_ms": start, "to_utc_ms": start + 1000, "lines": ("line1",)}
    if op is Op.KEYS:
        values["recipient_keys"] = tuple(draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)))
        values["request_keys"] = tuple(draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)))
    return Order(
        device=draw(st.from_regex(r"[A-Z0-9][A-Z0-9-]{2,22}[A-Z0-9]", fullmatch=True)),
        order_id=draw(IDS),
        simulation=draw(st.booleans()),
        not_before_utc_ms=start,
        not_after_utc_ms=start + draw(st.integers(1, 20 * 86_400)) * 1000,
        op=op,
        **values,  # type: ignore[arg-type]
    )


@given(any_order())
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    assert parse(compose(order)) == order


@given(any_order(), st.data())
def test_an_order_with_a_field_less_more_or_twice_is_no_order(order: Order, draw: st.DataObject) -> None:
    lines = compose(order)
    at = draw.draw(st.integers(1, len(lines) - 1))
    with pytest.raises(FieldError):
        parse([*lines, lines[at]])
    with pytest.raises(FieldError):
        parse([*lines, "colour: blue"])
    name = lines[at].partition(":")[0]
    if name in {"device", "id", "op", "not_before", "not_after", "simulation"} | SHAPES[order.op].needs and (
        sum(line.startswith(name + ":") for line in lines) == 1
    ):
        with pytest.raises(FieldError):
            parse(lines[:at] + lines[at + 1 :])


@given(st.lists(st.text(max_size=60), max_size=12))
def test_any_lines_are_an_order_or_a_field_error(lines: list[str]) -> None:
    with suppress(FieldError):
        assert compose(parse(["tacet/order/1", *lines]))


@given(st.text(min_size=6, max_size=100))
def test_a_refusal_never_repeats_what_the_stick_said(text: str) -> None:
    """REPLY.txt and the log are made of our own words."""
    with pytest.raises(FieldError) as refusal:
        parse(["tacet/order/1", f"device: {text}", "op: INDEX"])
    assert text not in str(refusal.value)


# --------------------------------------------------------------------------------------------------------- judging


NOW = Circumstances(
    device_id=DEVICE,
    simulation=True,
    now_utc_ms=START_UTC_MS,
    clock_suspect=False,
    seen=False,
    supervisor_may_export=True,
    line_names=("line1",),
    may_export=True,
)


def an_order(op: Op) -> Order:
    return Order(
        device=DEVICE,
        order_id=bytes(16),
        simulation=True,
        not_before_utc_ms=START_UTC_MS - HOUR_MS,
        not_after_utc_ms=START_UTC_MS + HOUR_MS,
        op=op,
        purpose=Purpose.QUALITY,
        recipient=RecipientKind.INTERNAL,
        review_utc_ms=START_UTC_MS + DAY_MS,
        time_utc_ms=START_UTC_MS,
    )


def decide(order: Order, *persons: Signer, now: Circumstances = NOW) -> Refusal | None:
    return judge(order, [person.key for person in persons], now)


@pytest.mark.parametrize("op", list(Op))
def test_nobody_may_order_anything(op: Op) -> None:
    assert decide(an_order(op)) is Refusal.UNSIGNED


@pytest.mark.parametrize("op", list(Op))
def test_the_table_of_roles_holds_for_every_op(op: Op) -> None:
    alone = Refusal.NEEDS_TWO_PERSONS if op in TWO_PERSONS else None
    assert decide(an_order(op), CUSTODIAN) is alone
    assert decide(an_order(op), CUSTODIAN, ESCROW) is None
    assert decide(an_order(op), CUSTODIAN, SUPERVISOR) is None
    supervisor = None if Role.SUPERVISOR in MAY_SIGN[op] else Refusal.ROLE
    assert decide(an_order(op), SUPERVISOR) is supervisor
    assert decide(an_order(op), SUPERVISOR, SUPERVISOR) is supervisor


@given(
    any_order(),
    st.lists(st.sampled_from([CUSTODIAN, ESCROW, SUPERVISOR]), max_size=3),
    st.integers(-30, 30),
    st.booleans(),
)
def test_nothing_is_obeyed_outside_its_rules(order: Order, persons: list[Signer], days: int, seen: bool) -> None:
    """Whatever the order: obeyed means signed, for this device, in its time, unused, by who may."""
    now = replace(NOW, device_id=order.device, now_utc_ms=order.not_before_utc_ms + days * DAY_MS, seen=seen)
    if decide(order, *persons, now=now) is not None:
        return
    roles = {person.role for person in persons}
    assert roles & MAY_SIGN[order.op]
    assert order.simulation
    assert not seen
    assert order.not_before_utc_ms <= now.now_utc_ms <= order.not_after_utc_ms
    assert order.not_after_utc_ms - order.not_before_utc_ms <= 14 * DAY_MS
    assert order.op not in TWO_PERSONS or len({person.key.key_id for person in persons}) >= 2
    if order.op is Op.EXPORT and roles == {Role.SUPERVISOR}:
        assert order.purpose in (Purpose.QUALITY, Purpose.TRAINING)


def test_no_call_leaves_while_the_time_of_day_is_unknown() -> None:
    blind = replace(NOW, may_export=False)
    assert decide(an_order(Op.EXPORT), CUSTODIAN, now=blind) is Refusal.CLOCK_UNKNOWN
    assert decide(an_order(Op.REPORT), CUSTODIAN, now=blind) is None


def test_a_suspect_clock_does_not_stretch_the_life_of_any_other_order() -> None:
    late = replace(NOW, clock_suspect=True, now_utc_ms=START_UTC_MS + 2 * HOUR_MS)
    assert decide(an_order(Op.TIME), CUSTODIAN, now=late) is None
    assert decide(an_order(Op.EXPORT), CUSTODIAN, now=late) is Refusal.EXPIRED


@pytest.mark.parametrize("code", list(Refusal))
def test_every_refusal_has_its_words(code: Refusal) -> None:
    text = refused(code, None, Stamp(DEVICE, "2026-03-02T09:00:00Z", None)).decode()
    assert text.startswith("REFUSED\r\n")
    assert f"Code: {code.value}" in text
    assert len(text.splitlines()) >= 6


def test_replies_are_in_the_site_s_own_time() -> None:
    summer = START_UTC_MS + 120 * DAY_MS
    assert local_text(START_UTC_MS, "Europe/London") == "2 March 2026, 09:00:00 GMT"
    assert local_text(summer, "Europe/London") == "30 June 2026, 10:00:00 BST"
    assert local_text(summer, "Nowhere/Atall") == "30 June 2026, 09:00:00 UTC"
    assert day_text(summer) == "30 June 2026"


def test_a_key_is_named_by_role_and_id() -> None:
    assert key_name(SUPERVISOR.key) == f"supervisor-{SUPERVISOR.key.key_id.hex()}"
