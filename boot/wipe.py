"""The end of a recorder: the root key is zeroed and read back, then the card is overwritten, and a certificate says so.

    python -m boot.wipe --config /etc/tacet/tacet.toml --device TACET-… --certificate /run/tacet-stick/mount

With the recorder stopped. It refuses while a call is held. The certificate's signed line is written into the audit log
before anything is destroyed, with the recorder's own key, which the wipe then destroys too; what was read back after
that stands below it, unsigned, for the two people who sign the paper.
"""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from firmware.config import ConfigError, Machine, parse_machine
from firmware.ports import Disk, ErasableMemory
from firmware.store.errors import VaultError
from firmware.store.vault import Vault, VaultParts
from hw.clock import MachineClock, SystemRtc
from hw.disk import DirectoryDisk
from hw.flac import FlacEncoder
from hw.nvmem import FileMemory, NvmemMemory

CHUNK_BYTES = 1 << 20
SLOTS = (0, 1)
MEMORY_FILE = "memory"


class WipeRefused(Exception):
    """One sentence; nothing was destroyed."""


class WipeIncomplete(Exception):
    """One sentence; the root key may still be there."""


@dataclass(frozen=True)
class Wiped:
    device_id: str
    fingerprint: bytes
    utc_ms: int
    calls: int
    degraded: bool
    signed_line: bytes
    """The audit line WIPE, the last that this recorder signed."""
    overwritten_bytes: int

    def certificate(self) -> str:
        when = datetime.fromtimestamp(self.utc_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        proof = "not proven: the key lay in a file on flash" if self.degraded else "zeroed and read back as zero"
        lines = [
            "TACET RECORDER WIPED",
            f"Device: {self.device_id}",
            f"Fingerprint: {self.fingerprint.hex()}",
            f"Time: {when}",
            f"Calls destroyed: {self.calls}",
            f"Root key: {proof}",
            f"Overwritten: {self.overwritten_bytes} bytes",
            f"Signed before: {self.signed_line.decode('ascii')}",
            "",
            "Wiped by: ______________________    Seen by: ______________________    Date: ____________",
        ]
        return "\r\n".join(lines) + "\r\n"


def wipe(vault: Vault, disk: Disk, memory: ErasableMemory, device_id: str) -> Wiped:
    """Raises WipeRefused, WipeIncomplete, VaultError, OSError. After the first zeroed slot there is no way back."""
    if vault.device_id != device_id:
        raise WipeRefused(f"This recorder is {vault.device_id}, not {device_id}; nothing was destroyed.")
    held = sum(call.held for call in vault.calls())
    if held:
        raise WipeRefused(f"{held} calls are held; export and release them by an order first. Nothing was destroyed.")
    calls, utc_ms, fingerprint = len(vault.calls()), vault.now_utc_ms(), vault.fingerprint
    vault.log("WIPE", {"calls": calls, "kind": memory.kind})
    *_, signed_line = vault.audit_lines()
    for slot in SLOTS:
        memory.zero_slot(slot)
    if any(memory.read()):
        raise WipeIncomplete("The erasable memory does not read back as zero; destroy its board.")
    overwritten = sum(overwrite(disk, name) for name in disk.names() if name != MEMORY_FILE)
    degraded = memory.kind == "file"
    return Wiped(device_id, fingerprint, utc_ms, calls, degraded, signed_line, overwritten)


def overwrite(disk: Disk, name: str) -> int:
    """Zeros, synced. Defence in depth: flash keeps old copies, the destroyed key is what counts."""
    size = disk.size(name)
    for start in range(0, size, CHUNK_BYTES):
        disk.write(name, start, bytes(min(CHUNK_BYTES, size - start)))
    disk.sync(name)
    return size


def main(arguments: list[str] | None = None, ask: Callable[[str], str] = input) -> int:
    parser = argparse.ArgumentParser(prog="boot.wipe", description="destroy everything on this recorder")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--device", required=True, help="the device id on the label")
    parser.add_argument("--certificate", type=Path, required=True, help="folder that the certificate is written to")
    options = parser.parse_args(arguments)
    if ask(f"Everything on {options.device} will be destroyed. Type the device id again: ").strip() != options.device:
        print("wipe: the device id was not repeated; nothing was destroyed.", file=sys.stderr)
        return 1
    try:
        machine = parse_machine(options.config.read_text(encoding="utf-8"))
        state = Path(machine.of("appliance", "state"))
        disk = DirectoryDisk(state, exclusive=True)
        memory = open_memory(machine, state)
        rtc = SystemRtc(machine.of("appliance", "rtc"))
        parts = VaultParts(disk, memory, MachineClock(), rtc, os.urandom, FlacEncoder())
        wiped = wipe(Vault.open(parts, simulation=False), disk, memory, options.device)
        write_certificate(options.certificate / f"WIPED-{options.device}.txt", wiped.certificate())
    except (WipeRefused, WipeIncomplete, VaultError, ConfigError) as error:
        print(f"wipe: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        busy = error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
        words = "the recorder is running; stop it first" if busy else (error.strerror or "a device failed")
        print(f"wipe: {words}.", file=sys.stderr)
        return 1
    print(wiped.certificate())
    return 0


def open_memory(machine: Machine, state: Path) -> ErasableMemory:
    kind = machine.of("appliance", "memory")
    if kind == "file":
        return FileMemory(state / MEMORY_FILE)
    return NvmemMemory(machine.of("appliance", "memory_name"), kind)


def write_certificate(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="ascii", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    sys.exit(main())
