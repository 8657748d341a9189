"""The product as its people use it, in this process: tapes, the simulated recorder, the stick and the desk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from firmware.__main__ import main as firmware
from firmware.ports import Samples
from firmware.units import SAMPLE_RATE_HZ
from tools.desk.__main__ import main as desk

PASSPHRASE = "twelve or more letters"
START = "2026-03-02T09:00:00Z"


@dataclass
class Tape:
    """Seconds from its start. ``path`` is written by ``save``."""

    folder: Path
    start: str = START
    lines: list[str] = field(default_factory=lambda: ["line1"])
    audio: dict[str, Samples] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def event(self, at: float, do: str, line: str | None = "line1", **more: Any) -> "Tape":
        rows = ["[[event]]", f"at = {at}", f'do = "{do}"']
        rows += [f'line = "{line}"'] if line else []
        rows += [f"{key} = {json.dumps(value) if isinstance(value, str) else value}" for key, value in more.items()]
        self.events.append("\n".join(rows))
        return self

    def press(self, at: float, key: str, for_s: float = 0.2, line: str = "line1") -> "Tape":
        self.event(at, "press", line, key=key)
        return self.event(at + for_s, "release", line, key=key)

    def call(self, ring: float, answer: float, end: float, line: str = "line1") -> "Tape":
        self.event(ring, "ring", line).event(answer, "off_hook", line)
        return self.event(end, "on_hook", line)

    def stick(self, at: float, folder: Path) -> "Tape":
        return self.event(at, "stick_in", None, dir=str(folder))

    def save(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = [f"start = {self.start}"]
        for name in self.lines:
            rows += ["", "[[line]]", f'name = "{name}"']
            if name in self.audio:
                soundfile.write(self.folder / f"{name}.wav", self.audio[name], SAMPLE_RATE_HZ, subtype="PCM_16")
                rows.append(f'audio = "{name}.wav"')
        path = self.folder / "tape.toml"
        path.write_text("\n".join([*rows, *self.events]) + "\n")
        return path


def noise(seconds: float, seed: int = 1) -> Samples:
    """White noise without a zero sample, so that silence can be told from sound."""
    samples: Samples = np.random.default_rng(seed).integers(1, 20_000, round(seconds * SAMPLE_RATE_HZ), dtype=np.int16)
    return samples


class Kit:
    """One desk home and one provisioned recorder in ``root``."""

    def __init__(self, root: Path, site: str | None = None) -> None:
        self.root = root
        self.home, self.pack, self.state = root / "desk", root / "pack", root / "state"
        self.pack.mkdir(parents=True)
        self.passphrase = root / "passphrase"
        self.passphrase.write_text(PASSPHRASE)
        self.desk("init")
        more = []
        if site is not None:
            (root / "site.toml").write_text(site)
            more = ["--site", str(root / "site.toml")]
        self.desk("provision", "--stick", str(self.pack), *more)

    def desk(self, *words: str, code: int = 0) -> None:
        order = words[:2] if words[0] == "order" else words[:1]
        rest = words[len(order) :]
        keyed = words[0] in ("init", "provision", "order", "import", "list", "extract")
        unlock = ["--passphrase-file", str(self.passphrase)] if keyed else []
        assert desk([*order, "--home", str(self.home), *unlock, *rest]) == code, words

    def simulate(self, tape: Tape, *more: str, code: int = 0) -> None:
        words = ["simulate", str(tape.save()), "--state", str(self.state), "--provision", str(self.pack), *more]
        assert firmware(words) == code

    def new_stick(self, *order: str, name: str = "stick") -> Path:
        """With an order to export everything of March 2026 unless other words are given."""
        stick = self.root / name
        stick.mkdir()
        words = order or (
            *(
                "export",
                "--from",
                "2026-03-01T00:00Z",
                "--to",
                "2026-03-31T00:00Z",
                "--not-before",
                "2026-03-01T00:00Z",
            ),
            *("--purpose", "quality", "--basis", "legitimate-interests"),
        )
        self.desk("order", words[0], "--stick", str(stick), *words[1:])
        return stick

    def take_in(self, stick: Path, now: str = "2026-03-03T09:00Z", code: int = 0) -> None:
        self.desk("import", "--stick", str(stick), "--now", now, code=code)

    def calls(self, capsys: Any, now: str = "2026-03-03T09:00Z") -> list[dict[str, Any]]:
        capsys.readouterr()
        self.desk("list", "--json", "--now", now)
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    def ledger(self, capsys: Any) -> list[dict[str, Any]]:
        capsys.readouterr()
        assert firmware(["ledger", "--state", str(self.state), "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    def wav(self, call: str, now: str = "2026-03-03T09:00Z") -> Samples:
        path = self.root / "out.wav"
        self.desk("extract", call, "--wav", str(path), "--now", now)
        samples, rate_hz = soundfile.read(path, dtype="int16")
        assert rate_hz == SAMPLE_RATE_HZ
        return samples  # type: ignore[no-any-return]


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE_HZ)


def contains(folder: Path, needles: Sequence[bytes]) -> list[str]:
    """Files below ``folder`` with any of these bytes in them."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file()
        for data in [path.read_bytes()]
        if any(n in data for n in needles)
    ]
