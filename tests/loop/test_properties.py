"""Whatever a line and its keys do, in whatever order: the promises that must hold."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.policy.events import Signal
from firmware.policy.records import Direction, Outcome
from firmware.store.commands import AppendAudio, CloseCall, OpenCall, OptOut, WriteRow
from firmware.units import SAMPLE_RATE_HZ
from tests.loop.bench import LOOK_BACK_S, Bench, noise

SECONDS = 100
KEYS = (Signal.PAYMENT, Signal.OPT_OUT, Signal.KEEP)


@dataclass(frozen=True)
class Act:
    at_ms: int
    signal: Signal
    for_ms: int


acts = st.lists(
    st.builds(
        Act,
        at_ms=st.integers(500, 80_000),
        signal=st.sampled_from([*KEYS, Signal.PAYMENT, Signal.RING, Signal.LOOP, Signal.LOOP, Signal.REVERSAL]),
        for_ms=st.sampled_from([30, 120, 300, 450, 1200, 1700, 9000, 30_000]),
    ),
    max_size=14,
)

AUDIO = noise(SECONDS)


def play(script: list[Act], ring_first: bool) -> tuple[Bench, list[tuple[int, Signal, bool]]]:
    """Levels of one signal never overlap: a key cannot be pressed while it is down."""
    bench = Bench([AUDIO])
    if ring_first:
        script = [Act(2000, Signal.RING, 400), Act(4000, Signal.LOOP, 60_000), *script]
    free_at: dict[Signal, int] = {}
    laid: list[tuple[int, Signal, bool]] = []
    for act in sorted(script, key=lambda act: act.at_ms):
        if act.at_ms < free_at.get(act.signal, 0):
            continue
        free_at[act.signal] = act.at_ms + act.for_ms + 50
        laid += [(act.at_ms, act.signal, True), (act.at_ms + act.for_ms, act.signal, False)]
    for at_ms, signal, active in laid:
        bench.level(at_ms / 1000, signal, active)
    bench.run_to(SECONDS + 35)
    return bench, sorted(laid, key=lambda item: item[0])


def answers(bench: Bench) -> dict[int, int]:
    """Call -> sample of its answer on the line's axis, from its ledger time."""
    opened = {}
    for command in bench.writer.commands:
        if isinstance(command, OpenCall):
            opened[command.call] = round((command.opened_utc_ms - 1_772_442_000_000) * SAMPLE_RATE_HZ / 1000)
    return opened


def kept(bench: Bench) -> np.ndarray:
    """How often each sample of the line was handed to the vault."""
    count = np.zeros(len(AUDIO) + 40 * SAMPLE_RATE_HZ, int)
    answer = answers(bench)
    for command in bench.writer.commands:
        if isinstance(command, AppendAudio):
            start = answer[command.call] + command.first_sample
            count[start : start + command.samples] += 1
    return count


def muted_by_payment(laid: list[tuple[int, Signal, bool]]) -> np.ndarray:
    """An independent reading of the promise: the look-back before every press is muted, whatever else came."""
    muted = np.zeros(len(AUDIO) + 40 * SAMPLE_RATE_HZ, bool)
    for at_ms, signal, active in laid:
        if signal is Signal.PAYMENT and active:
            start = max(0, (at_ms - LOOK_BACK_S * 1000) * SAMPLE_RATE_HZ // 1000)
            muted[start : at_ms * SAMPLE_RATE_HZ // 1000] = True
    return muted


@settings(max_examples=60, deadline=None)
@given(script=acts, ring_first=st.booleans())
def test_no_order_of_events_breaks_a_promise(script: list[Act], ring_first: bool) -> None:
    bench, laid = play(script, ring_first)
    commands = bench.writer.commands
    times = kept(bench)
    assert times.max(initial=0) <= 1, "a sample was kept for two calls"
    assert not (times[: len(AUDIO)].astype(bool) & muted_by_payment(laid)[: len(AUDIO)]).any(), "muted and kept"

    rows = [command for command in commands if isinstance(command, CloseCall | WriteRow)]
    starts = [(command.row.started_utc_ms, command.row.rule) for command in rows]
    assert len(starts) == len(set(starts)), "two rows for one call event"
    closed = [command.call for command in commands if isinstance(command, CloseCall)]
    assert len(closed) == len(set(closed))

    destroyed: set[int | None] = set()
    for command in commands:
        if isinstance(command, OptOut):
            destroyed.add(command.call)
        elif isinstance(command, OpenCall | AppendAudio):
            assert command.call not in destroyed, "kept after its opt-out"
    for command in rows:
        kept_call = isinstance(command, CloseCall)
        assert kept_call == (command.row.outcome is Outcome.RECORDED)
        if kept_call:
            assert command.row.direction is Direction.INBOUND, "a call of another direction was kept"
    assert not bench.loop.panel.faults(), "the gate contradicted itself"


@settings(max_examples=25, deadline=None)
@given(script=acts)
def test_a_muted_line_stays_muted_until_the_key_was_held(script: list[Act]) -> None:
    """PAYMENT at 20 s; whatever else happens, short of a hold of PAYMENT or the call's end, nothing later is kept."""
    calm = [act for act in script if not (act.signal in (Signal.PAYMENT, Signal.LOOP) and act.for_ms >= 1200)]
    calm = [act for act in calm if act.signal not in (Signal.LOOP, Signal.RING)]
    bench, _ = play([Act(20_000, Signal.PAYMENT, 100), *calm], ring_first=True)
    assert not kept(bench)[10 * SAMPLE_RATE_HZ : 64 * SAMPLE_RATE_HZ].any()
