"""When CI runs the emulated machine, and what it makes of the result."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.appliance import ci, green


def answers(*codes: int | None) -> tuple[Callable[[list[str], float], int | None], list[list[str]]]:
    left, asked = list(codes), []

    def run(command: list[str], seconds: float) -> int | None:
        assert 0 < seconds <= ci.LIMIT_S
        asked.append(command)
        return left.pop(0)

    return run, asked


@pytest.mark.parametrize(
    ("codes", "verdict", "words"),
    [
        ((0, 0), 0, ""),
        ((0, 2, 0), 0, "attempt 1 of 2 failed"),
        ((0, 2, 2), 1, "attempt 2 of 2 failed"),
        ((0, None), 0, "NOT JUDGED"),
        ((0, 2, None), 0, "NOT JUDGED, attempt 2"),
        ((100,), 0, "skipped"),
        ((None,), 0, "skipped"),
    ],
)
def test_a_run_that_fails_is_tried_once_more_and_all_is_said(
    codes: tuple[int | None, ...], verdict: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, asked = answers(*codes)
    assert ci.judge(run, lambda: 0.0) == verdict
    assert words in capsys.readouterr().out
    assert asked == [ci.PACKAGES, *[ci.RUN] * (len(codes) - 1)]


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert ci.run_within(["sh", "-c", f"(sleep 2; touch {mark}) & wait"], 0.2) is None
    assert ci.run_within(["sleep", "2.5"], 10) == 0
    assert not mark.exists()


def test_every_change_of_what_is_proven_asks_for_a_new_run(tmp_path: Path) -> None:
    for folder in green.FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file.py").write_text("a")
    seen = [green.state(tmp_path)]
    for folder in green.FOLDERS:
        (tmp_path / folder / "file.py").write_text("b")
        seen.append(green.state(tmp_path))
    (tmp_path / "boot/file.py").rename(tmp_path / "boot/other.py")
    seen.append(green.state(tmp_path))
    (tmp_path / "firmware/elsewhere.py").write_text("no part of it")
    assert len(set(seen)) == len(seen)
    assert green.state(tmp_path) == seen[-1]
