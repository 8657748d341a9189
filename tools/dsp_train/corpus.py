"""Speech for training and held-out counts: espeak-ng with own text, and a folder of WAV prompts where there is one.

Folder: a path list in the environment variable TACET_SPEECH (for example Debian's ``asterisk-core-sounds-*-wav``,
CC BY-SA 3.0, unpacked anywhere). Nothing of it is kept in the repository.
"""

import os
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.dsp_train.signals import RATE_HZ, Rng, Wave, rms, sinc_taps

VOICES = ("en-gb", "en-gb-scotland", "en-gb-x-rp", "en-us", "en-029", "cy", "ga", "fr-fr", "pl", "hi", "de", "es")
VARIANTS = ("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+croak")
TEXT = """
good morning council how can help you today my name is calling about rent arrears repairs kitchen window door
lock leaking radiator mould ceiling bathroom flat number tower road close avenue garden estate lift bins
missed collection green recycling parking permit visitor voucher council tax band discount single person bill
arrears direct debit bank statement letter reference case officer manager complaint stage two ombudsman
councillor surgery antisocial behaviour neighbour music shouting dog barking police crime report injunction
evidence diary sheets hearing court date monday thursday friday january february october half past seven
eleven fifteen twenty ninety hundred zero oh double six nine eight five four three two one postcode november
sierra tango hold the line please thanks bye now alright lovely sorry pardon again slowly email address at dot
com underscore yes no maybe whoever whenever
"""
WORDS = TEXT.split()
SKIP = ("beep", "tone", "silence", "tt-", "monkeys", "confbridge", "ding", "chime", "busy", "ring", "hello-world")


def _read(path: Path) -> tuple[Wave, int]:
    with wave.open(str(path), "rb") as file:
        data = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float64)
        return data, file.getframerate()


def levelled(x: Wave, dbm0: float) -> Wave:
    """Active 20 ms frames at ``dbm0`` rms."""
    frames = np.mean(x[: len(x) // 160 * 160].reshape(-1, 160) ** 2, axis=1)
    if len(frames) == 0 or frames.max() <= 0:
        return x
    active = frames[frames > frames.max() * 10**-3.5]
    return np.asarray(x * (rms(dbm0) / np.sqrt(active.mean())), dtype=np.float64)


def resampled(x: Wave, rate_hz: int) -> Wave:
    """To 8 kHz: band-limited, then linear between the samples of a fourfold grid."""
    if rate_hz == RATE_HZ:
        return x
    size = len(x)
    up = np.zeros(4 * size)
    up[::4] = x * 4.0
    taps = sinc_taps(0.0, 3700.0, 4.0 * rate_hz, 255, 7.0)
    smooth = np.convolve(up, taps, mode="same")
    at = np.arange(int(size * RATE_HZ / rate_hz)) * (4.0 * rate_hz / RATE_HZ)
    return np.asarray(np.interp(at, np.arange(4 * size), smooth), dtype=np.float64)


def spoken_minute(rng: Rng) -> Wave:
    """About a minute of espeak-ng, one voice, -16 dBm0 while active."""
    voice = str(rng.choice(VOICES)) + str(rng.choice(VARIANTS))
    text = ". ".join(" ".join(rng.choice(WORDS, size=int(rng.integers(4, 12)))) for _ in range(26))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = ["espeak-ng", "-v", voice, "-p", str(rng.integers(10, 95)), "-s", str(rng.integers(110, 230)), "-w"]
        subprocess.run([*command, str(path), text], check=True, stderr=subprocess.DEVNULL)
        x, rate_hz = _read(path)
    return levelled(resampled(x, rate_hz)[: 60 * RATE_HZ], -16.0)


def prompt_minutes(languages: tuple[str, ...]) -> Iterator[Wave]:
    """Recorded people, a minute at a time, only from folders whose name begins with one of ``languages``."""
    parts: list[NDArray[np.float64]] = []
    have = 0
    for root in os.environ.get("TACET_SPEECH", "").split(":"):
        for path in sorted(Path(root).rglob("*.wav")) if root else []:
            relative = path.relative_to(root).parts[0]
            if not relative.startswith(languages) or any(word in path.name.lower() for word in SKIP):
                continue
            x, rate_hz = _read(path)
            if rate_hz != RATE_HZ or len(x) < 800:
                continue
            parts += [levelled(x, -16.0), np.zeros(800)]
            have += len(x) + 800
            if have >= 60 * RATE_HZ:
                yield np.concatenate(parts)[: 60 * RATE_HZ]
                parts, have = [], 0
