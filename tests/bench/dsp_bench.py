"""What the ear costs: CPU milliseconds per second of audio, each detector and all together, for one line and eight.

    python -m tests.bench.dsp_bench [--seconds 60]

Speech-like sound (the costly case: it makes candidates), blocks of 100 ms as the loop hands them over, one thread.
Goals (line.md P1): all together at most 40 ms per second for one line and 15 ms per line-second for eight.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.alert_tone import AlertToneReceiver
from firmware.dsp.callerid import FskReceiver
from firmware.dsp.dtmf import DtmfReceiver
from firmware.dsp.ear import Ear, Listening
from firmware.dsp.levels import LevelMeter
from firmware.dsp.opt_out_key import OptOutKeyReceiver
from firmware.dsp.tone_plan import UK
from firmware.dsp.tones import ToneReceiver
from firmware.dsp.vad import VoiceDetector
from firmware.units import BLOCK_SAMPLES, SAMPLE_RATE_HZ, SAMPLE_US
from tools.dsp_train import signals

LINES = (1, 8)
GOALS_MS = {1: 40.0, 8: 15.0}

Pcm = NDArray[np.int16]


def speech(lines: int, seconds: float) -> Pcm:
    """int16 [lines, n]."""
    return np.stack([signals.to_pcm(signals.voice(seconds, np.random.default_rng(line))) for line in range(lines)])


def cost_ms(pcm: Pcm, hear: Callable[[Pcm, int], object]) -> float:
    """CPU milliseconds per line and second of audio; the first two seconds warm up and are not counted."""
    begin = 0.0
    warm = 2 * SAMPLE_RATE_HZ
    for at in range(0, pcm.shape[1], BLOCK_SAMPLES):
        if at == warm:
            begin = time.process_time()
        hear(pcm[:, at : at + BLOCK_SAMPLES], at)
    return 1000.0 * (time.process_time() - begin) / ((pcm.shape[1] - warm) / SAMPLE_RATE_HZ) / len(pcm)


def listeners(lines: int) -> dict[str, Callable[[Pcm, int], object]]:
    levels, tones, alerts = LevelMeter(lines), ToneReceiver(lines, UK), AlertToneReceiver(lines)
    keys, fsk, opt_out, voice = (
        DtmfReceiver(lines),
        FskReceiver(lines),
        OptOutKeyReceiver(lines, "9"),
        VoiceDetector(lines),
    )
    everything = Ear(lines, opt_out_digit="9")
    in_call = Ear(lines, opt_out_digit="9")

    def ear(which: Ear, caller_id: bool) -> Callable[[Pcm, int], object]:
        listening = [Listening(digits=True, caller_id=caller_id)] * lines
        return lambda pcm, at: which.hear(pcm, [at * SAMPLE_US] * lines, listening)

    return {
        "levels": lambda pcm, at: levels.feed(pcm),
        "tones": lambda pcm, at: tones.feed(pcm.astype(np.float32)),
        "alert tone": lambda pcm, at: alerts.feed(pcm.astype(np.float32)),
        "keyed digits": lambda pcm, at: keys.feed(pcm.astype(np.float32)),
        "caller-ID": lambda pcm, at: fsk.feed(pcm.astype(np.float32)),
        "opt-out key": lambda pcm, at: opt_out.feed(pcm.astype(np.float32)),
        "voice": lambda pcm, at: voice.feed(pcm.astype(np.float32)),
        "the ear in a call": ear(in_call, caller_id=False),
        "all together": ear(everything, caller_id=True),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args(argv)
    sounds = {lines: speech(lines, options.seconds) for lines in LINES}
    print("CPU ms per line-second of audio")
    print(f"{'detector':20}" + "".join(f"{lines:>6} line{'s' if lines > 1 else ' '}" for lines in LINES))
    table = {lines: {name: cost_ms(sounds[lines], hear) for name, hear in listeners(lines).items()} for lines in LINES}
    for name in table[LINES[0]]:
        print(f"{name:20}" + "".join(f"{table[lines][name]:12.2f}" for lines in LINES))
    for lines in LINES:
        reached = "reached" if table[lines]["all together"] <= GOALS_MS[lines] else "MISSED"
        print(f"goal for {lines} line(s): {GOALS_MS[lines]:.0f} ms per line-second: {reached}")


if __name__ == "__main__":
    main()
