"""CPU of the VoIP line under load: N concurrent G.711 calls both ways through AF_PACKET, every packet read and placed.

    python -m tests.bench.voip_bench [--calls 50] [--seconds 60]

Needs root (two veth pairs). The generator runs on one core, the recorder's line on another. Prints one JSON object;
goals: at most 4 CPU-seconds per call-hour, 0 packets lost by us. Counted is the recorder's own CPU time (user and
system) from the first packet to the last: netport, Trunk, and the pieces with their interleaved payload, checked to be
complete. Sealing and storing are the store's benchmark.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from firmware.policy.records import GapReason
from firmware.voip.output import CallEnded, MediaPiece, VoipOutput
from firmware.voip.settings import Limits
from firmware.voip.trunk import Trunk
from hw.netport import NetPort
from tests.voip.wire import settings

GOAL_CPU_S = 4.0
STEP_S = 0.05
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
        time.sleep(STEP_S)
        batch = port.drain(1 << 20)
        packets += len(batch)
        tally.take(trunk.hear_all(batch))
        if gone and not batch:
            break
    after = resource.getrusage(resource.RUSAGE_SELF)
    return packets, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(calls: int, seconds: float) -> dict[str, object]:
    cores = sorted(os.sched_getaffinity(0))
    trunk = Trunk(settings(limits=Limits(dialogs=4 * calls, media_flows=8 * calls)))
    port = NetPort(PAIRS[0][0], PAIRS[1][0])
    tally = Tally()
    command = [sys.executable, "-m", "tests.bench.rtp_load", "--calls", str(calls), "--seconds", str(seconds)]
    command += ["--trunk", PAIRS[0][1], "--inside", PAIRS[1][1]]
    with subprocess.Popen(["taskset", "-c", str(cores[0]), *command], stdout=subprocess.PIPE, text=True) as generator:
        os.sched_setaffinity(0, {cores[-1]})
        packets, cpu_s = listen(port, trunk, generator, tally)
        load = json.loads(generator.stdout.read()) if generator.stdout is not None else {}
    tally.take(trunk.close(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000))
    call_hours = calls * seconds / 3600
    result = {
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
    wanted = parser.parse_args(argv)
    interfaces("add")
    try:
        result = measure(wanted.calls, wanted.seconds)
    finally:
        interfaces("del")
    print(json.dumps(result, indent=1))
    good = result["dropped_by_us"] == 0 and float(str(result["cpu_s_per_call_hour"])) <= GOAL_CPU_S
    gaps = result["gap_samples"]
    assert isinstance(gaps, dict)
    print("goals", "met" if good else "MISSED", f"({sum(gaps.values())} gap samples: {GapReason.LOST_SAMPLES.word})")


if __name__ == "__main__":
    main()
