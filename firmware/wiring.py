"""The composition root of a real recorder: it knows both the recorder's mind and its devices. It wires; it decides
nothing. What only plays a recorder is wired in ``rehearsal``, and not read where one records."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from firmware import selftest
from firmware.appliance import Attached, Devices, SipPorts, read_site_facts
from firmware.config import ConfigError, Machine
from firmware.evidence.courier import ThreadCourier
from firmware.evidence.pack import PACK_FILE
from firmware.policy.events import Edge, Lamp
from firmware.ports import ErasableMemory, PacketSource, Pins, Stick
from firmware.provision import enrol, provision
from firmware.store.errors import NotProvisioned
from firmware.store.vault import Vault, VaultParts
from hw import boardfacts
from hw.board import SystemdWatchdog
from hw.clock import MachineClock, SystemRtc
from hw.codec import PortAudioCodec
from hw.disk import DirectoryDisk
from hw.flac import FlacEncoder
from hw.gpio import KEYS, GpioPins
from hw.liveport import LivePort
from hw.lockdown import harden
from hw.netport import NetPort
from hw.nvmem import FileMemory, NvmemMemory
from hw.pinmap import DEFAULT_PINS, PinMap
from hw.remotestick import RemoteStick
from hw.usbstick import UsbStick
from hw.wav import read_notice

BLINK_S = 0.5


class NoPins:
    """A machine without a panel: nothing can be pressed and nothing shown."""

    def read(self) -> list[Edge]:
        return []

    def show(self, lamps: object, sounder: bool) -> None: ...

    def close(self) -> None: ...


class Real:
    """This machine's devices, as ``tacet.toml`` names them. Raises OSError and its kinds (CodecMissing,
    PinsMissing)."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        for sentence in harden():
            print(sentence, file=sys.stderr, flush=True)
        self.clock = MachineClock()
        self.rtc = SystemRtc(machine.of("appliance", "rtc"))
        state = Path(machine.of("appliance", "state"))
        state.mkdir(parents=True, exist_ok=True)
        self.disk = DirectoryDisk(state, exclusive=True)
        self.parts = VaultParts(self.disk, self._memory(state), self.clock, self.rtc, os.urandom, FlacEncoder())
        self.watchdog = SystemdWatchdog(self.clock)
        self.has_panel = bool(machine.of("panel", "enabled"))
        lines = sum(len(codec.lines) for codec in machine.codecs)
        self._pins: Pins = GpioPins(self.clock, _pin_map(machine, lines)) if self.has_panel else NoPins()
        self._sticks = Path(machine.of("appliance", "sticks"))
        self._stick: Stick | None = None

    def devices(self) -> Devices:
        packets = self._packets()
        if not self._machine.codecs and packets is None:
            raise ConfigError("The settings have no [[codec]]; name the sound adapter of each line.")
        codecs = [
            Attached(PortAudioCodec(self.clock, codec.device, codec.rate_hz, len(codec.lines)), codec.lines)
            for codec in self._machine.codecs
        ]
        courier = ThreadCourier(self.clock)
        sip_ports = SipPorts(tuple(self._machine.of("voip", "sip_ports")), tuple(self._machine.of("voip", "tls_ports")))
        return Devices(self.clock, codecs, self._pins, self.watchdog, read_notice, courier, packets, sip_ports)

    def _packets(self) -> PacketSource | None:
        trunk, inside = self._machine.of("voip", "trunk_interface"), self._machine.of("voip", "inside_interface")
        if not trunk:
            return None
        mac = self._machine.of("voip", "trunk_mac")
        sip, tls = tuple(self._machine.of("voip", "sip_ports")), tuple(self._machine.of("voip", "tls_ports"))
        trunk_mac = bytes.fromhex(mac.replace(":", "")) if mac else None
        return LivePort(self.clock, lambda: NetPort(trunk, inside, sip_ports=sip, tls_ports=tls, trunk_mac=trunk_mac))

    @property
    def metrics_path(self) -> Path | None:
        path = self._machine.of("appliance", "metrics")
        return Path(path) if path else None

    def vault_facts(self) -> tuple[int | None, Mapping[str, int | str]]:
        """(trusted UTC, health); (None, {}) before provisioning. Raises VaultError."""
        try:
            vault = Vault.open(self.parts, simulation=False)
        except NotProvisioned:
            return None, {}
        return vault.now_utc_ms(), vault.health()

    def new_stick(self) -> Stick | None:
        """A stick that was plugged in since the last call, by way of its own process where there is one."""
        socket = self._sticks.parent / "socket"
        present = socket.exists() or (self._sticks / "TACET").is_dir()
        if not present:
            self._stick = None
        elif self._stick is None:
            try:
                self._stick = RemoteStick(str(socket)) if socket.exists() else UsbStick(str(self._sticks))
            except OSError:
                return None
            return self._stick
        return None

    def equipment(self, utc_ms: int | None, health: Mapping[str, int | str]) -> selftest.Equipment:
        """For the self-test. Opens the sound adapters: not beside a running loop, which has them."""
        attached = self.devices().codecs if self._machine.codecs else []
        codecs = [
            selftest.CodecUnderTest(codec.device, one.codec, codec.lines)
            for codec, one in zip(self._machine.codecs, attached, strict=True)
        ]
        return self._equipment(codecs, utc_ms, health)

    def examine(self, vault: Vault) -> list[selftest.Finding]:
        """The nightly part, which disturbs nothing."""
        return selftest.passive(self._equipment([], vault.now_utc_ms(), vault.health()))

    def _equipment(
        self, codecs: list[selftest.CodecUnderTest], utc_ms: int | None, health: Mapping[str, int | str]
    ) -> selftest.Equipment:
        return selftest.Equipment(
            clock=self.clock,
            wait=lambda ms: time.sleep(ms / 1000),
            codecs=codecs,
            pins=self._pins,
            lines=[name for codec in self._machine.codecs for name in codec.lines],
            memory=self.parts.memory,
            rtc=self.rtc,
            disk=self.disk,
            utc_ms=utc_ms,
            health=health,
            board=_board(),
        )

    def provision_from_stick(self) -> bool:
        stick = self.new_stick()
        if stick is None or not stick.exists(PACK_FILE):
            return False
        provision(
            self.parts,
            stick.read,
            read_site_facts,
            simulation=False,
            ring_bytes=self._machine.of("appliance", "ring_mib") << 20,
            hold_bytes=self._machine.of("appliance", "hold_mib") << 20,
        )
        enrol(Vault.open(self.parts, simulation=False), stick)
        return True

    def show_fault(self, seconds: float, stopped: Callable[[], bool]) -> None:
        """FAULT steady, everything else dark; the watchdog is told that the process waits on purpose."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stopped():
            self._pins.show({(0, Lamp.FAULT): True}, False)
            self.watchdog.kick()
            time.sleep(BLINK_S)

    def close(self) -> None:
        self._pins.close()
        self.disk.close()

    def _memory(self, state: Path) -> ErasableMemory:
        kind = self._machine.of("appliance", "memory")
        if kind == "file":
            return FileMemory(state / "memory", create=True)
        return NvmemMemory(self._machine.of("appliance", "memory_name"), kind)


def _pin_map(machine: Machine, lines: int) -> PinMap:
    """The default wiring, with the polarity of this machine's keys and lamps. Sense inputs are as the front end is
    built."""
    keys_low, lamps_low = machine.of("panel", "keys_active_low"), machine.of("panel", "lamps_active_low")
    pins = DEFAULT_PINS.for_lines(lines)
    return PinMap(
        tuple(replace(pin, active_low=keys_low) if pin.signal in KEYS else pin for pin in pins.inputs),
        tuple(replace(pin, active_low=lamps_low) for pin in pins.outputs),
    )


def _board() -> selftest.BoardFacts:
    return selftest.BoardFacts(
        watchdog_timeout_s=boardfacts.watchdog_timeout_s(),
        service_watchdog="WATCHDOG_USEC" in os.environ,
        swap_bytes=boardfacts.swap_bytes(),
        core_limit_bytes=boardfacts.core_limit_bytes(),
        usb=[
            selftest.UsbPlace(seat.codec, seat.hub, seat.speed_mbit_s, seat.hub_translators)
            for seat in boardfacts.usb_seats()
        ],
    )
