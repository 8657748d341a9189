"""CPU of the VoIP line under load: N concurrent G.711 calls both ways through AF_PACKET, every packet read and placed.

    python -m tests.bench.voip_bench [--calls 50] [--seconds 60] [--trunk-only] [--ear] [--beside-rtpengine]

Needs root (two veth pairs). The generator runs on one core, the recorder on another. Prints a JSON object each for

* the trunk alone: netport, Trunk, and the pieces with their interleaved payload, checked to be complete (what a program
  does that writes captures), and
* the whole recorder: the production loop, gate and look-back, frames sealed, signed and synced to a disk by the
  writer's thread; without the ear, unless ``--ear`` is given (it listens for keys in the sound, firmware/DECISIONS.md).

Goals: at most 4 CPU-seconds per call-hour where rtpengine writing bare captures costs 4.1 to 4.5, and 0 packets lost by
us. Machines differ by more than that, and one machine from hour to hour: ``--beside-rtpengine`` measures it in the same
run, and the goal is then 0.89 of what it costs. Counted is the recorder's own CPU time (user and system, all threads)
from the first packet to the last.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from firmware.dsp.ear import Ear
from firmware.loop import Loop
from firmware.loop import Settings as LoopSettings
from firmware.policy.keyed import LineSettings, NoticeSource
from firmware.store.vault import Vault, VaultParts
from firmware.store.writer import Writer
from firmware.units import US_PER_S
from firmware.voip.output import CallEnded, MediaPiece, VoipOutput
from firmware.voip.settings import Limits
from firmware.voip.trunk import Trunk
from firmware.voipear import CallEar
from firmware.voipfeed import BURST_US, MakeEar, VoipWiring
from firmware.wiring import NoPins
from hw.clock import MachineClock
from hw.disk import DirectoryDisk
from hw.flac import FlacEncoder
from hw.netport import NetPort
from hw.nvmem import FileMemory
from hw.sim.clock import SimClock, SimRtc
from tests.bench.recorder_under_load import DeafEar, NoWatchdog, provisioned
from tests.bench.rtpengine_load import installed, measure_rtpengine
from tests.voip.wire import settings

GOAL_CPU_S = 4.0
GOAL_OF_RTPENGINE = 0.89
"""4 / 4.5."""
STEP_S = 0.05
LAST_PACKETS_S = 0.5
"""After the generator is gone: two bursts, and what the kernel still hands over."""
PAIRS = (("tacbt0", "tacbt1"), ("tacbi0", "tacbi1"))
"""(ours, the generator's) for the trunk and the inside."""


@dataclass
class Tally:
    samples: int = 0
    lost: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)

    def take(self, outputs: list[VoipOutput]) -> None:
        for output in outputs:
            if isinstance(output, MediaPiece):
                self.samples += output.samples if output.payload is not None else 0
                self.lost += output.lost_caller + output.lost_agent
                if output.gap is not None:
                    self.gaps[output.gap.word] += output.samples
            elif isinstance(output, CallEnded):
                self.rows[output.outcome.value] += 1


def listen(port: NetPort, trunk: Trunk, generator: "subprocess.Popen[str]", tally: Tally) -> tuple[int, float]:
    """(packets, CPU seconds) until the generator is gone and the ring is empty."""
    packets = 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    while True:
        gone = generator.poll() is not None
        time.sleep(BURST_US / US_PER_S)
        batch = port.drain(1 << 20)
        packets += len(batch)
        tally.take(trunk.hear(batch))
        if gone and not len(batch):
            break
    after = resource.getrusage(resource.RUSAGE_SELF)
    return packets, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Recording:
    """The production loop with one VoIP line, on a vault of its own in ``state``."""

    def __init__(self, port: NetPort, trunk: Trunk, state: Path, ear: bool) -> None:
        clock = MachineClock()
        rtc = SimRtc(SimClock(round(time.time() * 1000)))
        memory = FileMemory(state / "memory", create=True)
        parts = VaultParts(DirectoryDisk(state), memory, clock, rtc, os.urandom, FlacEncoder())
        provisioned(parts, 1)
        self._vault = Vault.open(parts, simulation=True)
        self._writer = Writer(self._vault, threaded=True, lines=64)
        line = LineSettings(
            look_back_us=2 * US_PER_S, notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True, voip=True
        )
        make_ear: MakeEar = (lambda: CallEar(Ear(2))) if ear else DeafEar  # type: ignore[assignment]
        wiring = VoipWiring(port, trunk, (0,), make_ear)
        self._loop = Loop(
            LoopSettings((line,)), clock, [], NoPins(), self._writer, NoWatchdog(), self._writer.utc_ms, print, wiring
        )

    def step(self) -> None:
        self._loop.step()

    def close(self) -> int:
        """Calls in the vault, once they have waited out the look-back."""
        end = time.monotonic() + 20
        while self._loop.finishing and time.monotonic() < end:
            self._loop.step()
            time.sleep(STEP_S)
        self._writer.close()
        return len(self._vault.calls())


def record(recording: Recording, generator: "subprocess.Popen[str]") -> float:
    """CPU seconds until the generator is gone and all it sent has been read."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    last_s = LAST_PACKETS_S
    while generator.poll() is None or last_s > 0:
        began = time.monotonic()
        recording.step()
        last_s -= STEP_S if generator.poll() is not None else 0
        time.sleep(max(0.0, STEP_S - (time.monotonic() - began)))
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def generate(calls: int, seconds: float, core: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.bench.rtp_load", "--calls", str(calls), "--seconds", str(seconds)]
    command += ["--trunk", PAIRS[0][1], "--inside", PAIRS[1][1]]
    return subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.PIPE, text=True)


def measure_whole(calls: int, seconds: float, ear: bool) -> dict[str, object]:
    cores = sorted(os.sched_getaffinity(0))
    trunk = Trunk(settings(limits=Limits(dialogs=4 * calls, media_flows=8 * calls)))
    with tempfile.TemporaryDirectory() as folder, closing(NetPort(PAIRS[0][0], PAIRS[1][0])) as port:
        recording = Recording(port, trunk, Path(folder), ear)
        with generate(calls, seconds, cores[0]) as generator:
            os.sched_setaffinity(0, {cores[-1]})
            cpu_s = record(recording, generator)
            os.sched_setaffinity(0, cores)
        kept, dropped = recording.close(), port.dropped()
    return {
        "whole recorder": "with the ear" if ear else "without the ear",
        "calls": calls,
        "seconds": seconds,
        "calls_in_the_vault": kept,
        "dropped_by_us": dropped,
        "cpu_s": round(cpu_s, 3),
        "cpu_s_per_call_hour": round(cpu_s / (calls * seconds / 3600), 3),
        "goal_cpu_s_per_call_hour": GOAL_CPU_S,
    }


def measure(calls: int, seconds: float) -> dict[str, object]:
    cores = sorted(os.sched_getaffinity(0))
    trunk = Trunk(settings(limits=Limits(dialogs=4 * calls, media_flows=8 * calls)))
    port = NetPort(PAIRS[0][0], PAIRS[1][0])
    tally = Tally()
    with generate(calls, seconds, cores[0]) as generator:
        os.sched_setaffinity(0, {cores[-1]})
        packets, cpu_s = listen(port, trunk, generator, tally)
        load = json.loads(generator.stdout.read()) if generator.stdout is not None else {}
        os.sched_setaffinity(0, cores)
    tally.take(trunk.close(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000))
    call_hours = calls * seconds / 3600
    result = {
        "trunk alone": "packets to pieces",
        "calls": calls,
        "seconds": seconds,
        **load,
        "packets_read": packets,
        "dropped_by_us": port.dropped(),
        "samples_lost_one_side": tally.lost,
        "gap_samples": dict(tally.gaps),
        "samples_kept": tally.samples,
        "rows": dict(tally.rows),
        "cpu_s": round(cpu_s, 3),
        "cpu_s_per_call_hour": round(cpu_s / call_hours, 3),
        "goal_cpu_s_per_call_hour": GOAL_CPU_S,
    }
    port.close()
    return result


def interfaces(verb: str) -> None:
    for ours, theirs in PAIRS:
        if verb == "add":
            subprocess.run(["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs], check=True)
            for name in (ours, theirs):
                subprocess.run(["ip", "link", "set", name, "up"], check=True)
        else:
            subprocess.run(["ip", "link", "del", ours], check=False)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="CPU of the VoIP line under load")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--trunk-only", action="store_true", help="leave out the whole recorder")
    parser.add_argument("--ear", action="store_true", help="the whole recorder listens for keys in the sound, too")
    parser.add_argument("--beside-rtpengine", action="store_true", help="measure rtpengine, too, and compare")
    wanted = parser.parse_args(argv)
    if wanted.beside_rtpengine and not installed():
        parser.error("rtpengine is not installed here; on Debian it is the package rtpengine-daemon.")
    rtpengine_s = yardstick(wanted.calls, wanted.seconds) if wanted.beside_rtpengine else None
    interfaces("add")
    try:
        results = [measure(wanted.calls, wanted.seconds)]
        if not wanted.trunk_only:
            results.append(measure_whole(wanted.calls, wanted.seconds, wanted.ear))
    finally:
        interfaces("del")
    for result in results:
        show(result, rtpengine_s)


def yardstick(calls: int, seconds: float) -> float:
    """CPU seconds of rtpengine per call-hour."""
    cores = sorted(os.sched_getaffinity(0))
    cpu_s_per_call_hour = measure_rtpengine(calls, seconds, cores[0], cores[-1]) / (calls * seconds / 3600)
    print(json.dumps({"rtpengine": "bare captures", "cpu_s_per_call_hour": round(cpu_s_per_call_hour, 3)}, indent=1))
    return cpu_s_per_call_hour


def show(result: dict[str, object], rtpengine_s: float | None) -> None:
    """``rtpengine_s``: its CPU seconds per call-hour in the same run."""
    cpu_s = float(str(result["cpu_s_per_call_hour"]))
    cheap = cpu_s <= GOAL_CPU_S
    if rtpengine_s is not None:
        result |= {"of_rtpengine": round(cpu_s / rtpengine_s, 2), "goal_of_rtpengine": GOAL_OF_RTPENGINE}
        cheap = cpu_s <= GOAL_OF_RTPENGINE * rtpengine_s
    print(json.dumps(result, indent=1))
    print("goals", "met" if result["dropped_by_us"] == 0 and cheap else "MISSED")


if __name__ == "__main__":
    main()
