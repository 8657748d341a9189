"""SIGKILL storms on a real file system: a recorder process is killed at random moments, again and again, on one card.

The child records, opts out and expires on a real directory with the real ciphers, and says on a pipe what was
acknowledged; the parent kills it, boots the vault on what is there, and compares. The page cache survives a SIGKILL, so
this shows the real adapter and the process's death, not the loss of unsynced data: that is the explorer's part.

    python -m tests.longrun.storm DIRECTORY SEED     (the child)
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
from firmware.store.vault import Vault, VaultParts
from hw.clock import MachineClock
from hw.disk import DirectoryDisk
from hw.nvmem import FileMemory
from hw.sim.clock import SimClock, SimRtc
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


def parts_in(directory: Path, *, create: bool = False) -> VaultParts:
    memory = FileMemory(directory / "memory", create=create)
    disk = DirectoryDisk(directory / "card", exclusive=True)
    rtc = SimRtc(SimClock(START_UTC_MS))
    return VaultParts(disk, memory, MachineClock(), rtc, os.urandom, NoEncoder())


def provision(directory: Path) -> None:
    (directory / "card").mkdir()
    parts = parts_in(directory, create=True)
    Vault.provision(parts, charter_of_real_keys(), GEOMETRY)
    close(parts)


def close(parts: VaultParts) -> None:
    assert isinstance(parts.disk, DirectoryDisk)
    parts.disk.close()


def record_for_ever(directory: Path, seed: str) -> None:
    """The child: one line on stdout for each acknowledgement, as soon as it was made."""
    rng = random.Random(seed)
    vault = Vault.open(parts_in(directory), simulation=True)
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


def storm(directory: Path, kills: int, seed: int) -> Storm:
    """``kills`` rounds on one card; every acknowledgement of every round must hold after each."""
    provision(directory)
    rng = random.Random(seed)
    found = Storm()
    for number in range(kills):
        _round(directory, f"{seed}/{number}", rng, found)
        _compare(directory, found)
    return found


def _round(directory: Path, seed: str, rng: random.Random, found: Storm) -> None:
    command = [sys.executable, "-m", "tests.longrun.storm", str(directory), seed]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(rng.randrange(1, 40)):
            line = child.stdout.readline()
            assert line, "the child ended by itself"
            _note(found, line)
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
    vault = Vault.open(parts, simulation=True)
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


def main(arguments: Sequence[str]) -> None:
    record_for_ever(Path(arguments[0]), arguments[1])


if __name__ == "__main__":
    main(sys.argv[1:])
