"""What long runs have shown so far: one JSON line per whole portion, so that an interruption costs one portion."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Portion:
    kind: str
    """states or years."""
    number: int
    states: int
    boots: int
    """Recoveries run, or faults injected."""
    years: float
    cpu_s: float
    violations: tuple[str, ...]
    seed: int = 0

    @classmethod
    def of(cls, text: str) -> Self:
        value = json.loads(text)
        return cls(**{**value, "violations": tuple(value["violations"])})


@dataclass(frozen=True)
class Total:
    states: int
    years: float
    violations: int


class Progress:
    """``path`` None: this run alone is counted."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self.seed = seed
        self._path = path
        self.portions: list[Portion] = []
        self._earlier = portions_in(path) if path is not None and path.exists() else []

    def next_number(self, kind: str) -> int:
        """Of the next portion of this kind and seed: a seed's portions are never run twice."""
        mine = [p for p in (*self._earlier, *self.portions) if p.kind == kind and p.seed == self.seed]
        return 1 + max((portion.number for portion in mine), default=-1)

    def add(self, portion: Portion) -> None:
        portion = Portion(**{**asdict(portion), "violations": portion.violations, "seed": self.seed})
        self.portions.append(portion)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(portion)) + "\n")

    def total(self) -> Total:
        """This run's and the file's, of this seed."""
        mine = [*(p for p in self._earlier if p.seed == self.seed), *self.portions]
        return Total(
            sum(portion.states for portion in mine),
            round(sum(portion.years for portion in mine), 6),
            sum(len(portion.violations) for portion in mine),
        )


def portions_in(path: Path) -> list[Portion]:
    return [Portion.of(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
