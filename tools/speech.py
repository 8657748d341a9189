"""Speech for the notice and the demonstration, made by espeak-ng on this machine: no copied recordings.

    python -m tools.speech "words" OUT.wav [--voice en-gb] [--speed 165]

writes 8 kHz mono 16-bit WAV, band-limited by soxr as a telephone line is.
"""

import argparse
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from firmware.units import SAMPLE_RATE_HZ

PEAK = 0.35
"""Peak of full scale: about -9 dBm0 for speech, a loud talker on a short line."""


class SpeechError(RuntimeError):
    """espeak-ng is missing or refused; says what to install."""


def speak(words: str, voice: str = "en-gb", speed: int = 165, peak: float = PEAK) -> NDArray[np.int16]:
    """int16 [n] at 8 kHz. Raises SpeechError."""
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "--stdout", words]
    try:
        spoken = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise SpeechError("espeak-ng is not installed; run `make setup`.") from None
    except subprocess.CalledProcessError as error:
        raise SpeechError(f"espeak-ng refused (exit {error.returncode}); is the voice {voice} installed?") from None
    samples, rate_hz = soundfile.read(io.BytesIO(spoken), dtype="float32")
    narrow = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ)
    scaled = narrow * (peak / max(1e-9, float(np.abs(narrow).max())))
    rounded: NDArray[np.int16] = np.rint(scaled * 32767).astype(np.int16)
    return rounded


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.speech", description=__doc__.split("\n")[0])
    parser.add_argument("words", help="what to say, or the path of a text file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--voice", default="en-gb")
    parser.add_argument("--speed", type=int, default=165)
    given = parser.parse_args(argv)
    words = Path(given.words).read_text() if given.words.endswith(".txt") else given.words
    try:
        samples = speak(words, given.voice, given.speed)
    except SpeechError as error:
        print(error, file=sys.stderr)
        return 1
    soundfile.write(given.out, samples, SAMPLE_RATE_HZ, subtype="PCM_16")
    print(f"{given.out}: {len(samples) / SAMPLE_RATE_HZ:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
