"""Train the score of the keyed-digit detector and write ``firmware/dsp/dtmf_weights.py``.

    TACET_SPEECH=/path/to/sounds python -m tools.dsp_train.train_dtmf            # about ten minutes on one core
    python -m tools.dsp_train.train_dtmf --scale 0.1 --dry-run                   # a quick look

Positives: keyed strings under random impairments (own generator, seeds TRAIN_SEED and HELD_SEED). Negatives: bursts in
espeak-ng speech, in recorded prompts of the languages TRAIN_LANGUAGES, in music and noise, and every burst beside a
true key whose pair, place or frequency is wrong. Held out: other seeds, and prompts in languages never trained on.
"""

import argparse
from pathlib import Path

import numpy as np

from firmware.dsp.dtmf import Digit, DtmfReceiver
from firmware.dsp.dtmf_segment import FEATURES
from tools.dsp_train import corpus, network, signals
from tools.dsp_train.network import Recipe, Rows, Weights
from tools.dsp_train.signals import Press, Rng, Wave

TRAIN_SEED, HELD_SEED = 20261124, 77
KINDS = ("keys", "spoken", "people", "double", "music", "noise")
TRAIN_LANGUAGES, HELD_LANGUAGES = ("it", "ru"), ("en", "es", "fr")
RECIPE = Recipe(hidden=32, networks=3)
NEGATIVE_COST = 3.0
"""Of a wrong key; a missed one costs 1."""

TARGET = Path(__file__).resolve().parents[2] / "firmware" / "dsp" / "dtmf_weights.py"


def heard(x: Wave) -> list[Digit]:
    """All bursts of one recording, unthresholded."""
    receiver = DtmfReceiver(1)
    pcm = np.concatenate([signals.to_pcm(x).astype(np.float32), np.zeros(16000, dtype=np.float32)])
    return [digit for at in range(0, len(pcm), 8000) for digit in receiver.feed(pcm[None, at : at + 8000])]


def impaired_string(rng: Rng, speech: Wave, music: Wave) -> tuple[Wave, list[Press]]:
    """Sixteen keys or so, with one to four impairments drawn at random."""
    keys = "".join(rng.choice(list(signals.KEYS), size=12))
    if rng.random() < 0.3:
        keys = "".join(k * 2 for k in keys[:6])
    level = float(rng.uniform(-38, 2))
    spread = 0.018 if rng.random() < 0.7 else 0.0235
    x, presses = signals.keyed(
        keys,
        rng,
        on_s=float(rng.choice([rng.uniform(0.025, 0.06), rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.5)])),
        off_s=float(rng.choice([rng.uniform(0.027, 0.06), rng.uniform(0.05, 0.15)])),
        dbm0=level,
        twist_db=float(rng.uniform(-11, 11) if rng.random() < 0.5 else rng.normal(0, 2)),
        deviation=(float(rng.uniform(-spread, spread)), float(rng.uniform(-spread, spread))),
        break_s=float(rng.uniform(0.002, 0.011)) if rng.random() < 0.1 else 0.0,
    )
    n, total = len(x), level + 3.0
    power = 2.0 * signals.rms(level) ** 2
    if rng.random() < 0.15:
        x = signals.echo(x, int(rng.integers(40, 1000)), float(rng.uniform(-25, -9)))
    if rng.random() < 0.2:
        dial = min(2.0, total + float(rng.uniform(-20, 16))) - 3.0
        t = np.arange(n) / signals.RATE_HZ
        for f in (350.0, 440.0):
            x += signals.amplitude(dial) * np.sin(2 * np.pi * f * t + rng.uniform(0, 6.28))
    if rng.random() < 0.15:
        x += signals.hum(n, min(0.0, total + float(rng.uniform(-15, 21))), rng)
    if rng.random() < 0.12:
        t = np.arange(n) / signals.RATE_HZ
        f = float(rng.uniform(200, 3300))
        x += signals.amplitude(total + float(rng.uniform(-30, -9))) * np.sin(2 * np.pi * f * t)
    if rng.random() < 0.1:
        x += signals.clicks(n, float(rng.uniform(2, 20)), total + float(rng.uniform(-6, 6)), rng)
    kind = rng.random()
    if kind < 0.36:
        other = speech if rng.random() < 0.85 else music
        at = int(rng.integers(0, len(other) - n))
        x += other[at : at + n] * 10.0 ** ((total + float(rng.uniform(-26, 2)) + 16.0) / 20.0)
        x = signals.add_snr(x, power, float(rng.uniform(20, 50)), rng)
    elif kind < 0.65:
        x = signals.add_snr(x, power, float(rng.uniform(-5, 15)), rng)
    else:
        x = signals.add_snr(x, power, float(rng.uniform(15, 50)), rng)
    if rng.random() < 0.1:
        x = signals.telephone_band(x)
    if rng.random() < 0.05:
        x = signals.lost_packets(x, 0.03, 80, rng)
    if rng.random() < 0.1:
        x = x * 10.0 ** (float(rng.uniform(3, 12)) / 20.0)
    return (signals.a_law(x) if rng.random() < 0.25 else x), presses


def labelled(digits: list[Digit], presses: list[Press]) -> Rows:
    """1 where pair and place are right (three quarters of the longer covered), 0 where the pair is not that of any
    press nearby; what is doubtful (a part of a key, an echo of one) is left out."""
    rows, labels = [], []
    for digit in digits:
        a, b = digit.onset_sample / signals.RATE_HZ, digit.end_sample / signals.RATE_HZ
        best, key = 0.0, ""
        for press in presses:
            common = min(b, press.end_s) - max(a, press.onset_s)
            share = common / max(press.end_s - press.onset_s, b - a)
            if share > best:
                best, key = share, press.key
        if best > 0.75 and key == digit.value:
            rows.append(digit.burst.features)
            labels.append(1.0)
        elif digit.value not in {p.key for p in presses if p.onset_s - 0.2 < b and p.end_s + 0.2 > a}:
            rows.append(digit.burst.features)
            labels.append(0.0)
    return np.array(rows).reshape(-1, len(FEATURES)), np.array(labels)


def negatives(minutes: list[Wave]) -> Rows:
    rows = [digit.burst.features for x in minutes for digit in heard(x)]
    return np.array(rows).reshape(-1, len(FEATURES)), np.zeros(len(rows))


def data(seed: int, languages: tuple[str, ...], strings: int, minutes: int) -> dict[str, Rows]:
    """Everything of one seed, by kind."""
    rng = np.random.default_rng(seed)
    spoken = [corpus.spoken_minute(rng) for _ in range(minutes)]
    tunes = [signals.music(60.0, rng) for _ in range(minutes)]
    people = [x for _, x in zip(range(minutes), corpus.prompt_minutes(languages), strict=False)]
    hiss = [signals.noise(60 * signals.RATE_HZ, -20.0, rng) for _ in range(max(1, minutes // 8))]
    under = np.concatenate(spoken[: max(2, minutes // 4)] + people[: minutes // 4])
    kept = [
        labelled(heard(x), presses)
        for x, presses in (impaired_string(rng, under, np.concatenate(tunes[:4])) for _ in range(strings))
    ]
    double = [a[: len(b)] + 0.7 * b[: len(a)] for a, b in zip(spoken[: minutes // 2], people, strict=False)]
    return {
        "keys": (np.concatenate([k[0] for k in kept]), np.concatenate([k[1] for k in kept])),
        "spoken": negatives(spoken),
        "people": negatives(people),
        "double": negatives(double),
        "music": negatives(tunes),
        "noise": negatives(hiss),
    }


def report(weights: Weights, held: dict[str, Rows], minutes: dict[str, float]) -> None:
    """Held-out share of keys found and false bursts per hour (of a key's length), at several thresholds."""
    for name, (features, labels) in held.items():
        odds = network.log_odds(weights, features) if len(features) else np.zeros(0)
        long = 50.0 * 2.0 ** features[:, FEATURES.index("log_duration")] >= 31.0
        for threshold in (0.0, 2.0, 4.0, 6.0):
            over = odds > threshold
            if name == "keys":
                found, wrong = 100 * over[labels > 0].mean(), 100 * over[labels == 0].mean()
                print(f"{name} > {threshold:+.0f}: found {found:.2f} %, wrong bursts taken {wrong:.2f} %")
            else:
                hour = 60.0 / max(minutes[name], 1e-9)
                keys, bursts = hour * (over & long).sum(), hour * over.sum()
                print(f"{name} > {threshold:+.0f}: {keys:.2f} keys, {bursts:.2f} bursts an hour")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full amount of material")
    parser.add_argument("--dry-run", action="store_true", help="print the held-out results, write nothing")
    parser.add_argument("--keep", type=Path, help="folder to keep the material in, or to take it from")
    options = parser.parse_args()
    sets = material(options.scale, options.keep)
    rows = (
        np.concatenate([r[0] for r in sets["train"].values()]),
        np.concatenate([r[1] for r in sets["train"].values()]),
    )
    print(f"{int(rows[1].sum())} keys, {int((rows[1] == 0).sum())} other bursts")
    weights = network.train_several(rows, np.where(rows[1] > 0, 1.0, NEGATIVE_COST), TRAIN_SEED, RECIPE)
    spoken_minutes = dict.fromkeys(sets["held"], AMOUNTS[HELD_SEED][1] * options.scale)
    spoken_minutes["double"] /= 2
    spoken_minutes["noise"] /= 8
    report(weights, sets["held"], spoken_minutes)
    if not options.dry_run:
        note = f"Seed {TRAIN_SEED}, prompts {'/'.join(TRAIN_LANGUAGES)}."
        network.write(weights, TARGET, "dtmf_score", "tools/dsp_train/train_dtmf.py", note)


AMOUNTS = {TRAIN_SEED: (1500, 60), HELD_SEED: (500, 60)}
"""Strings, and minutes of each kind of sound, by seed."""

MORE_PIECES, MORE_MINUTES = 5, 15
"""Further espeak-ng speech, seeds (TRAIN_SEED, piece): synthetic voices are harder to tell from keys than people."""


def material(scale: float, keep: Path | None) -> dict[str, dict[str, Rows]]:
    """Training and held-out rows by kind; taken from, or kept in, npz files where a folder is named."""
    train = _of_seed(TRAIN_SEED, scale, keep)
    for piece in range(MORE_PIECES):
        train[f"spoken {piece}"] = _more(piece, max(1, int(scale * MORE_MINUTES)), keep)
    return {"train": train, "held": _of_seed(HELD_SEED, scale, keep)}


def _more(piece: int, minutes: int, keep: Path | None) -> Rows:
    path = keep / f"{TRAIN_SEED}-{piece}.npz" if keep is not None else None
    if path is not None and path.exists():
        stored = np.load(path)
        return stored["x"], stored["y"]
    rng = np.random.default_rng([TRAIN_SEED, piece])
    x, y = negatives([corpus.spoken_minute(rng) for _ in range(minutes)])
    if path is not None:
        np.savez(path, x=x, y=y)
    return x, y


def _of_seed(seed: int, scale: float, keep: Path | None) -> dict[str, Rows]:
    path = keep / f"{seed}.npz" if keep is not None else None
    if path is not None and path.exists():
        stored = np.load(path)
        return {name: (stored[f"{name}|x"], stored[f"{name}|y"]) for name in KINDS}
    strings, minutes = (max(2, int(scale * amount)) for amount in AMOUNTS[seed])
    rows = data(seed, HELD_LANGUAGES if seed == HELD_SEED else TRAIN_LANGUAGES, strings, minutes)
    if path is not None:
        named = {
            f"{name}|{column}": part for name, pair in rows.items() for column, part in zip("xy", pair, strict=True)
        }
        np.savez(path, allow_pickle=False, **named)
    return rows


if __name__ == "__main__":
    main()
