from pathlib import Path

import pytest

from tests.desk.rig import ESCROW_PASSPHRASE, PASSPHRASE, Rig
from tools.desk import keys


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
