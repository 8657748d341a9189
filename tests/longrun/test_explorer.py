"""The crash explorer as part of every test run: tens of thousands of power cuts, and no broken promise."""

import pytest

from tests.longrun.campaign import explore_until
from tests.longrun.explore import Tally
from tests.longrun.years import live_years

STATES = 50_000
"""Less than 45 s of one core that has nothing else to do; `python -m tests.longrun` goes on from there."""
SEED = 1


@pytest.fixture(scope="module")
def tally() -> Tally:
    return explore_until(STATES, SEED)


def test_no_power_cut_in_any_operation_breaks_a_promise(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(
            f"\ncrash explorer: {tally.states} states, {tally.boots} boots run ({tally.nested} cut again in the "
            f"recovery, {tally.deep} booted twice), {tally.joined} that joined another, "
            f"{tally.per_s:.0f} states per CPU second"
        )
    assert tally.violations == []
    assert tally.states >= STATES


def test_every_operation_and_trap_was_cut(tally: Tally) -> None:
    cut = " ".join(tally.operations)
    for word in (
        "opt-out of a running call",
        "opt-out of a provisionally held call",
        "ERASE order",
        "RELEASE past the limit",
        "a provisional hold lapses",
        "first day expires",
        "signing keys change hands",
        "second reboot after an interrupted call",
        "overwriting",
        "71 hours ahead at each of 21 boots",
        "boot without a clock",
        "a frame behind a hole",
        "the oldest day went for space",
        "document replaced",
        "a memory that does not answer",
        "KEEP refused at the call's end",
        "KEEP refused by the boot",
    ):
        assert word in cut, word
    assert tally.nested > 500
    assert tally.deep > 100


def test_a_seed_replays_exactly() -> None:
    one, other = explore_until(400, 7), explore_until(400, 7)
    assert (one.states, one.boots, one.nested) == (other.states, other.boots, other.nested)
    assert one.operations == other.operations


def test_a_device_lives_for_months_with_cuts_errors_and_lying_clocks() -> None:
    life = live_years(0.25, SEED)
    assert life.violations == []
    assert life.days == 92
    assert min(life.faults[fault] for fault in ("cut", "disk error", "memory error")) > 0
