"""What the notice promises, tried as the people in it would: bytes on the disk, samples in the exported file."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from firmware.__main__ import main as firmware
from firmware.units import SAMPLE_RATE_HZ
from tests.simulate.kit import Kit, Tape, at, contains, noise

ANSWER_S = 6.5
NOTICE_S_MAX = 22.0


def one_call(kit: Kit, seconds: float = 90.0) -> Tape:
    tape = Tape(kit.root / "tape", audio={"line1": noise(seconds)})
    return tape.call(2.0, ANSWER_S, seconds - 5)


def test_not_one_muted_sample_is_in_the_export_or_in_any_byte_that_can_be_opened(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = one_call(kit)
    line = tape.audio["line1"]
    tape.press(60.0, "payment").press(70.0, "payment", for_s=2.0)
    stick = kit.new_stick()
    kit.simulate(tape.stick(110.0, stick))
    kit.take_in(stick)
    [call] = kit.calls(capsys)
    assert call["gaps"] == [{"start_s": 50.0 - ANSWER_S, "end_s": 71.5 - ANSWER_S, "reason": "payment"}]
    heard = kit.wav(call["id"])
    original = line[at(ANSWER_S) : at(85.0)]
    assert len(heard) == len(original)
    assert not heard[at(50.0 - ANSWER_S) : at(71.5 - ANSWER_S)].any()
    first = int(np.flatnonzero(heard)[0])
    assert first < at(NOTICE_S_MAX)
    expected = original.copy()
    expected[:first] = 0
    expected[at(50.0 - ANSWER_S) : at(71.5 - ANSWER_S)] = 0
    assert np.array_equal(heard, expected)
    muted = [line[at(second) : at(second) + 16].tobytes() for second in np.arange(50.0, 71.4, 0.1)]
    assert contains(kit.root / "state", muted) == []
    kept = [line[at(second) : at(second) + 16].tobytes() for second in np.arange(30.0, 49.0, 0.1)]
    assert contains(kit.root / "state", kept) == [], "audio in clear on the card"
    frames = kit.root / "frames"
    _read_offline(kit, stick, frames)
    assert contains(frames, muted) == []


def _read_offline(kit: Kit, stick: Path, out: Path) -> None:
    from tools.ringread import main as ringread

    words = [str(stick), "--key", str(kit.home / "custodian.key"), "--passphrase-file", str(kit.passphrase)]
    assert ringread([*words, "--out", str(out)]) == 0
    assert any(out.rglob("gaps.csv"))


def test_the_number_is_nowhere_in_clear(kit: Kit) -> None:
    from datetime import datetime

    from tools.linesound import caller_id

    tape = one_call(kit, 60.0)
    message = caller_id("02079460123", datetime(2026, 3, 2, 9))
    tape.audio["line1"][: at(6.0)] = 0
    tape.audio["line1"][at(0.5) : at(0.5) + len(message)] = message
    stick = kit.new_stick()
    kit.simulate(tape.stick(90.0, stick))
    assert contains(kit.state, [b"02079460123", b"2079460"]) == []
    assert contains(stick, [b"02079460123"]) == []


def test_every_call_event_has_exactly_one_row_and_a_reason(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(260.0)})
    tape.call(2.0, 6.0, 40.0)
    tape.call(60.0, 62.0, 66.0)
    tape.event(80.0, "off_hook").event(90.0, "on_hook")
    tape.event(100.0, "ring").event(106.0, "ring_stop")
    tape.call(130.0, 133.0, 180.0).press(160.0, "opt_out", for_s=1.2)
    kit.simulate(tape)
    assert [row["outcome"] for row in kit.ledger(capsys)] == [
        "recorded", "notice_not_completed", "unknown_direction", "unanswered", "opted_out",
    ]  # fmt: skip


def test_two_lines_on_one_recorder_keep_to_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = '[[line]]\nname = "north"\n[[line]]\nname = "south"\n'
    kit = Kit(tmp_path / "kit", site)
    tape = Tape(kit.root / "tape", lines=["north", "south"], audio={"north": noise(80, 1), "south": noise(80, 2)})
    tape.call(2.0, 6.0, 60.0, "north").call(3.0, 7.0, 70.0, "south").press(40.0, "payment", line="south")
    stick = kit.new_stick()
    kit.simulate(tape.stick(100.0, stick))
    kit.take_in(stick)
    calls = {call["line"]: call for call in kit.calls(capsys)}
    north, south = kit.wav(calls["north"]["id"]), kit.wav(calls["south"]["id"])
    first = int(np.flatnonzero(north)[0])
    assert np.array_equal(north[first:], tape.audio["north"][at(6.0) + first : at(60.0)])
    assert not south[at(30.0 - 7.0) :].any()


def test_what_a_power_cut_left_is_whole_and_the_rest_of_the_call_is_not_kept(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(140.0)})
    tape.event(2.0, "ring").event(6.0, "off_hook").event(70.0, "power_cut", None).event(80.0, "power_on", None)
    tape.event(120.0, "on_hook")
    stick = kit.new_stick()
    kit.simulate(tape.stick(150.0, stick))
    rows = kit.ledger(capsys)
    assert [(row["outcome"], row["rule"]) for row in rows] == [
        ("recorded", "interrupted"), ("unknown_direction", "rule5_started_in_mid_call"),
    ]  # fmt: skip
    assert [row["sense"] for row in rows] == [None, True], "what nobody knows is not told as no"
    kit.take_in(stick)
    [call] = kit.calls(capsys)
    heard = kit.wav(call["id"])
    end = int(np.flatnonzero(heard)[-1])
    assert end >= at(70.0 - 6.0 - 12.0), "a cut costs at most look-back + 2 s"
    first = int(np.flatnonzero(heard)[0])
    assert np.array_equal(heard[first : end + 1], tape.audio["line1"][at(6.0) + first : at(6.0) + end + 1])


@pytest.mark.parametrize("cut_at_s", [10.0, 25.0])
def test_a_power_cut_before_anything_was_stored_does_not_lose_the_first_part_of_the_call(
    kit: Kit, capsys: pytest.CaptureFixture[str], cut_at_s: float
) -> None:
    """In the notice, and in the look-back after it."""
    tape = Tape(kit.root / "tape", audio={"line1": noise(100.0)})
    tape.event(2.0, "ring").event(5.0, "off_hook").event(cut_at_s, "power_cut", None).event(70.0, "power_on", None)
    kit.simulate(tape.event(90.0, "on_hook"))
    rows = [(row["outcome"], row["direction"], row["rule"]) for row in kit.ledger(capsys)]
    assert rows == [
        ("notice_not_completed", "inbound", "interrupted"),
        ("unknown_direction", "unknown", "rule5_started_in_mid_call"),
    ]
    started = datetime.fromisoformat(kit.ledger(capsys)[0]["started_utc"])
    assert (started - datetime.fromisoformat(tape.start)).total_seconds() == pytest.approx(5.0, abs=0.1)


def test_a_power_cut_does_not_make_the_fact_of_an_opt_out_disappear(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(60.0)})
    tape.event(0.5, "ring").event(3.0, "off_hook").press(15.0, "opt_out", for_s=1.2)
    tape.event(22.0, "power_cut", None).event(30.0, "power_on", None)
    kit.simulate(tape.event(40.0, "on_hook"))
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["opted_out", "unknown_direction"]


def test_the_ledger_does_not_end_a_cut_call_before_the_sound_that_was_kept_of_it(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(100.0)})
    tape.event(2.0, "ring").event(5.0, "off_hook").event(40.0, "power_cut", None).event(70.0, "power_on", None)
    tape.event(90.0, "on_hook")
    stick = kit.new_stick()
    kit.simulate(tape.stick(110.0, stick))
    kit.take_in(stick)
    [call] = kit.calls(capsys)
    row = next(row for row in kit.ledger(capsys) if row["rule"] == "interrupted")
    ended = datetime.fromisoformat(row["ended_utc"]) - datetime.fromisoformat(row["started_utc"])
    assert ended.total_seconds() == pytest.approx(call["duration_s"], abs=0.01)
    assert ended.total_seconds() == pytest.approx(len(kit.wav(call["id"])) / SAMPLE_RATE_HZ, abs=0.01)


@pytest.mark.parametrize(("pressed_after_s", "outcome"), [(59.5, "opted_out"), (60.5, "recorded")])
def test_opt_out_pressed_within_a_minute_of_the_end_counts_however_long_the_hold_takes(
    kit: Kit, capsys: pytest.CaptureFixture[str], pressed_after_s: float, outcome: str
) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(50.0)}).call(2.0, 6.0, 40.0)
    kit.simulate(tape.press(40.0 + pressed_after_s, "opt_out", for_s=1.5))
    assert [row["outcome"] for row in kit.ledger(capsys)] == [outcome]


def test_opt_out_after_a_power_cut_destroys_the_part_before_it(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(140.0)})
    tape.event(2.0, "ring").event(6.0, "off_hook").event(70.0, "power_cut", None).event(80.0, "power_on", None)
    tape.press(90.0, "opt_out", for_s=1.2).event(120.0, "on_hook")
    stick = kit.new_stick()
    kit.simulate(tape.stick(150.0, stick))
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["opted_out", "unknown_direction"]
    kit.take_in(stick)
    assert kit.calls(capsys) == []


@pytest.mark.parametrize(
    ("keep_at", "opt_out_at", "keep"), [(30.0, 40.0, "overruled"), (40.0, 30.0, "refused"), (30.0, None, "held")]
)
def test_the_ledger_shows_keep_beside_opt_out_whichever_was_pressed_first(
    kit: Kit, capsys: pytest.CaptureFixture[str], keep_at: float, opt_out_at: float | None, keep: str
) -> None:
    tape = one_call(kit, 70.0).press(keep_at, "keep")
    if opt_out_at is not None:
        tape.press(opt_out_at, "opt_out", for_s=1.2)
    kit.simulate(tape)
    [row] = kit.ledger(capsys)
    assert (row["outcome"], row["keep"]) == ("recorded" if opt_out_at is None else "opted_out", keep)
    assert firmware(["ledger", "--state", str(kit.state)]) == 0
    assert keep in capsys.readouterr().out


def test_a_card_that_takes_writes_again_is_used_again_for_the_next_call_and_the_stick(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(170.0)}).call(2.0, 5.0, 65.0).call(120.0, 123.0, 163.0)
    tape.events.append('[[event]]\nat = 30.0\ndo = "card_full"\nfor = 5.0\n')
    stick = kit.new_stick()
    kit.simulate(tape.stick(200.0, stick))
    rows = [(row["outcome"], row["rule"]) for row in kit.ledger(capsys)]
    assert rows == [("fault", "interrupted"), ("recorded", "rule1_ring_then_off_hook")]
    kit.take_in(stick)
    assert sorted(call["outcome"] for call in kit.calls(capsys)) == ["fault", "recorded"]


def test_a_card_that_never_takes_writes_again_does_not_hold_the_tape_up(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(170.0)}).call(2.0, 5.0, 45.0).call(120.0, 123.0, 163.0)
    tape.events.append('[[event]]\nat = 80.0\ndo = "card_full"\n')
    kit.simulate(tape)
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["recorded"]


def test_a_full_card_loses_nothing_that_was_kept(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(150.0)})
    tape.call(2.0, 6.0, 50.0).call(80.0, 84.0, 140.0)
    tape.events.append('[[event]]\nat = 110.0\ndo = "card_full"\n')
    kit.simulate(tape)
    again = Tape(kit.root / "again", start="2026-03-02T10:00:00Z")
    stick = kit.new_stick()
    kit.simulate(again.stick(5.0, stick))
    kit.take_in(stick)
    first_call = min(kit.calls(capsys), key=lambda call: call["started_utc"])
    heard = kit.wav(first_call["id"])
    first = int(np.flatnonzero(heard)[0])
    assert np.array_equal(heard[first:], tape.audio["line1"][at(6.0) + first : at(50.0)])


def test_a_card_that_stands_still_for_half_a_minute_loses_no_sample_and_no_key(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = one_call(kit, 120.0)
    tape.events.append('[[event]]\nat = 50.0\ndo = "card_stall"\nfor = 30\n')
    tape.press(60.0, "payment").press(65.0, "payment", for_s=2.0)
    stick = kit.new_stick()
    kit.simulate(tape.stick(140.0, stick))
    kit.take_in(stick)
    [call] = kit.calls(capsys)
    heard = kit.wav(call["id"])
    first = int(np.flatnonzero(heard)[0])
    expected = tape.audio["line1"][at(ANSWER_S) : at(115.0)].copy()
    expected[:first] = 0
    expected[at(50.0 - ANSWER_S) : at(66.5 - ANSWER_S)] = 0
    assert np.array_equal(heard, expected)


def test_the_same_tape_gives_the_same_call_twice(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    heard = []
    for name in ("one", "two"):
        kit.state = kit.root / name
        kit.simulate(one_call(kit))
        heard.append([{k: v for k, v in row.items() if k != "call"} for row in kit.ledger(capsys)])
    assert heard[0] == heard[1]
