"""An answered call has exactly one row, wherever power goes: before its notice ends, before its first frame, later."""

from collections import Counter

from firmware.policy.records import Ended, Outcome
from firmware.store.audit import AuditLine, parse_line
from firmware.store.commands import BeginCall, OptOut, OptOutBegun
from firmware.store.table import BEGUN_MAX
from firmware.store.writer import Writer
from tests.store.world import World, meta, row


def lines_of(world: World, event: str) -> list[AuditLine]:
    lines = [parse_line(raw) for raw in world.vault.audit_lines()]
    return [line for line in lines if line.event == event]


def outcomes(world: World) -> list[Outcome]:
    """Each answer has one row, and each row of an answered call names its answer."""
    answers = [line.seq for line in lines_of(world, "BEGUN")]
    told = [line.integer("begun") for line in lines_of(world, "CALL") if "begun" in line.fields]
    assert Counter(told) == Counter(answers)
    return [entry.outcome for _, entry in world.vault.ledger_rows()]


def open_at(world: World, started_utc_ms: int, line: int = 0) -> bytes:
    return world.vault.open_call(line, started_utc_ms, meta=meta(opened_utc_ms=started_utc_ms, ended=Ended.POWER_CUT))


def test_a_cut_in_the_notice_leaves_one_row_however_often_power_goes_again() -> None:
    world = World()
    started = world.now()
    world.vault.begin_call(1, started)
    for _ in range(3):
        world.cut()
        assert outcomes(world) == [Outcome.NOTICE_NOT_COMPLETED]
    ((_, entry),) = world.vault.ledger_rows()
    assert (entry.line, entry.started_utc_ms, entry.ended, entry.call_id) == (1, started, Ended.POWER_CUT, None)
    assert started <= entry.ended_utc_ms < world.now()


def test_an_answer_that_the_log_has_left_behind_is_not_forgotten() -> None:
    world = World()
    world.vault.begin_call(0, world.now())
    world.sleep(26 * 3_600_000)
    world.cut()
    assert outcomes(world) == [Outcome.NOTICE_NOT_COMPLETED]


def test_opt_out_in_the_notice_is_what_the_row_says_after_a_cut() -> None:
    world = World()
    started = world.now()
    world.vault.begin_call(0, started)
    world.vault.opt_out_begun(0, started)
    gen = world.vault._core.table.gen
    world.vault.opt_out_begun(0, started)
    world.vault.opt_out_begun(0, started + 1)
    assert world.vault._core.table.gen == gen, "said once"
    world.cut()
    assert outcomes(world) == [Outcome.OPTED_OUT]


def test_a_caller_who_refused_while_it_rang_is_opted_out_after_a_cut() -> None:
    world = World()
    world.vault.begin_call(0, world.now(), opted_out=True)
    world.cut()
    assert outcomes(world) == [Outcome.OPTED_OUT]


def test_a_call_of_which_something_is_kept_has_the_row_of_its_recording_and_no_other() -> None:
    world = World()
    started = world.now()
    world.vault.begin_call(0, started)
    call_id = open_at(world, started)
    world.speak(call_id, 4)
    world.vault.begin_call(1, started)
    world.cut()
    assert sorted(outcomes(world)) == [Outcome.NOTICE_NOT_COMPLETED, Outcome.RECORDED]
    assert [entry.call_id for _, entry in world.vault.ledger_rows()].count(call_id) == 1


def test_a_whole_call_has_one_row_also_when_power_goes_right_after_it() -> None:
    world = World()
    started = world.now()
    world.vault.begin_call(0, started)
    call_id = open_at(world, started)
    world.speak(call_id, 4)
    world.close(call_id)
    world.cut(lose=0)
    world.cut(lose=0)
    assert outcomes(world) == [Outcome.RECORDED]


def test_a_running_call_that_is_opted_out_has_one_row_after_a_cut() -> None:
    world = World()
    started = world.now()
    world.vault.begin_call(0, started)
    call_id = open_at(world, started)
    world.speak(call_id, 4)
    world.vault.opt_out([call_id], 0)
    world.cut()
    assert outcomes(world) == [Outcome.OPTED_OUT]


def test_two_opted_out_calls_of_one_line_have_two_rows_after_a_cut() -> None:
    world = World()
    for _ in range(2):
        started = world.now()
        world.vault.begin_call(0, started)
        call_id = open_at(world, started)
        world.vault.opt_out([call_id], 0)
        world.vault.latch_opt_out(0, False)
        world.clock.advance_ms(1000)
    world.cut()
    assert outcomes(world) == [Outcome.OPTED_OUT, Outcome.OPTED_OUT]


def test_a_call_that_moved_to_another_line_has_its_row_there_alone() -> None:
    world = World()
    started = world.now()
    world.vault.begin_call(0, started)
    world.vault.write_row(row(1, started, started + 5000, Outcome.NOTICE_NOT_COMPLETED))
    world.cut()
    assert [entry.line for _, entry in world.vault.ledger_rows()] == [1]
    assert outcomes(world) == [Outcome.NOTICE_NOT_COMPLETED]


def test_more_answers_at_a_time_than_the_table_takes_are_no_reason_to_stop() -> None:
    world = World()
    for number in range(BEGUN_MAX + 3):
        world.vault.begin_call(0, world.now() + number)
    assert len(lines_of(world, "BEGUN")) == BEGUN_MAX
    world.clock.advance_ms(1000)
    assert world.call()
    world.cut()
    assert outcomes(world).count(Outcome.NOTICE_NOT_COMPLETED) == BEGUN_MAX


def test_an_opt_out_that_overtakes_the_answer_in_the_queue_still_stands_in_its_row() -> None:
    world = World()
    writer = Writer(world.vault, threaded=False, lines=2)
    started = world.now()
    writer.submit(BeginCall(1, 0, started))
    writer.submit(OptOut(0, 1))
    writer.submit(BeginCall(2, 1, started))
    writer.submit(OptOutBegun(2, 1, started))
    writer.run_inline()
    world.cut()
    assert outcomes(world) == [Outcome.OPTED_OUT, Outcome.OPTED_OUT]
