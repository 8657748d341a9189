"""The composition root of a recorder without devices: a tape or a capture instead of a line, virtual time, a state
directory that is marked as a simulation's."""

import json
import os
from pathlib import Path

from firmware import ledgertable
from firmware.appliance import Appliance, Attached, Devices, read_site_facts
from firmware.config import Site, parse_site
from firmware.evidence.courier import InlineCourier
from firmware.evidence.site import SITE_DOCUMENT
from firmware.livepanel import LivePanel
from firmware.provision import enrol, provision
from firmware.replay import replay
from firmware.simulate import Nobody, Watcher, play
from firmware.store.errors import AlreadyProvisioned, NoRoot, NotProvisioned
from firmware.store.vault import Vault, VaultParts
from firmware.wiring import NoPins
from hw.disk import DirectoryDisk
from hw.flac import FlacEncoder
from hw.nvmem import FileMemory
from hw.pcap import START_MONO_US, CaptureDamaged, CaptureFile, parse_mac
from hw.sim.clock import SimClock, SimRtc
from hw.sim.paced import PacedPackets
from hw.sim.stage import Stage
from hw.sim.tape import TapeError, read_tape
from hw.sim.terminal import Terminal
from hw.usbstick import UsbStick
from hw.wav import read_notice

__all__ = [
    "CaptureDamaged",
    "Replayed",
    "Simulated",
    "TapeError",
    "ledger_of",
    "open_capture",
    "replay_capture",
    "simulate",
]

SIMULATED_HOLD_BYTES = 16 << 20


def simulate(tape: Path, state: Path, pack: Path | None, ring_bytes: int, *, realtime: bool) -> None:
    """Play a tape. ``pack``: the stick to provision from, at the first start. Raises TapeError, VaultError, OSError."""
    stage = _stage(tape, state)
    simulated = Simulated(stage)
    if pack is not None:
        simulated.provision(pack, ring_bytes)
    with Terminal() as terminal:
        watcher: Watcher = LivePanel(terminal, stage.press, stage.lit) if realtime else Nobody()
        play(
            stage,
            lambda: Appliance(simulated.parts, simulated.devices, simulation=True, threaded=False),
            watcher,
            realtime=realtime,
        )


def _stage(tape: Path, state: Path) -> Stage:
    try:
        return Stage(read_tape(tape), state)
    except TapeError as error:
        raise TapeError(f"{error} Nothing was played.") from None


def open_capture(file: Path, trunk_mac: str | None) -> CaptureFile:
    """Raises CaptureDamaged, FileNotFoundError, ValueError (an address that is none)."""
    return CaptureFile(file, parse_mac(trunk_mac) if trunk_mac else None)


def replay_capture(capture: CaptureFile, state: Path, pack: Path | None, ring_bytes: int) -> None:
    """Raises CaptureDamaged, WiringError, VaultError, OSError."""
    replayed = Replayed(capture, state)
    if pack is not None:
        replayed.provision(pack, ring_bytes)
    appliance = Appliance(replayed.parts, replayed.devices, simulation=True, threaded=False)
    replay(appliance, replayed.clock.advance_ms)


def ledger_of(state: Path, *, as_json: bool) -> str:
    """Rows of a state directory that nobody has open. Raises NotProvisioned, VaultError, OSError."""
    if not (state / "identity").is_file():
        raise NotProvisioned()
    site = site_of(state)
    rows = ledgertable.rows(Vault.read_ledger(DirectoryDisk(state)), [line.name for line in site.lines])
    return json.dumps(rows, indent=1) if as_json else ledgertable.table(rows, site.of("site", "timezone"))


class NoWatchdog:
    """Virtual time has nobody to bite it."""

    def ready(self) -> None: ...

    def kick(self) -> None: ...


class _Unreal:
    """What every simulated recorder shares: a state directory that is marked as such."""

    parts: VaultParts

    def provision(self, pack: Path, ring_bytes: int) -> None:
        """At the first start only; a state that is provisioned already is left as it is."""
        stick = UsbStick(str(pack))
        try:
            provision(
                self.parts,
                stick.read,
                read_site_facts,
                simulation=True,
                ring_bytes=ring_bytes,
                hold_bytes=SIMULATED_HOLD_BYTES,
            )
        except AlreadyProvisioned:
            return
        enrol(Vault.open(self.parts, simulation=True), stick)


class Simulated(_Unreal):
    """A stage and the vault's ports on it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.parts = VaultParts(stage.disk, stage.memory, stage.clock, stage.rtc, os.urandom, FlacEncoder())

    def devices(self) -> Devices:
        """Opened anew at each boot of the simulated machine."""
        stage = self.stage
        return Devices(
            clock=stage.clock,
            codecs=[Attached(stage.open_codec(), tuple(stage.line_names()))],
            pins=stage.open_pins(),
            watchdog=NoWatchdog(),
            read_notice=read_notice,
            courier=InlineCourier(),
        )


class Replayed(_Unreal):
    """A capture file, on its own time."""

    def __init__(self, capture: CaptureFile, state: Path) -> None:
        self._capture = capture
        origin_utc_ms = (capture.origin_utc_us - START_MONO_US) // 1000
        self.clock = SimClock(origin_utc_ms)
        state.mkdir(parents=True, exist_ok=True)
        memory = FileMemory(state / "memory", create=True)
        self.parts = VaultParts(DirectoryDisk(state), memory, self.clock, SimRtc(self.clock), os.urandom, FlacEncoder())

    def devices(self) -> Devices:
        packets = PacedPackets(self._capture, self.clock)
        return Devices(self.clock, [], NoPins(), NoWatchdog(), read_notice, InlineCourier(), packets)


def site_of(state: Path) -> Site:
    """The settings in a state directory that nobody has open; the defaults where they cannot be read from there."""
    clock = SimClock(0)
    try:
        parts = VaultParts(
            DirectoryDisk(state), FileMemory(state / "memory"), clock, SimRtc(clock), os.urandom, FlacEncoder()
        )
        document = Vault.read_document(parts, SITE_DOCUMENT)
    except (OSError, NoRoot):
        document = None
    return parse_site(document.decode("utf-8") if document is not None else "")
