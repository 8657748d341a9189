"""Carries bytes between the vault and a stick without letting the recorder wait for the stick.

A visit runs as a generator on the writer's thread, a step at a time between audio commands. A stick may take seconds
for one write, or never return. :class:`ThreadCourier` therefore does each piece of stick work on a thread of its own
and lets the generator go on yielding; the vault is read only by the generator, so the vault stays single-threaded.
:class:`InlineCourier` does the work at once, for the simulator, whose order of events must be repeatable.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, Protocol, TypeVar

from firmware.ports import Clock
from firmware.units import US_PER_S

T = TypeVar("T")

STALL_S_MAX = 60
"""A stick that takes no byte for a minute is given up; the visit fails and the recorder goes on. A worn USB 2 stick
was seen to pause for 5 to 20 s in its own housekeeping [G]; a minute is beyond that."""

CHUNKS_WAITING_MAX = 8
"""At most eight frames of 128 KiB between the vault and the stick: 1 MiB of memory."""

PAUSE_S = 0.005
"""How long one step may wait for the stick before it gives the writer back: a twentieth of a block."""


class Courier(Protocol):
    def call(self, work: Callable[[], T]) -> Generator[None, None, T]:
        """Run ``work`` (stick input or output only); yields while it goes on. Passes its OSError on."""

    def send(self, take: Callable[[Iterator[bytes]], None], chunks: Iterator[bytes]) -> Generator[None, None, None]:
        """Hand ``chunks`` (drawn on the caller's thread) to ``take``; yields at least once per chunk."""


class InlineCourier:
    def call(self, work: Callable[[], T]) -> Generator[None, None, T]:
        yield
        return work()

    def send(self, take: Callable[[Iterator[bytes]], None], chunks: Iterator[bytes]) -> Generator[None, None, None]:
        yield
        take(chunks)


class ThreadCourier:
    """One thread per piece of work. After a stall no further work is begun while that thread still hangs in the
    kernel; once the stick is pulled it comes back with an error, and the next stick is served."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hung: threading.Event | None = None

    def call(self, work: Callable[[], T]) -> Generator[None, None, T]:
        task: _Task[T] = self._begin(work)
        yield from self._finished(task)
        return task.result()

    def send(self, take: Callable[[Iterator[bytes]], None], chunks: Iterator[bytes]) -> Generator[None, None, None]:
        waiting: queue.Queue[bytes | None] = queue.Queue(CHUNKS_WAITING_MAX)
        abandoned = threading.Event()
        task: _Task[None] = self._begin(lambda: take(_drawn(waiting, abandoned)))
        try:
            for chunk in chunks:
                yield from self._put(waiting, chunk, task)
                if task.done.is_set():
                    break
            yield from self._put(waiting, None, task)
            yield from self._finished(task)
        finally:
            abandoned.set()
        task.result()

    def _begin(self, work: Callable[[], T]) -> "_Task[T]":
        if self._hung is not None and not self._hung.is_set():
            raise TimeoutError("the stick does not answer")
        return _Task(work)

    def _put(
        self, waiting: "queue.Queue[bytes | None]", chunk: bytes | None, task: "_Task[None]"
    ) -> Generator[None, None, None]:
        deadline = self._deadline()
        while not task.done.is_set():
            try:
                waiting.put(chunk, timeout=PAUSE_S)
            except queue.Full:
                self._check(deadline, task.done)
                yield
            else:
                yield
                return

    def _finished(self, task: "_Task[T]") -> Generator[None, None, None]:
        deadline = self._deadline()
        while not task.done.wait(PAUSE_S):
            self._check(deadline, task.done)
            yield

    def _deadline(self) -> int:
        return self._clock.mono_us() + STALL_S_MAX * US_PER_S

    def _check(self, deadline_mono_us: int, done: threading.Event) -> None:
        if self._clock.mono_us() > deadline_mono_us:
            self._hung = done
            raise TimeoutError(f"the stick took nothing for {STALL_S_MAX} s")


def _drawn(waiting: "queue.Queue[bytes | None]", abandoned: threading.Event) -> Iterator[bytes]:
    """The chunks as they come; a visit that was given up ends the file with an error, not with a shorter file."""
    while True:
        try:
            chunk = waiting.get(timeout=1)
        except queue.Empty:
            if abandoned.is_set():
                raise InterruptedError("the visit was given up") from None
            continue
        if chunk is None:
            return
        yield chunk


class _Task(Generic[T]):
    """Work on its own daemon thread: a thread that hangs in the kernel must not keep the process from ending."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.done = threading.Event()
        self._work = work
        self._value: list[T] = []
        self._error: OSError | None = None
        threading.Thread(target=self._run, name="stick", daemon=True).start()

    def _run(self) -> None:
        try:
            self._value.append(self._work())
        except OSError as error:
            self._error = error
        finally:
            self.done.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        assert self._value, "stick work raised something that is no fault of the stick"
        return self._value[0]
