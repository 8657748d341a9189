"""A codec without a sound card: WAV files or arrays as lines, on a virtual clock, rude by seed.

Lines are resampled by production's own ``Resampler``. It loses samples, delivers late, is pulled, freezes and comes
back as the measured one does: silently. What is played onto a line is kept for inspection (``played``) and, with
``sidetone``, heard back in the capture.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from firmware.ports import Block, CodecState, Playback, Samples
from firmware.units import BLOCK_MS, BLOCK_SAMPLES, SAMPLE_RATE_HZ, SAMPLE_US, US_PER_S
from hw.resample import LATENCY_SAMPLES_MAX, Resampler

BLOCK_US = BLOCK_MS * 1000
LOST_AFTER_US = 500_000
"""As the real adapter: no callback for so long and the device counts as lost."""

PLAYED_MAX = 10_000

RATES_HZ = (8000, 16_000, 48_000)
FRACTIONS = ("FLOAT", "DOUBLE")
"""Subtypes of soundfile whose samples it would hand out as 0 and 1 where whole numbers are asked for."""

QUEUE_BLOCKS_MAX = 100
"""As the real adapter: 10 s; past it the oldest block is lost, which shows as a jump of ``first_sample``."""


class MonoClock(Protocol):
    def mono_us(self) -> int: ...


# --------------------------------------------------------------------------------------------- what is on a line


class LineAudio(Protocol):
    def read(self, first_sample: int, samples: int) -> Samples:
        """int16 [samples] at 8 kHz from ``first_sample`` of the audio on; zeros before its start and past its end."""


def _window(audio: Samples, first_sample: int, samples: int) -> Samples:
    out = np.zeros(samples, np.int16)
    start, stop = max(first_sample, 0), min(first_sample + samples, len(audio))
    if start < stop:
        out[start - first_sample : stop - first_sample] = audio[start:stop]
    return out


class ArrayAudio:
    """int16 [n] at 8 kHz, held in memory."""

    def __init__(self, audio: Samples) -> None:
        assert audio.ndim == 1, audio.shape
        assert audio.dtype == np.int16, audio.dtype
        self._audio = audio

    def read(self, first_sample: int, samples: int) -> Samples:
        return _window(self._audio, first_sample, samples)


SILENCE = ArrayAudio(np.zeros(0, np.int16))


class WavAudio:
    """A mono WAV of whole numbers at 8, 16 or 48 kHz, read and resampled as it is needed, so that a tape of days fits.

    Raises ValueError with one sentence where the file is none of these.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = soundfile.SoundFile(str(path))
        except (OSError, soundfile.SoundFileError):
            raise ValueError(f"The audio file {path.name!r} is not a sound file that can be read.") from None
        if self._file.channels != 1 or self._file.samplerate not in RATES_HZ or self._file.subtype in FRACTIONS:
            raise ValueError(
                f"The audio file {path.name!r} has {self._file.channels} channel(s) at {self._file.samplerate} Hz "
                f"({self._file.subtype}); a line's audio is mono at 8, 16 or 48 kHz in 16 bits. Convert it first."
            )
        self._factor = self._file.samplerate // SAMPLE_RATE_HZ
        self._resampler = Resampler(self._file.samplerate, 1)
        self._have_from = 0
        self._have: Samples = np.zeros(0, np.int16)

    @property
    def length_us(self) -> int:
        return int(self._file.frames) * US_PER_S // int(self._file.samplerate)

    def read(self, first_sample: int, samples: int) -> Samples:
        if first_sample < self._have_from or first_sample > self._have_from + len(self._have):
            self._seek(max(0, first_sample - LATENCY_SAMPLES_MAX))
        while self._have_from + len(self._have) < first_sample + samples and self._pull():
            self._drop_before(first_sample)
        out = _window(self._have, first_sample - self._have_from, samples)
        self._drop_before(first_sample + samples)
        return out

    def _seek(self, sample: int) -> None:
        """From a little before, so that the filter has run in by the sample that is asked for."""
        self._file.seek(min(sample * self._factor, self._file.frames))
        self._resampler.flush()
        self._have_from, self._have = sample, np.zeros(0, np.int16)

    def _pull(self) -> bool:
        """One block more; at the end of the file, once, what the resampler still holds."""
        raw = self._file.read(BLOCK_SAMPLES * self._factor, dtype="int16")
        more = self._resampler.push(raw[np.newaxis])[0] if len(raw) else self._resampler.flush()[0]
        self._have = np.concatenate([self._have, more])
        return len(raw) > 0

    def _drop_before(self, sample: int) -> None:
        drop = min(max(sample - self._have_from, 0), len(self._have))
        self._have, self._have_from = self._have[drop:], self._have_from + drop


# ------------------------------------------------------------------------------------------------------ the codec


@dataclass(frozen=True)
class Rudeness:
    """Chances per block of 100 ms, drawn from the seed."""

    overflow: float = 0.0
    """Chance that up to ``overflow_samples_max`` samples are lost before the block."""
    overflow_samples_max: int = 1600
    late: float = 0.0
    """Chance that the block, and all behind it, come up to ``late_us_max`` late (480 ms were measured under load)."""
    late_us_max: int = 480_000


POLITE = Rudeness()


@dataclass
class Played:
    """One start of the notice on one channel. ``started_mono_us`` is when its first sample left the codec;
    ``ended_mono_us`` when it was stopped, replaced or lost with the device, else None."""

    channel: int
    started_mono_us: int
    samples: Samples
    ended_mono_us: int | None = None

    @property
    def due_mono_us(self) -> int:
        return self.started_mono_us + len(self.samples) * SAMPLE_US


class SimCodec:
    """Implements ``firmware.ports.Codec``: one line per channel, first sample captured at the clock's reading now.

    ``audio_zero_mono_us``: the clock's reading at sample 0 of the lines' audio; negative after a simulated reboot.
    ``sidetone``: gain at which what is played is heard back in the capture of its channel; 0.0 for none.
    ``output_latency_us``: from ``play`` to the first sample on the line.
    """

    RETURN_US = 300_000
    """From the plug pushed home to the first sample: the device is opened anew."""

    def __init__(
        self,
        clock: MonoClock,
        lines: Sequence[LineAudio],
        *,
        audio_zero_mono_us: int = 0,
        rudeness: Rudeness = POLITE,
        seed: int = 0,
        sidetone: float = 0.0,
        output_latency_us: int = 20_000,
    ) -> None:
        self.channels = len(lines)
        self._clock = clock
        self._lines = lines
        self._rudeness = rudeness
        self._random = random.Random(seed)
        self._sidetone = sidetone
        self._output_latency_us = output_latency_us
        self._opened_mono_us = clock.mono_us()
        self._audio_offset_us = self._opened_mono_us - audio_zero_mono_us
        self._next_sample = 0
        self._late_us = 0
        self._delivering = True
        self._last_callback_mono_us = self._opened_mono_us
        self._queue: deque[Block] = deque(maxlen=QUEUE_BLOCKS_MAX)
        self._playing: dict[int, Played] = {}
        self._newest: dict[int, Played] = {}
        self.played: deque[Played] = deque(maxlen=PLAYED_MAX)

    # ------------------------------------------------------------------------------------------------ the port

    def drain(self, blocks_max: int) -> list[Block]:
        self._advance()
        return [self._queue.popleft() for _ in range(min(blocks_max, len(self._queue)))]

    def state(self) -> CodecState:
        self._advance()
        age_us = self._clock.mono_us() - self._last_callback_mono_us
        return CodecState.LOST if age_us > LOST_AFTER_US else CodecState.LIVE

    def play(self, channel: int, samples: Samples) -> None:
        self._advance()
        self.stop(channel)
        if not self._delivering:
            return
        played = Played(channel, self._clock.mono_us() + self._output_latency_us, samples)
        self._playing[channel] = self._newest[channel] = played
        self.played.append(played)

    def stop(self, channel: int) -> None:
        self._advance()
        self._end(channel, self._clock.mono_us())

    def playback(self, channel: int) -> Playback | None:
        self._advance()
        played = self._playing.get(channel)
        if played is None:
            return None
        now_mono_us = self._clock.mono_us()
        if now_mono_us >= played.due_mono_us:
            return Playback(len(played.samples), played.due_mono_us)
        return Playback(max(0, (now_mono_us - played.started_mono_us) // SAMPLE_US), None)

    def close(self) -> None:
        self._delivering = False
        self._queue.clear()

    # ------------------------------------------------------------------------------------- what the world does

    def unplug(self) -> None:
        """The cable is out: no error, no flag, just no further callback. What was playing is not completed."""
        self._advance()
        self._delivering = False
        now_mono_us = self._clock.mono_us()
        for channel in [c for c, played in self._playing.items() if now_mono_us < played.due_mono_us]:
            self._end(channel, now_mono_us)

    def freeze(self) -> None:
        """The device stands still. From here it looks the same as ``unplug``; ``plug`` ends it too."""
        self.unplug()

    def plug(self) -> None:
        """Back: capture goes on after ``RETURN_US``, on the same axis, the time between missing from it."""
        self._advance()
        if self._delivering:
            return
        self._delivering = True
        elapsed_us = self._clock.mono_us() + self.RETURN_US - self._opened_mono_us
        self._next_sample = elapsed_us // SAMPLE_US

    # ------------------------------------------------------------------------------------------------ within

    def _advance(self) -> None:
        """Makes the callbacks that were due by now. A clock that leapt (an idle tape) leaves no sound behind."""
        now_mono_us = self._clock.mono_us()
        if self._delivering:
            due = (now_mono_us - self._mono_us(self._next_sample)) // BLOCK_US
            if due > 2 * QUEUE_BLOCKS_MAX:
                self._next_sample += due * BLOCK_SAMPLES
                self._last_callback_mono_us = self._mono_us(self._next_sample)
                self._queue.clear()
        while self._delivering:
            due_mono_us = self._mono_us(self._next_sample) + BLOCK_US + self._late_us
            due_mono_us = max(due_mono_us, self._last_callback_mono_us)
            if due_mono_us > now_mono_us:
                return
            self._queue.append(self._block(self._next_sample))
            self._next_sample += BLOCK_SAMPLES
            self._last_callback_mono_us = due_mono_us
            self._be_rude()

    def _be_rude(self) -> None:
        if self._random.random() < self._rudeness.overflow:
            self._next_sample += self._random.randint(1, self._rudeness.overflow_samples_max)
        late = self._random.random() < self._rudeness.late
        self._late_us = self._random.randint(0, self._rudeness.late_us_max) if late else 0

    def _mono_us(self, sample: int) -> int:
        return self._opened_mono_us + sample * SAMPLE_US

    def _block(self, first_sample: int) -> Block:
        in_audio = first_sample + self._audio_offset_us // SAMPLE_US
        samples = np.stack([line.read(in_audio, BLOCK_SAMPLES) for line in self._lines])
        captured_mono_us = self._mono_us(first_sample)
        if self._sidetone:
            for channel, played in self._newest.items():
                samples[channel] = self._heard_back(played, captured_mono_us, samples[channel])
        return Block(first_sample, captured_mono_us, samples)

    def _heard_back(self, played: Played, captured_mono_us: int, samples: Samples) -> Samples:
        """``samples`` with what was played mixed in."""
        offset = (captured_mono_us - played.started_mono_us) // SAMPLE_US
        heard = _window(played.samples, offset, BLOCK_SAMPLES).astype(np.float64)
        if played.ended_mono_us is not None:
            heard[max(0, (played.ended_mono_us - captured_mono_us) // SAMPLE_US) :] = 0
        return np.clip(np.rint(samples + self._sidetone * heard), -32768, 32767).astype(np.int16)

    def _end(self, channel: int, now_mono_us: int) -> None:
        played = self._playing.pop(channel, None)
        if played is not None and now_mono_us < played.due_mono_us:
            played.ended_mono_us = now_mono_us
