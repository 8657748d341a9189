"""Samples in which nothing is ideal: real ciphers under the explorer, a real file system under SIGKILL."""

from pathlib import Path

import pytest

from tests.longrun.explore import Effort, Explorer
from tests.longrun.power import lossy_card, why_not
from tests.longrun.real import RecordedCiphers, charter_of_real_keys
from tests.longrun.storm import storm
from tests.longrun.workloads import opt_outs
from tests.longrun.world import World

SAMPLE = Effort(subsets_max=4, nested_every=10, deep_every=40)


def test_opt_outs_erase_under_every_cut_with_the_real_ciphers() -> None:
    world = World("real", ciphers=RecordedCiphers, charter=charter_of_real_keys())
    explorer = Explorer(world, SAMPLE, "real")
    for operation in opt_outs(world):
        explorer.explore(operation)
    explorer.finish()
    assert explorer.tally.violations == []
    assert explorer.tally.states > 400


def test_a_recorder_killed_again_and_again_keeps_every_acknowledged_call(tmp_path: Path) -> None:
    found = storm(tmp_path, kills=5, seed=1)
    assert found.violations == []
    assert found.kills == 5
    assert found.acknowledged > 20


power_may_fail = pytest.mark.skipif(bool(why_not()), reason=why_not() or "nothing is missing")


@pytest.mark.proof
@power_may_fail
def test_what_was_acknowledged_survives_the_loss_of_all_that_was_not_synced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lossy_card(tmp_path / "image", tmp_path / "card") as card:
        found = storm(tmp_path, kills=25, seed=2, lossy=card)
    with capsys.disabled():
        print(f"\npower cuts on ext4: {found.kills}, {found.acknowledged} acknowledgements")
    assert found.violations == []
    assert found.kills == 25
    assert found.acknowledged > 200


@pytest.mark.proof
@power_may_fail
def test_a_recorder_that_syncs_nothing_is_found_out_by_a_power_cut(tmp_path: Path) -> None:
    """What is not synced is really lost."""
    with lossy_card(tmp_path / "image", tmp_path / "card") as card:
        found = storm(tmp_path, kills=10, seed=3, lossy=card, careless=True)
    assert found.violations != []
