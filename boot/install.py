"""Put the recorder in place on a Debian or Raspberry Pi OS system, or take it away again. Standard library only.

    python3 boot/install.py wheelhouse                  # build/wheelhouse: pip's work, once, not on the device
    python3 boot/install.py install   --destdir /
    python3 boot/install.py uninstall --destdir /

``boot/TREE.md`` documents every path; ``tests/boot`` compares it with what this writes. Running it twice changes
nothing. A manifest with the SHA-256 of every file is left on the device: ``uninstall`` removes what it lists and
nothing else. The data partition is never touched.
"""

import argparse
import compileall
import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WHEELHOUSE = REPOSITORY / "build" / "wheelhouse"
LIBRARY = "opt/tacet/lib"
VENV = "opt/tacet/venv"
MANIFEST = "opt/tacet/MANIFEST"
SETTINGS = "etc/tacet/tacet.toml"
CONFIG_TXT = "boot/firmware/config.txt"
INCLUDE_LINE = "include tacet-config.txt"
PACKAGES = ("firmware", "hw", "boot")
LEFT_OUT = {"electronics", "image", "root", "overlays", "guides", "__pycache__"}
"""Folders that the device has no use for: drawings, the image's recipe, what is laid out elsewhere."""

LINKS = {
    "etc/systemd/system/multi-user.target.wants/tacet-recorder.service": "/etc/systemd/system/tacet-recorder.service",
    "etc/systemd/system/multi-user.target.wants/tacet-clock.service": "/etc/systemd/system/tacet-clock.service",
    "etc/systemd/system/local-fs.target.wants/var-lib-tacet.mount": "/etc/systemd/system/var-lib-tacet.mount",
    "etc/systemd/system/sysinit.target.wants/nftables.service": "/lib/systemd/system/nftables.service",
    # Nothing of this may run beside the recorder: swap would put audio on flash, the rest listens or is radio.
    "etc/systemd/system/swap.target": "/dev/null",
    "etc/systemd/system/dphys-swapfile.service": "/dev/null",
    "etc/systemd/system/systemd-coredump.socket": "/dev/null",
    "etc/systemd/system/avahi-daemon.service": "/dev/null",
    "etc/systemd/system/avahi-daemon.socket": "/dev/null",
    "etc/systemd/system/bluetooth.service": "/dev/null",
    "etc/systemd/system/hciuart.service": "/dev/null",
    "etc/systemd/system/wpa_supplicant.service": "/dev/null",
    "etc/systemd/system/ModemManager.service": "/dev/null",
    "etc/systemd/system/udisks2.service": "/dev/null",
    "etc/systemd/system/systemd-timesyncd.service": "/dev/null",
}


class InstallError(Exception):
    """One sentence: what happened, what is safe, what to do."""


@dataclass(frozen=True)
class Device:
    """``python``: major.minor of the device's interpreter; ``machine`` as uname tells it."""

    python: str
    machine: str

    @classmethod
    def this(cls) -> "Device":
        return cls(f"{sys.version_info.major}.{sys.version_info.minor}", os.uname().machine)

    @property
    def site_packages(self) -> str:
        return f"{VENV}/lib/python{self.python}/site-packages"


@dataclass(frozen=True)
class Item:
    """``path`` is relative to the root directory; exactly one of ``source`` (a file) and ``link`` (a target) is set."""

    path: str
    source: Path | None = None
    link: str | None = None
    text: str | None = None
    mode: int = 0o644


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        if options.command == "wheelhouse":
            build_wheelhouse(Path(options.out))
        elif options.command == "install":
            device = Device(*options.device.split(":")) if options.device else Device.this()
            wheelhouse = None if options.no_packages else Path(options.wheelhouse)
            install(destination(options.destdir), wheelhouse, device, voip=options.voip)
        else:
            uninstall(destination(options.destdir))
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="boot/install.py", description="install or remove the recorder")
    commands = parser.add_subparsers(dest="command", required=True)
    wheels = commands.add_parser("wheelhouse", help="build the Python packages of requirements.txt once")
    wheels.add_argument("--out", default=str(WHEELHOUSE))
    adder = commands.add_parser("install", help="copy everything to its place")
    adder.add_argument("--destdir", default="/")
    adder.add_argument("--wheelhouse", default=str(WHEELHOUSE), help="folder of wheels; built there if it is missing")
    adder.add_argument("--no-packages", action="store_true", help="leave the Python packages out")
    adder.add_argument("--voip", action="store_true", help="this recorder has VoIP lines: bridge and packet socket")
    adder.add_argument("--device", help="PYTHON:MACHINE of the device, for example 3.11:aarch64; default: this machine")
    remover = commands.add_parser("uninstall", help="remove everything that install put there, but no recording")
    remover.add_argument("--destdir", default="/")
    return parser.parse_args(arguments)


def destination(text: str) -> Path:
    """An empty DESTDIR is the running system, as everywhere."""
    return Path(text or "/").resolve()


def build_wheelhouse(out: Path) -> None:
    """PyAudio has no Linux wheel and is compiled here (portaudio19-dev and a C compiler); never on the device."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--requirement", str(REPOSITORY / "requirements.txt")]
    run([*command, "--wheel-dir", str(out), "--find-links", str(out)])


def install(root: Path, wheelhouse: Path | None, device: Device, *, voip: bool = False) -> None:
    """Raises InstallError; an interrupted run is completed by running it again."""
    if wheelhouse is not None and not any(wheelhouse.glob("*.whl")):
        build_wheelhouse(wheelhouse)
    items = list(layout(device, voip=voip))
    for item in items:
        place(root, item)
    compile_overlays(root)
    site_packages = root / device.site_packages
    if wheelhouse is not None:
        unpack_wheels(site_packages, wheelhouse, device)
    compile_bytecode([root / LIBRARY, site_packages], device)
    add_include(root)
    write_manifest(root, items)
    if root == Path("/"):
        run(["systemd-sysusers"])
        run(["systemctl", "daemon-reload"])
        run(["udevadm", "control", "--reload"])


def uninstall(root: Path) -> None:
    """Removes what the manifest lists. A ``tacet.toml`` that was changed since stays; so does the data partition."""
    manifest = root / MANIFEST
    if not manifest.is_file():
        raise InstallError(f"there is no {manifest}: nothing is installed here and nothing was changed.")
    entries = [line.partition("  ") for line in manifest.read_text().splitlines()]
    for digest, _, name in entries:
        path = root / name
        if name == SETTINGS and path.is_file() and sha256(path) != digest:
            continue
        path.unlink(missing_ok=True)
    (root / SETTINGS).with_suffix(".toml.new").unlink(missing_ok=True)
    for tree in (LIBRARY, VENV):
        shutil.rmtree(root / tree, ignore_errors=True)
    manifest.unlink()
    remove_include(root)
    prune_empty(root, [MANIFEST, *(name for _, _, name in entries)])


# ----------------------------------------------------------------------------------------------- what goes where


def layout(device: Device, *, voip: bool = False) -> Iterator[Item]:
    """Every file and link, without the wheels' own files."""
    version = device.python
    boot = REPOSITORY / "boot"
    for tree in (boot / "root", *([boot / "voip"] if voip else [])):
        for source in files_under(tree):
            yield Item(str(source.relative_to(tree)), source=source)
    for guide in sorted((boot / "guides").glob("*.md")):
        yield Item(f"usr/share/doc/tacet/{guide.name}", source=guide)
    for package in PACKAGES:
        for source in files_under(REPOSITORY / package):
            inner = source.relative_to(REPOSITORY)
            if wanted(inner):
                yield Item(f"{LIBRARY}/{inner}", source=source)
    yield Item(
        f"{VENV}/pyvenv.cfg", text=f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    yield Item(f"{VENV}/bin/python", link=f"/usr/bin/python{version}")
    yield Item(f"{device.site_packages}/tacet.pth", text=f"/{LIBRARY}\n")
    for path, target in sorted(LINKS.items()):
        yield Item(path, link=target)


def wanted(inner: Path) -> bool:
    return not LEFT_OUT.intersection(inner.parts) and inner.suffix in (".py", ".wav", ".flac", ".toml", ".npz")


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


# ------------------------------------------------------------------------------------------------------ the steps


def place(root: Path, item: Item) -> None:
    """Written beside its place and renamed: a cut leaves the old file or the new one, never half of one."""
    path = root / item.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if item.path == SETTINGS and path.is_file() and item.source is not None:
        if path.read_bytes() == item.source.read_bytes():
            return
        path = path.with_suffix(".toml.new")
    fresh = path.with_name(f".{path.name}.tacet-new")
    fresh.unlink(missing_ok=True)
    if item.link is not None:
        fresh.symlink_to(item.link)
    else:
        data = item.source.read_bytes() if item.source is not None else (item.text or "").encode()
        fresh.write_bytes(data)
        fresh.chmod(item.mode)
        keep_time(fresh)
    fresh.replace(path)


def keep_time(path: Path) -> None:
    """SOURCE_DATE_EPOCH makes two images of one commit equal to the byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None:
        os.utime(path, (int(epoch), int(epoch)))


def compile_overlays(root: Path) -> None:
    folder = root / "boot/firmware/overlays"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((REPOSITORY / "boot/overlays").glob("*.dts")):
        target = folder / f"{source.stem}.dtbo"
        run(["dtc", "-@", "-q", "-I", "dts", "-O", "dtb", "-o", str(target), str(source)])
        keep_time(target)


def unpack_wheels(site_packages: Path, wheelhouse: Path, device: Device) -> None:
    """No index, no network, no scripts: exactly the pinned set, into a tree that the device mounts read-only."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-compile", "--no-deps"]
    place_at = ["--target", str(site_packages), "--upgrade", "--root-user-action", "ignore", "--no-warn-conflicts"]
    tags = [f"{base}_{device.machine}" for base in ("linux", "manylinux2014", *(f"manylinux_2_{n}" for n in GLIBC))]
    version = device.python.replace(".", "")
    target = [part for tag in tags for part in ("--platform", tag)]
    target += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PIP_EXTRA_INDEX_URL": ""}
    names = sorted(path.name.split("-")[0] + "==" + path.name.split("-")[1] for path in wheelhouse.glob("*.whl"))
    run([*command, *target, *place_at, *names], environment)
    shutil.rmtree(site_packages / "bin", ignore_errors=True)


GLIBC = range(17, 37)
"""glibc 2.36 is Debian 12's: wheels for it or older run there."""


def compile_bytecode(trees: list[Path], device: Device) -> None:
    """The root file system is read-only at run time, so bytecode is made now; hashes instead of times, so that it is
    the same in every build. Left to the device where its Python is another than this one."""
    if device.python != Device.this().python:
        return
    for tree in trees:
        compileall.compile_dir(
            tree,
            quiet=2,
            stripdir=str(tree),
            prependdir="/",
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def add_include(root: Path) -> None:
    """Only where the firmware's config.txt is already there: a Raspberry Pi."""
    path = root / CONFIG_TXT
    if path.is_file() and INCLUDE_LINE not in path.read_text().splitlines():
        path.write_text(path.read_text().rstrip("\n") + f"\n{INCLUDE_LINE}\n")


def remove_include(root: Path) -> None:
    path = root / CONFIG_TXT
    if path.is_file():
        lines = [line for line in path.read_text().splitlines() if line != INCLUDE_LINE]
        path.write_text("\n".join(lines) + "\n")


def write_manifest(root: Path, items: list[Item]) -> None:
    """The digest of the settings is that of the shipped file, so that a changed one is recognised as the site's own."""
    lines = []
    shipped = {item.path: item.source for item in items if item.source is not None}
    overlays = [f"boot/firmware/overlays/{path.stem}.dtbo" for path in (REPOSITORY / "boot/overlays").glob("*.dts")]
    for name in sorted([*(item.path for item in items), *overlays]):
        path = shipped[SETTINGS] if name == SETTINGS else root / name
        digest = hashlib.sha256(os.readlink(path).encode()).hexdigest() if path.is_symlink() else sha256(path)
        lines.append(f"{digest}  {name}")
    place(root, Item(MANIFEST, text="\n".join(lines) + "\n"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prune_empty(root: Path, names: list[str]) -> None:
    folders = {
        parent for name in names for parent in Path(name).parents if str(parent) not in (".", "etc", "usr", "opt")
    }
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        path = root / folder
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, **(environment or {})}
        )
    except FileNotFoundError as error:
        raise InstallError(f"the program {command[0]} is missing; install it and run this again.") from error
    except subprocess.CalledProcessError as error:
        raise InstallError(
            f"`{' '.join(command[:4])} ...` failed and nothing after it was done: {error.stderr.strip()}"
        ) from error
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
