"""A recorder that leaves the house holds nothing that anybody can open, and says so; a held call stops it."""

import random
from pathlib import Path

import pytest

from boot import wipe
from boot.wipe import WipeIncomplete, WipeRefused
from firmware.store.errors import VaultError
from firmware.store.vault import Vault
from hw.sim.disk import SimDisk
from tests.store.world import World

DEVICE = "tacet-0001"


@pytest.fixture
def world() -> World:
    made = World()
    made.call()
    return made


def test_an_old_copy_of_the_card_opens_nothing_after_the_wipe(world: World) -> None:
    stolen = world.disk.image()
    wipe.wipe(world.vault, world.disk, world.memory, DEVICE)
    world.disk = SimDisk(stolen, rng=random.Random(1))
    with pytest.raises(VaultError):
        Vault.open(world.parts(), simulation=True)


def test_the_card_itself_is_overwritten(world: World) -> None:
    done = wipe.wipe(world.vault, world.disk, world.memory, DEVICE)
    names = world.disk.names()
    assert done.overwritten_bytes == sum(world.disk.size(name) for name in names)
    assert not any(any(world.disk.read(name, 0, world.disk.size(name))) for name in names)
    assert not any(world.memory.read())


def test_a_held_call_stops_the_wipe_and_nothing_is_destroyed(world: World) -> None:
    assert world.vault.keep(world.vault.calls()[0].call_id) is None
    before = world.memory.read()
    with pytest.raises(WipeRefused, match="1 calls are held"):
        wipe.wipe(world.vault, world.disk, world.memory, DEVICE)
    assert world.memory.read() == before
    assert len(world.boot().calls()) == 1


def test_the_wrong_recorder_is_not_wiped(world: World) -> None:
    with pytest.raises(WipeRefused, match="not tacet-0002"):
        wipe.wipe(world.vault, world.disk, world.memory, "tacet-0002")
    assert len(world.boot().calls()) == 1


def test_a_memory_that_keeps_its_bytes_is_told(world: World) -> None:
    world.memory.zero_slot = lambda slot: None  # type: ignore[method-assign]
    with pytest.raises(WipeIncomplete, match="destroy its board"):
        wipe.wipe(world.vault, world.disk, world.memory, DEVICE)


def test_the_certificate_names_the_device_and_carries_its_last_signed_line(world: World) -> None:
    fingerprint = world.vault.fingerprint
    done = wipe.wipe(world.vault, world.disk, world.memory, DEVICE)
    text = done.certificate()
    assert f"Device: {DEVICE}\r\n" in text
    assert f"Fingerprint: {fingerprint.hex()}\r\n" in text
    assert "|WIPE|calls=1;kind=sim|" in text
    assert "zeroed and read back as zero" in text


def test_degraded_memory_is_not_called_proven() -> None:
    world = World(memory_kind="file")
    assert "not proven" in wipe.wipe(world.vault, world.disk, world.memory, DEVICE).certificate()


def test_the_device_id_must_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(tmp_path / "none.toml"), "--device", DEVICE, "--certificate", str(tmp_path)]
    assert wipe.main(arguments, ask=lambda prompt: "yes") == 1
    assert "nothing was destroyed" in capsys.readouterr().err


def test_a_certificate_is_never_overwritten(tmp_path: Path) -> None:
    wipe.write_certificate(tmp_path / "WIPED-x.txt", "first")
    with pytest.raises(FileExistsError):
        wipe.write_certificate(tmp_path / "WIPED-x.txt", "second")
