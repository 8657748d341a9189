"""The recorder's half of the codec without a device: stable names, and when a device is given up or is not."""

import os
from itertools import pairwise
from typing import ClassVar

import pytest

from firmware.ports import CodecState
from hw import codec
from hw.codec import CodecRefused, PortAudioCodec
from hw.portaudio import CAPTURE, Refusal, find_device
from hw.sim.clock import SimClock


class System:
    """PortAudio's list of devices, as a Pi with two adapters shows it."""

    NAMES = (
        "bcm2835 Headphones: - (hw:0,0)",
        "USB Audio Device: - (hw:1,0)",
        "USB Audio Device: - (hw:2,0)",
        "USB Audio Device: - (hw:12,0)",
        "line1",
        "default",
    )

    def get_device_count(self) -> int:
        return len(self.NAMES)

    def get_device_info_by_index(self, index: int) -> dict[str, str]:
        return {"name": self.NAMES[index]}


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Card ids that udev gave by USB port, and the numbers that they have at this boot."""
    links = {"/proc/asound/desk1": "card2", "/proc/asound/desk2": "card1"}

    def readlink(path: str) -> str:
        if path not in links:
            raise FileNotFoundError(path)
        return links[path]

    monkeypatch.setattr(os, "readlink", readlink)
    return links


def test_two_adapters_of_one_make_are_told_apart_by_their_port(cards: dict[str, str]) -> None:
    assert find_device(System(), "hw:CARD=desk1") == 2
    assert find_device(System(), "hw:CARD=desk2,DEV=0") == 1


def test_after_a_boot_that_swapped_the_numbers_each_line_has_its_own_adapter_still(cards: dict[str, str]) -> None:
    cards.update({"/proc/asound/desk1": "card12", "/proc/asound/desk2": "card2"})
    assert find_device(System(), "hw:CARD=desk1") == 3
    assert find_device(System(), "hw:CARD=desk2") == 2


def test_an_adapter_that_is_out_is_missing_and_not_another_one(cards: dict[str, str]) -> None:
    del cards["/proc/asound/desk1"]
    for name in ("hw:CARD=desk1", "hw:CARD=desk2,DEV=1", "USB Audio Device", "line"):
        with pytest.raises(Refusal, match="was not found") as caught:
            find_device(System(), name)
        assert caught.value.missing


def test_an_alsa_name_of_the_configuration_is_taken_as_it_is(cards: dict[str, str]) -> None:
    assert find_device(System(), "line1") == 4


@pytest.mark.parametrize("device", ["0", "3", "hw:0", "hw:1,0", "plughw:1,0"])
def test_a_codec_named_by_a_number_is_refused(device: str) -> None:
    """The number is another after the next boot: another line would be recorded as this one."""
    with pytest.raises(CodecRefused, match="by a number"):
        PortAudioCodec(SimClock(0), device, 48_000, 1)


@pytest.mark.parametrize("rate_hz", [0, 11_025, 44_100, 96_000])
def test_a_rate_that_is_not_supported_is_refused(rate_hz: int) -> None:
    with pytest.raises(CodecRefused, match="must be 8000, 16000 or 48000"):
        PortAudioCodec(SimClock(0), "line1", rate_hz, 1)


class HangingProcess:
    """A device that opens and says nothing, held by a driver that does not let go even of a killed process."""

    made = 0
    id = 0
    ended = behind = False

    def __init__(self, *_what: object) -> None:
        HangingProcess.made += 1
        self.killed = False

    def read(self) -> list[tuple[bytes, int, int, bytes]]:
        assert not self.killed
        return []

    def end(self) -> None:
        self.killed = True

    def how_it_ended(self) -> str:
        return ""

    def gone(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        assert self.killed


def test_a_driver_that_lets_go_of_nothing_does_not_use_up_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process that the kernel keeps also keeps its descriptors: after four of them no more are started."""
    clock = SimClock(0)
    HangingProcess.made = 0
    monkeypatch.setattr(codec, "_Process", HangingProcess)
    made = PortAudioCodec(clock, "line1", 48_000, 1, wait=False)
    clock.advance_ms(4900)
    made.drain(8)
    assert made.refusal is None
    for _ in range(3600):
        clock.advance_ms(1000)
        assert made.drain(8) == []
        assert made.state() is CodecState.LOST
    assert HangingProcess.made == codec.DYING_MAX + 1
    assert "delivered nothing" in str(made.refusal)
    made.close()


class BacklogProcess(HangingProcess):
    """The recorder was away: the pipe is full of old callbacks, and more come as it is emptied, in uneven portions."""

    waiting: ClassVar[list[tuple[list[tuple[bytes, int, int, bytes]], bool]]] = []

    def read(self) -> list[tuple[bytes, int, int, bytes]]:
        records, self.behind = BacklogProcess.waiting.pop(0) if BacklogProcess.waiting else ([], False)
        return records


def test_a_recorder_that_was_away_does_not_give_up_a_codec_that_never_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimClock(0)
    monkeypatch.setattr(codec, "_Process", BacklogProcess)
    records = [(CAPTURE, 100_000 * (at + 1), 4800 * at, bytes(9600)) for at in range(60)]
    BacklogProcess.waiting = [([], False), (records[:1], False)]
    made = PortAudioCodec(clock, "line1", 48_000, 1, wait=False)
    for _ in range(2):
        made.state()
    clock.advance_ms(6000)
    BacklogProcess.waiting = [(records[1:20], True), (records[20:21], False), ([], False), (records[21:59], False)]
    for _ in range(4):
        assert made.state() is CodecState.LIVE
        clock.advance_ms(20)
    assert [block.first_sample for block in made.drain(100)] == [800 * at for at in range(57)]
    clock.advance_ms(600)
    assert made.state() is CodecState.LOST
    made.close()


def test_a_codec_that_stopped_while_the_recorder_was_away_is_lost_half_a_second_after_its_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimClock(0)
    monkeypatch.setattr(codec, "_Process", BacklogProcess)
    records = [(CAPTURE, 100_000 * (at + 1), 4800 * at, bytes(9600)) for at in range(20)]
    BacklogProcess.waiting = [([], False), (records[:1], False)]
    made = PortAudioCodec(clock, "line1", 48_000, 1, wait=False)
    for _ in range(2):
        made.state()
    clock.advance_ms(10_000)
    BacklogProcess.waiting = [(records[1:], True)]
    assert made.state() is CodecState.LIVE
    clock.advance_ms(501)
    assert made.state() is CodecState.LOST
    made.close()


class DyingProcess(HangingProcess):
    """Ends at its start without a word, as often as ``deaths`` says, then delivers."""

    deaths = 0

    def __init__(self, *_what: object) -> None:
        super().__init__()
        self.ended = DyingProcess.deaths > 0
        DyingProcess.deaths -= 1

    def read(self) -> list[tuple[bytes, int, int, bytes]]:
        return [] if self.ended else [(CAPTURE, 100_000, 0, bytes(9600))]

    def how_it_ended(self) -> str:
        return " (its process ended with -9)"

    def gone(self) -> bool:
        return True


class RunningClock(SimClock):
    """Time passes by being looked at: for a constructor that waits."""

    def mono_us(self) -> int:
        self.advance_ms(50)
        return super().mono_us()


@pytest.mark.parametrize(("deaths", "in_service"), [(0, True), (2, True), (3, False)])
def test_a_start_that_fails_twice_is_no_reason_to_refuse_service(
    deaths: int, in_service: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "_Process", DyingProcess)
    monkeypatch.setattr(DyingProcess, "deaths", deaths)
    if in_service:
        PortAudioCodec(RunningClock(0), "line1", 48_000, 1).close()
    else:
        with pytest.raises(CodecRefused, match=r"ended with -9"):
            PortAudioCodec(RunningClock(0), "line1", 48_000, 1)


def test_a_machine_that_starts_no_process_is_tried_again_later_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    clock = SimClock(0)

    def no_process(*_what: object) -> None:
        tries.append(clock.mono_us())
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(codec, "_Process", no_process)
    made = PortAudioCodec(clock, "line1", 48_000, 1, wait=False)
    for _ in range(60 * 50):
        made.drain(8)
        clock.advance_ms(20)
    assert [(b - a) / 1e6 for a, b in pairwise(tries)][:7] == [0.02, 0.5, 1, 2, 5, 10, 10]
    assert isinstance(made.refusal, BlockingIOError)
    made.close()
