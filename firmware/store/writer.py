"""Who talks to the vault: one writer, commands in order from a bounded queue; OPT-OUT overtakes queued audio.

In production it is one thread, so that the loop never waits for the card; in simulation ``run_inline`` does the same
work on the caller's thread, deterministically. Reports are read with ``poll``.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from firmware.policy.holds import Refusal
from firmware.policy.records import GapReason, Outcome
from firmware.store.commands import (
    Alarm,
    AppendAudio,
    AppendGap,
    BeginCall,
    CloseCall,
    Command,
    FrameSealed,
    KeepCall,
    KeepDone,
    LatchOptOut,
    OpenCall,
    OptOut,
    OptOutBegun,
    OptOutDone,
    Report,
    WriteRow,
)
from firmware.store.errors import CardFailed, ErasureUnconfirmed, Refused, RingFull, VaultError
from firmware.store.vault import Vault
from firmware.units import SAMPLE_RATE_HZ, US_PER_S

SLOW_S = 2.0
"""CARD_SLOW from this backlog on."""
COMMANDS_PER_SECOND = 40
"""Commands that a line can make in a second at most: its portions, each cut by keyed digits, and some more."""
TICK_US = US_PER_S
JOB_STEPS_INLINE = 16
"""A stick's visit on virtual time: a step takes a frame to the stick, and a real one takes 16 in 100 ms easily."""
CALLS_REMEMBERED = 1000
IDLE_S = 0.1
QUIET_US = US_PER_S // 2
"""A call's pending audio is sealed once nothing has come for so long: a portion comes every 400 ms."""
QUIET_LOOK_US = US_PER_S // 10
RETRY_S = 1.0
"""Pause of the thread before an unconfirmed erasure is tried again."""

Job = Callable[[Vault], Iterator[Report | None]]


@dataclass(frozen=True)
class _Queued:
    command: Command
    at_mono_us: int


class Writer:
    """``queue_seconds``: of audio of all lines, at least 60."""

    def __init__(
        self,
        vault: Vault,
        *,
        threaded: bool,
        lines: int,
        queue_seconds: int = 60,
    ) -> None:
        self._vault = vault
        self._now_mono_us = vault.mono_us
        self._limit_samples = queue_seconds * lines * SAMPLE_RATE_HZ
        self._limit_commands = queue_seconds * lines * COMMANDS_PER_SECOND
        self._queue: deque[_Queued] = deque()
        self._queued_samples = 0
        self._queued_opt_outs = 0
        self._dropped: dict[int, tuple[int, int]] = {}
        self._jobs: deque[tuple[str, Iterator[Report | None]]] = deque()
        self._waiting_jobs: deque[tuple[str, Job]] = deque()
        self._reports: deque[Report] = deque()
        self._alarms: dict[tuple[str, int | None], bool] = {}
        self._calls: dict[int, bytes] = {}
        self._opted_out: set[int] = set()
        self._refused_keeps: set[int] = set()
        self._last_tick_mono_us: int | None = None
        self._last_look_mono_us = 0
        self._running_since_mono_us: int | None = None
        self._lock = threading.Condition()
        self._stopping = False
        self._hangs = False
        """An erasure is not confirmed: a stop does not wait for it, the next boot finishes it."""
        self._died: BaseException | None = None
        self._anchor = (self._now_mono_us(), vault.now_utc_ms())
        """(monotonic, trusted UTC) at one instant, renewed at every tick: the loop's clock, read without touching the
        vault."""
        self._thread = threading.Thread(target=self._run, name="writer", daemon=False) if threaded else None
        if self._thread is not None:
            self._thread.start()

    # ------------------------------------------------------------------------------------------------- the loop's side

    def submit(self, command: Command) -> None:
        """Never blocks for the card. Past the limit audio is not taken: Alarm CARD_BEHIND; commands that are not audio
        are always taken."""
        with self._lock:
            audio = isinstance(command, AppendAudio | AppendGap)
            samples = _samples(command)
            full = self._queued_samples + samples > self._limit_samples or len(self._queue) >= self._limit_commands
            if audio and full:
                self._alarm("CARD_BEHIND", True)
                self._drop(command)
                return
            self._tell_dropped(command)
            self._queue.append(_Queued(command, self._now_mono_us()))
            self._queued_samples += samples
            self._queued_opt_outs += isinstance(command, OptOut)
            self._lock.notify()

    def _drop(self, command: Command) -> None:
        """Remember what was not taken, so that the recording says so."""
        assert isinstance(command, AppendAudio | AppendGap)
        first, _ = self._dropped.get(command.call, (command.first_sample, 0))
        self._dropped[command.call] = (first, command.first_sample + command.samples - first)

    def _tell_dropped(self, command: Command) -> None:
        """A gap with its reason in place of what was dropped, before anything that comes after it."""
        if isinstance(command, AppendAudio | AppendGap | CloseCall) and command.call in self._dropped:
            first, samples = self._dropped.pop(command.call)
            gap = AppendGap(command.call, first, samples, GapReason.FAULT)
            self._queue.append(_Queued(gap, self._now_mono_us()))

    def submit_job(self, name: str, job: Job) -> None:
        """A stick visit: a generator that is advanced one step at a time between queued commands."""
        with self._lock:
            self._waiting_jobs.append((name, job))
            self._lock.notify()

    def utc_ms(self) -> int:
        """Trusted UTC now, for the loop: at most a tick old and carried on by the monotonic clock. Never blocks."""
        mono_us, utc_ms = self._anchor
        return utc_ms + (self._now_mono_us() - mono_us) // 1000

    def poll(self) -> list[Report]:
        """An error that ended the writer's thread (an assertion of ours) is raised here: it stops the process."""
        if self._died is not None:
            raise self._died
        self._watch_backlog()
        if not self._reports:
            return []
        with self._lock:
            reports = list(self._reports)
            self._reports.clear()
            return reports

    def backlog_s(self, now_mono_us: int) -> float:
        """Age of the oldest command that is not carried out yet."""
        with self._lock:
            return self._backlog_s(now_mono_us)

    def close(self) -> None:
        """Carry out what is queued and stop the thread."""
        if self._thread is None:
            self.run_inline()
            return
        with self._lock:
            self._stopping = True
            self._lock.notify()
        self._thread.join()

    # ----------------------------------------------------------------------------------------------- the writer's side

    def run_inline(self) -> None:
        """Everything that is queued, some steps of a job, and a tick if one is due."""
        while self._step_command():
            pass
        for _ in range(JOB_STEPS_INLINE):
            if not self._step_job():
                break
        self._tick_if_due()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  nothing may end this thread silently
            self._died = error

    def _work(self) -> None:
        while True:
            worked = self._step_command() or self._step_job()
            self._tick_if_due()
            with self._lock:
                if self._stopping and (self._hangs or not (worked or self._queue)):
                    return
                if not worked and not self._queue:
                    self._lock.wait(IDLE_S)

    def _step_command(self) -> bool:
        queued = self._take()
        if queued is None:
            return False
        try:
            self._report(*self._carry_out(queued.command))
        except ErasureUnconfirmed:
            self._put_back(queued)
            self._fail("ERASURE_UNCONFIRMED")
            self._hangs = True
            self._retry_erasure()
            return False
        except CardFailed:
            self._fail("CARD_FAILED")
        except RingFull:
            self._fail("RING_FULL")
        except Refused:
            self._report(*_refused(queued.command))
        except VaultError as error:
            self._fail(error.code)
        finally:
            self._running_since_mono_us = None
        return True

    def _take(self) -> _Queued | None:
        """The next command; an OPT-OUT anywhere in the queue first, and the audio it makes pointless is dropped."""
        with self._lock:
            if not self._queue:
                return None
            if self._queued_opt_outs:
                queued = next(x for x in self._queue if isinstance(x.command, OptOut))
                self._queued_opt_outs -= 1
                self._overtake(queued)
            else:
                queued = self._queue.popleft()
            self._queued_samples -= _samples(queued.command)
            self._running_since_mono_us = queued.at_mono_us
            return queued

    def _overtake(self, queued: _Queued) -> None:
        """Only commands of the same call are dropped; its OPEN not yet carried out is dropped with them."""
        call = queued.command.call  # type: ignore[union-attr]
        kept: deque[_Queued] = deque()
        before = True
        for other in self._queue:
            if other is queued:
                before = False
            elif before and call is not None and _about_audio(other.command, call):
                self._queued_samples -= _samples(other.command)
            else:
                kept.append(other)
        self._queue = kept

    def _put_back(self, queued: _Queued) -> None:
        with self._lock:
            self._queue.appendleft(queued)
            self._queued_opt_outs += isinstance(queued.command, OptOut)
            self._queued_samples += _samples(queued.command)

    def _retry_erasure(self) -> None:
        if self._thread is not None:
            with self._lock:
                self._lock.wait(RETRY_S)
        self._tick()

    def _step_job(self) -> bool:
        with self._lock:
            while self._waiting_jobs:
                name, job = self._waiting_jobs.popleft()
                self._jobs.append((name, job(self._vault)))
        if not self._jobs:
            return False
        try:
            report = next(self._jobs[0][1])
        except StopIteration:
            self._jobs.popleft()
            return True
        except VaultError as error:
            self._jobs.popleft()
            self._fail(error.code)
            return True
        if report is not None:
            self._report(report)
        return True

    def _tick_if_due(self) -> None:
        now = self._now_mono_us()
        if now - self._last_look_mono_us >= QUIET_LOOK_US:
            self._last_look_mono_us = now
            self._seal_quiet()
        if self._last_tick_mono_us is None or now - self._last_tick_mono_us >= TICK_US:
            self._last_tick_mono_us = now
            self._tick()

    def _seal_quiet(self) -> None:
        """Not while commands wait: what follows is already there."""
        if self._queue:
            return
        try:
            self._vault.seal_quiet(QUIET_US)
        except VaultError as error:
            self._fail(error.code)

    def _tick(self) -> None:
        try:
            alarms = self._vault.tick()
        except VaultError as error:
            self._fail(error.code)
            return
        self._anchor = (self._now_mono_us(), self._vault.now_utc_ms())
        self._hangs = False
        with self._lock:
            self._alarm("ERASURE_UNCONFIRMED", False)
            for alarm in alarms:
                self._alarm(alarm.code, alarm.active, alarm.line)

    # ------------------------------------------------------------------------------------------------------- commands

    def _carry_out(self, command: Command) -> tuple[Report, ...]:
        vault = self._vault
        if isinstance(command, OpenCall):
            self._forget_old_calls()
            self._calls[command.call] = vault.open_call(
                command.line,
                command.opened_utc_ms,
                command.codec,
                command.channels,
                command.rate_hz,
                command.meta,
            )
            return ()
        if isinstance(command, BeginCall):
            opted_out = command.opted_out or command.call in self._opted_out
            vault.begin_call(command.line, command.started_utc_ms, opted_out=opted_out)
            return ()
        if isinstance(command, OptOutBegun):
            vault.opt_out_begun(command.line, command.started_utc_ms)
            return ()
        if isinstance(command, WriteRow):
            call_id = None if command.call is None else self._calls.get(command.call)
            vault.write_row(replace(command.row, call_id=call_id))
            return ()
        if isinstance(command, LatchOptOut):
            vault.latch_opt_out(command.line, command.active)
            return ()
        if isinstance(command, OptOut):
            calls = self._reach(command)
            vault.opt_out(calls, command.line)
            if command.call is not None:
                self._opted_out.add(command.call)
            return (OptOutDone(command.line, command.call, bool(calls)),)
        return self._of_call(command, self._calls.get(command.call))

    def _forget_old_calls(self) -> None:
        """OPT-OUT reaches back 60 s, KEEP to the last call: a thousand calls are more than enough."""
        if len(self._calls) >= CALLS_REMEMBERED:
            oldest = next(iter(self._calls))
            del self._calls[oldest]
            for known in (self._opted_out, self._refused_keeps):
                known -= {call for call in known if call <= oldest}

    def _of_call(
        self, command: AppendAudio | AppendGap | CloseCall | KeepCall, call_id: bytes | None
    ) -> tuple[Report, ...]:
        """A call that was never opened or was destroyed: its audio is dropped, its row is still written."""
        vault = self._vault
        if isinstance(command, KeepCall):
            return (KeepDone(command.line, command.call, self._keep(command, call_id)),)
        if isinstance(command, CloseCall):
            return self._close(command, self._calls.get(command.call))
        if call_id is None:
            return ()
        if isinstance(command, AppendAudio):
            sealed = vault.append_audio(call_id, command.first_sample, command.samples, command.payload, command.codec)
        else:
            sealed = vault.append_gap(call_id, command.first_sample, command.samples, command.reason)
        return () if sealed is None else (FrameSealed(command.call, sealed),)

    def _keep(self, command: KeepCall, call_id: bytes | None) -> str | None:
        """A refusal is in the log when it is told; that of one call is logged once, however often KEEP is pressed."""
        if call_id is not None and self._vault.kept(call_id):
            return self._vault.keep(call_id)
        opted_out = command.opted_out or command.call in self._opted_out
        why = Refusal.OPTED_OUT if opted_out else Refusal.NOT_KEPT
        if command.call not in self._refused_keeps:
            self._vault.refuse_keep(command.line if call_id is None else call_id, why.value)
            self._refused_keeps.add(command.call)
        return why.value

    def _close(self, command: CloseCall, call_id: bytes | None) -> tuple[Report, ...]:
        """One row per call event, also where the call was never opened (ring full) or an OPT-OUT overtook its end."""
        if call_id is None or not self._vault.kept(call_id):
            outcome = Outcome.OPTED_OUT if command.call in self._opted_out else Outcome.FAULT
            self._vault.write_row(replace(command.row, outcome=outcome, call_id=call_id))
            return ()
        sealed = self._vault.close_call(call_id, command.meta, command.row)
        return () if sealed is None else (FrameSealed(command.call, sealed),)

    def _reach(self, command: OptOut) -> list[bytes]:
        if command.call is None:
            interrupted = self._vault.interrupted_call(command.line)
            return [] if interrupted is None else [interrupted]
        call_id = self._calls.get(command.call)
        return [] if call_id is None else [call_id]

    # -------------------------------------------------------------------------------------------------------- reports

    def _report(self, *reports: Report) -> None:
        if reports:
            with self._lock:
                self._reports.extend(reports)

    def _fail(self, code: str) -> None:
        with self._lock:
            self._alarm(code, True)

    def _alarm(self, code: str, active: bool, line: int | None = None) -> None:
        """Only changes are told."""
        if self._alarms.get((code, line), False) != active:
            self._alarms[code, line] = active
            self._reports.append(Alarm(code, active, line))

    def _watch_backlog(self) -> None:
        """On the loop's side: a card that stands still is told while it does."""
        with self._lock:
            slow = self._backlog_s(self._now_mono_us()) >= SLOW_S
            self._alarm("CARD_SLOW", slow)
            if not slow:
                self._alarm("CARD_BEHIND", False)

    def _backlog_s(self, now_mono_us: int) -> float:
        waiting = [self._running_since_mono_us] if self._running_since_mono_us is not None else []
        waiting += [self._queue[0].at_mono_us] if self._queue else []
        return (now_mono_us - min(waiting)) / US_PER_S if waiting else 0.0


def _samples(command: Command) -> int:
    return command.samples if isinstance(command, AppendAudio) else 0


def _about_audio(command: Command, call: int) -> bool:
    return isinstance(command, AppendAudio | AppendGap | OpenCall) and command.call == call


def _refused(command: Command) -> tuple[Report, ...]:
    """Audio of a destroyed call is dropped silently: that is what was asked for. Others are answered."""
    if isinstance(command, OptOut):
        return (OptOutDone(command.line, command.call, False),)
    return ()
