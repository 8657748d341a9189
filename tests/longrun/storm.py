"""Storms on a real file system: a recorder process dies at random moments, again and again, on one card.

The child records and opts out on a real directory with the real ciphers, and says on a pipe what was acknowledged; the
parent kills it, boots the vault on what is there, and compares. The page cache survives a SIGKILL; on a ``LossyCard``
the power fails first, and what was not synced is gone.

    python -m tests.longrun.storm DIRECTORY SEED [careless]     (the child; careless: it syncs nothing)
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from firmware.policy.records import AudioCodec, Direction, LedgerRow, Outcome
from firmware.store.errors import VaultError
from firmware.store.vault import Vault, VaultParts
from hw.clock import MachineClock
from hw.disk import DirectoryDisk
from hw.nvmem import FileMemory
from hw.sim.clock import SimClock, SimRtc
from tests.longrun.power import LossyCard
from tests.longrun.real import charter_of_real_keys
from tests.longrun.world import START_UTC_MS, TINY, NoEncoder, meta_of

GEOMETRY = replace(TINY, ring_blocks=2048, reserve_blocks=128, hold_blocks=64)
SAMPLES = 800


@dataclass
class Storm:
    kills: int = 0
    acknowledged: int = 0
    frames: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    violations: list[str] = field(default_factory=list)


def parts_in(directory: Path, *, create: bool = False, disk_type: type[DirectoryDisk] = DirectoryDisk) -> VaultParts:
    memory = FileMemory(directory / "memory", create=create)
    disk = disk_type(directory / "card", exclusive=True)
    rtc = SimRtc(SimClock(START_UTC_MS))
    return VaultParts(disk, memory, MachineClock(), rtc, os.urandom, NoEncoder())


def provision(directory: Path) -> None:
    (directory / "card").mkdir(exist_ok=True)
    parts = parts_in(directory, create=True)
    Vault.provision(parts, charter_of_real_keys(), GEOMETRY)
    close(parts)


def close(parts: VaultParts) -> None:
    assert isinstance(parts.disk, DirectoryDisk)
    parts.disk.close()


def record_for_ever(directory: Path, seed: str, disk_type: type[DirectoryDisk]) -> None:
    """The child: one line on stdout for each acknowledgement, as soon as it was made."""
    rng = random.Random(seed)
    vault = Vault.open(parts_in(directory, disk_type=disk_type), simulation=True)
    while True:
        for line in range(2):
            vault.latch_opt_out(line, False)
        now = vault.now_utc_ms()
        call_id = vault.open_call(0, now, AudioCodec.PCMU, 1, 8000, meta_of(now, now))
        for number in range(rng.randrange(1, 5)):
            vault.append_audio(call_id, number * SAMPLES, SAMPLES, rng.randbytes(SAMPLES))
            vault.flush(call_id)
            print(f"frame {call_id.hex()} {number + 1}", flush=True)
        if rng.random() < 0.3:
            vault.opt_out((call_id,), 0)
            print(f"gone {call_id.hex()}", flush=True)
            continue
        row = LedgerRow(0, Outcome.RECORDED, Direction.INBOUND, "ring_then_loop", now, now, True, call_id)
        vault.close_call(call_id, meta_of(now, now), row)
        print(f"closed {call_id.hex()}", flush=True)
        vault.tick()


def storm(directory: Path, kills: int, seed: int, lossy: LossyCard | None = None, *, careless: bool = False) -> Storm:
    """``kills`` rounds on one card; every acknowledgement of every round must hold after each. ``lossy``: the power
    fails at ``directory / "card"``. Ends at the first violation."""
    provision(directory)
    rng = random.Random(seed)
    found = Storm()
    while found.kills < kills and not found.violations:
        words = [str(directory), f"{seed}/{found.kills}", *(["careless"] if careless else [])]
        _round(words, rng, found, lossy)
        if lossy is not None:
            lossy.restore()
        _compare(directory, found)
    return found


def _round(words: Sequence[str], rng: random.Random, found: Storm, lossy: LossyCard | None) -> None:
    command = [sys.executable, "-m", "tests.longrun.storm", *words]
    errors = None if lossy is None else subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 40)):
            line = child.stdout.readline()
            assert line, "the child ended by itself"
            _note(found, line)
        if lossy is not None:
            lossy.cut()
        child.send_signal(signal.SIGKILL)
        found.kills += 1
        for line in child.stdout:
            _note(found, line)


def _note(found: Storm, line: str) -> None:
    word, call, *number = line.split()
    found.acknowledged += 1
    if word == "frame":
        found.frames[call] = int(number[0])
    elif word == "closed":
        found.closed.add(call)
    else:
        found.gone.add(call)
        found.frames.pop(call, None)


def _compare(directory: Path, found: Storm) -> None:
    parts = parts_in(directory)
    try:
        vault = Vault.open(parts, simulation=True)
    except VaultError as error:
        close(parts)
        found.violations.append(f"the boot failed: {error}")
        return
    there = {entry.call_id.hex() for entry in vault.calls()}
    found.violations += [f"a destroyed call came back: {call}" for call in found.gone & there]
    found.violations += [f"a closed call is missing: {call}" for call in found.closed - there]
    for call, frames in found.frames.items():
        if call in there:
            read = sum(1 for _ in vault.sealed(bytes.fromhex(call)).frames())
            if read < frames:
                found.violations.append(f"{read} of {frames} acknowledged frames of {call}")
        else:
            # The process may have been killed after an opt-out was durable and before it could say so.
            found.gone.add(call)
    for call in found.gone:
        found.frames.pop(call, None)
    close(parts)


class CarelessDisk(DirectoryDisk):
    """Believes the page cache: what a test of lost data has to find."""

    def sync(self, name: str) -> None:
        self.size(name)

    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.write(name, offset, data)


def main(arguments: Sequence[str]) -> None:
    directory, seed, *careless = arguments
    record_for_ever(Path(directory), seed, CarelessDisk if careless else DirectoryDisk)


if __name__ == "__main__":
    main(sys.argv[1:])
