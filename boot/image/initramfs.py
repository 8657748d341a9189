"""The smallest initial file system that finds the root slot: busybox, the modules a disk needs, and one script.

Debian's own generator copies whatever the build machine has and takes minutes under emulation; this one is a pure
function of the root tree: the same bytes in every build, for any architecture.
"""

import gzip
import stat
from collections.abc import Iterator
from pathlib import Path

MODULES = (
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "nvme", "ahci", "sd_mod", "xhci_pci", "usb_storage",
    "mmc_block", "sdhci_pci", "sdhci_iproc", "bcm2835", "squashfs", "loop",
)  # fmt: skip
"""Disks that a generic machine and a Pi boot from. One that the kernel has built in, or not at all, is left out."""

SCRIPT = """\
#!/bin/busybox sh
# Finds the partition named by root=PARTLABEL=..., waits at most 20 s for it, and hands over to init.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "/modules/$module" 2>/dev/null; done < /modules/order
for word in $(/bin/busybox cat /proc/cmdline); do
    case "$word" in
        root=PARTLABEL=*) name=PARTNAME=${word#root=PARTLABEL=} ;;
        root=/dev/*) device=${word#root=} ;;
    esac
done
tries=0
while [ "$tries" -lt 200 ]; do
    if [ -n "$name" ]; then
        for entry in /sys/class/block/*; do
            if /bin/busybox grep -qx "$name" "$entry/uevent"; then device=/dev/${entry##*/}; fi
        done
    fi
    if [ -b "$device" ] && /bin/busybox mount -t squashfs -o ro "$device" /root; then
        /bin/busybox mount --move /dev /root/dev
        /bin/busybox mount --move /sys /root/sys
        /bin/busybox mount --move /proc /root/proc
        exec /bin/busybox switch_root /root /sbin/init
    fi
    tries=$((tries + 1))
    /bin/busybox usleep 100000
done
echo "Tacet: the root partition was not found; the line stays on the wire. Restarting in 10 s."
/bin/busybox sleep 10
/bin/busybox reboot -f
"""


def build(root: Path, busybox: Path) -> bytes:
    """``root``: the unpacked root file system with exactly one kernel's modules."""
    [modules] = (root / "usr/lib/modules").iterdir()
    order = list(load_order(modules))
    entries: list[tuple[str, int, bytes]] = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "modules")]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
    entries.append(("init", stat.S_IFREG | 0o755, SCRIPT.encode()))
    for relative in order:
        entries.append((f"modules/{Path(relative).name}", stat.S_IFREG | 0o644, (modules / relative).read_bytes()))
    listing = "".join(f"{Path(relative).name}\n" for relative in order)
    entries.append(("modules/order", stat.S_IFREG | 0o644, listing.encode()))
    return gzip.compress(archive(entries), compresslevel=6, mtime=0)


def load_order(modules: Path) -> Iterator[str]:
    """Paths below ``modules``, each after everything it depends on (modules.dep lists the deepest last)."""
    paths: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, needed = line.partition(":")
        paths[Path(path).name.partition(".")[0].replace("-", "_")] = [*reversed(needed.split()), path]
    seen: set[str] = set()
    for name in MODULES:
        for path in paths.get(name, []):
            if path not in seen:
                seen.add(path)
                yield path


def archive(entries: list[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive in the "newc" format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        encoded = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)
