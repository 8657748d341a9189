"""The search of the appliance test finds what is there: a search that finds nothing proves nothing by itself."""

from pathlib import Path

import numpy as np
import pytest

from tests.appliance.rawdisk import PIECE_BYTES, digits_as_stored, finds_bytes, finds_sound

NOISE = np.random.default_rng(3).integers(-4000, 4000, 4000).astype(np.int16)
NUMBER = "02079460018"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Holes, and 40 MiB of what an encrypted card looks like."""
    path = tmp_path / "disk"
    with open(path, "wb") as file:
        file.seek(8 << 20)
        file.write(np.random.default_rng(4).bytes(40 << 20))
        file.truncate(64 << 20)
    return path


def plant(disk: Path, at: int, data: bytes) -> None:
    with open(disk, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_clean_disk_is_clean(disk: Path) -> None:
    assert finds_sound(disk, [NOISE]) == []
    assert finds_bytes(disk, digits_as_stored(NUMBER)) == []


@pytest.mark.parametrize("at", [(9 << 20) + 3, (8 << 20) + PIECE_BYTES - 5, (60 << 20)])
@pytest.mark.parametrize("swapped", [False, True])
def test_four_samples_are_found_at_any_byte(disk: Path, at: int, swapped: bool) -> None:
    piece = NOISE[1001:1005]
    plant(disk, at, (piece.byteswap() if swapped else piece).tobytes())
    assert set(finds_sound(disk, [NOISE])) == {at}


def test_the_number_is_found_however_it_is_stored(disk: Path) -> None:
    for at, data in enumerate(digits_as_stored(NUMBER)):
        place = (10 << 20) + 1000 * at
        plant(disk, place, data)
        assert place in finds_bytes(disk, digits_as_stored(NUMBER))
