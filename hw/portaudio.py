"""The process that owns the sound device, and the only file that knows PyAudio. ``hw/codec.py`` starts it and is its
other half.

A process of its own because a sound device cannot be trusted to let go: a pulled card raises nothing, stopping a
frozen stream hangs for ever, and PortAudio looks for cards only when it starts (all measured). A process can always
be killed, and takes its threads and descriptors with it. It also keeps the callbacks away from the recorder's
interpreter lock, and the 25 lines that ALSA and JACK print at every start out of the journal.

Its callbacks copy, stamp and enqueue; the main thread carries to and fro. Times are CLOCK_BOOTTIME, as the recorder's.
Records go out through standard output, commands come in through a socket, audio to play as a memory file with them.
"""

import array
import ctypes
import json
import os
import re
import resource
import select
import socket
import struct
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from hw.lockdown import harden

RECORD = struct.Struct("<cxxxIqq")
"""Kind, length of the payload, mono_us, index (frames before a CAPTURE; number of the play otherwise)."""
OPENED, CAPTURE, STARTED, FINISHED, REFUSED = b"O", b"C", b"S", b"F", b"R"

COMMAND = struct.Struct("<cxxxII")
"""Kind, channel, number of the play; PLAY brings the audio (int16 at the device's rate) as a descriptor."""
PLAY, STOP = b"P", b"S"

PA_CONTINUE, PA_COMPLETE = 0, 1
"""What a callback returns (PaStreamCallbackResult of portaudio.h)."""

QUEUE_CALLBACKS_MAX = 100
"""10 s for a recorder that is busy; past it the oldest callback is lost, which its frame index tells."""

INPUT_BUFFER_S = 1.0
"""Under load a callback came up to 480 ms late (measured); PyAudio alone would get a buffer of two callbacks."""

IDLE_CALLBACKS_MAX = 50
"""5 s after the last notice the output stops: an output that runs costs as much as the capture (1.9 ms each second,
measured), all day, for a notice of 20 s a call."""

OUTPUT_BUFFER_S = 0.3
"""The notice starts and stops that much later, and survives a stall of that length."""

REALTIME_PRIORITY = 20
REALTIME_CPU_US_MAX = 1_000_000
"""A callback thread that spins for so long is killed by the kernel, and with it this process: a lost codec's blocking
call spins (measured), and at real-time priority it would take the processor."""


@dataclass(frozen=True)
class Request:
    """What the recorder asks for, as JSON on the command line. ``commands``: descriptor of the socket."""

    device: str
    rate_hz: int
    channels: int
    frames: int
    output: bool
    commands: int


class Refusal(Exception):
    """The device cannot be used as asked; one sentence. ``missing``: it is not there (it may come)."""

    def __init__(self, sentence: str, missing: bool = False) -> None:
        super().__init__(sentence)
        self.missing = missing


# --------------------------------------------------------------------------------------------------- the streams


@dataclass
class Play:
    number: int
    audio: "array.array[int]"
    position: int = 0


class Streams:
    """Both callbacks, and the queue they fill. A callback never blocks, and raises nothing."""

    def __init__(self, request: Request) -> None:
        self._channels = request.channels
        self._frame_us = 1_000_000 / request.rate_hz
        self._index = 0
        self.queue: deque[tuple[bytes, int, int, bytes]] = deque(maxlen=QUEUE_CALLBACKS_MAX)
        self._playing: dict[int, Play] = {}
        self._lock = threading.Lock()
        self._idle_callbacks = 0
        self._complete = True
        self._lead_in = False
        """The first callback after a start is silence: 9 ms of a starting output were never heard (measured)."""
        self.output_stream: Any = None
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def put(self, kind: bytes, mono_us: int, index: int, payload: bytes = b"") -> None:
        self.queue.append((kind, mono_us, index, payload))
        os.eventfd_write(self.wake, 1)

    def capture(self, data: bytes, frames: int, _time: Any, _flags: int) -> tuple[None, int]:
        self.put(CAPTURE, boottime_us(), self._index, data)
        self._index += frames
        return None, PA_CONTINUE

    def output(self, _data: None, frames: int, time_info: dict[str, float], _flags: int) -> tuple[bytes, int]:
        out = array.array("h", bytes(2 * frames * self._channels))
        latency_s = time_info["output_buffer_dac_time"] - time_info["current_time"]
        first_us = boottime_us() + round(1_000_000 * min(max(latency_s, 0.0), 2 * OUTPUT_BUFFER_S))
        with self._lock:
            self._idle_callbacks = 0 if self._playing else self._idle_callbacks + 1
            self._complete = self._idle_callbacks > IDLE_CALLBACKS_MAX
            for channel, play in () if self._lead_in else list(self._playing.items()):
                self._hand_out(out, channel, play, frames, first_us)
            self._lead_in = False
            return out.tobytes(), PA_COMPLETE if self._complete else PA_CONTINUE

    def play(self, channel: int, play: Play) -> None:
        """Replaces what the channel was playing, and starts the output if it has stopped."""
        with self._lock:
            self._playing[channel] = play
            start, self._complete, self._idle_callbacks = self._complete, False, 0
            self._lead_in |= start
        if start:
            threading.Thread(target=self._start_output).start()

    def _start_output(self) -> None:
        """In a thread of its own: an output that has just run out is waited for (0.4 s), and capture must go on."""
        try:
            self.output_stream.stop_stream()
            self.output_stream.start_stream()
        except OSError:
            os._exit(1)

    def stop(self, channel: int) -> None:
        with self._lock:
            self._playing.pop(channel, None)

    def _hand_out(self, out: "array.array[int]", channel: int, play: Play, frames: int, first_us: int) -> None:
        part = play.audio[play.position : play.position + frames]
        out[channel : channel + len(part) * self._channels : self._channels] = part
        if play.position == 0:
            self.put(STARTED, first_us, play.number)
        play.position += len(part)
        if play.position >= len(play.audio):
            self.put(FINISHED, first_us + round(len(part) * self._frame_us), play.number)
            del self._playing[channel]


def boottime_us() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


# ---------------------------------------------------------------------------------------------------- the device


class _DeviceInfo(ctypes.Structure):
    """PaDeviceInfo of portaudio.h."""

    _fields_ = (
        ("structVersion", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("hostApi", ctypes.c_int),
        ("maxInputChannels", ctypes.c_int),
        ("maxOutputChannels", ctypes.c_int),
        ("defaultLowInputLatency", ctypes.c_double),
        ("defaultLowOutputLatency", ctypes.c_double),
    )


def find_device(system: Any, name: str) -> int:
    """PortAudio's index of the device with this stable name: an ALSA name (``/etc/asound.conf``), or ``hw:CARD=id``
    with the card id that udev gave it. Raises Refusal."""
    wanted = _with_card_number(name)
    names = [str(system.get_device_info_by_index(index)["name"]) for index in range(system.get_device_count())]
    for index, known in enumerate(names):
        if known == wanted or (wanted.startswith("(hw:") and known.endswith(wanted)):
            return index
    listed = ", ".join(names) or "none"
    raise Refusal(
        f"The sound adapter {name!r} was not found (there are: {listed})."
        " Nothing is recorded. Plug it in, or correct its name in tacet.toml.",
        missing=True,
    )


def _with_card_number(name: str) -> str:
    """PortAudio names a card by its number of the day; its id is a link to it."""
    card = re.fullmatch(r"hw:CARD=([A-Za-z0-9_-]+)(?:,DEV=(\d+))?", name)
    if card is None:
        return name
    try:
        number = os.readlink(f"/proc/asound/{card[1]}").removeprefix("card")
    except OSError:
        return name
    return f"(hw:{number},{card[2] or 0})"


def open_streams(request: Request, streams: Streams) -> dict[str, float]:
    """Opens capture, and output where asked; returns their latencies in seconds. Raises Refusal."""
    import pyaudio

    system = pyaudio.PyAudio()
    device = find_device(system, request.device)
    common = {"rate": request.rate_hz, "channels": request.channels, "format": pyaudio.paInt16}
    common["frames_per_buffer"] = request.frames
    try:
        _buffer(device, "defaultLowInputLatency", INPUT_BUFFER_S, request)
        capture = system.open(input=True, input_device_index=device, stream_callback=streams.capture, **common)
        latencies = {"input_s": capture.get_input_latency()}
        if request.output:
            _buffer(device, "defaultLowOutputLatency", OUTPUT_BUFFER_S, request)
            output = system.open(
                output=True, output_device_index=device, stream_callback=streams.output, start=False, **common
            )
            latencies["output_s"] = output.get_output_latency()
            streams.output_stream = output
    except (OSError, ValueError) as error:
        reason = error.args[-1] if error.args else error
        raise Refusal(
            f"The sound adapter {request.device!r} refused {request.channels} channels at {request.rate_hz} Hz:"
            f" {reason}. Nothing is recorded. Correct codec.rate_hz and the number of lines, or change the adapter."
        ) from error
    return latencies


def _buffer(device: int, field: str, seconds: float, request: Request) -> None:
    """PyAudio asks for a device's default low latency and gives no way to ask for more, so the default is moved; and
    PortAudio divides the buffer into its number of periods, which are to be as long as a callback."""
    library = ctypes.CDLL("libportaudio.so.2")
    library.Pa_GetDeviceInfo.restype = ctypes.POINTER(_DeviceInfo)
    info = library.Pa_GetDeviceInfo(device)
    if not info:
        raise Refusal("PyAudio was not built against the system's PortAudio. Nothing is recorded. Run make setup.")
    setattr(info.contents, field, seconds)
    library.PaAlsa_SetNumPeriods(1 + round(seconds * request.rate_hz / request.frames))


# --------------------------------------------------------------------------------------------------- the process


def take_realtime() -> bool:
    """Real-time priority for the threads that PortAudio will make; False where the unit does not grant it."""
    try:
        resource.setrlimit(resource.RLIMIT_RTTIME, (REALTIME_CPU_US_MAX, REALTIME_CPU_US_MAX))
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REALTIME_PRIORITY))
    except (OSError, ValueError):
        return False
    return True


def obey(commands: socket.socket, streams: Streams) -> None:
    """One command. The recorder's end is closed: so is this process, whatever its streams are doing."""
    data, descriptors, _flags, _address = socket.recv_fds(commands, COMMAND.size, 1)
    if not data:
        os._exit(0)
    kind, channel, number = COMMAND.unpack(data)
    if kind == STOP:
        streams.stop(channel)
        return
    audio = array.array("h")
    audio.frombytes(os.pread(descriptors[0], os.fstat(descriptors[0]).st_size, 0))
    os.close(descriptors[0])
    streams.play(channel, Play(number, audio))


def carry(commands: socket.socket, streams: Streams) -> None:
    """Records out, commands in, until the recorder is gone."""
    poller = select.poll()
    poller.register(streams.wake, select.POLLIN)
    poller.register(commands, select.POLLIN)
    while True:
        for descriptor, _event in poller.poll():
            if descriptor == commands.fileno():
                obey(commands, streams)
            else:
                os.eventfd_read(streams.wake)
        while streams.queue:
            send(*streams.queue.popleft())


def send(kind: bytes, mono_us: int, index: int, payload: bytes) -> None:
    view = memoryview(RECORD.pack(kind, len(payload), mono_us, index) + payload)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


def _tell(kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """Standard error is closed to keep ALSA out of the journal: a mistake of ours is told through the records."""
    send(
        REFUSED,
        boottime_us(),
        0,
        f"The sound process ended by a mistake of its own: {kind.__name__}: {error}.".encode(),
    )


def main() -> None:
    request = Request(**json.loads(sys.argv[1]))
    commands = socket.socket(fileno=request.commands)
    streams = Streams(request)
    sys.excepthook = _tell
    harden()
    realtime = take_realtime()
    try:
        latencies = open_streams(request, streams)
    except Refusal as refusal:
        send(REFUSED, boottime_us(), int(refusal.missing), str(refusal).encode())
        os._exit(1)
    send(OPENED, boottime_us(), int(realtime), json.dumps(latencies).encode())
    try:
        carry(commands, streams)
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
