"""From a sound device's callbacks to blocks on the line's sample axis. Pure: no device here, and time is an argument.

The axis counts samples at 8 kHz from the first one on, the lost ones included. What has been lost nobody says: a
codec's status flags report overflows only, and with 47 % of the samples wrong not one flag was raised (measured). So
samples are counted against the clock. A sample cannot be delivered before it was captured, so a callback may be late
but never early: the earliest callbacks of the stream tell when its samples were captured, and lateness that does not
go away within a second is not lateness, it is samples that are missing.

PortAudio's own ADC time is not used. Through ALSA's pulse plugin it was wrong by 677 ms, and moved by that much in the
first second, while the callbacks came exact to 0.1 ms (measured).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from firmware.ports import Block, Samples
from firmware.units import BLOCK_SAMPLES, SAMPLE_RATE_HZ, SAMPLE_US, US_PER_S
from hw.resample import Resampler

SUSPECT_US = 15_000
"""A callback later than this is held back until it is known whether it was late or samples are missing. At real-time
priority on a machine with six times its load callbacks were within 0.2 ms, rarely 3, seldom tens of ms late, where
nothing was missing (measured). A smaller loss is taken for drift until losses add up to this."""

CONFIRM_US = 1_000_000
"""Lateness that has stood for so long is a loss. Under load the worst stall was 480 ms (measured)."""

SURPLUS_US = 50_000
"""Samples ahead of the clock by more than this were never captured: a card that is pulled hands out 7 to 14 callbacks
within 0.3 s (measured). From then on nothing is believed until the device is opened anew."""

SETTLE_US = 3_000_000
"""In a stream's first seconds an early callback corrects the axis at once; later only as fast as crystals drift."""

DRIFT_US = 50
"""Per callback of 100 ms: 500 ppm, five times the tolerance of a common crystal (100 ppm)."""


@dataclass(frozen=True)
class Callback:
    """``samples``: int16 [channels, n] at the device's rate; ``index`` counts the stream's frames handed to callbacks
    before these; ``mono_us``: when the callback ran."""

    mono_us: int
    index: int
    samples: Samples


class CaptureAxis:
    """Callbacks of one device in, blocks out; capture times never go back. ``restart`` when the device was opened anew.

    A jump of the axis costs, beside what was lost, the incomplete block before it: nothing at 8 kHz, where
    a callback is a block; less than 100 ms at 48 kHz, where the resampler was holding some.
    """

    def __init__(self, rate_hz: int, channels: int) -> None:
        assert rate_hz % SAMPLE_RATE_HZ == 0, rate_hz
        self._factor = rate_hz // SAMPLE_RATE_HZ
        self._frame_us = US_PER_S / rate_hz
        self._resampler = Resampler(rate_hz, channels)
        self._rest: Samples = np.zeros((channels, 0), np.int16)
        self._rest_sample = 0
        self._frames = 0
        self._index: int | None = None
        self._zero_mono_us: float | None = None
        self._opened_mono_us = 0
        self._captured_mono_us = 0
        self._believed = True
        self._held: list[Callback] = []
        self._held_frames = 0
        self._held_late_us = 0.0
        self.accepted_mono_us: int | None = None
        """When the newest callback ran that brought samples of its time."""

    def restart(self) -> None:
        """The next callback is the first of a new stream; the axis goes on, the time between is missing from it."""
        self._index = None

    def feed(self, callback: Callback) -> list[Block]:
        """The blocks that are complete with this callback, in order."""
        assert callback.samples.shape[1] % self._factor == 0, callback.samples.shape
        return list(self._feed(callback))

    def _feed(self, callback: Callback) -> Iterator[Block]:
        if self._index is None:
            yield from self._release()
            yield from self._start(callback)
        elif callback.index != self._index:
            yield from self._release()
            yield from self._jump(callback.index - self._index)
        self._index = callback.index + callback.samples.shape[1]
        yield from self._place(callback)

    def _start(self, callback: Callback) -> Iterator[Block]:
        """The first callback of a stream is taken to be on time; if it was late, an earlier one corrects it."""
        captured_mono_us = callback.mono_us - callback.samples.shape[1] * self._frame_us
        if self._zero_mono_us is not None:
            elapsed_us = captured_mono_us - self._zero_mono_us
            yield from self._jump(max(0, round(elapsed_us / self._frame_us) - self._frames))
        self._zero_mono_us = captured_mono_us - self._frames * self._frame_us
        self._opened_mono_us = callback.mono_us
        self._believed = True

    def _place(self, callback: Callback) -> Iterator[Block]:
        late_us = self._late_us(callback)
        self._believed &= late_us >= -SURPLUS_US or self._settling(callback.mono_us)
        if not self._believed:
            return
        self.accepted_mono_us = callback.mono_us
        if late_us > SUSPECT_US:
            yield from self._hold(callback, late_us)
            return
        yield from self._release()
        yield from self._take(callback)
        self._follow(late_us, callback.mono_us)

    def _settling(self, mono_us: int) -> bool:
        return mono_us - self._opened_mono_us < SETTLE_US

    def _late_us(self, callback: Callback) -> float:
        assert self._zero_mono_us is not None
        end: int = self._frames + self._held_frames + callback.samples.shape[1]
        return callback.mono_us - (self._zero_mono_us + end * self._frame_us)

    def _follow(self, late_us: float, mono_us: int) -> None:
        """Moves the axis towards its earliest callbacks."""
        assert self._zero_mono_us is not None
        slowest_us = late_us if self._settling(mono_us) else -DRIFT_US
        self._zero_mono_us += min(max(late_us, min(slowest_us, 0.0)), DRIFT_US)

    def _hold(self, callback: Callback, late_us: float) -> Iterator[Block]:
        self._held_late_us = min(late_us, self._held_late_us) if self._held else late_us
        self._held.append(callback)
        self._held_frames += callback.samples.shape[1]
        if callback.mono_us - self._held[0].mono_us >= CONFIRM_US:
            yield from self._jump(round(self._held_late_us / self._frame_us))
            yield from self._release()

    def _release(self) -> Iterator[Block]:
        held, self._held, self._held_frames = self._held, [], 0
        for callback in held:
            yield from self._take(callback)

    def _jump(self, frames: int) -> Iterator[Block]:
        """So many frames are missing before the next one (to whole samples at 8 kHz)."""
        samples = round(frames / self._factor)
        if samples <= 0:
            return
        yield from self._blocks(self._resampler.flush())
        self._frames += samples * self._factor
        self._rest = self._rest[:, :0]
        self._rest_sample = self._frames // self._factor

    def _take(self, callback: Callback) -> Iterator[Block]:
        self._frames += callback.samples.shape[1]
        yield from self._blocks(self._resampler.push(callback.samples))

    def _blocks(self, samples: Samples) -> Iterator[Block]:
        assert self._zero_mono_us is not None
        self._rest = np.concatenate([self._rest, samples], axis=1)
        while self._rest.shape[1] >= BLOCK_SAMPLES:
            captured_mono_us = round(self._zero_mono_us + self._rest_sample * SAMPLE_US)
            self._captured_mono_us = max(captured_mono_us, self._captured_mono_us)
            yield Block(self._rest_sample, self._captured_mono_us, self._rest[:, :BLOCK_SAMPLES])
            self._rest = self._rest[:, BLOCK_SAMPLES:]
            self._rest_sample += BLOCK_SAMPLES
