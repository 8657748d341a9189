"""The product as its own installer lays it out, once per test worker, without the Python packages."""

import shutil
import sys
from pathlib import Path

import pytest

from boot import install

REPOSITORY = Path(install.__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("device")
    assert install.main(["install", "--no-packages", "--destdir", str(destination)]) == 0
    return destination


@pytest.fixture(scope="session")
def bootable(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed tree with the distribution's own units and stand-ins for the programs that units name, so that
    ``systemd-analyze verify --root`` can follow every reference."""
    root = tmp_path_factory.mktemp("bootable") / "root"
    shutil.copytree(installed, root, symlinks=True)
    for folder in ("lib/systemd/system", "usr/lib/systemd/system"):
        if Path("/", folder).is_dir():
            shutil.copytree(Path("/", folder), root / folder, symlinks=True, dirs_exist_ok=True)
    python = f"usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for program in ("usr/bin/nsenter", "bin/touch", "bin/rm", "bin/sh", "usr/sbin/nft", "usr/bin/chronyc", python):
        target = root / program
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", target)
    return root
