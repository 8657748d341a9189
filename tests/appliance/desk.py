"""The person at the desk: the product's own commands in their own process, on sticks that are files."""

import copy
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.appliance.machine import fresh_fat, read_stick

REPOSITORY = Path(__file__).resolve().parents[2]
DEVICE = "TACET-APPL0001"
SITE = """\
[site]
name = "Appliance test"
controller = "Test controller"

[gate]
look_back_s = 2

[notice]
version = "test-1"
delay_ms = 500

[[line]]
name = "line1"
"""


@dataclass
class Desk:
    folder: Path
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.home = self.folder / "home"
        self._passphrase = self._secret("passphrase", "one of them is long enough")
        escrow = self._secret("escrow", "the other one as well, and another")
        self._desk("init", "--escrow-passphrase-file", str(escrow))

    def provisioning_stick(self) -> Path:
        """With a notice of one second, so that a call is short."""
        pack = self.folder / "pack"
        pack.mkdir()
        site, notice = self.folder / "site.toml", self.folder / "notice.wav"
        site.write_text(SITE)
        tone = 3000 * np.sin(2 * np.pi * 700 * np.arange(8000) / 8000)
        soundfile.write(notice, tone.astype(np.int16), 8000)
        consent = "Test Controller, Head of Testing"
        options = ["--site", str(site), "--notice", str(notice), "--consent", consent, "--device", DEVICE]
        self._desk("provision", "--stick", str(pack), *options)
        return fresh_fat(self.folder / "provisioning.img", pack)

    def order_stick(self, name: str) -> Path:
        """An export of everything of these hours; the desk's and the machine's clock may differ by minutes."""
        stick = self.folder / name
        stick.mkdir()
        now = datetime.now(UTC)
        window = ["--from", _text(now - timedelta(hours=12)), "--to", _text(now + timedelta(hours=12))]
        why = ["--purpose", "quality", "--basis", "legitimate-interests", "--recipient", "internal"]
        valid = ["--not-before", _text(now - timedelta(hours=12)), "--device", DEVICE]
        self._desk("order", "export", "--stick", str(stick), *window, *why, *valid)
        return fresh_fat(self.folder / f"{name}.img", stick)

    def twin(self) -> "Desk":
        """Another person with the same keys, who has imported nothing of what comes after this."""
        other = copy.copy(self)
        other.home = self.folder / "twin-home"
        shutil.copytree(self.home, other.home)
        return other

    def take_in(self, image: Path) -> Path:
        """Imports what the recorder wrote onto the stick; the stick's files as a folder."""
        files = read_stick(image, self.folder / f"{image.stem}-back")
        self._desk("import", "--stick", str(files))
        return files

    def calls(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self._desk("list", "--json"))
        return sorted(listed, key=lambda call: str(call["started_utc"]))

    def sound(self, call: dict[str, Any]) -> np.ndarray:
        """int16 [n] at 8 kHz, sample 0 the answer."""
        path = self.folder / f"{call['id']}.wav"
        path.unlink(missing_ok=True)
        self._desk("extract", str(call["id"]), "--wav", str(path))
        samples, rate = soundfile.read(path, dtype="int16")
        assert rate == 8000
        return np.asarray(samples)

    def verify(self, files: Path) -> str:
        return self._desk("verify", str(files))

    def _desk(self, command: str, *options: str) -> str:
        words = [sys.executable, "-m", "tools.desk", *self._words(command, options)]
        done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words[2:6])}: {done.stderr}{done.stdout}"
        return done.stdout

    def _words(self, command: str, options: tuple[str, ...]) -> list[str]:
        ours = ["--home", str(self.home), "--passphrase-file", str(self._passphrase)]
        if command == "order":
            return [command, options[0], *ours, *options[1:]]
        return [command, *options, *ours]

    def _secret(self, name: str, words: str) -> Path:
        path = self.folder / name
        path.write_text(words + "\n")
        path.chmod(0o600)
        return path


def _text(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
