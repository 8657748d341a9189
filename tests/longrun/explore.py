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

from firmware.units import MS_PER_DAY
from hw.sim.disk import Image, SimDisk, Write
from tests.longrun.examine import MIRRORED, Calm, Examined, Examiner, Opened, judge, spoil
from tests.longrun.images import Crash, Trace
from tests.longrun.memo import Looks, Memo, Rest, SeenBefore, Touched, root_of
from tests.longrun.model import Promise
from tests.longrun.world import NUMBER, PCM_MARK, World, one_fate_each

SPOILT_PER_OPERATION = 5
"""Of the twelve copies; five and twelve share no factor, so that each operation's turn comes to each copy."""


@dataclass(frozen=True)
class Effort:
    """How hard to look. ``nested_every``: a recovery that was run is itself cut at one random point, and again in the
    recovery of that; ``deep_every``: second boots and life after them."""

    subsets_max: int = 64
    nested_every: int = 7
    deep_every: int = 34


@dataclass
class Tally:
    states: int = 0
    """Distinct crash images judged, nested ones included."""
    boots: int = 0
    """Recoveries really run; the others were proved equal to one of these."""
    joined: int = 0
    """Recoveries run until they came to a point from which another one had gone on."""
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
        self.moments: list[Moment] = []
        self._secrets_written: list[str] = []
        self._run_count = 0
        self._rebase()

    def _rebase(self) -> None:
        self._secrets_written += readable_secrets(self.world)[:1]
        self.world.forget_history()
        self._base = self.world.disk.freeze()
        self._memory = self.world.memory.content
        self._promise = self.world.promise

    def explore(self, name: str) -> None:
        """Judge all images of what happened since the last call. Unsynced sectors at its end stay in the trace."""
        started = time.process_time()
        self._operation += 1
        self._judge_live(name)
        self.tally.operations[name] += 1
        trace = Trace(self._base, self._memory, self.world.disk.history, self._promise)
        crashes = list(trace.crashes(self._rng, self.effort.subsets_max))
        touched = Touched(trace.keys)
        self._examiner.calm, self._examiner.joined = Calm(touched.files), {}
        memo = Memo()
        for crash in crashes:
            padded = _padded(crash, len(trace.keys))
            self.tally.states += 1
            if not memo.known(root_of(padded), padded):
                self._run(name, trace, padded, memo, touched)
        if not self.world.disk.unsynced():
            if self.world.powered:
                self._spoil(name)
            self._rebase()
        self.tally.cpu_s += time.process_time() - started

    def _judge_live(self, name: str) -> None:
        """At the moment of the acknowledgement (the lamp's), before any reboot."""
        world = self.world
        if not world.powered:
            return
        found = Examined([], world.disk, world.memory, world.registry, world.clock, world.vault, booted=False)
        found.violations += judge(world, found, world.promise)
        self._report(name + " (at rest)", None, found)
        self.moments.append(Moment(world.memory.content, frozenset(world.days), world.now_utc_ms() // MS_PER_DAY))

    def finish(self) -> None:
        """What only a whole history shows: I11, I12, and one fate for each call."""
        world = self.world
        found = [*one_fate_each(world), *self._heal(), *self._secrets_written]
        self.tally.violations += [f"{world.seed}, at the end: {text}" for text in found]

    def _heal(self) -> list[str]:
        """I12: a copy of the memory from some moment opens no call of a day that began later."""
        world = self.world
        bad: list[str] = []
        for moment in dict.fromkeys(self.moments):
            for call_id in Opened(world.registry, moment.memory).calls - moment.known:
                if world.days.get(call_id, moment.day) > moment.day:
                    bad.append("I12 HEAL: an old copy of the erasable memory opens a call of a later day")
        return bad[:3]

    def skip(self) -> None:
        """What happened since the last call is not cut: it repeats what was."""
        assert not self.world.disk.unsynced()
        self._rebase()

    # --------------------------------------------------------------------------------------------------- in detail

    def _run(self, name: str, trace: Trace, crash: Crash, memo: Memo, touched: Touched) -> None:
        promise = crash.acked
        assert isinstance(promise, Promise)
        looks = Looks(touched)
        salt = f"recovery-{self._operation}"
        image, rest = trace.image(crash), Rest(memo, crash, touched, trace)
        try:
            found = self._examiner.examine(image, crash.memory, promise, self.world.registry, salt, looks, rest)
        except SeenBefore:
            self.tally.joined += 1
            memo.add(root_of(crash), crash, rest.ended(looks))
            return
        self.tally.boots += 1
        self._report(name, crash, found)
        if self.effort.deep_every == 1 and found.vault is not None:
            self._deepen(name, crash, found, promise, salt, None)
        memo.add(root_of(crash), crash, rest.ended(looks))
        self._run_count += 1
        if self._run_count % self.effort.nested_every == 0:
            self._nest(name, image, crash.memory, found, promise, 1, salt)
        if found.vault is not None and self._run_count % self.effort.deep_every == 1:
            self._deepen(name, crash, found, promise, salt, self._rng)

    def _deepen(
        self, name: str, crash: Crash, found: Examined, promise: Promise, salt: str, rng: random.Random | None
    ) -> None:
        self.tally.deep += 1
        self._examiner.deepen(found, promise, salt, rng)
        self._report(name + " (deep)", crash, found)

    def _spoil(self, name: str) -> None:
        """I1: the state at rest with one copy of what is there twice spoilt, another one after each operation."""
        world = self.world
        copies = [(stem, mirror) for stem in MIRRORED for mirror in "ab"]
        for number in range(SPOILT_PER_OPERATION):
            stem, mirror = copies[(self._operation * SPOILT_PER_OPERATION + number) % len(copies)]
            disk = SimDisk(world.disk.image())
            spoil(disk, stem, mirror)
            salt = f"spoilt-{self._operation}"
            found = self._examiner.examine(disk.image(), world.memory.content, world.promise, world.registry, salt)
            self.tally.states += 1
            self.tally.boots += 1
            self._report(f"{name} ({stem}.{mirror} spoilt)", None, found)

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

    def _report(self, name: str, crash: Crash | None, found: Examined) -> None:
        at = "" if crash is None else f", event {crash.at}"
        self.tally.violations += [f"{name}{at}, seed {self.world.seed}: {text}" for text in found.violations]
        found.violations = []


@dataclass(frozen=True)
class Moment:
    """The erasable memory as somebody may have copied it, and what was there then."""

    memory: bytes
    known: frozenset[bytes]
    day: int


def readable_secrets(world: World) -> list[str]:
    """I11: no PCM, no number and no key in any byte written since the last look."""
    needles = [PCM_MARK[:20], NUMBER.encode(), NUMBER[1:].encode()]
    needles += [token for token in world.registry.plain_secrets() if len(token) in (24, 32)]
    written = b"".join(event.data for event in world.disk.history if isinstance(event, Write))
    return [f"I11 NO-SECRET-ON-FLASH: {len(needle)} bytes" for needle in needles if needle in written]


def _padded(crash: Crash, length: int) -> Crash:
    missing = length - len(crash.versions)
    return crash if not missing else Crash(crash.versions + (0,) * missing, crash.memory, crash.acked, crash.at)
