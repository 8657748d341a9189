"""From edges of pins to what happened: key presses with their hold, ring bursts, off-hook, flash, on-hook.

Mute is asymmetric everywhere: the first active edge of a key counts at once, only a stable inactive level releases it.
A press is latched with its time: press and release inside one stall of the loop are both told, and a hold in between
too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from firmware.policy.events import (
    Edge,
    Event,
    HookFlash,
    Key,
    KeyHeld,
    KeyPressed,
    KeyReleased,
    LoopOpened,
    LoopRestored,
    OffHook,
    OffHookAtBoot,
    OnHook,
    Reversal,
    RingBurst,
    Signal,
)

RELEASE_STABLE_US = 30_000
"""A key's contacts bounce for up to 20 ms (rude fake: 25 ms); a level is believed inactive after 30 ms."""

HOLD_US = {Key.OPT_OUT: 1_000_000, Key.PAYMENT: 1_500_000}
"""product.md: OPT-OUT held 1 s is irrevocable; resuming after a payment needs PAYMENT held for 1.5 s."""

RING_BURST_US = 200_000
"""line.md 1: at least one burst of 200 ms."""

RING_GAP_US = 100_000
"""A detector that follows each half wave of 25 Hz ringing current is inactive for at most 40 ms within a burst."""

_KEYS = {Signal.PAYMENT: Key.PAYMENT, Signal.OPT_OUT: Key.OPT_OUT, Signal.KEEP: Key.KEEP}


@dataclass
class _KeyState:
    pressed_us: int | None = None
    inactive_since_us: int | None = None
    held_told: bool = False


@dataclass
class _RingState:
    burst_from_us: int | None = None
    inactive_since_us: int | None = None
    told: bool = False


@dataclass
class _LoopState:
    closed: bool = False
    opened_us: int | None = None


@dataclass
class _LineState:
    keys: dict[Key, _KeyState] = field(default_factory=lambda: {key: _KeyState() for key in Key})
    ring: _RingState = field(default_factory=_RingState)
    loop: _LoopState = field(default_factory=_LoopState)

    @property
    def waits(self) -> bool:
        """Something here changes by time alone."""
        return (
            self.loop.opened_us is not None
            or self.ring.burst_from_us is not None
            or any(key.pressed_us is not None for key in self.keys.values())
        )


class Inputs:
    """One for all lines. ``flash_min_ms`` to ``flash_max_ms``: how long the loop is open in a hook flash (line.md: 50
    to 400)."""

    def __init__(self, lines: int, flash_min_ms: int = 50, flash_max_ms: int = 400) -> None:
        self._lines = [_LineState() for _ in range(lines)]
        self._flash_min_us = flash_min_ms * 1000
        self._flash_max_us = flash_max_ms * 1000
        self._begun = False
        self._waiting: set[int] = set()
        """Lines that time alone may change: with nothing pressed and nothing ringing a step looks at none."""

    def sample(self, edges: Iterable[Edge], now_mono_us: int) -> list[Event]:
        """Events of these edges and of the time that has passed, in order of time. The first call takes the levels at
        boot."""
        found: list[Event] = []
        at_boot, self._begun = not self._begun, True
        for edge in edges:
            found.extend(self._time_passed(edge.line, edge.at_mono_us))
            found.extend(self._edge(edge, at_boot))
            self._waiting.add(edge.line)
        for line in sorted(self._waiting):
            found.extend(self._time_passed(line, now_mono_us))
            if not self._lines[line].waits:
                self._waiting.discard(line)
        return sorted(found, key=lambda event: event.at_mono_us)

    def _edge(self, edge: Edge, at_boot: bool) -> Iterator[Event]:
        state = self._lines[edge.line]
        if edge.signal in _KEYS:
            yield from _key_edge(state.keys[_KEYS[edge.signal]], _KEYS[edge.signal], edge)
        elif edge.signal is Signal.RING:
            _ring_edge(state.ring, edge)
        elif edge.signal is Signal.LOOP:
            yield from self._loop_edge(state.loop, edge, at_boot)
        elif edge.active:
            yield Reversal(edge.line, edge.at_mono_us)

    def _loop_edge(self, loop: _LoopState, edge: Edge, at_boot: bool) -> Iterator[Event]:
        at = edge.at_mono_us
        if edge.active and not loop.closed:
            loop.closed = True
            yield OffHookAtBoot(edge.line, at) if at_boot else OffHook(edge.line, at)
        elif edge.active and loop.opened_us is not None:
            opened, loop.opened_us = loop.opened_us, None
            if at - opened < self._flash_min_us:
                yield LoopRestored(edge.line, at, opened)
            else:
                yield HookFlash(edge.line, at, opened)
        elif not edge.active and loop.closed and loop.opened_us is None:
            loop.opened_us = at
            yield LoopOpened(edge.line, at)

    def _time_passed(self, line: int, now_us: int) -> Iterator[Event]:
        state = self._lines[line]
        for key, key_state in state.keys.items():
            yield from _key_time(key_state, key, line, now_us)
        yield from _ring_time(state.ring, line, now_us)
        loop = state.loop
        if loop.opened_us is not None and now_us - loop.opened_us > self._flash_max_us:
            opened, loop.opened_us, loop.closed = loop.opened_us, None, False
            yield OnHook(line, opened)


def _key_edge(state: _KeyState, key: Key, edge: Edge) -> Iterator[Event]:
    if edge.active:
        state.inactive_since_us = None
        if state.pressed_us is None:
            state.pressed_us, state.held_told = edge.at_mono_us, False
            yield KeyPressed(edge.line, edge.at_mono_us, key)
    elif state.pressed_us is not None and state.inactive_since_us is None:
        state.inactive_since_us = edge.at_mono_us


def _key_time(state: _KeyState, key: Key, line: int, now_us: int) -> Iterator[Event]:
    if state.pressed_us is None:
        return
    down_until = now_us if state.inactive_since_us is None else state.inactive_since_us
    held_at = state.pressed_us + HOLD_US[key] if key in HOLD_US else None
    if held_at is not None and not state.held_told and down_until >= held_at:
        state.held_told = True
        yield KeyHeld(line, held_at, key, state.pressed_us)
    if state.inactive_since_us is not None and now_us - state.inactive_since_us >= RELEASE_STABLE_US:
        yield KeyReleased(line, state.inactive_since_us, key, state.pressed_us)
        state.pressed_us = state.inactive_since_us = None


def _ring_edge(state: _RingState, edge: Edge) -> None:
    if edge.active:
        state.inactive_since_us = None
        if state.burst_from_us is None:
            state.burst_from_us, state.told = edge.at_mono_us, False
    elif state.burst_from_us is not None and state.inactive_since_us is None:
        state.inactive_since_us = edge.at_mono_us


def _ring_time(state: _RingState, line: int, now_us: int) -> Iterator[Event]:
    if state.burst_from_us is None:
        return
    active_until = now_us if state.inactive_since_us is None else state.inactive_since_us
    if not state.told and active_until - state.burst_from_us >= RING_BURST_US:
        state.told = True
        yield RingBurst(line, state.burst_from_us)
    if state.inactive_since_us is not None and now_us - state.inactive_since_us > RING_GAP_US:
        state.burst_from_us = state.inactive_since_us = None
