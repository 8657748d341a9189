"""The production loop on virtual time with simulated devices and a writer that only remembers what it was told."""

import numpy as np

from firmware.dsp.ear import Ear
from firmware.lookback import LookBack
from firmware.loop import Loop, Rig, Settings
from firmware.policy.events import Event, Signal
from firmware.policy.line import LineSettings
from firmware.policy.records import GapReason, LedgerRow
from firmware.ports import Samples
from firmware.recording import NoticeUsed
from firmware.store.commands import (
    AppendAudio,
    AppendGap,
    CloseCall,
    Command,
    KeepCall,
    KeepDone,
    OptOut,
    OptOutDone,
    Report,
    WriteRow,
)
from firmware.units import SAMPLE_RATE_HZ, US_PER_S
from hw.sim.clock import SimClock
from hw.sim.codec import ArrayAudio, SimCodec
from hw.sim.pins import SimPins

START_UTC_MS = 1_772_442_000_000
"""2026-03-02T09:00:00Z."""
NOTICE_S = 2
LOOK_BACK_S = 10


class Memory:
    """Stands in for the writer: obeys at once, forgets nothing."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self._reports: list[Report] = []

    def submit(self, command: Command) -> None:
        self.commands.append(command)
        if isinstance(command, OptOut):
            self._reports.append(OptOutDone(command.line, command.call, True))
        elif isinstance(command, KeepCall):
            self._reports.append(KeepDone(command.line, command.call, "opted_out" if command.opted_out else None))

    def poll(self) -> list[Report]:
        reports, self._reports = self._reports, []
        return reports


class Kicks:
    def __init__(self) -> None:
        self.count = 0

    def ready(self) -> None: ...

    def kick(self) -> None:
        self.count += 1


def noise(seconds: float, seed: int = 1) -> Samples:
    """White noise without a zero sample, so that silence can be told from sound."""
    samples = np.random.default_rng(seed).integers(1, 20_000, round(seconds * SAMPLE_RATE_HZ), dtype=np.int16)
    return samples


class Deaf:
    """An ear that hears nothing: the walk of a block is tested without the detectors, which have their own tests."""

    def hear(self, *heard: object) -> list[Event]:
        return []

    def reset(self, line: int) -> None: ...


class Bench:
    """One line (or several) and a hand on everything. Times in seconds from the start."""

    def __init__(
        self,
        audio: list[Samples],
        settings: LineSettings | None = None,
        bounce_edges_max: int = 0,
        off_hook_at_boot: bool = False,
        hears: bool = False,
    ) -> None:
        self.audio = audio
        self.clock = SimClock(START_UTC_MS)
        self.codec = SimCodec(self.clock, [ArrayAudio(line) for line in audio])
        self.pins = SimPins(self.clock, bounce_edges_max=bounce_edges_max)
        if off_hook_at_boot:
            self.pins.level(0, Signal.LOOP, True)
        self.writer = Memory()
        self.watchdog = Kicks()
        line = settings or LineSettings()
        lines = tuple(range(len(audio)))
        ear = Ear(len(audio)) if hears else Deaf()
        rig = Rig(self.codec, lines, ear, LookBack(line.look_back_us))  # type: ignore[arg-type]
        notice = np.full(NOTICE_S * SAMPLE_RATE_HZ, 1000, np.int16)
        self.loop = Loop(
            Settings(tuple(line for _ in audio), notice=notice, notice_used=NoticeUsed("test", b"\1" * 32)),
            self.clock,
            [rig],
            self.pins,
            self.writer,  # type: ignore[arg-type]
            self.watchdog,
            lambda: self.clock.true_utc_ms,
            lambda report: None,
        )
        self.loop.step()

    @property
    def now_s(self) -> float:
        return self.clock.mono_us() / US_PER_S

    def run_to(self, at_s: float, step_ms: int = 100) -> None:
        while self.clock.mono_us() < at_s * US_PER_S:
            self.clock.advance_ms(min(step_ms, max(1, round(at_s * 1000 - self.clock.mono_us() / 1000))))
            self.loop.step()

    def level(self, at_s: float, signal: Signal, active: bool, line: int = 0) -> None:
        self.pins.level(line, signal, active, round(at_s * US_PER_S))

    def ring(self, at_s: float, line: int = 0) -> None:
        """Two bursts: 0.4 s on, 0.2 s off, 0.4 s on."""
        for offset in (0.0, 0.6):
            self.level(at_s + offset, Signal.RING, True, line)
            self.level(at_s + offset + 0.4, Signal.RING, False, line)

    def press(self, at_s: float, key: Signal, for_s: float = 0.2, line: int = 0) -> None:
        self.level(at_s, key, True, line)
        self.level(at_s + for_s, key, False, line)

    # ---------------------------------------------------------------------------------- what came of it

    def rows(self) -> list[LedgerRow]:
        return [command.row for command in self.writer.commands if isinstance(command, CloseCall | WriteRow)]

    def kept(self, answered_s: float, call: int | None = None, line: int = 0) -> Samples:
        """The line's own samples where they were kept, zeros elsewhere; refuses samples that are not the line's."""
        out = np.zeros(len(self.audio[line]), np.int16)
        answer = round(answered_s * SAMPLE_RATE_HZ)
        for command in self.writer.commands:
            if isinstance(command, AppendAudio) and call in (None, command.call):
                start = answer + command.first_sample
                assert not isinstance(command.payload, bytes)
                original = self.audio[line][start : start + command.samples]
                assert np.array_equal(command.payload[0], original), "kept audio is not the line's"
                out[start : start + command.samples] = command.payload[0]
        return out

    def gaps(self) -> list[tuple[float, float, GapReason]]:
        """(start, end, reason) in seconds from the answer, neighbours of one reason joined."""
        joined: list[tuple[float, float, GapReason]] = []
        for command in self.writer.commands:
            if isinstance(command, AppendGap):
                start = command.first_sample / SAMPLE_RATE_HZ
                end = (command.first_sample + command.samples) / SAMPLE_RATE_HZ
                if joined and joined[-1][2] is command.reason and abs(joined[-1][1] - start) < 1e-9:
                    joined[-1] = (joined[-1][0], end, command.reason)
                else:
                    joined.append((start, end, command.reason))
        return joined
