"""The judge alone: sample-exact, and never more than permission minus every silence."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from firmware.policy.gate import CallView, Silence, judge
from firmware.policy.records import Direction, GapReason
from firmware.units import SAMPLE_US

BLOCK = 800
CAPTURED_US = 1_000_000

times = st.integers(CAPTURED_US - 150_000, CAPTURED_US + 250_000)
ends = st.none() | times
silences = st.lists(
    st.builds(lambda r, a, b: Silence(r, a, None if b is None else max(a, b)), st.sampled_from(GapReason), times, ends),
    max_size=6,
)
views = st.builds(
    CallView,
    call=st.just(1),
    direction=st.sampled_from(Direction),
    answered_mono_us=times,
    permitted_from_mono_us=ends,
    ended_mono_us=ends,
    opted_out=st.booleans(),
    silences=silences.map(tuple),
)


@given(view=views, line=silences, fault=st.booleans())
def test_no_sample_is_kept_that_any_reading_of_the_rules_would_refuse(
    view: CallView, line: list[Silence], fault: bool
) -> None:
    spans = judge(view, line, fault, CAPTURED_US, BLOCK)
    assert all(a.stop == b.start for a, b in itertools.pairwise(spans)), "a hole between spans"
    kept = {sample for span in spans if span.keep for sample in range(span.start, span.stop)}
    for sample in range(BLOCK):
        begins = CAPTURED_US + sample * SAMPLE_US
        ends_us = begins + SAMPLE_US
        permitted = (
            view.direction is Direction.INBOUND
            and not view.opted_out
            and view.permitted_from_mono_us is not None
            and begins >= view.permitted_from_mono_us
            and (view.ended_mono_us is None or ends_us <= view.ended_mono_us)
        )
        silenced = fault or any(
            ends_us > silence.from_mono_us and (silence.to_mono_us is None or begins < silence.to_mono_us)
            for silence in (*line, *view.silences)
        )
        if sample in kept:
            assert permitted
            assert not silenced
        elif permitted and not silenced:
            raise AssertionError(f"sample {sample} was lost")


def inbound(**more: object) -> CallView:
    facts = {
        "call": 1,
        "direction": Direction.INBOUND,
        "answered_mono_us": 0,
        "permitted_from_mono_us": 0,
        "ended_mono_us": None,
        "opted_out": False,
    }
    return CallView(**{**facts, **more})  # type: ignore[arg-type]


def test_a_press_between_two_samples_takes_the_sample_it_falls_into() -> None:
    press = Silence(GapReason.PAYMENT, CAPTURED_US + 10 * SAMPLE_US + 1)
    [before, muted] = judge(inbound(), [press], False, CAPTURED_US, BLOCK)
    assert (before.start, before.stop, before.keep) == (0, 10, True)
    assert (muted.start, muted.stop, muted.reason) == (10, BLOCK, GapReason.PAYMENT)


def test_a_resume_between_two_samples_does_not_give_the_sample_it_falls_into() -> None:
    payment = Silence(GapReason.PAYMENT, 0, CAPTURED_US + 10 * SAMPLE_US + 1)
    [muted, after] = judge(inbound(), [payment], False, CAPTURED_US, BLOCK)
    assert (muted.stop, after.start, after.keep) == (11, 11, True)


def test_payment_names_the_gap_where_reasons_coincide() -> None:
    both = [Silence(GapReason.LOST_SAMPLES, 0), Silence(GapReason.PAYMENT, 0)]
    assert [span.reason for span in judge(inbound(), both, True, CAPTURED_US, BLOCK)] == [GapReason.PAYMENT]


def test_nothing_is_kept_before_the_notice_was_heard() -> None:
    assert judge(inbound(permitted_from_mono_us=None), [], False, CAPTURED_US, BLOCK) == []
    [span] = judge(inbound(permitted_from_mono_us=CAPTURED_US + 1), [], False, CAPTURED_US, BLOCK)
    assert span.start == 1
