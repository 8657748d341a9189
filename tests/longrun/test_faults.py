"""I/O errors at every call, every bit flipped, and a real attacker with real ciphers."""

import errno

import pytest

from tests.longrun.errors import HOW_OFTEN, sweep
from tests.longrun.flips import flip_all


def test_an_error_at_any_disk_or_memory_call_breaks_no_promise() -> None:
    done = sweep((("twice", errno.EIO),))
    assert done.violations == []
    assert done.runs == done.disk_calls + len(HOW_OFTEN) * done.memory_calls
    assert done.disk_calls > 150
    assert done.refused_with_a_fault > 50, "errors do stop the vault: the sweep is not deaf"


@pytest.mark.proof
def test_a_single_error_is_survived_wherever_it_strikes() -> None:
    done = sweep((("once", errno.ENOSPC),))
    assert done.violations == []
    assert done.acknowledged_all_the_same > done.disk_calls * 0.9


def test_no_flipped_bit_of_anything_that_decides_is_accepted_silently() -> None:
    """Every bit of a slot, the table, 50 bag entries and 3 frames."""
    found = flip_all()
    assert found.accepted == 0
    assert min(found.slots, found.table, found.entries, found.frames) > 0
    assert found.total >= 500_000
