"""The recorder against `sox | flac | age` and `ffmpeg`, all fed in real time and at the same moment.

    python -m tests.bench.recorder_bench [--seconds 30] [--lines 1 8]

Every candidate gets the same 48 kHz sound in pieces of 100 ms, as a USB codec delivers it. CPU is user + system of
the whole process tree without its start, per line-hour (the recorder counts its own, all threads, from the first step
to the end); RSS is the peak of the tree. Ratios of one run travel, figures do not.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware.units import BLOCK_MS

RATE_HZ = 48_000
PIECE = RATE_HZ * BLOCK_MS // 1000


@dataclass(frozen=True)
class Figure:
    name: str
    cpu_s: float
    rss_mb: float
    start_s: float | None = None


def speech_like(lines: int, seconds: float) -> np.ndarray:
    """int16 [n, lines] at 48 kHz: noise shaped and switched as speech is (60 % talk), so that FLAC has its usual
    work."""
    random = np.random.default_rng(1)
    count = round(seconds * RATE_HZ)
    white = random.normal(0, 1, (count, lines))
    shaped = np.empty_like(white)
    for channel in range(lines):
        spectrum = np.fft.rfft(white[:, channel])
        hz = np.fft.rfftfreq(count, 1 / RATE_HZ)
        spectrum *= np.where((hz > 200) & (hz < 3400), 1 / (1 + (hz / 700) ** 2), 1e-4)
        shaped[:, channel] = np.fft.irfft(spectrum, count)
    shaped /= shaped.std(axis=0)
    talk = np.repeat(random.random((count // RATE_HZ + 1, lines)) < 0.6, RATE_HZ, axis=0)[:count]
    return np.clip(shaped * (20 + 2000 * talk), -32768, 32767).astype(np.int16)


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def feed(processes: dict[str, tuple[subprocess.Popen[bytes], bytes, int]]) -> dict[str, float]:
    """Real-time pieces to all of them side by side. Returns peak RSS of each tree in MB."""
    peak = dict.fromkeys(processes, 0.0)
    began, piece = time.monotonic(), 0
    while True:
        ended = True
        for name, (process, audio, size) in processes.items():
            chunk = audio[piece * size : (piece + 1) * size]
            if chunk and process.stdin is not None:
                process.stdin.write(chunk)
                process.stdin.flush()
                ended = False
            if piece % 10 == 5:
                peak[name] = max(peak[name], _tree_rss_mb(process.pid))
        if ended:
            return peak
        piece += 1
        time.sleep(max(0.0, began + piece * BLOCK_MS / 1000 - time.monotonic()))


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    assert process.stdin is not None
    process.stdin.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def start_cost(command: Sequence[str]) -> float:
    return cpu_of(start(command))


def _tree_rss_mb(pid: int) -> float:
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
            for task in os.listdir(f"/proc/{one}/task"):
                todo += [int(child) for child in Path(f"/proc/{one}/task/{task}/children").read_text().split()]
        except (OSError, ValueError, IndexError):
            continue
    return total


def candidates(folder: Path, lines: int) -> dict[str, tuple[list[str], int]]:
    """Name -> (command reading raw sound on stdin, lines it handles)."""
    found: dict[str, tuple[list[str], int]] = {
        f"tacet {lines}": (
            [sys.executable, "-m", "tests.bench.recorder_under_load", str(folder / f"state{lines}"), str(lines)],
            lines,
        ),
        f"tacet {lines}, no ear": (
            [
                sys.executable,
                "-m",
                "tests.bench.recorder_under_load",
                str(folder / f"deaf{lines}"),
                str(lines),
                "--deaf",
            ],
            lines,
        ),
    }
    if all(shutil.which(tool) for tool in ("sox", "flac", "age", "age-keygen")):
        made = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
        recipient = (
            made.stderr.split()[-1] if "age1" in made.stderr else made.stdout.split("public key: ")[1].split()[0]
        )
        found["sox | flac | age"] = (
            [
                "sh",
                "-c",
                f"sox -t raw -r 48000 -c 1 -e signed -b 16 - -t wav -r 8000 -c 1 -b 16 - 2>/dev/null"
                f" | flac -s --ignore-chunk-sizes -c - 2>/dev/null | age -r {recipient} > {folder}/a.age",
            ],
            1,
        )
    if shutil.which("ffmpeg"):
        found["ffmpeg, clear FLAC"] = (
            [
                "sh",
                "-c",
                "ffmpeg -v error -f s16le -ar 48000 -ac 1 -i - -ar 8000 -c:a flac -f segment -segment_time 60"
                f" {folder}/s%06d.flac",
            ],
            1,
        )
    return found


def measure(lines: int, seconds: float) -> list[Figure]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sound = speech_like(lines, seconds)
        todo = candidates(folder, lines)
        running = {}
        for name, (command, channels) in todo.items():
            audio = np.ascontiguousarray(sound[:, :channels]).tobytes()
            running[name] = (start(command), audio, PIECE * channels * 2)
        peak = feed(running)
        figures = []
        for name, (command, channels) in todo.items():
            cpu, started = cpu_of(running[name][0]), None
            if "tacet" in name:
                told = json.loads((folder / f"{'deaf' if 'no ear' in name else 'state'}{lines}.json").read_text())
                cpu, started = told["cpu_s"], told["start_s"]
            else:
                cpu -= start_cost(command)
            figures.append(Figure(name, cpu * 3600 / seconds / channels, peak[name], started))
        return figures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.recorder_bench")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--lines", type=int, nargs="+", default=[1, 8])
    given = parser.parse_args(argv)
    for lines in given.lines:
        print(f"\n{lines} line(s), {given.seconds:.0f} s in real time, side by side")
        figures = measure(lines, given.seconds)
        base = next((figure.cpu_s for figure in figures if figure.name.startswith("sox")), None)
        print(f"{'recorder':24}{'CPU-s/line-h':>14}{'ratio':>8}{'RSS MB':>8}{'first block s':>15}")
        for figure in figures:
            ratio = f"{figure.cpu_s / base:.2f}" if base else "-"
            start = f"{figure.start_s:.2f}" if figure.start_s is not None else "-"
            print(f"{figure.name:24}{figure.cpu_s:14.1f}{ratio:>8}{figure.rss_mb:8.1f}{start:>15}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
