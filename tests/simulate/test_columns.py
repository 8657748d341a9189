"""What is read on a terminal is not wrapped by it: the wildest rows there can be fit in 100 columns."""

from types import SimpleNamespace
from typing import Any

import pytest

from firmware import columns, ledgertable, livepanel
from firmware.policy.events import Lamp
from firmware.policy.faults import TABLE
from firmware.policy.records import Direction, Keep, Outcome


def row(**more: Any) -> dict[str, Any]:
    wild = {
        "seq": 123_456, "line": "the desk by the window", "outcome": Outcome.NOT_RECORDABLE_ENCRYPTED.value,
        "direction": Direction.OUTBOUND.value, "rule": "rule6_off_hook_during_caller_id",
        "started_utc": "2026-03-02T09:00:00.000Z", "ended_utc": "2026-03-02T09:00:59.000Z", "keep": None,
    }  # fmt: skip
    return {**wild, **more}


@pytest.mark.parametrize("keep", [None, Keep.OVERRULED.value])
def test_the_ledger_fits_a_terminal_and_still_names_what_counts(keep: str | None) -> None:
    lines = ledgertable.table([row(keep=keep), row(line="a")]).splitlines()
    assert max(map(len, lines)) <= columns.WIDTH
    assert all("not_recordable_encrypted" in line and "outbound" in line for line in lines[2:])
    assert keep is None or keep in lines[2]


def test_a_table_that_fits_is_not_cut() -> None:
    lines = columns.table(("a", "b"), [("1", "x" * 90)], shrink=(1,)).splitlines()
    assert lines[2] == "1  " + "x" * 90


def test_the_live_panel_does_not_wrap() -> None:
    line = SimpleNamespace(line=0, state="unexplained")
    panel = SimpleNamespace(lines=[SimpleNamespace(level_dbm0=-123.4)], faults=lambda: list(TABLE))
    appliance: Any = SimpleNamespace(
        loop=SimpleNamespace(lines=[line], panel=panel),
        site=SimpleNamespace(lines=[SimpleNamespace(name="the desk by the window")]),
    )
    text = livepanel.draw(appliance, 5_999_000_000, {(0, lamp): True for lamp in Lamp})
    assert max(map(len, text.splitlines())) <= columns.WIDTH
    assert "[OPT-OUT]" in text
