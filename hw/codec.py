"""Codec: a sound device through PortAudio, which lives in a process of its own (``hw/portaudio.py`` says why).

This half starts that process, reads its records without waiting, and judges it by the age of the last callback: a
codec that is pulled or stands still says nothing at all (measured). One that is silent for 0.5 s is LOST; one that is
silent for 1.5 s is killed, whatever it hangs in, and started again, at once and then at growing intervals, until the
device is back.
"""

import fcntl
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from firmware.ports import Block, Clock, CodecState, Playback, Samples
from firmware.units import BLOCK_MS, MS_PER_S, SAMPLE_US
from hw import portaudio
from hw.capture import Callback, CaptureAxis
from hw.resample import to_rate

LOST_AFTER_US = 500_000
ABANDONED_AFTER_US = 1_500_000
"""The device's buffer holds 1 s: a stall shorter than that loses nothing if the stream is left alone."""

OPENING_US_MAX = 5_000_000
"""From the start of the process to its first callback: 0.2 s for a USB codec, 2 s were seen through a sound server."""

RETRY_US = (0, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
"""Waits before the device is opened again; the last one repeats, for as long as it takes."""

QUEUE_BLOCKS_MAX = 100
"""10 s; past it the oldest block is lost, which shows as a jump of ``first_sample``."""

START_FAILURES_MAX = 3
"""A process that ended without a word is started again, also while the constructor waits; after this it raises."""

DYING_MAX = 3
CLOSE_S_MAX = 1.0

_SAFE = "What was recorded is kept. Push its plug home; it is opened again by itself."

PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 18
RATES_HZ = (8_000, 16_000, 48_000)


class CodecMissing(OSError):
    """No sound device has the configured name. The text is one sentence for a person."""


class CodecRefused(OSError):
    """The device is there and cannot do what is configured (rate, channels), or never delivered. One sentence."""


@dataclass
class _Play:
    number: int
    samples: int
    started_mono_us: int | None = None
    finished_mono_us: int | None = None


class _Process:
    """One run of ``hw/portaudio.py``: its records, and the way to command and to end it."""

    def __init__(self, device: str, rate_hz: int, channels: int, output: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._commands = ours
        frames = rate_hz * BLOCK_MS // MS_PER_S
        request = portaudio.Request(device, rate_hz, channels, frames, output, theirs.fileno())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", portaudio.__name__, json.dumps(asdict(request))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "JACK_NO_START_SERVER": "1", "PYTHONPATH": _import_path()},
            )
        self.id = self._process.pid
        assert self._process.stdout is not None
        self._records = self._process.stdout
        os.set_blocking(self._records.fileno(), False)
        with suppress(PermissionError):  # past the user's share of pipe memory: a smaller one works, with more stalls
            fcntl.fcntl(self._records, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._capacity_bytes = fcntl.fcntl(self._records, fcntl.F_GETPIPE_SZ)
        self._pending = bytearray()
        self.ended = False
        self.behind = False
        """Whether more may be waiting than the last ``read`` could see: the recorder was away."""

    def read(self) -> list[tuple[bytes, int, int, bytes]]:
        """The records that are there now: kind, mono_us, index, payload."""
        had_bytes = len(self._pending)
        try:
            while chunk := os.read(self._records.fileno(), READ_BYTES):
                self._pending += chunk
            self.ended = True
        except BlockingIOError:
            self.behind = len(self._pending) - had_bytes > self._capacity_bytes // 2
        records, start = [], 0
        while len(self._pending) - start >= portaudio.RECORD.size:
            kind, length, mono_us, index = portaudio.RECORD.unpack_from(self._pending, start)
            end = start + portaudio.RECORD.size + length
            if end > len(self._pending):
                break
            records.append((kind, mono_us, index, bytes(self._pending[start + portaudio.RECORD.size : end])))
            start = end
        del self._pending[:start]
        return records

    def command(self, kind: bytes, channel: int, number: int, descriptors: tuple[int, ...] = ()) -> None:
        """Raises OSError when the process is gone or takes nothing: to be seen as a lost device."""
        data = portaudio.COMMAND.pack(kind, channel, number)
        socket.send_fds(self._commands, [data], descriptors, socket.MSG_DONTWAIT)

    def end(self) -> None:
        """SIGKILL: nothing less ends a stream that hangs. Does not wait: a driver may hold on to it even then."""
        self._process.send_signal(signal.SIGKILL)
        self._records.close()
        self._commands.close()

    def how_it_ended(self) -> str:
        """Where it is known: the exit status, or the signal (-6: PortAudio's own assertion; -9: a thread that span)."""
        status = self._process.poll()
        return "" if status is None else f" (its process ended with {status})"

    def gone(self) -> bool:
        return self._process.poll() is not None

    def wait(self, seconds: float) -> None:
        """For its end, which a hanging driver may keep from coming."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


def _import_path() -> str:
    """The sound process finds this package from any working directory, and the rest where we find it."""
    root = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


class PortAudioCodec:
    """Implements ``firmware.ports.Codec``. ``device``: an ALSA name (``/etc/asound.conf``) or ``hw:CARD=id``; numbers
    are refused, they change with the order of plugging.

    ``stop`` is heard after what the device's buffer holds, at most 0.4 s.

    The clock must be CLOCK_BOOTTIME. With ``wait`` the constructor returns at the first callback, and raises
    CodecMissing or CodecRefused where none comes; without, a device that is not there yet is LOST and looked for.
    """

    def __init__(
        self, clock: Clock, device: str, rate_hz: int, channels: int, *, output: bool = True, wait: bool = True
    ) -> None:
        if rate_hz not in RATES_HZ:
            raise CodecRefused(f"A codec's rate must be 8000, 16000 or 48000 Hz, not {rate_hz}. Correct codec.rate_hz.")
        if re.fullmatch(r"(plug)?hw:\d.*|\d+", device):
            raise CodecRefused(f"The codec is named {device!r}, by a number that changes. Name it hw:CARD=id.")
        self.channels = channels
        self._clock = clock
        self._device = device
        self._rate_hz = rate_hz
        self._output = output
        self._axis = CaptureAxis(rate_hz, channels)
        self._blocks: deque[Block] = deque(maxlen=QUEUE_BLOCKS_MAX)
        self._plays: dict[int, _Play] = {}
        self._plays_made = 0
        self._process: _Process | None = None
        self._dying: list[_Process] = []
        self._started_mono_us = 0
        self._read_mono_us = 0
        self._catching_up = False
        self._heard = False
        self._told = False
        self._failures = 0
        self._retry_mono_us: int | None = clock.mono_us()
        self.refusal: OSError | None = None
        """Why the last opening failed; None while the device delivers."""
        self.realtime: bool | None = None
        """Whether capture runs at real-time priority; None before the device was opened."""
        self._notice: tuple[Samples, int] | None = None
        if wait:
            self._wait()

    # ------------------------------------------------------------------------------------------------ the port

    def drain(self, blocks_max: int) -> list[Block]:
        self._pump()
        return [self._blocks.popleft() for _ in range(min(blocks_max, len(self._blocks)))]

    def state(self) -> CodecState:
        self._pump()
        return CodecState.LIVE if self._silent_us() <= LOST_AFTER_US else CodecState.LOST

    def play(self, channel: int, samples: Samples) -> None:
        assert 0 <= channel < self.channels, channel
        self._pump()
        self._plays.pop(channel, None)
        if self._process is None or self._silent_us() > LOST_AFTER_US or not self._output:
            return
        self._plays_made += 1
        try:
            self._process.command(portaudio.PLAY, channel, self._plays_made, (self._as_memory(samples),))
        except OSError as error:
            self._lose(error)
            return
        self._plays[channel] = _Play(self._plays_made, len(samples))

    def stop(self, channel: int) -> None:
        self._plays.pop(channel, None)
        if self._process is not None:
            try:
                self._process.command(portaudio.STOP, channel, 0)
            except OSError as error:
                self._lose(error)

    def playback(self, channel: int) -> Playback | None:
        self._pump()
        play = self._plays.get(channel)
        if play is None:
            return None
        now_mono_us = self._clock.mono_us()
        if play.finished_mono_us is not None and play.finished_mono_us <= now_mono_us:
            return Playback(play.samples, play.finished_mono_us)
        if play.started_mono_us is None:
            return Playback(0, None)
        return Playback(min(max(0, now_mono_us - play.started_mono_us) // SAMPLE_US, play.samples), None)

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._dying.append(self._process)
            self._process = None
        for process in self._dying:
            process.wait(CLOSE_S_MAX)
        if self._notice is not None:
            os.close(self._notice[1])
            self._notice = None
        self._retry_mono_us = None
        self._heard = False

    @property
    def process_id(self) -> int | None:
        """Of the process that owns the device, while there is one."""
        return None if self._process is None else self._process.id

    # ------------------------------------------------------------------------------------------------ within

    def _wait(self) -> None:
        while not self._heard:
            time.sleep(0.005)
            self._pump()
            if self.refusal is not None and (self._told or self._failures >= START_FAILURES_MAX):
                self.close()
                raise self.refusal

    def _pump(self) -> None:
        """Takes what has come, and judges what has not."""
        now_mono_us = self._clock.mono_us()
        if self._process is None:
            self._retry(now_mono_us)
            return
        records = self._process.read()
        if records:
            self._read_mono_us = now_mono_us
        self._catching_up |= self._process.behind
        for kind, mono_us, index, payload in records:
            self._take(kind, mono_us, index, payload)
        if self._process.ended:
            how = self._process.how_it_ended()
            self._lose(self.refusal or CodecRefused(f"The sound adapter {self._device!r} stopped{how}. {_SAFE}"))
        elif self._heard and self._silent_us() > ABANDONED_AFTER_US:
            self._lose(CodecMissing(f"The sound adapter {self._device!r} fell silent. {_SAFE}"))
        elif not self._heard and now_mono_us - self._started_mono_us > OPENING_US_MAX:
            self._lose(CodecRefused(f"The sound adapter {self._device!r} opened and delivered nothing. {_SAFE}"))
        if self._silent_us() > LOST_AFTER_US:
            self._end_plays(now_mono_us)

    def _take(self, kind: bytes, mono_us: int, index: int, payload: bytes) -> None:
        if kind == portaudio.CAPTURE:
            samples = np.frombuffer(payload, np.int16).reshape(-1, self.channels).T
            self._blocks.extend(self._axis.feed(Callback(mono_us, index, samples)))
            self._heard, self._failures, self.refusal = True, 0, None
        elif kind == portaudio.OPENED:
            self.realtime = bool(index)
        elif kind == portaudio.REFUSED:
            self.refusal = (CodecMissing if index else CodecRefused)(payload.decode())
            self._told = True
        else:
            self._note_playback(kind, mono_us, index)

    def _note_playback(self, kind: bytes, mono_us: int, number: int) -> None:
        for play in self._plays.values():
            if play.number == number and kind == portaudio.STARTED:
                play.started_mono_us = mono_us
            elif play.number == number and kind == portaudio.FINISHED:
                play.finished_mono_us = mono_us

    def _lose(self, why: OSError) -> None:
        """The device is given up: what it was playing was not completed, and it is opened again later."""
        assert self._process is not None
        self._process.end()
        self._dying.append(self._process)
        self._process = None
        self._heard = False
        self._end_plays(self._clock.mono_us())
        self._put_off(why)

    def _put_off(self, why: OSError) -> None:
        self.refusal = why
        self._retry_mono_us = self._clock.mono_us() + RETRY_US[min(self._failures, len(RETRY_US) - 1)]
        self._failures += 1

    def _silent_us(self) -> float:
        """Age of the newest callback that brought samples; endless where the device is not open.

        A recorder that was away reads old ones first: until it has caught up, what counts is that there are any.
        """
        if self._process is None or not self._heard or self._axis.accepted_mono_us is None:
            return math.inf
        age_us = self._clock.mono_us() - self._axis.accepted_mono_us
        self._catching_up &= age_us > LOST_AFTER_US
        return self._clock.mono_us() - self._read_mono_us if self._catching_up else age_us

    def _end_plays(self, now_mono_us: int) -> None:
        """What is not finished by now was not completed."""
        self._plays = {
            channel: play
            for channel, play in self._plays.items()
            if play.finished_mono_us is not None and play.finished_mono_us <= now_mono_us
        }

    def _retry(self, now_mono_us: int) -> None:
        """Never more than DYING_MAX processes that the kernel has not let go of: no leak without bound."""
        self._dying = [process for process in self._dying if not process.gone()]
        if self._retry_mono_us is None or now_mono_us < self._retry_mono_us or len(self._dying) > DYING_MAX:
            return
        self._axis.restart()
        self._catching_up = False
        self._started_mono_us = now_mono_us
        try:
            self._process = _Process(self._device, self._rate_hz, self.channels, self._output)
        except OSError as error:
            self._put_off(error)

    def _as_memory(self, samples: Samples) -> int:
        """The audio as a memory file at the device's rate; the notice is the same at each call, so it is kept."""
        if self._notice is None or self._notice[0] is not samples:
            if self._notice is not None:
                os.close(self._notice[1])
            memory = os.memfd_create("tacet-notice", os.MFD_CLOEXEC)
            self._notice = (samples, memory)
            with open(memory, "wb", closefd=False) as file:
                file.write(to_rate(samples, self._rate_hz).tobytes())
        return self._notice[1]
