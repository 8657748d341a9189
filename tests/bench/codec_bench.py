"""CPU of the way in: resampler, sample axis and FLAC, in CPU-seconds per line-hour, as a table.

    python -m tests.bench.codec_bench [--seconds 60]

Unpaced, in this process, on seeded noise of a telephone's shape (worse for FLAC than speech with its pauses). The
FIR stands beside soxr because ``hw/resample.py`` chose between the two. The last rows need PulseAudio: the process
that owns the device, in real time; its client threads (``threaded-ml``) are PulseAudio's and are not there with a card.
"""

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.lib.stride_tricks import as_strided

from firmware.ports import Samples
from hw.capture import Callback, CaptureAxis
from hw.clock import MachineClock
from hw.codec import PortAudioCodec
from hw.flac import FlacEncoder
from hw.resample import Resampler
from tests.contract.pulse_server import MISSING, PulseServer

BLOCKS_PER_HOUR = 36_000
FRAMES_PER_HOUR = 1800
TAPS, OUT_PER_ROW, FACTOR = 289, 16, 6


def telephone_noise(channels: int, samples: int, rate_hz: int) -> Samples:
    """Noise of 300 to 3400 Hz, swelling and fading a few times a second, about -20 dBm0."""
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal((channels, samples)))
    hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    spectrum[:, (hz < 300) | (hz > 3400)] = 0
    shaped = np.fft.irfft(spectrum, samples)
    swell = 1 + 0.9 * np.sin(2 * np.pi * 3 * np.arange(samples) / rate_hz)
    return np.round(2300 * swell * shaped / shaped.std()).astype(np.int16)


class Fir:
    """The resampler that was not taken: a Kaiser low-pass of equal reach as a block Toeplitz product in float32."""

    def __init__(self, channels: int) -> None:
        n = np.arange(TAPS) - (TAPS - 1) / 2
        taps = np.sinc(2 * 3900 / 48_000 * n) * np.kaiser(TAPS, 8)
        taps = (taps / taps.sum()).astype(np.float32)
        self._width = FACTOR * (OUT_PER_ROW - 1) + TAPS
        self._matrix = np.zeros((self._width, OUT_PER_ROW), np.float32)
        for column in range(OUT_PER_ROW):
            self._matrix[FACTOR * column : FACTOR * column + TAPS, column] = taps
        self._history = np.zeros((channels, TAPS - FACTOR), np.float32)

    def push(self, samples: Samples) -> Samples:
        channels, length = samples.shape
        buffer = np.concatenate([self._history, samples.astype(np.float32)], axis=1)
        self._history = buffer[:, length:].copy()
        rows = length // (FACTOR * OUT_PER_ROW)
        strides = (buffer.strides[0], 4 * FACTOR * OUT_PER_ROW, 4)
        windows = np.ascontiguousarray(as_strided(buffer, (channels, rows, self._width), strides))
        out = windows.reshape(channels * rows, self._width) @ self._matrix
        return np.clip(np.rint(out), -32768, 32767).astype(np.int16).reshape(channels, -1)


def cpu_s(act: Callable[[], object], times: int) -> float:
    act()
    start = time.process_time()
    for _ in range(times):
        act()
    return (time.process_time() - start) / times


def resamplers(blocks: int) -> None:
    for channels in (1, 2, 8):
        sound = telephone_noise(channels, 4800, 48_000)
        candidates = {"soxr MQ (taken)": Resampler(48_000, channels).push, f"FIR {TAPS} taps": Fir(channels).push}
        for name, push in candidates.items():
            each = cpu_s(lambda push=push, sound=sound: push(sound), blocks)  # type: ignore[misc]
            row(f"48 -> 8 kHz, {name}", channels, each * 1e6, each * BLOCKS_PER_HOUR / channels)


def axes(blocks: int) -> None:
    for rate_hz, channels in ((8000, 1), (48_000, 1), (48_000, 2), (48_000, 8)):
        samples = telephone_noise(channels, rate_hz // 10, rate_hz)
        axis, number = CaptureAxis(rate_hz, channels), 0

        def feed(axis: CaptureAxis = axis, samples: Samples = samples) -> None:
            nonlocal number
            number += 1
            axis.feed(Callback(number * 100_000, (number - 1) * samples.shape[1], samples))

        each = cpu_s(feed, blocks)
        row(f"sample axis, {rate_hz // 1000} kHz, resampler included", channels, each * 1e6, each * 36_000 / channels)


def encoders(frames: int) -> None:
    encoder = FlacEncoder()
    for channels in (1, 2):
        sound = telephone_noise(channels, 16_000, 8000)
        size = len(encoder.encode(sound, 8000))
        each = cpu_s(lambda sound=sound: encoder.encode(sound, 8000), frames)  # type: ignore[misc]
        row(f"FLAC over a memory file, {size} bytes for 2 s", channels, each * 1e6, each * FRAMES_PER_HOUR)
        each = cpu_s(lambda sound=sound: through_bytes_io(sound), frames)  # type: ignore[misc]
        row("FLAC over a BytesIO (refused by the unit)", channels, each * 1e6, each * FRAMES_PER_HOUR)


def through_bytes_io(sound: Samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound.T, 8000, "PCM_16", format="FLAC")
    return file.getvalue()


def sound_process(seconds: float) -> None:
    """CPU of the process that owns the device, by thread, and of this half, paced."""
    if MISSING:
        print(f"(PulseAudio is not installed: {', '.join(MISSING)} missing; no paced rows)")
        return
    with tempfile.TemporaryDirectory() as directory:
        server = PulseServer(Path(directory), 48_000, 2)
        server.start()
        os.environ.update(server.environment)
        try:
            codec = PortAudioCodec(MachineClock(), "line1", 48_000, 2)
            assert codec.process_id is not None
            before, own = threads_cpu_s(codec.process_id), time.process_time()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.02)
                codec.drain(8)
            own = time.process_time() - own
            for name, used in threads_cpu_s(codec.process_id).items():
                each = used - before.get(name, 0)
                row(f"sound process, {name}", 2, each / seconds * 1e5, each / seconds * 1800)
            row("recorder's half (20 ms steps)", 2, own / seconds * 1e5, own / seconds * 1800)
            codec.close()
        finally:
            server.kill()


def threads_cpu_s(pid: int) -> dict[str, float]:
    used: dict[str, float] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        name = "PulseAudio's own threads" if name == "threaded-ml" else "ours and PortAudio's"
        used[name] = used.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e9
    return used


def row(what: str, channels: int, us: float, per_line_hour_s: float) -> None:
    print(f"{what:<56}{channels:>9}{us:>14.1f}{per_line_hour_s:>18.2f}", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the paced rows")
    options = parser.parse_args(argv)
    print(f"{'':<56}{'channels':>9}{'us each':>14}{'s per line-hour':>18}")
    resamplers(600)
    axes(600)
    encoders(300)
    print(f"peak RSS of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    sound_process(options.seconds)


if __name__ == "__main__":
    main()
