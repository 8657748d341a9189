"""Hundreds of sticks that were made to hurt or that fail: the recorder records on, nothing outside the answer changes,
nothing leaves without a line in the log."""

from pathlib import Path

import pytest

from tests.evidence.hostile import Hostile, all_hostile, endure

ALL = all_hostile()
SAMPLE = ALL[::23]


def test_there_are_hundreds_of_kinds_and_each_has_its_own_name() -> None:
    assert len(ALL) >= 200
    assert len({hostile.name for hostile in ALL}) == len(ALL)


@pytest.mark.parametrize("hostile", SAMPLE, ids=lambda hostile: hostile.name)
def test_a_sample_of_hostile_sticks(hostile: Hostile, tmp_path: Path) -> None:
    endure(hostile, tmp_path)


@pytest.mark.proof
@pytest.mark.parametrize("hostile", ALL, ids=lambda hostile: hostile.name)
def test_every_hostile_stick(hostile: Hostile, tmp_path: Path) -> None:
    endure(hostile, tmp_path)


@pytest.mark.parametrize(
    ("name", "state", "code"),
    [
        ("link to a file outside as the order", "refused", "unreadable"),
        ("pipe as the order", "refused", "unreadable"),
        ("file of a tebibyte as the order", "refused", "unreadable"),
        ("order with a wider window", "refused", "bad_signature"),
        ("another order under the same id", "refused", "already_used"),
        ("a stranger's order", "refused", "unsigned"),
        ("pulled at touch 8", "failed", None),
        ("full at touch 8", "failed", None),
        ("lying at touch 28", "failed", None),
        ("swapped at touch 3", "done", None),
    ],
)
def test_what_becomes_of_the_plainest_kinds(name: str, state: str, code: str | None, tmp_path: Path) -> None:
    (hostile,) = [hostile for hostile in ALL if hostile.name == name]
    last = endure(hostile, tmp_path)
    assert (last.state, last.code) == (state, code)
