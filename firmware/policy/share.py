"""How many of a day's calls had no known direction. Many of them mean broken sense wiring, not many odd calls."""

from collections import Counter

from firmware.policy.records import Outcome

CALLS_MIN = 10
"""Below this a share says nothing: one odd call in the morning is no alarm."""


class UnknownShare:
    """``max_percent``: the site's ``direction.unknown_share_max_percent``. Days are UTC."""

    def __init__(self, max_percent: int) -> None:
        self._max_percent = max_percent
        self._day: int | None = None
        self._calls: Counter[bool] = Counter()

    def passed(self, day: int, outcome: Outcome) -> bool:
        """Count one ledger row of ``day``; whether the share of that day is now above the limit."""
        if day != self._day:
            self._day, self._calls = day, Counter()
        self._calls[outcome is Outcome.UNKNOWN_DIRECTION] += 1
        calls = self._calls.total()
        return calls >= CALLS_MIN and 100 * self._calls[True] > self._max_percent * calls
