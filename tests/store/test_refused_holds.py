"""Somebody asked to keep a call and it was not kept: that is on the card, told once, whatever happens afterwards."""

import re

import pytest

from firmware.policy.records import GapReason, Outcome
from firmware.store import holding, ledger
from firmware.store.audit import AuditLine, parse_line
from firmware.store.commands import AppendGap, KeepCall, KeepDone, OptOut, OptOutDone, Report, WriteRow
from firmware.store.errors import Malformed, Refused
from firmware.store.table import REFUSED_WHY, Certificate, Op, decode
from hw.sim.disk import Kind
from tests.store.listening import trusted
from tests.store.test_writer import Desk
from tests.store.world import DAY_MS, World, row

LINE = re.compile(rb"[0-9]+\|[0-9]+\|HOLD_REFUSED\|[^\n]*\|[0-9a-f]{64}\|[0-9a-f]{128}(?=\n)")
LONG_S = 40
"""More than the whole hold area of this small card takes."""


def on_card(world: World, mirror: str = "a") -> list[AuditLine]:
    """What anybody finds who reads the bytes of the card, without a key and without the recorder."""
    name = f"audit.{mirror}"
    return [parse_line(raw) for raw in LINE.findall(world.disk.read(name, 0, world.disk.size(name)))]


def told(world: World) -> list[dict[str, str]]:
    return [line.fields for line in on_card(world)]


def refusal(why: str, op: str = "keep", **of: object) -> dict[str, str]:
    return {"op": op, "why": why, **{key: str(value) for key, value in of.items()}}


def keep_too_long(world: World) -> bytes:
    """A running call on which KEEP was pressed, longer than there is space for holds."""
    call_id = world.open()
    assert world.vault.keep(call_id) is None
    world.speak(call_id, LONG_S)
    return call_id


def test_a_keep_refused_at_the_calls_end_is_on_the_card_when_the_power_fails_right_after() -> None:
    world = World()
    call_id = keep_too_long(world)
    assert told(world) == []
    world.close(call_id)
    world.disk = world.disk.cut(world.rng, lose=1.0)
    for mirror in "ab":
        (line,) = on_card(world, mirror)
        assert line.fields == refusal("hold_quota_full", call=call_id.hex())
    world.boot()
    assert told(world) == [refusal("hold_quota_full", call=call_id.hex())]
    assert not world.vault.calls()[0].held
    assert trusted(world.vault).problems == []


def test_a_keep_refused_at_a_boot_that_ends_the_call_is_on_the_card() -> None:
    world = World()
    call_id = keep_too_long(world)
    world.cut()
    assert told(world) == [refusal("hold_quota_full", call=call_id.hex())]
    world.cut()
    assert len(told(world)) == 1


class PowerCut(BaseException):
    """Not an error that anything may catch."""


def test_wherever_the_power_fails_at_the_calls_end_the_refusal_is_told_once() -> None:
    """In the log at the latest when the boot after the cut is over, and never twice."""
    whole = World()
    call_id = keep_too_long(whole)
    before = whole.disk.calls
    whole.close(call_id)
    for number in range(whole.disk.calls - before):
        world = World()
        call_id = keep_too_long(world)
        _cut_at(world, world.disk.calls + number)
        with pytest.raises(PowerCut):
            world.close(call_id)
        world.disk.hook = None
        world.cut()
        assert told(world) == [refusal("hold_quota_full", call=call_id.hex())], number
        assert not world.vault.calls()[0].held


def _cut_at(world: World, call: int) -> None:
    def cut(number: int, kind: Kind, name: str) -> None:
        if number >= call:
            raise PowerCut

    world.disk.hook = cut


def test_a_keep_refused_at_the_press_is_on_the_card_once_however_often_it_is_pressed() -> None:
    world = World()
    while world.vault.keep(call_id := world.call(seconds=7)) is None:
        pass
    for _ in range(3):
        assert world.vault.keep(call_id) == "hold_quota_full"
    assert told(world) == [refusal("hold_quota_full", call=call_id.hex())]
    world.cut()
    assert world.vault.keep(call_id) == "hold_quota_full"
    assert len(told(world)) == 2


def test_a_keep_for_which_the_bag_has_no_room_is_refused_with_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()

    def full(*given: object, **more: object) -> None:
        raise Refused("bag_full")

    monkeypatch.setattr(holding, "intend", full)
    desk.submit(desk.open(1), KeepCall(0, 1))
    assert desk.run() == [KeepDone(0, 1, "bag_full")]
    (call_id,) = desk.world.vault._core.calls
    assert told(desk.world) == [refusal("bag_full", call=call_id.hex())]


def test_an_order_that_finds_no_room_after_all_is_told_as_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    call_id = world.call()
    monkeypatch.setattr(holding, "_bag_left", lambda core: False)
    with pytest.raises(Refused, match="hold_quota_full"):
        world.vault.hold(call_id, b"case", world.now() + 90 * DAY_MS)
    assert told(world) == [refusal("hold_quota_full", op="hold", call=call_id.hex())]


# ------------------------------------------------------------------------------------ calls of which nothing is kept


def answers(desk: Desk) -> list[Report]:
    return [report for report in desk.run() if isinstance(report, KeepDone | OptOutDone)]


def test_keep_in_a_call_that_could_not_be_opened_names_the_telephone_line_once() -> None:
    desk = Desk()
    desk.world.vault.latch_opt_out(0, True)
    desk.submit(desk.open(1), KeepCall(0, 1), KeepCall(0, 1), desk.close(1))
    assert desk.run() == [KeepDone(0, 1, "not_kept")] * 2
    desk.submit(KeepCall(1, 2))
    desk.run()
    assert told(desk.world) == [refusal("not_kept", line=0), refusal("not_kept", line=1)]


def test_keep_after_opt_out_is_refused_and_the_log_shows_both() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20))
    desk.run()
    (call_id,) = desk.world.vault._core.calls
    desk.submit(OptOut(0, 1), KeepCall(0, 1), KeepCall(0, 1, opted_out=True), KeepCall(0, 2, opted_out=True))
    assert answers(desk) == [OptOutDone(0, 1, True), *[KeepDone(0, 1, "opted_out")] * 2, KeepDone(0, 2, "opted_out")]
    assert told(desk.world) == [refusal("opted_out", call=call_id.hex()), refusal("opted_out", line=0)]
    assert b"op=opt_out;call=" + call_id.hex().encode() in b"".join(desk.world.vault.certificates())


def test_keep_in_a_call_that_turns_out_to_be_nothing_that_may_be_kept() -> None:
    desk = Desk()
    desk.submit(desk.open(1), AppendGap(1, 0, 800, GapReason.PAYMENT), KeepCall(0, 1))
    desk.run()
    (call_id,) = desk.world.vault._core.calls
    desk.submit(WriteRow(row(0, desk.now, desk.now, Outcome.UNKNOWN_DIRECTION), 1))
    desk.run()
    assert told(desk.world) == [refusal("not_kept", call=call_id.hex())]
    events = [line.event for line in trusted(desk.world.vault).lines]
    assert events[-4:] == ["KEEP", "HOLD_REFUSED", "DESTROYED", "CALL"]


@pytest.mark.parametrize("reason", [0, len(REFUSED_WHY) + 1])
def test_a_table_that_owes_a_refusal_of_no_known_reason_is_malformed(reason: int) -> None:
    table = World().vault._core.table
    table.certificates = [Certificate(Op.KEEP, bytes(16), 0, reason, bytes(32))]
    with pytest.raises(Malformed):
        decode(table.encode(), table.gen)


def test_a_keep_of_a_call_whose_row_is_long_gone_from_the_log_changes_no_other_row() -> None:
    refused = AuditLine(9, 1000, "HOLD_REFUSED", refusal("not_kept", line=0), b"", b"", b"")
    later = {"line": "0", "outcome": "unanswered", "direction": "inbound", "rule": "ring_unanswered"}
    row_after = AuditLine(10, 9000, "CALL", {**later, "started": "5000", "ended": "9000", "sense": "1"}, b"", b"", b"")
    assert [found.keep for _, found in ledger.rows([refused, row_after])] == [None]
