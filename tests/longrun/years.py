"""Device-years: a small device lives day after day, is cut, lied to, starved and filled, and is judged at every boot.

Unlike the explorer, which takes every image of a short history, this takes one image of each of very many moments: cuts
at a random disk or memory call in the middle of an operation, I/O errors, a memory that does not answer, clocks that
jump, stop or fall silent, a ring that is too small. Days are short (a few calls), the years are many. One seed, one
life, replayed exactly.
"""

import errno
import math
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from firmware.store.errors import CardFailed, ErasureUnconfirmed, NoRoot, Refused, RingFull, VaultError
from hw.sim.disk import Kind
from hw.sim.memory import SLOT_BYTES, Failure, MemoryKind
from tests.longrun.campaign import quietly
from tests.longrun.examine import Examined, judge
from tests.longrun.stories import step
from tests.longrun.world import World

HOUR_MS = 3_600_000
ROUNDING_DAYS = 1e-3
STEPS_PER_DAY = 6
FAULT_SHARE = 0.04
"""Of the operations, how many meet a fault."""
LIFE_DAYS = 365
"""A device lives this long; then a fresh one, so that a life fits in memory."""


class PowerCut(Exception):
    """The supply fails in the middle of a disk or memory call."""


@dataclass
class Life:
    days: int = 0
    operations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def years(self) -> float:
        return self.days / 365


def live_years(years: float, seed: int, stop_at_violation: bool = True) -> Life:
    """Lives one after the other until the days are spent."""
    life = Life()
    started = time.process_time()
    number = 0
    with quietly():
        wanted = max(1, math.ceil(years * 365 - ROUNDING_DAYS))
        while life.days < wanted and not (life.violations and stop_at_violation):
            days = min(LIFE_DAYS, wanted - life.days)
            live(f"{seed}/{number}", days, life)
            number += 1
    life.cpu_s = time.process_time() - started
    return life


def live(seed: str, days: int, life: Life) -> None:
    """One device from its provisioning on."""
    device = Device(seed, life)
    for day in range(days):
        try:
            device.day()
        except (VaultError, AssertionError, OSError, ValueError, LookupError) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
            life.violations.append(f"seed {seed}, day {day}: I25 LIVENESS: {type(error).__name__} at {at}: {error}")
        life.days += 1
        if life.violations:
            return


class Device:
    def __init__(self, seed: str, life: Life) -> None:
        self.world = World(seed)
        self._rng = random.Random(seed + "/fate")
        self._life = life
        self._seed = seed
        self._healthy = 0

    def day(self) -> None:
        for _ in range(self._rng.randrange(STEPS_PER_DAY)):
            self._operation()
        self._clock_weather()
        self.guarded(self.world.midnight, "midnight")
        self._trim()

    def _operation(self) -> None:
        self._life.operations += 1
        if self._rng.random() >= FAULT_SHARE:
            self.guarded(lambda: step(self.world, self._rng), "operation")
            return
        self._rng.choice((self._cut_in, self._disk_error, self._memory_error))()

    # ------------------------------------------------------------------------------------------------------ faults

    def _cut_in(self) -> None:
        """The power fails at one of the next calls to disk or memory, perhaps at boot once more."""
        self._life.faults["cut"] += 1
        self._arm(self._rng.randrange(1, 40))
        try:
            self.guarded(lambda: step(self.world, self._rng), "cut")
            return
        except PowerCut:
            pass
        finally:
            self._disarm()
        off_ms = self._rng.choice((1000, 60_000, 3 * HOUR_MS, 20 * HOUR_MS))
        self._boot(off_ms, cut_again=self._rng.random() < 0.3)

    def _boot(self, off_ms: int, *, cut_again: bool = False) -> None:
        self.world.power_cut(off_ms)
        if cut_again:
            self._life.faults["cut in recovery"] += 1
            self._arm(self._rng.randrange(1, 30))
            try:
                self.world.open_vault()
            except PowerCut:
                pass
            finally:
                self._disarm()
            self.world.power_cut(1000)
        self.world.open_vault()
        self._judge("boot")
        self.world.take_over()

    def _disk_error(self) -> None:
        self._life.faults["disk error"] += 1
        first = self.world.disk.calls + self._rng.randrange(1, 30)
        last = first + self._rng.choice((0, 0, 1, 30))
        number = self._rng.choice((errno.EIO, errno.ENOSPC))

        def fail(call: int, kind: Kind, name: str) -> None:
            if first <= call <= last and kind != "read":
                raise OSError(number, "injected", name)

        self.world.disk.hook = fail
        self.guarded(lambda: step(self.world, self._rng), "disk error")
        self.world.disk.hook = None

    def _memory_error(self) -> None:
        self._life.faults["memory error"] += 1
        first = self.world.memory.calls + self._rng.randrange(4)
        last = first + self._rng.choice((0, 2, 20))

        def fail(call: int, kind: MemoryKind, slot: int) -> Failure | None:
            return Failure(self._rng.randrange(SLOT_BYTES + 1)) if first <= call <= last else None

        self.world.memory.hook = fail
        self.guarded(lambda: step(self.world, self._rng), "memory error")
        self.world.memory.hook = None

    def _clock_weather(self) -> None:
        """Now and then the battery-backed clock lies, stops or falls silent; a boot shows it; it is mended later."""
        rtc, draw = self.world.rtc, self._rng.random()
        if draw < 0.004:
            self._life.faults["clock jump"] += 1
            rtc.jump_ms(self._rng.randrange(-40 * 24, 40 * 24) * HOUR_MS)
        elif draw < 0.006:
            self._life.faults["clock stopped"] += 1
            rtc.stop()
        elif draw < 0.008:
            self._life.faults["clock silent"] += 1
            rtc.silent = True
        elif draw < 0.03:
            rtc.silent = False
            rtc.set_utc_ms(max(self.world.clock.true_utc_ms, self.world.now_utc_ms()))
            return
        if draw < 0.012:
            self.guarded(lambda: self.world.reboot(1000), "boot")

    # ----------------------------------------------------------------------------------------------------- machinery

    def guarded(self, act: Callable[[], object], what: str) -> object:
        """Run it. None: it was cut off, refused or failed; but for a cut, the state was then judged and taken over."""
        try:
            return act() or what
        except (Refused, RingFull):
            self._judge(what)
            self.world.take_over()
        except ErasureUnconfirmed:
            self._settle_erasure()
        except (CardFailed, NoRoot, VaultError, OSError):
            self._life.faults["fault stop"] += 1
            self._disarm()
            self._boot(1000)
        return None

    def _settle_erasure(self) -> None:
        """The memory did not answer in R3 or R4: nothing may be believed before it does. A vault that did not open for
        it is booted again."""
        self._disarm()
        if not self.world.powered:
            self._life.faults["boot without an answer"] += 1
            self._boot(1000)
            return
        self._life.faults["erasure retried"] += 1
        self.world.retry()
        self._judge("erasure retried")
        self.world.take_over()

    def _judge(self, what: str) -> None:
        world = self.world
        booted = what == "boot"
        found = Examined([], world.disk, world.memory, world.registry, world.clock, world.vault, booted)
        for text in judge(world, found, world.promise):
            self._life.violations.append(f"seed {self._seed}, day {self._life.days}, {what}: {text}")

    def _arm(self, calls: int) -> None:
        left = calls

        def count() -> bool:
            nonlocal left
            left -= 1
            return left <= 0

        def disk(call: int, kind: Kind, name: str) -> None:
            if kind != "read" and count():
                raise PowerCut

        def memory(call: int, kind: MemoryKind, slot: int) -> Failure | None:
            if kind != "read" and count():
                return Failure(self._rng.randrange(SLOT_BYTES + 1), PowerCut())
            return None

        self.world.disk.hook = disk
        self.world.memory.hook = memory

    def _disarm(self) -> None:
        self.world.disk.hook = None
        self.world.memory.hook = None

    def _trim(self) -> None:
        """What the next judgement does not need; the registry of secrets stays, for the attacker forgets nothing."""
        self.world.forget_history()
        if self._rng.random() < 0.02:
            self._judge("at rest")
        for call_id in list(self.world.frames):
            if call_id not in self.world.promise.calls:
                del self.world.frames[call_id]
