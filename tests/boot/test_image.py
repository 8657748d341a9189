"""The image's own parts, without building one: initial file system, partitions, loader entries, the two consoles."""

import gzip
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from boot.image import build, initramfs, wheels
from tests.boot.test_units import verify

IMAGE_TREE = Path(build.__file__).with_name("tree")
DEPENDENCIES = """\
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio-pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/fs/squashfs/squashfs.ko:
kernel/drivers/hid/usbhid.ko:
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    modules = tmp_path / "usr/lib/modules/6.1.0"
    for line in DEPENDENCIES.splitlines():
        path = modules / line.partition(":")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(path.name.encode())
    (modules / "modules.dep").write_text(DEPENDENCIES)
    (tmp_path / "busybox").write_bytes(b"\x7fELF")
    return tmp_path


def unpack(archive: bytes) -> dict[str, bytes]:
    """A reader of the newc format of its own."""
    found: dict[str, bytes] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + i * 8 : at + 14 + i * 8], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = (at + 110 + name_size + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = archive[start : start + size]
        at = (start + size + 3) // 4 * 4


def test_the_initial_file_system_loads_every_module_after_what_it_needs(root: Path) -> None:
    files = unpack(gzip.decompress(initramfs.build(root, root / "busybox")))
    order = files["modules/order"].decode().split()
    assert order == ["virtio.ko", "virtio_ring.ko", "virtio-pci.ko", "virtio_blk.ko", "squashfs.ko"]
    assert {f"modules/{name}" for name in order} < set(files)
    assert files["init"].startswith(b"#!/bin/busybox sh\n")


def test_the_same_root_gives_the_same_bytes(root: Path) -> None:
    assert initramfs.build(root, root / "busybox") == initramfs.build(root, root / "busybox")


def test_no_keyboard_driver_is_in_the_initial_file_system(root: Path) -> None:
    assert b"usbhid" not in gzip.decompress(initramfs.build(root, root / "busybox"))


def test_partitions_do_not_overlap_and_both_slots_are_equal() -> None:
    starts, total = build.place_partitions()
    ends = {name: start + build.SIZES[name] * build.MIB for name, start in starts.items()}
    ordered = sorted(starts, key=lambda name: starts[name])
    assert all(ends[one] <= starts[other] for one, other in itertools.pairwise(ordered))
    assert max(ends.values()) < total
    assert build.SIZES["tacet-a"] == build.SIZES["tacet-b"]


def test_each_slot_boots_its_own_root_read_only() -> None:
    for slot in ("a", "b"):
        entry = build.loader_entry(build.ARCHITECTURES["arm64"], slot)
        assert f"root=PARTLABEL=tacet-{slot} rootfstype=squashfs ro" in entry
        assert f"linux /{slot}/vmlinuz" in entry


def test_identifiers_are_the_same_in_every_build() -> None:
    starts, _ = build.place_partitions()
    assert build.partition_table(starts) == build.partition_table(starts)
    assert "PARTLABEL" not in build.partition_table(starts)
    assert len({build.fixed_uuid(name) for name in (*build.SIZES, "disk", "ext4", "hash")}) == len(build.SIZES) + 3


def test_a_wheel_that_is_written_here_is_one_for_pip_and_the_same_every_time(tmp_path: Path) -> None:
    contents = {"silent/__init__.py": b"LEVEL = 7\n"}
    metadata = b"Metadata-Version: 2.1\nName: Silent\nVersion: 1.0\n"
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        made.append(wheels.write_wheel(tmp_path / name, "Silent", "1.0", "aarch64", contents, metadata))
    assert made[0].read_bytes() == made[1].read_bytes()
    target = ["--platform", "linux_aarch64", "--python-version", wheels.PYTHON, "--only-binary=:all:", "--no-deps"]
    place = ["--no-index", "--target", str(tmp_path / "site"), "--root-user-action", "ignore"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *target, *place]
    subprocess.run([*pip, str(made[0])], check=True)
    assert (tmp_path / "site/silent/__init__.py").read_bytes() == b"LEVEL = 7\n"


def test_the_pins_library_is_for_the_board_alone_and_the_sound_library_comes_as_source(tmp_path: Path) -> None:
    asked: dict[str, list[list[str]]] = {}
    (tmp_path / "PyAudio-1.tar.gz").touch()
    for machine in ("aarch64", "x86_64"):
        asked[machine] = []
        assert wheels.download(machine, tmp_path, asked[machine].append).name == "PyAudio-1.tar.gz"
        [binary, source] = asked[machine]
        assert not any(word.startswith("PyAudio") for word in binary)
        assert source[-1].startswith("PyAudio==")
        assert {word for word in binary if word.startswith("manylinux")} == {
            f"manylinux{level}_{machine}" for level in wheels.MANYLINUX
        }
    assert any(word.startswith("rpi-lgpio==") for word in asked["aarch64"][0])
    assert not any("lgpio" in word for word in asked["x86_64"][0])


def test_nothing_of_the_image_is_writable_but_data_and_ram() -> None:
    entries = [line.split() for line in (IMAGE_TREE / "etc/fstab").read_text().splitlines() if line and line[0] != "#"]
    for device, _, kind, options, *_ in entries:
        assert "ro" in options.split(",") or kind == "tmpfs", device
        assert {"nosuid", "nodev", "noexec"} <= set(options.split(","))


def test_the_settings_partition_is_waited_for_as_long_as_a_slow_card_takes(tmp_path: Path) -> None:
    """As systemd understands fstab: the boot does not wait for it, and nothing gives it up."""
    generator = Path("/lib/systemd/system-generators/systemd-fstab-generator")
    environment = {"SYSTEMD_FSTAB": str(IMAGE_TREE / "etc/fstab")}
    units = [str(tmp_path)] * 3
    subprocess.run([str(generator), *units], check=True, env=environment)
    assert "nofail" in (tmp_path / "boot-firmware.mount").read_text()
    [limit] = tmp_path.glob("dev-disk-by*TACETBOOT.device.d/*.conf")
    assert "JobRunningTimeoutSec=infinity" in limit.read_text()


def test_systemd_accepts_the_two_consoles(bootable: Path, tmp_path: Path) -> None:
    root = tmp_path / "image"
    shutil.copytree(bootable, root, symlinks=True)
    shutil.copytree(IMAGE_TREE, root, symlinks=True, dirs_exist_ok=True)
    for program in ("sbin/agetty",):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/bin/true", root / program)
    names = ["getty@tty1.service", "serial-getty@ttyAMA0.service"]
    for name in names:
        template = name.partition("@")[0] + "@.service"
        source = next(Path("/", folder, template) for folder in ("lib/systemd/system", "usr/lib/systemd/system"))
        shutil.copy(source, root / "etc/systemd/system" / template)
    assert verify(root, names) == ""
