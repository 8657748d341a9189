"""The small networks of the detectors: one hidden layer of tanh units, logistic loss, trained by Adam; numpy only."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rows = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Features [n, features] and labels [n]."""

Weights = dict[str, NDArray[np.float64]]
STANDARDISED_MAX = 4.0
"""A feature counts up to so many standard deviations from its mean."""


@dataclass(frozen=True)
class Recipe:
    """``rate``: half of what Adam begins with; it falls as half a cosine."""

    hidden: int = 32
    networks: int = 3
    epochs: int = 80
    batch: int = 512
    rate: float = 0.005
    decay: float = 2e-4


def train(rows: Rows, costs: NDArray[np.float64], seed: int, recipe: Recipe) -> Weights:
    """One network; ``costs`` [n]: what it costs to be wrong about each row."""
    features, labels = rows
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    x = np.clip((features - mean) / scale, -STANDARDISED_MAX, STANDARDISED_MAX)
    rng = np.random.default_rng(seed)
    p = [
        rng.standard_normal((x.shape[1], recipe.hidden)) / np.sqrt(x.shape[1]),
        np.zeros(recipe.hidden),
        rng.standard_normal(recipe.hidden) / np.sqrt(recipe.hidden),
        np.zeros(1),
    ]
    first, second, step = [np.zeros_like(q) for q in p], [np.zeros_like(q) for q in p], 0
    for epoch in range(recipe.epochs):
        rate = recipe.rate * (1 + np.cos(np.pi * epoch / recipe.epochs)) + 1e-5
        for chosen in np.array_split(rng.permutation(len(x)), max(1, len(x) // recipe.batch)):
            step += 1
            hidden = np.tanh(x[chosen] @ p[0] + p[1])
            odds = hidden @ p[2] + p[3]
            error = (1.0 / (1.0 + np.exp(-odds)) - labels[chosen]) * costs[chosen] / len(chosen)
            back = np.outer(error, p[2]) * (1.0 - hidden**2)
            gradients = (
                x[chosen].T @ back + recipe.decay * p[0],
                back.sum(axis=0),
                hidden.T @ error + recipe.decay * p[2],
                error.sum(keepdims=True),
            )
            for i, g in enumerate(gradients):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g**2
                move = (first[i] / (1 - 0.9**step)) / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
                p[i] = p[i] - rate * move
    return {"mean": mean, "scale": scale, "hidden": p[0], "hidden_bias": p[1], "output": p[2], "bias": p[3]}


def train_several(rows: Rows, costs: NDArray[np.float64], seed: int, recipe: Recipe) -> Weights:
    """The mean of several networks from different starts, as one wider network."""
    parts = [train(rows, costs, seed + i, recipe) for i in range(recipe.networks)]
    return {
        "mean": parts[0]["mean"],
        "scale": parts[0]["scale"],
        "hidden": np.concatenate([p["hidden"] for p in parts], axis=1),
        "hidden_bias": np.concatenate([p["hidden_bias"] for p in parts]),
        "output": np.concatenate([p["output"] for p in parts]) / recipe.networks,
        "bias": np.mean([p["bias"] for p in parts], axis=0),
    }


def log_odds(weights: Weights, features: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.clip((features - weights["mean"]) / weights["scale"], -STANDARDISED_MAX, STANDARDISED_MAX)
    out: NDArray[np.float64] = (
        np.tanh(x @ weights["hidden"] + weights["hidden_bias"]) @ weights["output"] + weights["bias"]
    )
    return out


def write(weights: Weights, path: Path, user: str, trainer: str, note: str) -> None:
    """As a module of text: ``user`` reads it, ``trainer`` wrote it."""
    lines = [f'"""Weights of ``{user}``, written by ``{trainer}``; do not edit.', "", note, '"""', ""]
    for name, value in weights.items():
        numbers = [f"{number:.4f}" for number in np.ravel(value)]
        lines.append(f'{name.upper()} = """')
        lines += [" ".join(numbers[at : at + 14]) for at in range(0, len(numbers), 14)]
        lines += ['"""', ""]
    path.write_text("\n".join(lines[:-1]) + "\n")
