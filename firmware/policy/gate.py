"""The judge: the one function of the product that may permit a sample to be kept.

Permission is one interval of a call: from the end of its notice to its end, for an inbound call only. Everything else
takes away: silences (payment, opt-out key, keyed digits, hold, consult, fault) of the line or of the call, a call
that was opted out, an active fault. A sample is kept when it lies inside a permission and inside no silence; there is
no other way.

Times are capture times (``_mono_us``); spans are sample offsets in the block that is judged. Bounds are rounded so
that what is kept only ever becomes less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from firmware.policy.records import Direction, GapReason
from firmware.units import SAMPLE_US


@dataclass(frozen=True)
class Silence:
    """Nothing captured in [from, to) is kept. ``to_mono_us`` None: still in force."""

    reason: GapReason
    from_mono_us: int
    to_mono_us: int | None = None


@dataclass(frozen=True)
class CallView:
    """What the gate needs to know of one call. ``ended_mono_us`` None: still going on."""

    call: int
    direction: Direction
    answered_mono_us: int
    permitted_from_mono_us: int | None
    """When the notice had been heard; None: not (yet) permitted."""
    ended_mono_us: int | None
    opted_out: bool
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True)
class Span:
    """Samples [start, stop) of the judged block. ``reason`` None: keep; otherwise a gap, and why."""

    start: int
    stop: int
    reason: GapReason | None

    @property
    def keep(self) -> bool:
        return self.reason is None


def judge(call: CallView, silences: Sequence[Silence], fault: bool, captured_mono_us: int, samples: int) -> list[Span]:
    """The spans of one block that belong to ``call``, in order, each kept or a gap. What no span covers is not kept.

    ``silences`` are the line's own; ``fault`` tells whether a fault that stops capture is active now: then nothing is
    kept, whenever it was captured.
    """
    start, stop = _permission(call, captured_mono_us, samples)
    if start >= stop:
        return []
    if not (fault or silences or call.silences):
        return [Span(start, stop, None)]
    reasons = _reasons([*silences, *call.silences], fault, captured_mono_us, samples)
    return _runs(reasons, start, stop)


def would_keep(
    calls: Sequence[CallView], silences: Sequence[Silence], fault: bool, captured_mono_us: int, samples: int
) -> bool:
    """Whether the newest sample would be kept for any call if nothing else happened: the blinking of the REC lamp."""
    verdicts = (judge(call, silences, fault, captured_mono_us, samples) for call in calls)
    return any(spans and spans[-1].stop == samples and spans[-1].keep for spans in verdicts)


def _permission(call: CallView, captured_mono_us: int, samples: int) -> tuple[int, int]:
    if call.direction is not Direction.INBOUND or call.opted_out or call.permitted_from_mono_us is None:
        return 0, 0
    start = _sample_at_or_after(call.permitted_from_mono_us, captured_mono_us)
    stop = samples if call.ended_mono_us is None else _sample_at_or_before(call.ended_mono_us, captured_mono_us)
    return max(0, start), min(samples, stop)


def _reasons(
    silences: Sequence[Silence], fault: bool, captured_mono_us: int, samples: int
) -> list[tuple[int, int, GapReason]]:
    """Silences as sample intervals that overlap the block, widened to whole samples, most private reason first."""
    found = [(0, samples, GapReason.FAULT)] if fault else []
    for silence in silences:
        start = _sample_at_or_before(silence.from_mono_us, captured_mono_us)
        stop = samples if silence.to_mono_us is None else _sample_at_or_after(silence.to_mono_us, captured_mono_us)
        if start < samples and stop > 0:
            found.append((max(0, start), min(samples, stop), silence.reason))
    return sorted(found, key=lambda item: item[2])


def _runs(silences: Sequence[tuple[int, int, GapReason]], start: int, stop: int) -> list[Span]:
    edges = sorted({start, stop, *(edge for silence in silences for edge in silence[:2] if start < edge < stop)})
    runs: list[Span] = []
    for left, right in pairwise(edges):
        reason = next((why for first, last, why in silences if first <= left < last), None)
        if runs and runs[-1].reason == reason:
            runs[-1] = Span(runs[-1].start, right, reason)
        else:
            runs.append(Span(left, right, reason))
    return runs


def _sample_at_or_after(at_mono_us: int, captured_mono_us: int) -> int:
    return -((captured_mono_us - at_mono_us) // SAMPLE_US)


def _sample_at_or_before(at_mono_us: int, captured_mono_us: int) -> int:
    return (at_mono_us - captured_mono_us) // SAMPLE_US
