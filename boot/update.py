"""A signed update: verified whole before the first byte is written, written to the slot that is not running, read back.

    python -m boot.update check  BUNDLE --key /etc/tacet/update.pub --version 3 --machine aarch64
    python -m boot.update make   OUT --key release.key --version 4 --machine aarch64 root.squashfs vmlinuz initrd

A bundle is one file: ``TACETUP1``, the length of the manifest (u32, big-endian), the manifest (ASCII lines), an Ed25519
signature (RFC 8032) over ``tacet/update/1\\0`` and the manifest, then the files one after the other. The manifest:

    version 4
    machine aarch64
    file root.squashfs 412345678 <sha256>
    file vmlinuz 31234567 <sha256>
    file initrd 2345678 <sha256>

What is refused: another key, another machine, a version that is not higher than the running one (a downgrade would
bring old faults back), a file that is not in the list of three, sizes beyond their limit, a byte too many or too few.
The switch to the new slot is boot/UPDATE.md's and is not made here.
"""

import argparse
import hashlib
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAGIC = b"TACETUP1"
DOMAIN = b"tacet/update/1\0"
MANIFEST_BYTES_MAX = 4096
SIGNATURE_BYTES = 64
CHUNK_BYTES = 1 << 20
LIMITS = {"root.squashfs": 640 << 20, "vmlinuz": 64 << 20, "initrd": 64 << 20}
"""Names and greatest sizes: a slot of the image, and room for two kernels on its boot partition."""
VERSION_MAX = 2**31 - 1


class UpdateRefused(Exception):
    """One sentence: what is wrong with the bundle. Nothing was written."""


class UpdateFailed(Exception):
    """One sentence: the bundle is good, the slot is not. The running system was not touched."""


@dataclass(frozen=True)
class Entry:
    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    version: int
    machine: str
    entries: tuple[Entry, ...]


# ------------------------------------------------------------------------------------------------------- verifying


def check(bundle: BinaryIO, key: Ed25519PublicKey, *, running_version: int, machine: str) -> Manifest:
    """Reads the bundle to its end and leaves it at its first file. Raises UpdateRefused, OSError."""
    manifest = read_manifest(bundle, key)
    if manifest.machine != machine:
        raise UpdateRefused(f"The update is for {manifest.machine}, this is {machine}; nothing was changed.")
    if manifest.version <= running_version:
        raise UpdateRefused(
            f"The update has version {manifest.version}, version {running_version} is running; nothing was changed."
        )
    start = bundle.tell()
    for entry in manifest.entries:
        _copy(bundle, entry, lambda chunk: None)
    if bundle.read(1):
        raise UpdateRefused("The update goes on after its last file; nothing was changed.")
    bundle.seek(start)
    return manifest


def read_manifest(bundle: BinaryIO, key: Ed25519PublicKey) -> Manifest:
    """Nothing of the manifest is looked at before its signature is found good."""
    if bundle.read(len(MAGIC)) != MAGIC:
        raise UpdateRefused("This is not an update of this recorder; nothing was changed.")
    [length] = struct.unpack(">I", _exactly(bundle, 4))
    if not 0 < length <= MANIFEST_BYTES_MAX:
        raise UpdateRefused("The update's list of files has a length that cannot be; nothing was changed.")
    text = _exactly(bundle, length)
    try:
        key.verify(_exactly(bundle, SIGNATURE_BYTES), DOMAIN + text)
    except InvalidSignature as error:
        raise UpdateRefused("The update is not signed with the key of this recorder; nothing was changed.") from error
    return _parse(text)


def _parse(text: bytes) -> Manifest:
    number, digest = r"([1-9][0-9]{0,9})", r"([0-9a-f]{64})"
    pattern = rf"version {number}\nmachine ([a-z0-9_]{{1,32}})\n((?:file [a-z.]{{1,32}} {number} {digest}\n)+)"
    match = re.fullmatch(pattern, text.decode("ascii", errors="replace"))
    if match is None:
        raise UpdateRefused("The update's list of files is signed but malformed; nothing was changed.")
    entries = []
    for line in match[3].splitlines():
        _, name, size, sha256 = line.split(" ")
        entries.append(Entry(name, int(size), sha256))
    names = [entry.name for entry in entries]
    if sorted(names) != sorted(LIMITS) or any(entry.size > LIMITS[entry.name] for entry in entries):
        raise UpdateRefused("The update lists other files than a recorder has, or larger ones; nothing was changed.")
    if int(match[1]) > VERSION_MAX:
        raise UpdateRefused("The update's version is beyond its limit; nothing was changed.")
    return Manifest(int(match[1]), match[2], tuple(entries))


def _copy(bundle: BinaryIO, entry: Entry, take: Callable[[bytes], object]) -> None:
    digest, left = hashlib.sha256(), entry.size
    while left:
        chunk = _exactly(bundle, min(CHUNK_BYTES, left))
        digest.update(chunk)
        take(chunk)
        left -= len(chunk)
    if digest.hexdigest() != entry.sha256:
        raise UpdateRefused(f"{entry.name} of the update is damaged; nothing was changed.")


def _exactly(bundle: BinaryIO, length: int) -> bytes:
    data = bundle.read(length)
    if len(data) != length:
        raise UpdateRefused("The update ends too early; nothing was changed.")
    return data


# --------------------------------------------------------------------------------------------------------- writing


def write_slot(bundle: BinaryIO, manifest: Manifest, targets: dict[str, Path]) -> None:
    """Copies the files of a *checked* bundle to the slot that is not running (a block device and two files), synced,
    then reads every byte back past the cache. Raises UpdateRefused (the bundle changed), UpdateFailed, OSError.

    ``targets``: by file name. The bundle is hashed again while it is copied: a stick may tell two stories.
    """
    assert set(targets) == {entry.name for entry in manifest.entries}
    for entry in manifest.entries:
        with open(targets[entry.name], "r+b" if targets[entry.name].exists() else "w+b", buffering=0) as slot:
            _copy(bundle, entry, slot.write)
            os.fsync(slot.fileno())
            os.posix_fadvise(slot.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            slot.seek(0)
            if _digest(slot, entry.size) != entry.sha256:
                raise UpdateFailed(
                    f"{entry.name} reads back something else from the card; the old slot goes on running."
                )


def _digest(file: BinaryIO, size: int) -> str:
    digest, left = hashlib.sha256(), size
    while left and (chunk := file.read(min(CHUNK_BYTES, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------- making


def make(out: BinaryIO, files: dict[str, Path], key: Ed25519PrivateKey, *, version: int, machine: str) -> None:
    """For the maintainer's PC; the key never comes near a recorder."""
    assert set(files) == set(LIMITS), sorted(files)
    lines = [f"version {version}", f"machine {machine}"]
    for name, path in files.items():
        with open(path, "rb") as file:
            lines.append(f"file {name} {path.stat().st_size} {_digest(file, path.stat().st_size)}")
    text = ("\n".join(lines) + "\n").encode("ascii")
    out.write(MAGIC + struct.pack(">I", len(text)) + text + key.sign(DOMAIN + text))
    for path in files.values():
        for chunk in _chunks(path):
            out.write(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="boot.update", description="check or make a signed update")
    commands = parser.add_subparsers(dest="command", required=True)
    checker = commands.add_parser("check")
    checker.add_argument("bundle", type=Path)
    maker = commands.add_parser("make")
    maker.add_argument("out", type=Path)
    maker.add_argument("files", type=Path, nargs=3, help="root.squashfs, vmlinuz and initrd")
    for command in (checker, maker):
        command.add_argument("--key", type=Path, required=True, help="32 raw bytes")
        command.add_argument("--version", type=int, required=True)
        command.add_argument("--machine", default=os.uname().machine)
    options = parser.parse_args(arguments)
    try:
        if options.command == "make":
            private = Ed25519PrivateKey.from_private_bytes(options.key.read_bytes())
            files = dict(zip(LIMITS, options.files, strict=True))
            with open(options.out, "xb") as out:
                make(out, files, private, version=options.version, machine=options.machine)
        else:
            public = Ed25519PublicKey.from_public_bytes(options.key.read_bytes())
            with open(options.bundle, "rb") as bundle:
                found = check(bundle, public, running_version=options.version, machine=options.machine)
            print(f"The update is whole and signed: version {found.version} for {found.machine}.")
    except (UpdateRefused, OSError) as error:
        print(f"update: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
