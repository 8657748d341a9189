"""Samples in which nothing is ideal: real ciphers under the explorer, a real file system under SIGKILL."""

from pathlib import Path

from tests.longrun.explore import Effort, Explorer
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
