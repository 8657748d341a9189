"""Broken sense wiring shows as a share of calls that had no known direction."""

from firmware.policy.records import Outcome
from firmware.policy.share import CALLS_MIN, UnknownShare


def test_more_unknown_calls_than_the_site_allows_raise_the_alarm_and_the_next_day_begins_anew() -> None:
    share = UnknownShare(10)
    told = [share.passed(1, Outcome.RECORDED) for _ in range(18)]
    told += [share.passed(1, Outcome.UNKNOWN_DIRECTION) for _ in range(2)]
    assert not any(told), "two of twenty are ten per cent: not more"
    assert share.passed(1, Outcome.UNKNOWN_DIRECTION)
    assert not share.passed(2, Outcome.UNKNOWN_DIRECTION)


def test_a_few_odd_calls_in_the_morning_are_no_alarm() -> None:
    share = UnknownShare(1)
    assert not any(share.passed(1, Outcome.UNKNOWN_DIRECTION) for _ in range(CALLS_MIN - 1))
    assert share.passed(1, Outcome.UNKNOWN_DIRECTION)
