from pathlib import Path

import pytest
from hypothesis import settings

from tests.evidence.rig import Rig

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "stick")
