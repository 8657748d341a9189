"""The store's figures: opt-out from press to lamp, boot of a large ring, write factor.

`python -m tests.bench store_bench`. Printed, never asserted: times belong to the machine they were measured on. The
estimate for a Pi with an SD card is computed: the CPU time measured here on a core eight times slower (a Pi 3 beside a
server, assumed), each durable write and the bytes at a slow card's rate, and two slot writes at 100 kHz.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from firmware.store.vault import Vault, VaultParts
from hw.disk import DirectoryDisk
from hw.flac import FlacEncoder
from hw.sim.clock import SimClock, SimRtc
from hw.sim.memory import SimMemory
from tests.store.world import START_UTC_MS, charter, meta, row

CALLS_IN_BAG = 256
OPT_OUTS = 100
SLOWER = 8
"""A Pi 3's core against this one's: assumed."""
SD_SYNC_MS = 20
SD_BYTES_PER_MS = 10_000
I2C_MS = 12
CALLS_KEPT = 31_000
"""Two months of a busy box."""
MIB = 1 << 20
RING_BYTES = 64 << 30


class CountingDisk:
    """Passes everything on and counts what is written where, and how often the card has to sync."""

    def __init__(self, disk: DirectoryDisk) -> None:
        self._disk = disk
        self.written: dict[str, int] = {}
        self.syncs = 0
        self.names = disk.names
        self.size = disk.size
        self.create = disk.create
        self.read = disk.read

    def write(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.written[name] = self.written.get(name, 0) + len(data)
        self._disk.write(name, offset, data)

    def sync(self, name: str) -> None:
        self.syncs += 1
        self._disk.sync(name)

    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.written[name] = self.written.get(name, 0) + len(data)
        self.syncs += 1
        self._disk.write_durable(name, offset, data)


class SparseDisk(DirectoryDisk):
    """A large card without its zeros: files with holes read as zeros."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._root = root

    def create(self, name: str, size_bytes: int) -> None:
        with (self._root / name).open("wb") as file:
            file.truncate(size_bytes)


class Bench:
    def __init__(self, root: Path, ring_bytes: int, lines: int) -> None:
        self.disk = CountingDisk(SparseDisk(root))
        self.clock = SimClock(START_UTC_MS)
        self.parts = VaultParts(
            self.disk, SimMemory(kind="at24"), self.clock, SimRtc(self.clock), os.urandom, FlacEncoder()
        )
        Vault.provision(self.parts, charter(ring_bytes=ring_bytes, hold_bytes=16 * MIB, lines=lines))
        self.lines = lines
        self.vault = Vault.open(self.parts, simulation=True)

    def call(self, line: int = 0, blocks: int = 3) -> bytes:
        call_id = self.open(line)
        for number in range(blocks):
            self.vault.append_audio(call_id, number * 800, 800, speech(number))
        self.close(call_id, line)
        return call_id

    def open(self, line: int) -> bytes:
        now = self.vault.now_utc_ms()
        return self.vault.open_call(line, now, meta=meta(opened_utc_ms=now))

    def close(self, call_id: bytes, line: int) -> None:
        now = self.vault.now_utc_ms()
        self.vault.close_call(call_id, meta(opened_utc_ms=now), row(line, now, now))


_NOISE = np.random.default_rng(7).normal(0, 600, 80_000).astype(np.int16)


def speech(number: int) -> np.ndarray:
    """Noise at speech level: what FLAC makes of it is longer than of speech."""
    at = number * 800 % 79_200
    return _NOISE[at : at + 800].reshape(1, 800)


def opt_out_ms(root: Path) -> tuple[list[float], list[float], float]:
    """Press to erasure point, with 256 calls in the bag; all of production's code and a real file system: passed, CPU
    time, and what a slow SD card and I2C would take, in ms."""
    bench = Bench(root, 1 << 30, 2)
    for _ in range(CALLS_IN_BAG - 1):
        bench.call()
    times: list[float] = []
    worked: list[float] = []
    card_ms = 0.0
    for _ in range(OPT_OUTS):
        running = bench.open(0)
        for number in range(40):
            bench.vault.append_audio(running, number * 800, 800, speech(number))
        syncs, written = bench.disk.syncs, sum(bench.disk.written.values())
        start, cpu = time.perf_counter(), time.process_time()
        bench.vault.opt_out([running], 0)
        times.append((time.perf_counter() - start) * 1000)
        worked.append((time.process_time() - cpu) * 1000)
        syncs, written = bench.disk.syncs - syncs, sum(bench.disk.written.values()) - written
        card_ms = max(card_ms, syncs * SD_SYNC_MS + written / SD_BYTES_PER_MS + I2C_MS)
        bench.vault.latch_opt_out(0, False)
        bench.vault.overwrite_all()
    bag = max(bench.vault._core.bags.values(), key=lambda bag: bag.calls)
    print(f"  bag of {bag.calls} calls, {bag.end / 1024:.0f} KiB: {syncs} durable writes, {written / 1024:.0f} KiB")
    return sorted(times), sorted(worked), card_ms


def boot_s(root: Path) -> tuple[float, float, float]:
    """(boot, of it the scan, CPU time for each call kept) of a 64 GB ring with calls of four days, from a cold page
    cache where we may drop it."""
    bench = Bench(root, RING_BYTES, 2)
    for _ in range(4):
        for _ in range(500):
            bench.call(blocks=1)
        bench.clock.advance_ms(86_400_000)
        bench.vault.tick()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        print("  page cache dropped")
    except OSError:
        print("  page cache warm: no right to drop it")
    start, cpu = time.perf_counter(), time.process_time()
    vault = Vault.open(bench.parts, simulation=True)
    whole, worked = time.perf_counter() - start, time.process_time() - cpu
    ring = vault._core.ring
    start = time.perf_counter()
    ring.scan(vault._core.table.ring_head, lambda header: True)
    return whole, time.perf_counter() - start, worked / len(vault._core.calls)


def write_factor(root: Path) -> tuple[float, float]:
    """(ring bytes, all bytes) per payload byte of 8 lines that record at once for ten minutes."""
    bench = Bench(root, 1 << 30, 8)
    calls = [bench.open(line) for line in range(8)]
    encoder, payload = FlacEncoder(), 0
    before = dict(bench.disk.written)
    pending: list[np.ndarray] = []
    for number in range(6000):
        pending.append(speech(number))
        for call_id in calls:
            bench.vault.append_audio(call_id, number * 800, 800, pending[-1])
        if len(pending) == 18:
            payload += 8 * len(encoder.encode(np.concatenate(pending, axis=1), 8000))
            pending = []
        if number % 10 == 0:
            bench.clock.advance_ms(1000)
            bench.vault.tick()
    written = {name: size - before.get(name, 0) for name, size in bench.disk.written.items()}
    return written["ring"] / payload, sum(written.values()) / payload


def main(argv: list[str] | None = None) -> None:
    """Takes no options; ``argv`` is there because every table is called alike."""
    with tempfile.TemporaryDirectory() as folder:
        print("opt-out, press to lamp")
        times, worked, card_ms = opt_out_ms(_new(folder, "opt-out"))
        print(f"  median {median(times):.1f} ms, p99 {p99(times):.1f} ms here, CPU {p99(worked):.1f} ms (goal 500)")
        print(
            f"  on a core {SLOWER} times slower, with an SD card of {SD_SYNC_MS} ms a sync and 10 MB/s, and I2C: about "
            f"{p99(worked) * SLOWER + card_ms:.0f} ms (computed)"
        )
        print("boot of a 64 GB ring")
        whole, scan, each = boot_s(_new(folder, "boot"))
        print(f"  2,000 calls: {whole:.2f} s, scan of the reserve {scan:.2f} s (goal 10)")
        print(f"  {CALLS_KEPT:,} calls: about {each * CALLS_KEPT:.1f} s of CPU (computed)")
        print("group commit, 8 lines")
        ring, everything = write_factor(_new(folder, "factor"))
        print(f"  ring {ring:.3f}, with bags, tables and log {everything:.3f} bytes a payload byte (goal 1.1)")


def median(values: list[float]) -> float:
    return values[len(values) // 2]


def p99(values: list[float]) -> float:
    return values[int(len(values) * 0.99) - 1]


def _new(folder: str, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir()
    return path


if __name__ == "__main__":
    main()
