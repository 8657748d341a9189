"""The world of a tape: clock, codec, pins, card, memory and sticks of a simulated appliance, moved by the tape's
events.

The tape's time runs whether the machine is powered or not; the machine's own clocks are what ``SimClock`` makes of
it. State lies in one directory through the real disk adapter, made rude where the tape says so.
"""

import errno
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware.policy.events import Lamp, Signal
from firmware.ports import ErasableMemory
from firmware.units import US_PER_S
from hw.disk import DirectoryDisk
from hw.nvmem import FileMemory
from hw.sim.clock import SimClock, SimRtc
from hw.sim.codec import SILENCE, SimCodec, WavAudio
from hw.sim.disk import RudeDisk
from hw.sim.pins import SimPins
from hw.sim.stick import SimStick
from hw.sim.tape import Tape, TapeError, TapeEvent

RING_CADENCE_US = (400_000, 200_000, 400_000, 2_000_000)
"""UK ringing: 0.4 s on, 0.2 s off, 0.4 s on, 2.0 s off (BT SIN 350 table in line.md 2.5)."""

HOOK_FLASH_US = 100_000
"""Timed break recall: 50 to 130 ms on UK telephones; 100 ms unless the tape says otherwise."""

SETTLE_US = 5 * US_PER_S
"""How long a tape plays on after its last event and sound, beside the look-back."""


class RudeMemory:
    """The file that stands for the erasable part, refusing while ``failing``."""

    def __init__(self, memory: ErasableMemory) -> None:
        self._memory = memory
        self.kind = memory.kind
        self.failing = False

    def read(self) -> bytes:
        self._suffer()
        return self._memory.read()

    def write_slot(self, slot: int, data: bytes) -> None:
        self._suffer()
        self._memory.write_slot(slot, data)

    def zero_slot(self, slot: int) -> None:
        self._suffer()
        self._memory.zero_slot(slot)

    def _suffer(self) -> None:
        if self.failing:
            raise OSError(errno.EIO, "the erasable memory does not answer")


class Stage:
    """``advance`` moves the tape; the rest is what the machine is plugged into. Raises TapeError (its audio, before
    ``state`` is touched; a stick's directory that has gone, in ``advance``), OSError."""

    def __init__(self, tape: Tape, state: Path, *, bounce_edges_max: int = 0) -> None:
        self._tape = tape
        self._audio_end_us = max((_length_us(line.audio) for line in tape.lines if line.audio), default=0)
        self._names = [line.name for line in tape.lines]
        self._bounce_edges_max = bounce_edges_max
        self._events: list[tuple[int, int, TapeEvent | Callable[[], None]]] = []
        self._laid = 0
        for event in tape.events:
            self._lay(event.at_us, event)
        self.tape_us = 0
        self.clock = SimClock(tape.start_utc_ms)
        self.rtc = SimRtc(self.clock)
        state.mkdir(parents=True, exist_ok=True)
        self.disk = RudeDisk(DirectoryDisk(state))
        self.memory = RudeMemory(FileMemory(state / "memory", create=True))
        self.powered = True
        self.card_stalled_until_us = 0
        self.plugged: SimStick | None = None
        self.stick_news = False
        """A stick was plugged in since the machine last looked."""
        self._cut_us = 0
        self._levels: set[tuple[int, Signal]] = set()
        self._ringing: dict[int, int] = {}
        self._codec: SimCodec | None = None
        self._pins: SimPins | None = None

    @property
    def card_stalled(self) -> bool:
        return self.tape_us < self.card_stalled_until_us

    @property
    def quiet_until_us(self) -> int:
        """Until then the tape has neither an event nor, from here on, any sound."""
        if self.tape_us < self._audio_end_us:
            return self.tape_us
        return self._events[0][0] if self._events else self.tape_us

    def end_us(self, look_back_us: int) -> int:
        last = max((event.at_us for event in self._tape.events), default=0)
        return max(last, self._audio_end_us) + look_back_us + SETTLE_US

    # ------------------------------------------------------------------------------------------ the machine

    def line_names(self) -> list[str]:
        return list(self._names)

    def open_codec(self) -> SimCodec:
        """One device with a channel per line, opened now, as a machine does when it boots."""
        lines = [WavAudio(line.audio) if line.audio else SILENCE for line in self._tape.lines]
        self._codec = SimCodec(self.clock, lines, audio_zero_mono_us=self.clock.mono_us() - self.tape_us)
        return self._codec

    def open_pins(self) -> SimPins:
        self._pins = SimPins(self.clock, bounce_edges_max=self._bounce_edges_max)
        for line, signal in sorted(self._levels):
            self._pins.level(line, signal, True)
        return self._pins

    def lit(self) -> dict[tuple[int, Lamp], bool]:
        """What the panel shows."""
        return {} if self._pins is None else self._pins.lit

    # --------------------------------------------------------------------------------------------- the tape

    def advance(self, us: int) -> None:
        """Everything that happens in the next ``us`` microseconds, each at its own time."""
        target = self.tape_us + us
        while self._events and self._events[0][0] <= target:
            at_us, _, event = heapq.heappop(self._events)
            self._move_to(at_us)
            if isinstance(event, TapeEvent):
                self._apply(event)
            else:
                event()
        self._move_to(target)

    def press(self, line: int, key: Signal, active: bool) -> None:
        """A hand on the panel, from the terminal or the tape."""
        self._set(line, key, active)

    def _move_to(self, at_us: int) -> None:
        if self.powered:
            self.clock.advance_us(at_us - self.tape_us)
        self.tape_us = at_us

    def _lay(self, at_us: int, event: TapeEvent | Callable[[], None]) -> None:
        self._laid += 1
        heapq.heappush(self._events, (at_us, self._laid, event))

    def _apply(self, event: TapeEvent) -> None:
        given = event.given
        line = self._names.index(given["line"]) if "line" in given else 0
        getattr(self, f"_do_{event.do}")(line, given)

    # ---------------------------------------------------------------------------------------------- the line

    def _do_ring(self, line: int, given: dict[str, Any]) -> None:
        self._ringing[line] = self._ringing.get(line, 0) + 1
        self._burst(line, self._ringing[line], 0)

    def _burst(self, line: int, ringing: int, step: int) -> None:
        if self._ringing.get(line) != ringing:
            return
        self._set(line, Signal.RING, step % 2 == 0)
        self._lay(self.tape_us + RING_CADENCE_US[step], lambda: self._burst(line, ringing, (step + 1) % 4))

    def _do_ring_stop(self, line: int, given: dict[str, Any]) -> None:
        self._ringing[line] = self._ringing.get(line, 0) + 1
        self._set(line, Signal.RING, False)

    def _do_off_hook(self, line: int, given: dict[str, Any]) -> None:
        self._do_ring_stop(line, given)
        self._set(line, Signal.LOOP, True)

    def _do_on_hook(self, line: int, given: dict[str, Any]) -> None:
        self._set(line, Signal.LOOP, False)

    def _do_hook_flash(self, line: int, given: dict[str, Any]) -> None:
        self._set(line, Signal.LOOP, False)
        length_us = round(given["for"] * US_PER_S) if "for" in given else HOOK_FLASH_US
        self._lay(self.tape_us + length_us, lambda: self._set(line, Signal.LOOP, True))

    def _do_reversal(self, line: int, given: dict[str, Any]) -> None:
        self._set(line, Signal.REVERSAL, (line, Signal.REVERSAL) not in self._levels)

    def _do_press(self, line: int, given: dict[str, Any]) -> None:
        self._set(line, Signal(given["key"]), True)

    def _do_release(self, line: int, given: dict[str, Any]) -> None:
        self._set(line, Signal(given["key"]), False)

    def _do_bounce(self, line: int, given: dict[str, Any]) -> None:
        if self.powered and self._pins is not None:
            self._pins.bounce(line, Signal(given["key"]), given["times"], round(given["every"] * US_PER_S))

    def _set(self, line: int, signal: Signal, active: bool) -> None:
        if ((line, signal) in self._levels) == active:
            return
        (self._levels.add if active else self._levels.discard)((line, signal))
        if self.powered and self._pins is not None:
            self._pins.level(line, signal, active)

    # --------------------------------------------------------------------------------------------- the world

    def _do_stick_in(self, line: int, given: dict[str, Any]) -> None:
        if not given["dir"].is_dir():
            raise TapeError(f"The stick's directory {given['dir'].name} is not there any more.")
        self.plugged, self.stick_news = SimStick(str(given["dir"])), True

    def _do_stick_out(self, line: int, given: dict[str, Any]) -> None:
        if self.plugged is not None:
            self.plugged.pull()
        self.plugged = None

    def _do_power_cut(self, line: int, given: dict[str, Any]) -> None:
        if self.powered:
            self.powered, self._cut_us = False, self.tape_us
            self._codec = self._pins = None

    def _do_power_on(self, line: int, given: dict[str, Any]) -> None:
        if not self.powered:
            self.clock.power_off((self.tape_us - self._cut_us) // 1000)
            self.powered, self.stick_news = True, self.plugged is not None

    def _do_codec_out(self, line: int, given: dict[str, Any]) -> None:
        if self._codec is not None:
            self._codec.unplug()

    def _do_codec_freeze(self, line: int, given: dict[str, Any]) -> None:
        if self._codec is not None:
            self._codec.freeze()

    def _do_codec_in(self, line: int, given: dict[str, Any]) -> None:
        if self._codec is not None:
            self._codec.plug()

    def _do_card_stall(self, line: int, given: dict[str, Any]) -> None:
        self.card_stalled_until_us = self.tape_us + round(given["for"] * US_PER_S)

    def _do_card_full(self, line: int, given: dict[str, Any]) -> None:
        self.disk.full = True
        if "for" in given:
            self._lay(self.tape_us + round(given["for"] * US_PER_S), lambda: setattr(self.disk, "full", False))

    def _do_clock_set(self, line: int, given: dict[str, Any]) -> None:
        self.rtc.set_utc_ms(given["to"])

    def _do_erasable_fail(self, line: int, given: dict[str, Any]) -> None:
        self.memory.failing = True
        if "for" in given:
            self._lay(self.tape_us + round(given["for"] * US_PER_S), lambda: setattr(self.memory, "failing", False))


def check_audio(tape: Tape) -> None:
    """Raises TapeError where a line's audio is none that can be played."""
    for line in tape.lines:
        if line.audio:
            _length_us(line.audio)


def _length_us(audio: Path) -> int:
    try:
        return WavAudio(audio).length_us
    except ValueError as error:
        raise TapeError(str(error)) from None
