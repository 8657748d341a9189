from pathlib import Path

import pytest
from hypothesis import settings

from tests.desk.rig import ESCROW_PASSPHRASE, PASSPHRASE, Rig
from tools.desk import keys

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(autouse=True)
def _persons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases as a script gives them; Argon2id at its lowest cost (a key file says its own parameters)."""
    monkeypatch.setenv("TACET_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("TACET_ESCROW_PASSPHRASE", ESCROW_PASSPHRASE)
    monkeypatch.setattr(keys, "MEMORY_KIB", 64)
    monkeypatch.setattr(keys, "PASSES", 1)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)
