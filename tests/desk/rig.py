"""A desk home, a recorder provisioned from its pack, and the stick that goes between them."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firmware.appliance import read_site_facts
from firmware.evidence.courier import InlineCourier
from firmware.evidence.visit import visit
from firmware.policy.records import AudioCodec, Ended, GapReason
from firmware.provision import provision
from firmware.store.commands import StickReport
from firmware.store.vault import Vault, VaultParts
from hw.flac import FlacEncoder
from hw.sim.stick import SimStick
from tests.store.world import World, meta, row
from tools.desk.__main__ import main

PASSPHRASE = "a passphrase of enough letters"
ESCROW_PASSPHRASE = "another passphrase in an envelope"
NOW = "2026-03-02T09:30Z"
"""Half an hour after the recorder's first start (tests.store.world.START_UTC_MS)."""

SPEECH_SAMPLES = 16_000


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: object) -> Ran:
    """The desk as a person runs it: argument words in, exit code and both outputs back."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Ran(code, out.getvalue(), err.getvalue())


def noise(samples: int, seed: int) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(-8000, 8000, samples, dtype=np.int16)


@dataclass
class Recorder:
    """A recorder that was provisioned from ``pack``, on a simulated card."""

    pack: Path
    seed: int = 1
    ring_bytes: int = 16 << 20
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(seed=self.seed, provisioned=False)
        stick = SimStick(str(self.pack))
        provision(
            self.parts(), stick.read, read_site_facts, simulation=True, ring_bytes=self.ring_bytes, hold_bytes=4 << 20
        )
        self.boot()

    def parts(self) -> VaultParts:
        world = self.world
        return VaultParts(world.disk, world.memory, world.clock, world.rtc, world.rng.randbytes, FlacEncoder())

    def boot(self) -> None:
        self.vault = self.world.vault = Vault.open(self.parts(), simulation=True)

    def call(
        self, number: str | None = "02079460123", *, seed: int = 1, line: int = 0, codec: AudioCodec = AudioCodec.FLAC
    ) -> tuple[str, NDArray[np.int16]]:
        """6 s: 2 s of noise, 2 s of payment, 1 s of noise, then the notice-like rest kept by nobody. Returns the id
        and what the WAV must be."""
        opened = self.vault.now_utc_ms()
        call_id = self.vault.open_call(line, opened, codec, meta=meta(number, opened, ended=Ended.POWER_CUT))
        axis = np.zeros(48_000, np.int16)
        for first, length in ((0, SPEECH_SAMPLES), (32_000, 8_000)):
            axis[first : first + length] = noise(length, seed + first)
        for first in range(0, SPEECH_SAMPLES, 800):
            self.vault.append_audio(call_id, first, 800, axis[None, first : first + 800])
        self.vault.append_gap(call_id, 16_000, 16_000, GapReason.PAYMENT)
        for first in range(32_000, 40_000, 800):
            self.vault.append_audio(call_id, first, 800, axis[None, first : first + 800])
        self.world.clock.advance_ms(6_000)
        ended = self.vault.now_utc_ms()
        self.vault.close_call(
            call_id,
            meta(number, opened, ended_utc_ms=ended, samples=48_000),
            row(line, opened, ended),
        )
        return call_id.hex(), axis

    def plug(self, stick: Path, *, pull_after_bytes: int | None = None) -> StickReport:
        plugged = SimStick(str(stick), pull_after_bytes=pull_after_bytes)
        reports = list(visit(self.vault, plugged, read_site_facts, InlineCourier()))
        last = reports[-1]
        assert isinstance(last, StickReport)
        return last


@dataclass
class Rig:
    root: Path
    seed: int = 1
    ring_bytes: int = 16 << 20
    home: Path = field(init=False)
    pack: Path = field(init=False)
    stick: Path = field(init=False)
    device: str = field(init=False)

    def __post_init__(self) -> None:
        self.home, self.pack, self.stick = self.root / "home", self.root / "pack", self.root / "stick"
        self.stick.mkdir()
        made = run("init", "--home", self.home)
        assert made.code == 0, made.err
        packed = run("provision", "--home", self.home, "--stick", self.pack)
        assert packed.code == 0, packed.err
        self.device = packed.out.partition("Device id: ")[2].split()[0]
        self.recorder = Recorder(self.pack, self.seed, self.ring_bytes)

    def desk(self, *words: object, now: str = NOW) -> Ran:
        return run(*words, "--home", self.home, "--now", now)

    def order(self, *words: object, now: str = NOW) -> Ran:
        return self.desk("order", *words, "--stick", self.stick, now=now)

    def export(self, *words: object) -> StickReport:
        """Order everything of the day, plug the stick into the recorder."""
        window = words or ("--from", "2026-03-02T08:00Z", "--to", "2026-03-02T18:00Z")
        made = self.order("export", *window, "--purpose", "quality", "--basis", "legitimate-interests")
        assert made.code == 0, made.err
        return self.recorder.plug(self.stick)

    def take_in(self, now: str = NOW) -> Ran:
        return self.desk("import", "--stick", self.stick, now=now)

    def listed(self, *words: object, now: str = NOW) -> list[dict[str, Any]]:
        shown = self.desk("list", "--json", *words, now=now)
        assert shown.code == 0, shown.err
        found: list[dict[str, Any]] = shown.json
        return found

    def answers(self) -> list[Path]:
        return sorted(path.parent for path in self.stick.glob("TACET/*/*/bagit.txt"))
