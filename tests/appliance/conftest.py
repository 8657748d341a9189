"""Builds the product's root file system once per state of the sources, and one machine for the whole module."""

import hashlib
import lzma
import os
import platform
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from boot.image import build
from tests.appliance import green
from tests.appliance.desk import Desk
from tests.appliance.guest_call import caller_id_message
from tests.appliance.machine import Files, Machine, fresh_data, fresh_fat

REPOSITORY = Path(__file__).resolve().parents[2]
OUT = REPOSITORY / "build" / "appliance"
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mksquashfs", "mkfs.vfat", "mcopy", "dtc", "make", "gcc")
MODULES = ("drivers/gpio/gpio-sim.c", "drivers/gpio/gpiolib.h", "drivers/rtc/rtc-ds1307.c", "kernel/irq/irq_sim.c")
SOURCE = Path("/usr/src/linux-source-6.1.tar.xz")
GPIO_WHEELS = ("rpi-lgpio==0.6", "lgpio==0.2.2.0")
"""Pinned as on the device; the marker in requirements.txt leaves them out on a PC."""
SETTINGS = """\
[appliance]
state = "/var/lib/tacet/vault"
memory = "file"
ring_mib = 64
hold_mib = 16
sticks = "/run/tacet-stick/mount"
metrics = "/run/tacet-metrics/tacet.prom"

[[codec]]
device = "hw:CARD=line1"
rate_hz = 48000
lines = ["line1"]
"""


def reason_not_to_run() -> str | None:
    if os.geteuid() != 0:
        return "needs root: a root file system is built"
    if platform.machine() != "x86_64":
        return "the emulated machine is x86_64 and its modules are built here"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or not SOURCE.exists():
        return f"needs {', '.join(missing) or 'linux-source-6.1'}: tools/setup.sh tools/setup_packages_image.txt"
    return None


@pytest.fixture(scope="session")
def files() -> Files:
    why = reason_not_to_run()
    if why is not None:
        pytest.skip(why)
    OUT.mkdir(parents=True, exist_ok=True)
    stamp = OUT / "built"
    state = source_state()
    if not stamp.exists() or stamp.read_text() != state:
        stamp.unlink(missing_ok=True)
        build_root()
        stamp.write_text(state)
    boot = OUT / "boot-tree"
    shutil.rmtree(boot, ignore_errors=True)
    boot.mkdir()
    (boot / "tacet.toml").write_text(SETTINGS)
    return Files(
        kernel=unpacked_kernel(OUT / "tacet-amd64.vmlinuz"),
        initrd=OUT / "tacet-amd64.initrd",
        root=OUT / "tacet-amd64.squashfs",
        data=fresh_data(OUT / "data.img"),
        boot=fresh_fat(OUT / "boot.img", boot, "TACETBOOT"),
    )


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="session")
def machine(files: Files) -> Iterator[Machine]:
    folder = OUT / "machine"
    shutil.rmtree(folder, ignore_errors=True)
    made = Machine(files, folder)
    made.power_on()
    yield made
    if made.running():
        made.power_cut()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the machine did costs processor time, not the host's; what went wrong inside is told by its own journal."""
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.when == "call" and machine is not None:
        FIGURES.append((item.name, report.outcome, machine.processor_s(), machine.own_s()))
        if report.failed:
            report.sections.append(("journal of the machine", machine.journal()))
    return report


FIGURES: list[tuple[str, str, float, float]] = []
"""Test, outcome, then at its end: processor time of the emulation, the machine's own time since power-on; seconds."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A whole story without a failure is what .ci/run need not repeat (green.py)."""
    passed = {name for name, outcome, *_ in FIGURES if outcome == "passed"}
    story = [item for item in session.items if item.name in passed and item.module.__name__.endswith("test_appliance")]
    if exitstatus == 0 and story and passed >= {name for name in vars(story[0].module) if name.startswith("test_")}:
        green.write()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, outcome, processor_s, own_s in FIGURES:
        terminalreporter.write_line(f"{outcome:7} {processor_s:6.0f} s of CPU  {own_s:6.0f} s of its own  {name}")


def source_state() -> str:
    digest = hashlib.sha256()
    for folder in ("firmware", "hw", "boot", "tests/appliance/guest"):
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(REPOSITORY)).encode() + path.read_bytes())
    digest.update((REPOSITORY / "requirements.txt").read_bytes() + caller_id_message())
    return digest.hexdigest()


def build_root() -> None:
    """The image's own builder, with the test's hand laid over it: its service, kernel modules, GPIO library."""
    tree = OUT / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(Path(__file__).with_name("guest"), tree, symlinks=True)
    architecture = build.ARCHITECTURES["amd64"]
    base = build.base_system(architecture, OUT)
    for module in build_modules(kernel_version(base)):
        shutil.copy(module, tree / "usr/lib/tacet-test" / module.name)
    (tree / "usr/lib/tacet-test/caller-id.raw").write_bytes(caller_id_message())
    site_packages = tree / "opt/tacet/venv/lib/python3.11/site-packages"
    site_packages.mkdir(parents=True)
    for wheel in gpio_wheels():
        zipfile.ZipFile(wheel).extractall(site_packages)
    build.build(architecture, OUT, build.Additions(tree, None), root_only=True)


def unpacked_kernel(packed: Path) -> Path:
    """What is inside a bzImage (Linux, Documentation/x86/boot.rst): unpacking it inside takes longer than it does to
    start."""
    data = packed.read_bytes()
    setup_sectors, offset, length = data[0x1F1], *struct.unpack_from("<II", data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    path = packed.with_suffix(".elf")
    path.write_bytes(lzma.decompress(data[start : start + length - 4]))  # the last four bytes tell its size
    return path


def kernel_version(base: Path) -> str:
    listing = subprocess.run(["tar", "-tf", str(base)], capture_output=True, text=True, check=True).stdout
    return next(line.split("/")[-1] for line in listing.splitlines() if "boot/vmlinuz-" in line)[len("vmlinuz-") :]


def build_modules(version: str) -> list[Path]:
    """gpio-sim is not in Debian's kernel, nor is the interrupt simulator it stands on, which calls one function that
    modules may not; another does the same."""
    headers = Path(f"/usr/src/linux-headers-{version}")
    if not headers.is_dir():
        pytest.skip(f"the image's kernel is {version} and its headers are not installed (linux-headers-amd64)")
    folder = OUT / f"modules-{version}"
    names = ("irq_sim.ko", "gpio-sim.ko", "rtc-ds1307.ko")
    if all((folder / name).exists() for name in names):
        return [folder / name for name in names]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    inside = [f"linux-source-6.1/{module}" for module in (*MODULES, "drivers/rtc/rtc-core.h")]
    unpack = ["tar", "-xJf", str(SOURCE), "-C", str(folder), "--transform", "s,.*/,,", *inside]
    subprocess.run(unpack, check=True)
    simulator = folder / "irq_sim.c"
    text = simulator.read_text().replace("handle_simple_irq(irq_to_desc(irqnum))", "generic_handle_irq(irqnum)")
    simulator.write_text(f'#include <linux/module.h>\n{text}\nMODULE_LICENSE("GPL");\n')
    (folder / "Makefile").write_text("obj-m := irq_sim.o gpio-sim.o rtc-ds1307.o\n")
    subprocess.run(["make", "-s", "-C", str(headers), f"M={folder}", "modules"], check=True, capture_output=True)
    return [folder / name for name in names]


def gpio_wheels() -> list[Path]:
    folder = OUT / "gpio-wheels"
    if not folder.exists():
        platforms = [word for level in ("2_17", "2_28", "2_34") for word in ("--platform", f"manylinux_{level}_x86_64")]
        target = ["--only-binary=:all:", "--python-version", "311", *platforms, "--no-deps", "--quiet"]
        command = [str(REPOSITORY / ".venv/bin/python"), "-m", "pip", "download", *target, "--dest", f"{folder}.new"]
        subprocess.run([*command, *GPIO_WHEELS], check=True)
        Path(f"{folder}.new").rename(folder)
    return sorted(folder.glob("*.whl"))
