"""A provisioned kit is made once a session (passphrases are slow on purpose) and copied for each test."""

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulate.kit import Kit
from tools.desk import keys


@pytest.fixture(scope="session", autouse=True)
def quick_passphrases() -> Iterator[None]:
    """Argon2id is slow on purpose; here each passphrase is stretched once. The desk's own tests stretch every time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_stretch", functools.cache(keys._stretch))
        yield


@pytest.fixture(scope="session")
def made_kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit(tmp_path_factory.mktemp("kit") / "kit")


@pytest.fixture
def kit(made_kit: Kit, tmp_path: Path) -> Kit:
    copied = tmp_path / "kit"
    shutil.copytree(made_kit.root, copied)
    own = object.__new__(Kit)
    own.root, own.home, own.pack, own.state = copied, copied / "desk", copied / "pack", copied / "state"
    own.passphrase = copied / "passphrase"
    return own
