"""Train the score of the voice detector and write ``firmware/dsp/voice_weights.py``.

    TACET_SPEECH=/path/to/sounds python -m tools.dsp_train.train_voice           # about three minutes on one core
    TACET_SPEECH=/path/to/sounds python -m tools.dsp_train.train_voice --held-out         # what the weights reach

Scenes of ``scenes``, half a minute each: talk of the languages TRAIN_LANGUAGES and of espeak-ng before every kind of
noise and babble. Held out are another seed, people and languages never trained on; the table has frames missed and
false as the detector tells them, with all its joining and adding, by what is behind the talk.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.vad import VoiceDetector
from firmware.dsp.voice_features import FRAME, HOP, VoiceFeatures
from tools.dsp_train import corpus, network, scenes, signals
from tools.dsp_train.network import Recipe, Rows
from tools.dsp_train.scenes import Scene
from tools.dsp_train.signals import Rng, Wave

TRAIN_SEED, HELD_SEED = 20261125, 78
TRAIN_LANGUAGES, HELD_LANGUAGES = ("it", "ru"), ("es", "fr")
TRAIN_SCENES, HELD_SCENES = 1600, 40
SPOKEN_MINUTES, SECONDS = 25, 30.0
"""Of espeak-ng; and of a scene."""

TOGETHER = 50
"""Scenes heard at once, each as a line."""

ROWS_SHARE = 0.3
"""Of the frames, drawn at random: neighbours tell the same."""

RECIPE = Recipe(hidden=40, networks=2, epochs=16, batch=1024, rate=0.0015, decay=1e-4)
FALSE_COST = {"babble": 0.6, "white": 0.85, "coloured": 0.6, "hum": 0.1}
"""Of a false frame by what is behind the talk; one missed costs 1. Babble may be taken for voice more often than noise
may (line.md V1, V2); over hum hardly any frame is false at all."""

MUSIC_SHARE = 0.04
"""Of the scenes have music where the talk is: who holds the line is somebody."""

KIND_SHARES = (0.45, 0.25, 0.15, 0.15)
"""Of babble, white, coloured noise and hum."""

TARGET = Path(__file__).resolve().parents[2] / "firmware" / "dsp" / "voice_weights.py"
LABEL_SHIFT = (FRAME // 2) // HOP
"""The middle of a detector's frame lies in this 10 ms after its first."""

CONDITIONS: tuple[tuple[str, float, int | None], ...] = (
    ("babble", 30.0, 6),
    ("babble", 20.0, 6),
    *(("babble", 15.0, talkers) for talkers in (2, 3, 4, 6, 9, 16)),
    ("babble", 10.0, 6),
    ("babble", 5.0, 6),
    *(("white", snr_db, None) for snr_db in (30.0, 10.0, 5.0, 0.0)),
    *(("coloured", snr_db, None) for snr_db in (10.0, 5.0)),
    *(("hum", snr_db, None) for snr_db in (10.0, 5.0)),
)
"""Held out: what is behind the talk, SNR in dB, talkers in the babble."""


def speeches(languages: Sequence[str], minutes: int, rng: Rng) -> tuple[list[Wave], list[Wave]]:
    """Minutes of recorded people, and of espeak-ng."""
    people = list(corpus.prompt_minutes(tuple(languages)))
    made = [corpus.spoken_minute(rng) for _ in range(minutes)]
    return people or made, made


def drawn(kind: str, people: list[Wave], made: list[Wave], rng: Rng) -> Scene:
    """A scene for training."""
    near = people if rng.random() < 0.7 else made
    talkers = [near[int(rng.integers(len(near)))] for _ in range(2)]
    far = talkers[:1] if rng.random() < 0.3 else people if rng.random() < 0.5 else people + made
    if rng.random() < MUSIC_SHARE:
        talkers[0] = signals.music(60.0, rng)
    snr_db = float(rng.uniform(4.0, 36.0) if kind == "babble" or rng.random() < 0.4 else rng.uniform(-2.0, 18.0))
    level = float(rng.uniform(-40.0, -8.0))
    return scenes.scene(SECONDS, talkers, far, rng, kind=kind, snr_db=snr_db, level_dbm0=level)


def heard(batch: Sequence[Scene]) -> NDArray[np.float32]:
    """Features [scenes, frames, COUNT]."""
    features = VoiceFeatures(len(batch))
    pcm = np.stack([one.pcm for one in batch]).astype(np.float32)
    blocks = (features.feed(pcm[:, at : at + 8000]) for at in range(0, pcm.shape[1], 8000))
    return np.concatenate([seen for block in blocks for _, seen in block], axis=1)


def training_rows(count: int) -> tuple[Rows, NDArray[np.float64]]:
    """Features and labels of frames of ``count`` scenes, and what it costs to be wrong about each."""
    rng = np.random.default_rng(TRAIN_SEED)
    people, made = speeches(TRAIN_LANGUAGES, SPOKEN_MINUTES, rng)
    parts: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.float64]] = []
    costs: list[NDArray[np.float64]] = []
    for at in range(0, count, TOGETHER):
        kinds = [str(kind) for kind in rng.choice(scenes.KINDS, min(TOGETHER, count - at), p=KIND_SHARES)]
        batch = [drawn(kind, people, made, rng) for kind in kinds]
        features = heard(batch)
        until = LABEL_SHIFT + features.shape[1]
        voiced = np.stack([one.voiced[LABEL_SHIFT:until] for one in batch])
        chosen = np.stack([one.counted[LABEL_SHIFT:until] for one in batch]) & (rng.random(voiced.shape) < ROWS_SHARE)
        parts.append(features[chosen])
        labels.append(voiced[chosen].astype(np.float64))
        costs.append(np.where(voiced, 1.0, np.array([FALSE_COST[kind] for kind in kinds])[:, None])[chosen])
    return (np.concatenate(parts).astype(np.float64), np.concatenate(labels)), np.concatenate(costs)


def told(batch: Sequence[Scene]) -> tuple[float, float]:
    """What the detector misses of the voiced frames and takes of the others, in per cent."""
    detector = VoiceDetector(len(batch))
    pcm = np.stack([np.concatenate([one.pcm, np.zeros(8000)]) for one in batch]).astype(np.float32)
    voices = [voice for at in range(0, pcm.shape[1], 8000) for voice in detector.feed(pcm[:, at : at + 8000])]
    said = np.zeros((len(batch), len(batch[0].voiced)), dtype=np.bool_)
    for voice in [*voices, *detector.flush()]:
        said[voice.line, round(voice.onset_sample / HOP) : round(voice.end_sample / HOP)] = True
    voiced, counted = np.stack([one.voiced for one in batch]), np.stack([one.counted for one in batch])
    return 100.0 * float(np.mean(~said[counted & voiced])), 100.0 * float(np.mean(said[counted & ~voiced]))


def report(count: int) -> None:
    """Talk at -16 dBm0 and at -36 dBm0 of people never trained on."""
    people, made = speeches(HELD_LANGUAGES, 4, np.random.default_rng(HELD_SEED))
    print("| behind the talk | SNR dB | talkers | missed / false % at -16 dBm0 | at -36 dBm0 |\n|---|---|---|---|---|")
    for number, (kind, snr_db, talkers) in enumerate(CONDITIONS):
        cells = []
        for level in (-16.0, -36.0):
            rng = np.random.default_rng([HELD_SEED, number])
            batch = [
                scenes.scene(
                    SECONDS, people, people + made, rng, kind=kind, snr_db=snr_db, level_dbm0=level, talkers=talkers
                )
                for _ in range(count)
            ]
            cells.append("{:.1f} / {:.1f}".format(*told(batch)))
        print(f"| {kind} | {snr_db:.0f} | {talkers or ''} | {cells[0]} | {cells[1]} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of material")
    parser.add_argument("--held-out", action="store_true", help="train nothing, report on the weights as they are")
    options = parser.parse_args()
    if options.held_out:
        report(max(2, int(HELD_SCENES * options.scale)))
        return
    rows, costs = training_rows(max(1, int(TRAIN_SCENES * options.scale)))
    print(f"{int(rows[1].sum())} frames with a voice, {int((rows[1] == 0).sum())} without")
    weights = network.train_several(rows, costs, TRAIN_SEED, RECIPE)
    note = f"Seed {TRAIN_SEED}, prompts {'/'.join(TRAIN_LANGUAGES)}."
    network.write(weights, TARGET, "vad", "tools/dsp_train/train_voice.py", note)


if __name__ == "__main__":
    main()
