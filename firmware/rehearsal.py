"""The composition root of a recorder without devices: a tape or a capture instead of a line, virtual time, a state
directory that is marked as a simulation's."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from firmware import ledgertable
from firmware.appliance import Appliance, Attached, Devices, check_wiring, read_site_facts
from firmware.config import ConfigError, Site, parse_site
from firmware.evidence.courier import InlineCourier
from firmware.evidence.pack import PACK_FILES, PackError
from firmware.evidence.site import SITE_DOCUMENT
from firmware.livepanel import LivePanel
from firmware.provision import enrol, fitting_pack, provision
from firmware.replay import replay
from firmware.simulate import Nobody, Watcher, play
from firmware.store import identity
from firmware.store.ciphers import REAL
from firmware.store.errors import AlreadyProvisioned, NoRoot, NotProvisioned
from firmware.store.vault import Vault, VaultParts
from firmware.wiring import NoPins
from hw.disk import DirectoryDisk
from hw.flac import FlacEncoder
from hw.nvmem import FileMemory
from hw.pcap import START_MONO_US, CaptureDamaged, CaptureFile
from hw.sim.clock import SimClock, SimRtc
from hw.sim.paced import PacedPackets
from hw.sim.stage import Stage, check_audio
from hw.sim.tape import Tape, TapeError, read_tape
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

NAME_THE_PACK = "Give the stick's directory with its provisioning pack: --provision DIR."
SIMULATED_HOLD_BYTES = 16 << 20


def simulate(tape: Path, state: Path, pack: Path | None, ring_bytes: int, *, realtime: bool) -> None:
    """Play a tape. ``pack``: the stick to provision from, at the first start. Raises TapeError, VaultError, OSError."""
    played = _read_tape(tape)
    _check_first_start(state, pack, [line.name for line in played.lines], trunk=False)
    stage = Stage(played, state)
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


def _read_tape(tape: Path) -> Tape:
    try:
        played = read_tape(tape)
        check_audio(played)
    except TapeError as error:
        raise TapeError(f"{error} Nothing was played.") from None
    return played


def _check_first_start(state: Path, pack: Path | None, wired: Sequence[str], *, trunk: bool) -> None:
    """Everything that can be wrong with the first start of a recorder without devices, before a file of it is made.
    Raises NotProvisioned, PackError, WiringError, ConfigError."""
    if state.exists() and not state.is_dir():
        raise ConfigError(f"--state must be a directory, and {state.name!r} is a file.")
    if (state / identity.FILE).is_file():
        return
    if pack is None:
        raise NotProvisioned(NAME_THE_PACK)
    with _pack_at(pack) as stick:
        found = fitting_pack(stick.read, read_site_facts, REAL.verify, simulation=True)
    check_wiring(parse_site(found.site_toml.decode("utf-8")), wired, trunk=trunk)


@contextmanager
def _pack_at(pack: Path) -> Iterator[UsbStick]:
    """The directory with the pack. Whatever hinders its reading is a PackError."""
    try:
        with closing(UsbStick(str(pack))) as stick:
            yield stick
    except OSError as error:
        why = (error.strerror or str(error)).rstrip(".")
        raise PackError(
            f"The provisioning pack in {pack.name!r} cannot be read: {why}. Nothing was changed; "
            "name the directory that the desk wrote it to."
        ) from None


def open_capture(file: Path, trunk_mac: bytes | None) -> CaptureFile:
    """Raises CaptureDamaged."""
    try:
        capture = CaptureFile(file, trunk_mac)
    except CaptureDamaged:
        raise
    except OSError as error:
        raise CaptureDamaged(f"The capture {file.name!r} cannot be read: {error.strerror}.") from None
    if capture.finished():
        raise CaptureDamaged("The capture has no packet that came from the trunk or from inside.")
    if not capture.dated:
        raise CaptureDamaged(
            "The capture's first packet is stamped outside the years 2000 to 2099; correct its stamps."
        )
    return capture


def replay_capture(capture: CaptureFile, state: Path, pack: Path | None, ring_bytes: int) -> None:
    """Raises CaptureDamaged, WiringError, VaultError, OSError."""
    _check_first_start(state, pack, [], trunk=True)
    replayed = Replayed(capture, state)
    if pack is not None:
        replayed.provision(pack, ring_bytes)
    appliance = Appliance(replayed.parts, replayed.devices, simulation=True, threaded=False)
    replay(appliance, replayed.clock.advance_ms, replayed.packets.next_mono_us)


def ledger_of(state: Path, *, as_json: bool) -> str:
    """Rows of a state directory that nobody has open. Raises NotProvisioned, VaultError, OSError."""
    if not (state / identity.FILE).is_file():
        raise NotProvisioned("Name the directory of a recorder's state with --state.")
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
        with _pack_at(pack) as stick:
            files = {name: stick.read(name, limit) for name, limit in PACK_FILES.items()}
        try:
            provision(
                self.parts,
                lambda name, _: files[name],
                read_site_facts,
                simulation=True,
                ring_bytes=ring_bytes,
                hold_bytes=SIMULATED_HOLD_BYTES,
            )
        except AlreadyProvisioned:
            return
        try:
            with closing(UsbStick(str(pack))) as stick:
                enrol(Vault.open(self.parts, simulation=True), stick)
        except OSError as error:
            raise PackError(
                f"The recorder has its keys, but its enrolment cannot be written into {pack.name!r}: {error.strerror}. "
                "Nothing was recorded; make the directory writable and start with a new state directory."
            ) from None


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
        origin_utc_ms = (capture.origin_utc_us - START_MONO_US) // 1000
        self.clock = SimClock(origin_utc_ms)
        self.packets = PacedPackets(capture, self.clock)
        state.mkdir(parents=True, exist_ok=True)
        memory = FileMemory(state / "memory", create=True)
        self.parts = VaultParts(DirectoryDisk(state), memory, self.clock, SimRtc(self.clock), os.urandom, FlacEncoder())

    def devices(self) -> Devices:
        return Devices(self.clock, [], NoPins(), NoWatchdog(), read_notice, InlineCourier(), self.packets)


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
