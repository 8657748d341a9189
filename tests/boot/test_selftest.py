"""The self-test finds each fault on rude simulated hardware, names it, and passes a sound machine."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from firmware import selftest
from firmware.policy.events import Lamp, Signal
from firmware.ports import RtcReading
from firmware.selftest import BoardFacts, CodecUnderTest, Equipment, Finding, Result, UsbPlace
from hw.sim.clock import SimClock, SimRtc
from hw.sim.codec import ArrayAudio, SimCodec
from hw.sim.disk import SimDisk
from hw.sim.memory import SimMemory
from hw.sim.pins import SimPins

NOW_UTC_MS = 1_795_000_000_000
ONE_SLOT = bytes(range(1, 33)) + bytes(32)
SOUND_BOARD = BoardFacts(watchdog_timeout_s=14, service_watchdog=True)


class SlowDisk(SimDisk):
    """A card whose every synced write takes ``write_ms``."""

    clock: SimClock
    write_ms = 0
    rotten = False

    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.clock.advance_ms(self.write_ms)
        super().write_durable(name, offset, bytes(len(data)) if self.rotten else data)


@dataclass
class Bench:
    """A sound machine; tests break one thing of it."""

    clock: SimClock = field(default_factory=lambda: SimClock(NOW_UTC_MS))
    sidetone: float = 0.5
    noise: int = 20
    health: dict[str, int | str] = field(default_factory=lambda: {"free_days": 40})
    board: BoardFacts = SOUND_BOARD
    busy: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        hiss = np.random.default_rng(1).normal(0, self.noise, (2, 160_000)).astype(np.int16)
        self.codec = SimCodec(self.clock, [ArrayAudio(line) for line in hiss], sidetone=self.sidetone)
        self.pins = SimPins(self.clock, bounce_edges_max=0)
        self.memory = SimMemory(ONE_SLOT, kind="at24")
        self.rtc = SimRtc(self.clock)
        self.disk = SlowDisk()
        self.disk.clock = self.clock

    def equipment(self) -> Equipment:
        return Equipment(
            clock=self.clock,
            wait=self.clock.advance_ms,
            codecs=[CodecUnderTest("hw:CARD=line1", self.codec, ["line1", "line2"], self.busy)],
            pins=self.pins,
            lines=["line1", "line2"],
            memory=self.memory,
            rtc=self.rtc,
            disk=self.disk,
            utc_ms=self.clock.true_utc_ms,
            health=self.health,
            board=self.board,
        )

    def run(self) -> list[Finding]:
        return selftest.run(self.equipment())


def bad(findings: list[Finding]) -> list[tuple[str, str, Result]]:
    return [(f.check, f.subject, f.result) for f in findings if f.result in (Result.WARNING, Result.FAILED)]


def test_a_sound_machine_passes() -> None:
    findings = Bench().run()
    assert bad(findings) == []
    assert selftest.exit_code(findings) == 0
    assert selftest.table(findings).endswith("Fit to record.\n")


def test_an_adapter_that_was_pulled_out_is_named() -> None:
    bench = Bench()
    bench.codec.unplug()
    assert ("codec", "hw:CARD=line1", Result.FAILED) in bad(bench.run())


def test_a_line_whose_output_is_not_wired_hears_no_tone() -> None:
    findings = Bench(sidetone=0.0).run()
    assert bad(findings) == [("tone", "line1", Result.FAILED), ("tone", "line2", Result.FAILED)]
    assert selftest.exit_code(findings) == 1


def test_a_dead_input_is_told_from_a_quiet_line() -> None:
    [first, _] = [f for f in Bench(sidetone=0.0, noise=0).run() if f.check == "tone"]
    assert "digital silence" in first.happened


def test_a_quiet_but_sound_line_passes_without_noise() -> None:
    assert bad(Bench(noise=0).run()) == []


def test_no_tone_is_ever_played_into_a_call() -> None:
    bench = Bench(busy=frozenset({0}))
    findings = bench.run()
    assert {played.channel for played in bench.codec.played} == {1}
    assert [f.result for f in findings if f.check == "tone"] == [Result.LOOK, Result.OK]


def test_the_tone_stops_with_the_test() -> None:
    bench = Bench()
    bench.run()
    assert bench.codec.playback(0) is None
    assert bench.codec.playback(1) is None


def test_an_adapter_that_loses_samples_fails() -> None:
    bench = Bench()
    whole = bench.codec.drain
    kept = iter(range(10**6))
    bench.codec.drain = lambda blocks_max: [b for b in whole(blocks_max) if next(kept) % 4]  # type: ignore[method-assign]
    assert ("codec", "hw:CARD=line1", Result.FAILED) in bad(bench.run())


@pytest.mark.parametrize("key", [Signal.PAYMENT, Signal.OPT_OUT, Signal.KEEP])
def test_a_stuck_key_is_named(key: Signal) -> None:
    bench = Bench()
    bench.pins.press(1, key)
    findings = bench.run()
    assert bad(findings) == [("keys", "line2", Result.FAILED)]
    assert any(key.value in f.happened for f in findings)


def test_ring_and_loop_at_once_is_a_broken_sense_board() -> None:
    bench = Bench()
    bench.pins.level(0, Signal.RING, True)
    bench.pins.level(0, Signal.LOOP, True)
    assert bad(bench.run()) == [("line sense", "line1", Result.FAILED)]


def test_a_line_in_use_is_told_and_not_failed() -> None:
    bench = Bench()
    bench.pins.level(0, Signal.LOOP, True)
    assert bad(bench.run()) == []


def test_every_lamp_is_lit_once_and_all_are_dark_afterwards() -> None:
    bench = Bench()
    findings = selftest.run(bench.equipment(), show_lamps=True)
    assert {(c.line, c.lamp) for c in bench.pins.log if c.lamp} == {(line, lamp) for line in (0, 1) for lamp in Lamp}
    assert sum(f.check == "lamps" for f in findings) == 2 * len(Lamp)
    assert not bench.pins.sounder


def test_memory_that_does_not_answer_fails() -> None:
    bench = Bench()

    def read() -> bytes:
        raise OSError(121, "Remote I/O error")

    bench.memory.read = read  # type: ignore[method-assign]
    assert bad(bench.run()) == [("erasable memory", "at24", Result.FAILED)]


@pytest.mark.parametrize("content", [bytes(64), bytes(range(1, 65))])
def test_two_roots_or_none_are_a_failure_after_provisioning(content: bytes) -> None:
    bench = Bench()
    bench.memory = SimMemory(content, kind="at24")
    assert bad(bench.run()) == [("erasable memory", "at24", Result.FAILED)]


def test_an_empty_memory_is_right_before_provisioning() -> None:
    assert selftest.check_memory(SimMemory(bytes(64), kind="at24"), provisioned=False).result is Result.OK


def test_a_file_in_place_of_the_part_is_a_warning() -> None:
    assert selftest.check_memory(SimMemory(ONE_SLOT, kind="file"), provisioned=True).result is Result.WARNING


def test_the_self_test_never_writes_the_root_key() -> None:
    bench = Bench()
    bench.run()
    assert bench.memory.read() == ONE_SLOT


def test_a_clock_with_a_dead_battery_fails() -> None:
    bench = Bench()
    bench.rtc.stop()
    assert bad(bench.run()) == [("clock", "rtc", Result.FAILED)]


def test_a_clock_that_is_not_there_fails() -> None:
    bench = Bench()
    bench.rtc.silent = True
    assert bad(bench.run()) == [("clock", "rtc", Result.FAILED)]


def test_a_clock_that_is_an_hour_off_is_a_warning() -> None:
    bench = Bench()
    bench.rtc.jump_ms(3_600_000)
    assert bad(bench.run()) == [("clock", "rtc", Result.WARNING)]


@pytest.mark.parametrize(("write_ms", "result"), [(100, None), (2500, Result.WARNING), (11_000, Result.FAILED)])
def test_a_slow_card_is_measured(write_ms: int, result: Result | None) -> None:
    bench = Bench()
    bench.disk.write_ms = write_ms
    assert bad(bench.run()) == ([("card", "data", result)] if result else [])


def test_a_card_that_reads_back_something_else_fails() -> None:
    bench = Bench()
    bench.disk.rotten = True
    assert bad(bench.run()) == [("card", "data", Result.FAILED)]


def test_a_full_card_fails_and_says_what_to_save() -> None:
    class FullDisk(SlowDisk):
        def create(self, name: str, size_bytes: int) -> None:
            raise OSError(28, "No space left on device")

    finding = selftest.check_card(FullDisk(), SimClock(NOW_UTC_MS))
    assert finding.result is Result.FAILED
    assert "Export" in finding.action


def test_a_ring_that_is_full_next_week_is_a_warning() -> None:
    assert bad(Bench(health={"free_days": 6}).run()) == [("space", "ring", Result.WARNING)]


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        (replace(SOUND_BOARD, watchdog_timeout_s=None), ("watchdog", "board", Result.FAILED)),
        (replace(SOUND_BOARD, watchdog_timeout_s=600), ("watchdog", "board", Result.WARNING)),
        (replace(SOUND_BOARD, service_watchdog=False), ("watchdog", "service", Result.WARNING)),
        (replace(SOUND_BOARD, swap_bytes=1 << 20), ("swap", "board", Result.FAILED)),
        (replace(SOUND_BOARD, core_limit_bytes=1), ("core dumps", "board", Result.FAILED)),
    ],
)
def test_a_board_that_is_not_set_up_as_installed_is_found(board: BoardFacts, expected: tuple[str, str, Result]) -> None:
    assert bad(Bench(board=board).run()) == [expected]


def test_two_adapters_behind_one_translator_are_named() -> None:
    places = [UsbPlace("line1", "1-1", 12, 1), UsbPlace("line2", "1-1", 12, 1), UsbPlace("line3", "1-2", 12, 1)]
    [finding] = selftest.check_usb(places)
    assert finding.subject == "line1, line2"
    assert finding.result is Result.WARNING


@pytest.mark.parametrize(
    "places", [[UsbPlace("a", "1-1", 12, 4), UsbPlace("b", "1-1", 12, 4)], [UsbPlace("a", "", 480, 1)]]
)
def test_a_hub_with_several_translators_is_no_risk(places: list[UsbPlace]) -> None:
    assert [f.result for f in selftest.check_usb(places)] == [Result.OK]


def test_the_table_is_plain_and_puts_the_worst_last() -> None:
    bench = Bench(board=replace(SOUND_BOARD, swap_bytes=1))
    text = selftest.table(bench.run())
    assert text.isascii()
    assert text.splitlines()[-3].startswith("FAILED")
    assert text.splitlines()[-1].endswith("do not put this into service.")


def test_the_nightly_part_takes_no_audio_and_no_key_press_from_the_loop() -> None:
    bench = Bench()
    bench.pins.press(0, Signal.PAYMENT)
    bench.clock.advance_ms(1000)
    selftest.passive(bench.equipment())
    assert len(bench.pins.read()) == 1
    assert len(bench.codec.drain(100)) > 8


def test_a_reading_set_by_the_network_is_told() -> None:
    class Network:
        def read(self) -> RtcReading:
            return RtcReading(NOW_UTC_MS, synchronised=True)

    assert "network" in selftest.check_rtc(Network(), NOW_UTC_MS).happened
