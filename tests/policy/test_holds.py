"""Held means held; a provisional hold lapses; opt-out beats it; a full quota is refused loudly."""

from hypothesis import given
from hypothesis import strategies as st

from firmware.policy.holds import (
    EXPORT_DUE_MS,
    Candidate,
    Hold,
    Quota,
    Refusal,
    provisional_until,
    refuse_extend,
    refuse_hold,
    refuse_keep,
    refuse_opt_out,
    review,
)
from firmware.units import MS_PER_DAY

NOW = 1_790_000_000_000
ROOM = Quota(1000, 0)
CALL = Candidate(kept=True, opted_out=False, past_limit=False, size_bytes=100)
PROVISIONAL = Hold(b"p" * 16, True, NOW, provisional_until(NOW), 100)
CONFIRMED = Hold(b"c" * 16, False, NOW, NOW + 90 * MS_PER_DAY, 100)


def held(hold: Hold) -> Candidate:
    return Candidate(kept=True, opted_out=False, past_limit=False, size_bytes=100, held=hold)


def test_keep_holds_a_kept_call() -> None:
    assert refuse_keep(CALL, ROOM) is None


def test_keep_after_an_opt_out_is_refused_even_when_the_quota_is_full_too() -> None:
    gone = Candidate(kept=False, opted_out=True, past_limit=False, size_bytes=0)
    assert refuse_keep(gone, Quota(0, 0)) is Refusal.OPTED_OUT
    assert refuse_hold(gone, ROOM, NOW + 1, NOW) is Refusal.OPTED_OUT


def test_keep_on_a_call_that_was_not_recorded_is_refused() -> None:
    assert refuse_keep(Candidate(False, False, False, 0), ROOM) is Refusal.NOT_KEPT


def test_keep_a_second_time_is_done_already_and_changes_nothing_even_with_a_full_quota() -> None:
    assert refuse_keep(held(PROVISIONAL), Quota(100, 100)) is None
    assert refuse_keep(held(CONFIRMED), Quota(100, 100)) is None


def test_a_full_quota_refuses_a_new_hold_and_not_one_byte_too_early() -> None:
    assert refuse_keep(CALL, Quota(1000, 900)) is None
    assert refuse_keep(CALL, Quota(1000, 901)) is Refusal.QUOTA_FULL
    assert refuse_hold(CALL, Quota(1000, 901), NOW + 1, NOW) is Refusal.QUOTA_FULL


def test_the_quota_alarm_comes_above_seventy_percent() -> None:
    assert not Quota(1000, 700).high
    assert Quota(1000, 701).high


def test_a_hold_cannot_revive_what_is_past_its_limit() -> None:
    late = Candidate(True, False, True, 100)
    assert refuse_keep(late, ROOM) is Refusal.PAST_LIMIT
    assert refuse_hold(late, ROOM, NOW + 1, NOW) is Refusal.PAST_LIMIT


def test_an_order_turns_a_provisional_hold_into_a_full_one_past_the_calls_own_limit() -> None:
    late = Candidate(True, False, True, 100, held=PROVISIONAL)
    assert refuse_hold(late, Quota(100, 100), NOW + 1, NOW) is None


def test_a_confirmed_hold_is_extended_not_placed_twice() -> None:
    assert refuse_hold(held(CONFIRMED), ROOM, NOW + 1, NOW) is Refusal.ALREADY_HELD
    assert refuse_extend(CONFIRMED, CONFIRMED.review_utc_ms + 1, NOW) is None
    assert refuse_extend(CONFIRMED, CONFIRMED.review_utc_ms, NOW) is Refusal.REVIEW_NOT_LATER
    assert refuse_extend(PROVISIONAL, NOW + 400 * MS_PER_DAY, NOW) is Refusal.NOT_HELD
    assert refuse_extend(None, NOW + 1, NOW) is Refusal.NOT_HELD


def test_a_review_date_in_the_past_is_refused() -> None:
    assert refuse_hold(CALL, ROOM, NOW, NOW) is Refusal.REVIEW_NOT_AHEAD
    assert refuse_extend(CONFIRMED, NOW, NOW) is Refusal.REVIEW_NOT_AHEAD


def test_opt_out_beats_a_provisional_hold_and_not_a_confirmed_one() -> None:
    assert refuse_opt_out(None) is None
    assert refuse_opt_out(PROVISIONAL) is None
    assert refuse_opt_out(CONFIRMED) is Refusal.CONFIRMED_HOLD


def test_a_provisional_hold_lapses_after_fourteen_days_to_the_millisecond() -> None:
    end = NOW + 14 * MS_PER_DAY
    assert review([PROVISIONAL], end - 1, single_battery_memory=False).lapsed == ()
    assert review([PROVISIONAL], end, single_battery_memory=False).lapsed == (PROVISIONAL.call_id,)


@given(st.integers(0, 10_000 * MS_PER_DAY))
def test_a_confirmed_hold_never_lapses_it_only_asks_for_review(after_ms: int) -> None:
    found = review([CONFIRMED], NOW + after_ms, single_battery_memory=True)
    assert found.lapsed == ()
    assert (found.due == (CONFIRMED.call_id,)) == (NOW + after_ms >= CONFIRMED.review_utc_ms)


def test_a_single_battery_asks_for_a_sealed_export_within_seven_days() -> None:
    exported = Hold(b"e" * 16, False, NOW, NOW + 90 * MS_PER_DAY, 100, exported=True)
    holds = [CONFIRMED, exported]
    assert review(holds, NOW + EXPORT_DUE_MS - 1, single_battery_memory=True).export_due == ()
    assert review(holds, NOW + EXPORT_DUE_MS, single_battery_memory=True).export_due == (CONFIRMED.call_id,)
    assert review(holds, NOW + EXPORT_DUE_MS, single_battery_memory=False).export_due == ()
