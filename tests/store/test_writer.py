"""The writer: order, overtaking, limits, alarms, inline and as a thread; nothing is lost while the card stalls."""

import errno
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from firmware.policy.records import Ended, GapReason, Outcome
from firmware.store import space
from firmware.store.commands import (
    Alarm,
    AppendAudio,
    AppendGap,
    CloseCall,
    Command,
    FrameSealed,
    KeepCall,
    KeepDone,
    LatchOptOut,
    OpenCall,
    OptOut,
    OptOutDone,
    Report,
    StickReport,
    WriteRow,
)
from firmware.store.errors import CardFailed, RingFull
from firmware.store.vault import Vault
from firmware.store.writer import Writer
from hw.sim.disk import Kind
from tests.store.listening import heard
from tests.store.world import World, meta, row


class Desk:
    """A world with a writer, driven as the loop drives it."""

    def __init__(self, threaded: bool = False, **options: int) -> None:
        self.world = World()
        self.writer = Writer(self.world.vault, threaded=threaded, lines=2, **options)
        self.now = self.world.now()

    def submit(self, *commands: Command) -> None:
        for command in commands:
            self.writer.submit(command)

    def open(self, call: int, line: int = 0) -> OpenCall:
        return OpenCall(call, line, self.now, meta(opened_utc_ms=self.now, ended=Ended.POWER_CUT))

    def audio(self, call: int, blocks: int, start: int = 0) -> list[Command]:
        samples = np.frombuffer(self.world.rng.randbytes(1600), np.int16).reshape(1, 800)
        return [AppendAudio(call, (start + n) * 800, 800, samples) for n in range(blocks)]

    def close(self, call: int, line: int = 0) -> CloseCall:
        return CloseCall(call, meta(opened_utc_ms=self.now), row(line, self.now, self.now + 10_000))

    def run(self) -> list[Report]:
        self.writer.run_inline()
        return [report for report in self.writer.poll() if report != Alarm("DEGRADED_MEMORY")]

    @property
    def outcomes(self) -> list[Outcome]:
        return [entry.outcome for _, entry in self.world.vault.ledger_rows()]


def refuse(number: int, kind: Kind, name: str) -> None:
    if kind in ("write", "durable", "sync"):
        raise OSError(errno.EIO, "the card does not answer", name)


def test_a_call_goes_through_the_queue_and_the_frames_are_reported() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 40), AppendGap(1, 32_000, 800, GapReason.PAYMENT), desk.close(1))
    assert desk.run() == [FrameSealed(1, 12_000), FrameSealed(1, 24_000), FrameSealed(1, 32_800)]
    (entry,) = desk.world.vault.calls()
    assert sum(piece.samples for piece in heard(desk.world.vault, entry.call_id)) == 32_800
    assert desk.outcomes == [Outcome.RECORDED]


def test_what_nothing_follows_is_sealed_by_itself_and_a_card_that_fails_then_is_told() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 5))
    desk.run()
    head = desk.world.vault._core.ring.head
    desk.world.clock.advance_ms(600)
    desk.run()
    assert desk.world.vault._core.ring.head > head
    desk.submit(*desk.audio(1, 5, start=5))
    desk.run()
    desk.world.clock.advance_ms(600)
    desk.world.disk.hook = refuse
    assert Alarm("CARD_FAILED") in desk.run()


def test_rows_latches_and_keep_are_carried_out_and_answered() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 5), KeepCall(0, 1), desk.close(1))
    desk.submit(WriteRow(row(1, 0, 0, Outcome.UNANSWERED)), LatchOptOut(1, True), KeepCall(1, 99))
    reports = desk.run()
    assert KeepDone(0, 1, None) in reports
    assert KeepDone(1, 99, "not_kept") in reports
    assert desk.world.vault.calls()[0].provisional
    assert desk.world.vault.opted_out(1)
    assert desk.outcomes == [Outcome.RECORDED, Outcome.UNANSWERED]


def test_opt_out_overtakes_a_minute_of_queued_audio() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20))
    desk.run()
    frames = desk.world.vault._core.ring.head
    desk.submit(*desk.audio(1, 500, 20), *[desk.open(2, 1)], *desk.audio(2, 20), OptOut(0, 1))
    reports = desk.run()
    assert reports[0] == OptOutDone(0, 1, True)
    assert reports[1:] == [FrameSealed(2, 12_000)]
    assert desk.world.vault._core.ring.head - frames <= 8
    desk.submit(*desk.audio(1, 3, 600), WriteRow(row(0, desk.now, desk.now, Outcome.OPTED_OUT), 1))
    assert desk.run() == []
    desk.submit(desk.close(2, 1))
    desk.run()
    assert desk.outcomes == [Outcome.OPTED_OUT, Outcome.RECORDED]


def test_opt_out_overtakes_even_the_opening_of_its_call() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20), desk.close(1), OptOut(0, 1))
    assert desk.run()[0] == OptOutDone(0, 1, False)
    assert desk.outcomes == [Outcome.OPTED_OUT]
    assert desk.world.vault.calls() == []


def test_opt_out_overtakes_the_close_of_its_call_and_one_row_remains() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20))
    desk.run()
    desk.submit(desk.close(1), OptOut(0, 1))
    assert desk.run() == [OptOutDone(0, 1, True)]
    assert desk.outcomes == [Outcome.OPTED_OUT]


def test_opt_out_after_a_reboot_destroys_the_interrupted_call() -> None:
    world = World()
    world.speak(world.open(0), 4)
    world.cut()
    writer = Writer(world.vault, threaded=False, lines=2)
    writer.submit(OptOut(0, None))
    writer.submit(OptOut(1, None))
    writer.run_inline()
    done = [report for report in writer.poll() if isinstance(report, OptOutDone)]
    assert done == [OptOutDone(0, None, True), OptOutDone(1, None, False)]
    assert world.vault.calls() == []


def test_opt_out_meets_a_confirmed_hold_and_is_answered_truthfully() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20), desk.close(1))
    desk.run()
    (entry,) = desk.world.vault.calls()
    desk.world.vault.hold(entry.call_id, b"", desk.now + 10**10)
    desk.submit(OptOut(0, 1))
    assert desk.run() == [OptOutDone(0, 1, False)]
    assert desk.world.vault.calls()[0].held


def test_a_call_that_could_not_be_opened_still_gets_its_one_row() -> None:
    desk = Desk()
    desk.world.vault.latch_opt_out(0, True)
    desk.submit(desk.open(1), *desk.audio(1, 5), KeepCall(0, 1), desk.close(1))
    assert desk.run() == [KeepDone(0, 1, "not_kept")]
    assert desk.outcomes == [Outcome.FAULT]


def test_a_full_queue_takes_no_more_audio_and_the_recording_says_what_is_missing() -> None:
    desk = Desk(queue_seconds=2)
    desk.submit(desk.open(1), *desk.audio(1, 45), OptOut(1, None), desk.close(1))
    reports = desk.run()
    assert Alarm("CARD_BEHIND") in reports
    assert Alarm("CARD_BEHIND", False) in reports
    (entry,) = desk.world.vault.calls()
    pieces = heard(desk.world.vault, entry.call_id)
    missing = [(piece.first_sample, piece.samples, piece.reason) for piece in pieces if piece.reason is not None]
    assert missing == [(32_000, 4_000, GapReason.FAULT)]


def test_a_queue_full_of_small_commands_is_a_limit_too() -> None:
    desk = Desk(queue_seconds=1)
    desk.submit(desk.open(1))
    for number in range(200):
        desk.writer.submit(AppendGap(1, number, 1, GapReason.KEYED_DIGITS))
    assert Alarm("CARD_BEHIND") in desk.run()


def test_a_slow_card_is_an_alarm_from_two_seconds_on_and_ends() -> None:
    desk = Desk()
    desk.submit(desk.open(1))
    desk.run()
    desk.submit(*desk.audio(1, 20))
    desk.world.clock.advance_ms(1900)
    assert desk.writer.backlog_s(desk.world.clock.mono_us()) == pytest.approx(1.9)
    desk.world.clock.advance_ms(200)
    assert Alarm("CARD_SLOW") in desk.writer.poll(), "while it stands still, not only when it is over"
    assert desk.run()[-1] == Alarm("CARD_SLOW", False)
    assert desk.writer.backlog_s(desk.world.clock.mono_us()) == 0


def test_card_and_ring_faults_reach_the_loop() -> None:
    desk = Desk()
    desk.submit(desk.open(1))
    reports: list[Report] = []
    for number in range(8):
        desk.submit(*desk.audio(1, 180, 180 * number))
        reports += desk.run()
    assert reports.count(Alarm("RING_FULL")) == 1
    desk.world.vault._core.card.failed = True
    desk.submit(*desk.audio(1, 1, 2000))
    assert Alarm("CARD_FAILED") in desk.run()


def test_a_bag_damaged_in_both_copies_is_told_and_the_writer_goes_on() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20), desk.close(1))
    desk.run()
    bag_id = desk.world.vault._core.calls[desk.world.vault.calls()[0].call_id].day_bag or 0
    for mirror in "ab":
        desk.world.disk.corrupt(f"bags.{mirror}", bag_id * desk.world.geometry.bag_slot_bytes + 50, b"\xff" * 4)
    desk.submit(OptOut(0, 1), WriteRow(row(1, 0, 0, Outcome.UNANSWERED)))
    assert Alarm("INTERNAL") in desk.run()
    assert desk.outcomes[-1] is Outcome.UNANSWERED


def test_an_opt_out_waits_for_the_memory_and_is_answered_once() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 20))
    desk.run()
    desk.world.memory.unplugged = True
    desk.submit(OptOut(0, 1))
    assert desk.run() == [Alarm("ERASURE_UNCONFIRMED")]
    assert desk.run() == []
    desk.world.memory.unplugged = False
    reports = desk.run() + desk.run()
    assert reports.count(OptOutDone(0, 1, True)) == 1
    assert Alarm("ERASURE_UNCONFIRMED", False) in reports


def test_the_end_of_a_call_is_not_sealed_before_what_waits_behind_a_hanging_erasure() -> None:
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 5), desk.open(2, 1))
    desk.run()
    head = desk.world.vault._core.ring.head
    desk.world.memory.unplugged = True
    desk.submit(OptOut(1, 2), *desk.audio(1, 5, start=5))
    desk.run()
    desk.world.clock.advance_ms(600)
    assert desk.run() == []
    assert desk.world.vault._core.ring.head == head
    desk.world.memory.unplugged = False
    assert OptOutDone(1, 2, True) in desk.run() + desk.run()
    desk.submit(desk.close(1))
    desk.run()
    (entry,) = desk.world.vault.calls()
    assert sum(piece.samples for piece in heard(desk.world.vault, entry.call_id)) == 8000


def test_a_stick_visit_goes_on_between_commands_and_its_reports_arrive() -> None:
    desk = Desk()
    seen: list[int] = []

    def visit(vault: Vault) -> Iterator[Report | None]:
        for number in range(40):
            seen.append(number)
            yield StickReport("working") if number == 3 else None
        yield StickReport("done")

    desk.writer.submit_job("visit", visit)
    reports = desk.run()
    assert reports == [StickReport("working")]
    assert 10 < len(seen) < 40
    assert (desk.run() + desk.run() + desk.run())[-1] == StickReport("done")


def test_a_visit_that_the_vault_refuses_ends_alone() -> None:
    desk = Desk()

    def visit(vault: Vault) -> Iterator[Report | None]:
        yield None
        raise CardFailed

    desk.writer.submit_job("visit", visit)
    assert Alarm("CARD_FAILED") in desk.run()
    desk.submit(WriteRow(row(1, 0, 0, Outcome.UNANSWERED)))
    desk.run()
    assert desk.outcomes == [Outcome.UNANSWERED]


def test_a_power_cut_in_a_long_payment_costs_nothing_that_was_said_before_it() -> None:
    """No piece follows while the key is down: what is pending must not wait for the resume."""
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 9))
    desk.run()
    for _ in range(10):
        desk.world.clock.advance_ms(100)
        desk.run()
    [call_id] = desk.world.vault._core.running
    vault = desk.world.cut()
    assert sum(piece.samples for piece in heard(vault, call_id)) == 9 * 800


def test_sound_that_follows_a_seal_that_was_refused_does_not_end_the_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ring is full when a quiet call is to be sealed; then it speaks on."""
    desk = Desk()
    desk.submit(desk.open(1), *desk.audio(1, 9))
    desk.run()

    def full(*_: object) -> int:
        raise RingFull

    with monkeypatch.context() as ring:
        ring.setattr(space, "make_room", full)
        for _ in range(7):
            desk.world.clock.advance_ms(100)
            desk.run()
    desk.submit(*desk.audio(1, 4, start=9))
    desk.run()
    desk.submit(desk.close(1))
    desk.run()
    [call] = desk.world.vault.calls()
    assert sum(piece.samples for piece in heard(desk.world.vault, call.call_id)) == 13 * 800


def test_old_calls_are_forgotten_by_the_writer_not_by_the_vault() -> None:
    desk = Desk()
    desk.writer._calls = {number - 1000: bytes(16) for number in range(1000)}
    desk.writer._opted_out, desk.writer._refused_keeps = {-1000, -1}, {-1000}
    desk.submit(desk.open(1), desk.close(1))
    desk.run()
    assert len(desk.writer._calls) == 1000
    assert (desk.writer._opted_out, desk.writer._refused_keeps) == ({-1}, set())
    assert len(desk.world.vault.calls()) == 1


# ----------------------------------------------------------------------------------------------------------- a thread


def wait_for(writer: Writer, wanted: Report) -> list[Report]:
    """Reports up to and with the wanted one; fails after 10 s."""
    found: list[Report] = []
    deadline = time.monotonic() + 10
    while wanted not in found:
        assert time.monotonic() < deadline, found
        found += writer.poll()
        time.sleep(0.002)
    return found


def test_the_loop_never_waits_for_a_stalled_card_and_no_sample_is_lost() -> None:
    desk = Desk(threaded=True)
    stalled, go_on = threading.Event(), threading.Event()

    def stall(_k: int, kind: str, name: str) -> None:
        if name == "ring" and kind == "durable":
            stalled.set()
            assert go_on.wait(10)

    desk.world.disk.hook = stall
    desk.submit(desk.open(1), *desk.audio(1, 20))
    assert stalled.wait(10)
    desk.submit(*desk.audio(1, 300, 20), desk.close(1))
    assert desk.writer.poll() is not None
    assert desk.writer.utc_ms() >= desk.now
    go_on.set()
    wait_for(desk.writer, FrameSealed(1, 256_000))
    desk.writer.close()
    (entry,) = desk.world.vault.calls()
    assert sum(piece.samples for piece in heard(desk.world.vault, entry.call_id)) == 256_000


def test_closing_the_writer_carries_out_what_is_queued() -> None:
    for threaded in (True, False):
        desk = Desk(threaded=threaded)
        desk.submit(desk.open(1), *desk.audio(1, 40), desk.close(1))
        desk.writer.close()
        assert len(desk.world.vault.calls()) == 1


def test_a_stop_does_not_wait_for_a_memory_that_hangs() -> None:
    desk = Desk(threaded=True)
    desk.world.memory.unplugged = True
    desk.submit(LatchOptOut(0, True))
    wait_for(desk.writer, Alarm("ERASURE_UNCONFIRMED"))
    desk.writer.close()
    desk.world.memory.unplugged = False
    desk.world.boot()
    assert desk.world.vault.opted_out(0) is False


def test_an_assertion_in_the_writers_thread_stops_the_process() -> None:
    desk = Desk(threaded=True)
    samples = np.zeros((1, 800), np.int16)
    desk.submit(desk.open(1), AppendAudio(1, 800, 800, samples), AppendAudio(1, 0, 800, samples))
    deadline = time.monotonic() + 10

    def watch() -> None:
        while time.monotonic() < deadline:
            desk.writer.poll()
            time.sleep(0.002)

    with pytest.raises(AssertionError, match="in order"):
        watch()


def test_a_visit_runs_on_the_thread_too() -> None:
    desk = Desk(threaded=True)
    desk.writer.submit_job("visit", lambda vault: iter([None, StickReport("done")]))
    wait_for(desk.writer, StickReport("done"))
    desk.writer.close()
