from pathlib import Path

import pytest

from tests.evidence.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "stick")
