"""Build the appliance's image: Debian with the product installed by its own installer, unattended and reproducible.

    python3 -m boot.image.build --arch arm64 --out build/image

Needs root and the Debian packages of tools/setup_packages_image.txt. The result is one disk image:

    1 TACETBOOT   FAT    boot loader, kernel and initramfs of both slots, tacet.toml
    2 tacet-a     squashfs: the root file system
    3 tacet-b     empty: the next one (boot/UPDATE.md)
    4 tacet-data  ext4   the recordings, sealed

Two builds of one commit with one SOURCE_DATE_EPOCH and the same package versions are equal to the byte.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from boot.image import initramfs, wheels

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SUITE = "bookworm"
MIB = 1 << 20
BOOT_MIB, SLOT_MIB, DATA_MIB = 256, 640, 256
NAMESPACE = uuid.UUID("7a3c1b52-4f5e-5d29-9c1e-7ace7ace7ace")
"""Every UUID of the image is derived from this and a name: random ones would differ in each build."""
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


@dataclass(frozen=True)
class Architecture:
    debian: str
    kernel: str
    loader: str
    loader_name: str
    console: str
    machine: str


ARCHITECTURES = {
    "arm64": Architecture("arm64", "linux-image-arm64", "systemd-bootaa64.efi", "BOOTAA64.EFI", "ttyAMA0", "aarch64"),
    "amd64": Architecture("amd64", "linux-image-amd64", "systemd-bootx64.efi", "BOOTX64.EFI", "ttyS0", "x86_64"),
}


@dataclass(frozen=True)
class Additions:
    """What the caller lays over the root file system last."""

    tree: Path | None
    update_key: Path | None


class BuildError(Exception):
    """One sentence: what failed and what is needed."""


def main() -> int:
    parser = argparse.ArgumentParser(description="build the appliance's image")
    parser.add_argument("--arch", choices=sorted(ARCHITECTURES), default="arm64")
    parser.add_argument("--out", default=str(REPOSITORY / "build" / "image"))
    parser.add_argument("--add-tree", help="a folder laid over the root file system last (the appliance test)")
    parser.add_argument("--update-key", help="32 bytes: the public key that signs updates of this image")
    parser.add_argument("--root-only", action="store_true", help="stop at the root file system, kernel and initramfs")
    options = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", commit_time())
    os.environ["TZ"] = "UTC"
    try:
        out = Path(options.out).resolve()
        additions = Additions(
            options.add_tree and Path(options.add_tree), options.update_key and Path(options.update_key)
        )
        build(ARCHITECTURES[options.arch], out, additions, root_only=options.root_only)
    except BuildError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    return 0


def build(architecture: Architecture, out: Path, additions: Additions, *, root_only: bool) -> None:
    if os.geteuid() != 0:
        raise BuildError("building a root file system needs root; nothing was done.")
    out.mkdir(parents=True, exist_ok=True)
    work = out / f"work-{architecture.debian}"
    shutil.rmtree(work, ignore_errors=True)
    root = work / "root"
    root.mkdir(parents=True)
    run(["tar", "-xpf", str(base_system(architecture, out)), "-C", str(root), "--numeric-owner"])
    install_product(architecture, root, wheelhouse(architecture, out))
    finish(root, additions)
    stem = f"tacet-{architecture.debian}"
    [kernel] = (root / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, out / f"{stem}.vmlinuz")
    (out / f"{stem}.initrd").write_bytes(initramfs.build(root, root / "usr/bin/busybox"))
    for path in (root / "boot").iterdir():
        if path.is_file():
            path.unlink()
    squash(root, out / f"{stem}.squashfs", UNCOMPRESSED if root_only else COMPRESSED)
    if not root_only:
        assemble(architecture, out, root)
    shutil.rmtree(work)


# ------------------------------------------------------------------------------------------------------ the parts


def packages() -> list[str]:
    lines = (HERE / "packages.txt").read_text().splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def base_system(architecture: Architecture, out: Path) -> Path:
    """Debian as mmdebstrap makes it; kept for the next build with the same packages."""
    wanted = sorted([*packages(), "busybox-static", "systemd-boot-efi"])
    hooks = [f"--customize-hook={KERNEL_HOOK % architecture.kernel}"]
    return bootstrap(architecture, out, "base", "minbase", ",".join(wanted), hooks)


KERNEL_HOOK = """
set -eu; cd "$1"; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
name=$(apt-cache depends %s | sed -n 's/ *Depends: \\(linux-image-[0-9].*\\)/\\1/p' | head -n 1)
cd tmp; apt-get -q download "$name"; cd ..
dpkg-deb --fsys-tarfile tmp/"$name"_*.deb | tar -x --keep-directory-symlink
rm tmp/"$name"_*.deb; depmod -b . "${name#linux-image-}"
"""
"""The kernel is unpacked, not installed: its scripts would build Debian's initramfs, minutes under emulation, and the
image has its own (initramfs.py)."""


def bootstrap(
    architecture: Architecture, out: Path, purpose: str, variant: str, include: str, hooks: list[str]
) -> Path:
    """``variant``: mmdebstrap's. "extract" runs nothing of the packages."""
    digest = hashlib.sha256(f"{SUITE} {architecture.debian} {include} {hooks}".encode()).hexdigest()[:12]
    path = out / f"{purpose}-{architecture.debian}-{digest}.tar"
    if not path.exists():
        fresh = path.with_suffix(".new.tar")
        excluded = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "locale", "doc")]
        sources = [f"deb http://deb.debian.org/{name} {suite} main" for name, suite in SOURCES]
        choice = [f"--architectures={architecture.debian}", f"--include={include}", *excluded]
        run(["mmdebstrap", "--quiet", f"--variant={variant}", *choice, *hooks, SUITE, str(fresh), *sources])
        fresh.replace(path)
    return path


SOURCES = (("debian", SUITE), ("debian", f"{SUITE}-updates"), ("debian-security", f"{SUITE}-security"))


def wheelhouse(architecture: Architecture, out: Path) -> Path:
    """The device's Python packages; kept for the next build with the same requirements.txt."""
    digest = hashlib.sha256(wheels.requirements().encode()).hexdigest()[:12]
    folder = out / f"wheels-{architecture.debian}-{digest}"
    if folder.exists():
        return folder
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    source = wheels.download(architecture.machine, fresh, run)
    headers = bootstrap(architecture, out, "headers", "extract", ",".join(wheels.HEADERS), [])
    wheels.compile_sound(architecture.machine, source, headers, out / f"sound-{architecture.debian}", run)
    source.unlink()
    fresh.rename(folder)
    return folder


def install_product(architecture: Architecture, root: Path, packages: Path) -> None:
    installer = REPOSITORY / "boot" / "install.py"
    command = [sys.executable, str(installer), "install", "--destdir", str(root), "--wheelhouse", str(packages)]
    run([*command, "--device", f"{wheels.PYTHON}:{architecture.machine}"])


UNWANTED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "getty-static.service",
    "systemd-binfmt.service",
    "systemd-resolved.service",
)
"""Debian's care of a system that changes, and consoles beside the two of tree/."""


def finish(root: Path, additions: Additions) -> None:
    """What only an image has: no host keys, no identity, no package lists; /etc as it will be for ever."""
    shutil.copytree(HERE / "tree", root, dirs_exist_ok=True, symlinks=True)
    settings = root / "etc/tacet/tacet.toml"
    shutil.move(settings, root.parent / "tacet.toml")
    settings.symlink_to("/boot/firmware/tacet.toml")
    run(["systemd-sysusers", f"--root={root}"])
    for unit in ("systemd-networkd.service", "chrony.service"):
        run(["systemctl", f"--root={root}", "--quiet", "enable", unit])
    for unit in UNWANTED:
        run(["systemctl", f"--root={root}", "--quiet", "mask", unit])
    if additions.update_key is not None:
        shutil.copy(additions.update_key, root / "etc/tacet/update.pub")
    if additions.tree is not None:
        shutil.copytree(additions.tree, root, dirs_exist_ok=True, symlinks=True)
    (root / "etc/machine-id").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    for folder in ("var/lib/apt/lists", "var/cache", "var/log", "var/lib/systemd", "tmp", "run", "usr/share/info"):
        for path in (root / folder).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name in ("etc/hostname.orig", "var/lib/dbus/machine-id", "etc/ssh", "etc/passwd-", "etc/group-", "etc/shadow-"):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (root / "boot/firmware").mkdir(exist_ok=True)


COMPRESSED = ["-comp", "zstd", "-Xcompression-level", "6"]
UNCOMPRESSED = ["-noI", "-noId", "-noD", "-noF", "-noX"]
"""For a machine that is emulated: nothing is flashed, and unpacking costs it more than reading."""


def squash(root: Path, path: Path, packing: list[str]) -> None:
    path.unlink(missing_ok=True)
    run(["mksquashfs", str(root), str(path), "-noappend", "-quiet", "-no-progress", "-xattrs", *packing])


# ------------------------------------------------------------------------------------------------------- the disk


def assemble(architecture: Architecture, out: Path, root: Path) -> None:
    stem = f"tacet-{architecture.debian}"
    image = out / f"{stem}.img"
    size_mib = (out / f"{stem}.squashfs").stat().st_size / MIB
    if size_mib > SLOT_MIB:
        raise BuildError(f"the root file system has {size_mib:.0f} MiB, a slot only {SLOT_MIB}.")
    parts = {
        "boot": boot_partition(architecture, out, root),
        "tacet-a": out / f"{stem}.squashfs",
        "tacet-data": data_partition(out),
    }
    starts, total = place_partitions()
    with open(image, "wb") as file:
        file.truncate(total)
    run(["sfdisk", "--quiet", str(image)], text=partition_table(starts))
    for name, source in parts.items():
        run(
            [
                "dd",
                f"if={source}",
                f"of={image}",
                "bs=1M",
                f"seek={starts[name] // MIB}",
                "conv=notrunc,sparse",
                "status=none",
            ]
        )
    parts["boot"].unlink()
    parts["tacet-data"].unlink()
    digest = hashlib.sha256()
    with open(image, "rb") as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    (out / f"{image.name}.sha256").write_text(f"{digest.hexdigest()}  {image.name}\n")


def place_partitions() -> tuple[dict[str, int], int]:
    starts, position = {}, 1
    for name, size_mib in SIZES.items():
        starts[name] = position * MIB
        position += size_mib
    return starts, (position + 1) * MIB


SIZES = {"boot": BOOT_MIB, "tacet-a": SLOT_MIB, "tacet-b": SLOT_MIB, "tacet-data": DATA_MIB}


def partition_table(starts: dict[str, int]) -> str:
    lines = ["label: gpt", f"label-id: {fixed_uuid('disk')}"]
    for name, size_mib in SIZES.items():
        kind = ESP_TYPE if name == "boot" else LINUX_TYPE
        place = f"start={starts[name] // 512}, size={size_mib * MIB // 512}"
        lines.append(f'{place}, type={kind}, uuid={fixed_uuid(name)}, name="{name}"')
    return "\n".join(lines) + "\n"


def boot_partition(architecture: Architecture, out: Path, root: Path) -> Path:
    """FAT, so that an installer can edit tacet.toml on any PC. Slot B's entry comes with the first update."""
    stem = f"tacet-{architecture.debian}"
    tree = out / "boot-tree"
    shutil.rmtree(tree, ignore_errors=True)
    for folder in ("EFI/BOOT", "loader/entries", "a"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(root / "usr/lib/systemd/boot/efi" / architecture.loader, tree / "EFI/BOOT" / architecture.loader_name)
    (tree / "loader/loader.conf").write_text("timeout 0\neditor no\ndefault tacet-*\n")
    (tree / "loader/entries/tacet-a.conf").write_text(loader_entry(architecture, "a"))
    shutil.copy(out / f"{stem}.vmlinuz", tree / "a/vmlinuz")
    shutil.copy(out / f"{stem}.initrd", tree / "a/initrd")
    shutil.copy(root.parent / "tacet.toml", tree / "tacet.toml")
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in tree.rglob("*"):
        os.utime(path, (epoch, epoch))
    image = out / "boot.fat"
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(BOOT_MIB * MIB)
    run(["mkfs.vfat", "--invariant", "-F", "32", "-i", "7ace7ace", "-n", "TACETBOOT", str(image)])
    names = sorted(str(path) for path in tree.iterdir())
    run(["mcopy", "-s", "-p", "-m", "-i", str(image), *names, "::"])
    shutil.rmtree(tree)
    return image


def loader_entry(architecture: Architecture, slot: str) -> str:
    root = f"root=PARTLABEL=tacet-{slot} rootfstype=squashfs ro"
    rest = f"quiet panic=10 console=tty0 console={architecture.console}"
    return f"title Tacet {slot.upper()}\nlinux /{slot}/vmlinuz\ninitrd /{slot}/initrd\noptions {root} {rest}\n"


def data_partition(out: Path) -> Path:
    image = out / "data.ext4"
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate(DATA_MIB * MIB)
    fixed = ["-U", str(fixed_uuid("ext4")), "-E", f"hash_seed={fixed_uuid('hash')},lazy_itable_init=0"]
    environment = {"E2FSPROGS_FAKE_TIME": os.environ["SOURCE_DATE_EPOCH"]}
    run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-L", "tacet-data", *fixed, str(image)], environment=environment)
    return image


# ---------------------------------------------------------------------------------------------------------- tools


def fixed_uuid(name: str) -> uuid.UUID:
    return uuid.uuid5(NAMESPACE, name)


def commit_time() -> str:
    return run(["git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct"]).strip()


def run(command: list[str], text: str | None = None, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, input=text, env={**os.environ, **(environment or {})}
        )
    except FileNotFoundError as error:
        raise BuildError(f"the program {command[0]} is missing: see tools/setup_packages_image.txt.") from error
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout).strip()[-2000:]
        raise BuildError(f"`{' '.join(command[:3])} ...` failed: {words}") from error
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
