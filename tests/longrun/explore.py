"""The deterministic crash explorer: every operation of a workload, cut at every point, examined by the production code.

For each operation the trace of writes, syncs and slot writes is turned into crash images (``images``); each is booted
and judged (``examine``), except where the memo proves that it cannot differ from one that was (``memo``). From each
boot that was really run, further cuts *in the recovery* are sampled (nested crash), and some are examined deeper: a
second boot, life afterwards.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from hw.sim.disk import Image
from tests.longrun.examine import Calm, Examined, Examiner
from tests.longrun.images import Crash, Trace
from tests.longrun.memo import Looks, Memo, sectors_by_file
from tests.longrun.model import Promise
from tests.longrun.world import World


@dataclass(frozen=True)
class Effort:
    """How hard to look. ``nested_every``: a recovery that was run is itself cut at one random point, and again in the
    recovery of that; ``deep_every``: second boots and life after them."""

    subsets_max: int = 64
    nested_every: int = 6
    deep_every: int = 24


@dataclass
class Tally:
    states: int = 0
    """Distinct crash images judged, nested ones included."""
    boots: int = 0
    """Recoveries really run; the others were proved equal to one of these."""
    nested: int = 0
    deep: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def per_s(self) -> float:
        return self.states / self.cpu_s if self.cpu_s else 0.0


class Explorer:
    """Wraps a world; call ``explore`` after each operation."""

    def __init__(self, world: World, effort: Effort, seed: str, tally: Tally | None = None) -> None:
        self.world = world
        self.effort = effort
        self.tally = tally or Tally()
        self._rng = random.Random(seed)
        self._examiner = Examiner(world)
        self._operation = 0
        self._run_count = 0
        self._rebase()

    def _rebase(self) -> None:
        self.world.forget_history()
        self._base = self.world.disk.freeze()
        self._memory = self.world.memory.content
        self._promise = self.world.promise

    def explore(self, name: str) -> None:
        """Judge all images of what happened since the last call. Unsynced sectors at its end stay in the trace."""
        started = time.process_time()
        self._operation += 1
        self.tally.operations[name] += 1
        trace = Trace(self._base, self._memory, self.world.disk.history, self._promise)
        crashes = list(trace.crashes(self._rng, self.effort.subsets_max))
        sectors = sectors_by_file(trace.keys)
        self._examiner.calm = Calm(sectors)
        memo = Memo()
        for crash in crashes:
            padded = _padded(crash, len(trace.keys))
            self.tally.states += 1
            if not memo.known(padded):
                self._run(name, trace, padded, memo, sectors)
        if not self.world.disk.unsynced():
            self._rebase()
        self.tally.cpu_s += time.process_time() - started

    def skip(self) -> None:
        """What happened since the last call is not cut: it repeats what was."""
        assert not self.world.disk.unsynced()
        self._rebase()

    # --------------------------------------------------------------------------------------------------- in detail

    def _run(self, name: str, trace: Trace, crash: Crash, memo: Memo, sectors: dict[str, dict[int, int]]) -> None:
        promise = crash.acked
        assert isinstance(promise, Promise)
        looks = Looks(sectors)
        salt = f"recovery-{self._operation}"
        image = trace.image(crash)
        found = self._examiner.examine(image, crash.memory, promise, self.world.registry, salt, looks)
        memo.add(crash, looks.order)
        self.tally.boots += 1
        self._report(name, crash, found)
        self._run_count += 1
        if self._run_count % self.effort.nested_every == 0:
            self._nest(name, image, crash.memory, found, promise, 1, salt)
        if found.vault is not None and self._run_count % self.effort.deep_every == 1:
            self.tally.deep += 1
            self._examiner.deepen(found, promise, salt)
            self._report(name + " (deep)", crash, found)

    def _nest(
        self, name: str, image: Image, memory: bytes, found: Examined, promise: Promise, depth: int, salt: str
    ) -> None:
        """Cuts in the recovery itself, and (``depth`` 2) in the recovery of that."""
        if not found.disk.history or depth > 2:
            return
        trace = Trace(image, memory, found.disk.history, promise)
        crash = _padded(trace.sample(self._rng), len(trace.keys))
        inner, deeper = trace.image(crash), f"{salt}/{depth}"
        again = self._examiner.examine(inner, crash.memory, promise, found.registry, deeper)
        self.tally.states += 1
        self.tally.boots += 1
        self.tally.nested += 1
        self._report(f"{name} (nested)", crash, again)
        self._nest(name, inner, crash.memory, again, promise, depth + 1, deeper)

    def _report(self, name: str, crash: Crash, found: Examined) -> None:
        for text in found.violations:
            self.tally.violations.append(f"{name}, event {crash.at}, {self.world.seed}: {text}")
        found.violations = []


def _padded(crash: Crash, length: int) -> Crash:
    missing = length - len(crash.versions)
    return crash if not missing else Crash(crash.versions + (0,) * missing, crash.memory, crash.acked, crash.at)
