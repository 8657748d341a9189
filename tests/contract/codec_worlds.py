"""Two worlds with a codec in them, for one contract: one simulated, on virtual time, one real, over PulseAudio."""

import os
import time
import wave
from pathlib import Path
from typing import Protocol

import numpy as np

from firmware.ports import Block, Codec, CodecState, Samples
from firmware.units import SAMPLE_US
from hw.clock import MachineClock
from hw.codec import PortAudioCodec
from hw.sim.clock import SimClock
from hw.sim.codec import ArrayAudio, SimCodec
from tests.contract.pulse_server import PulseServer

STEP_S = 0.02
PATIENCE_S = 20.0


class World(Protocol):
    codec: Codec
    blocks: list[Block]

    def now_mono_us(self) -> int: ...

    def wait(self, seconds: float) -> None:
        """Time passes while the loop takes the blocks that come."""

    def say(self, samples: Samples) -> None:
        """int16 [n] at 8 kHz sounds on line 0; returns when all of it has been captured."""

    def unplug(self) -> None: ...
    def freeze(self) -> None: ...
    def plug(self) -> None:
        """Ends ``unplug`` or ``freeze``; returns when the codec is LIVE again."""

    def close(self) -> None: ...


def sound(blocks: list[Block], channel: int = 0) -> Samples:
    """The capture on its axis: what is missing is zeros."""
    if not blocks:
        return np.zeros(0, np.int16)
    start = blocks[0].first_sample
    out = np.zeros(blocks[-1].first_sample + blocks[-1].samples.shape[1] - start, np.int16)
    for block in blocks:
        out[block.first_sample - start :][: block.samples.shape[1]] = block.samples[channel]
    return out


def where(needle: Samples, haystack: Samples) -> int | None:
    """The first place at which ``haystack`` holds ``needle``, sample for sample."""
    firsts = np.flatnonzero(haystack[: len(haystack) - len(needle) + 1] == needle[0])
    for at in firsts:
        if np.array_equal(haystack[at : at + len(needle)], needle):
            return int(at)
    return None


class SimWorld:
    """Virtual time; the line's audio is an array that is spoken into."""

    def __init__(self) -> None:
        self._clock = SimClock(0)
        self._audio = np.zeros(120 * 8000, np.int16)
        self.codec = SimCodec(self._clock, [ArrayAudio(self._audio)], sidetone=1.0)
        self.blocks: list[Block] = []

    def now_mono_us(self) -> int:
        return self._clock.mono_us()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self._clock.advance_ms(round(STEP_S * 1000))
            self.blocks += self.codec.drain(8)

    def say(self, samples: Samples) -> None:
        at = self._clock.mono_us() // SAMPLE_US
        self._audio[at : at + len(samples)] = samples
        self.wait(len(samples) / 8000 + 0.2)

    def unplug(self) -> None:
        self.codec.unplug()

    def freeze(self) -> None:
        self.codec.freeze()

    def plug(self) -> None:
        self.codec.plug()
        while self.codec.state() is not CodecState.LIVE:
            self.wait(STEP_S)

    def close(self) -> None:
        self.codec.close()


class PulseWorld:
    """Real time, PyAudio, PortAudio and ALSA; the sound card is a private PulseAudio daemon."""

    def __init__(self, directory: Path) -> None:
        self._server = PulseServer(directory, 8000)
        self._server.start()
        self._before = dict(os.environ)
        os.environ.update(self._server.environment)
        self._clock = MachineClock()
        self._frozen = False
        try:
            self.codec = PortAudioCodec(self._clock, "line1", 8000, 1)
        except OSError:
            self._restore()
            raise
        self.blocks: list[Block] = []

    def now_mono_us(self) -> int:
        return self._clock.mono_us()

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(STEP_S)
            self.blocks += self.codec.drain(8)

    def say(self, samples: Samples) -> None:
        path = self._server.directory / "say.wav"
        write_wav(path, np.concatenate([np.zeros(400, np.int16), samples])[:, np.newaxis], 8000)
        self._server.play(path)
        self.wait(0.3)

    def unplug(self) -> None:
        self._server.kill()

    def freeze(self) -> None:
        self._server.freeze()
        self._frozen = True

    def plug(self) -> None:
        if self._frozen:
            self._server.thaw()
        else:
            self._server.start()
        self._frozen = False
        end = time.monotonic() + PATIENCE_S
        while self.codec.state() is not CodecState.LIVE:
            assert time.monotonic() < end, "the codec did not come back"
            self.wait(STEP_S)

    def close(self) -> None:
        self.codec.close()
        self._restore()

    def _restore(self) -> None:
        self._server.kill()
        os.environ.clear()
        os.environ.update(self._before)


def write_wav(path: Path, samples: Samples, rate_hz: int) -> None:
    """int16 [n, channels]."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
