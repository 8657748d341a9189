"""Sticks that were made to hurt, and sticks that fail at the worst moment: each kind with a name, and what must hold
after every one of them."""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from firmware.evidence.order import Op, Order
from firmware.store.commands import StickReport
from hw.sim.stick import SimStick
from tests.evidence.rig import CUSTODIAN, DEVICE, STRANGER, Rig, sign
from tests.store.world import meta, row

Spoil = Callable[[Rig, Order, Path], None]
"""(rig, the good order that is on the stick, a directory outside the stick)."""


# ----------------------------------------------------------------------------------- kinds of things in a place


def _symlink(target: str) -> Callable[[Path, Path], None]:
    return lambda path, outside: path.symlink_to(outside / target)


def _file(path: Path, outside: Path) -> None:
    path.write_bytes(b"mine")


def _fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(path.parent)  # the name of a socket may not be long
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def _device(major: int, minor: int) -> Callable[[Path, Path], None]:
    def make(path: Path, outside: Path) -> None:
        if os.geteuid() == 0:
            os.mknod(path, 0o666 | 0o020000, os.makedev(major, minor))
        else:  # the nearest that an ordinary user can make
            path.symlink_to("/dev/zero")

    return make


def _directory(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"mine")


def _hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "precious", path)


def _loop(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def _huge(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "link to a file outside": _symlink("precious"),
    "link to a directory outside": _symlink("."),
    "link to nothing": _symlink("nowhere"),
    "link to itself": _loop,
    "link to /dev/zero": lambda path, outside: path.symlink_to("/dev/zero"),
    "pipe": _fifo,
    "socket": _socket,
    "zero device": _device(1, 5),
    "terminal": _device(5, 0),
    "directory": _directory,
    "file": _file,
    "file with two names": _hard_link,
    "file of a tebibyte": _huge,
}


def _places(order: Order) -> dict[str, str]:
    own = f"TACET/{DEVICE}"
    bag = f"{own}/{order.order_id.hex()}"
    return {
        "TACET": "TACET",
        "the order": "TACET/ORDER.txt",
        "the reply": "TACET/REPLY.txt",
        "the recorder's directory": own,
        "the enrolment": f"{own}/ENROL.txt",
        "the answer": bag,
        "the answer's data": f"{bag}/data",
        "a call": f"{bag}/data/1.tcf",
        "a call half written": f"{bag}/data/1.tcf.part",
        "a key": f"{bag}/data/1.key",
        "the index": f"{bag}/data/index",
        "the log": f"{bag}/data/audit.log",
        "the manifest": f"{bag}/manifest-sha512.txt",
        "the tag manifest half written": f"{bag}/tagmanifest-sha512.txt.part",
        "the answer's reply": f"{bag}/REPLY.txt",
    }


def _put(place: str, kind: str) -> Spoil:
    def spoil(rig: Rig, order: Order, outside: Path) -> None:
        path = rig.root / _places(order)[place]
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        KINDS[kind](path, outside)

    return spoil


# ------------------------------------------------------------------------------------------------ changed orders


def _bytes(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(rig: Rig, order: Order, outside: Path) -> None:
        path = rig.root / "TACET" / "ORDER.txt"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def _flip(share: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = int(share * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]

    return change


def _replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda data: b"",
    "one byte": lambda data: b"t",
    "no signature": lambda data: data.partition(b"\n\n")[0] + b"\n",
    "half": lambda data: data[: len(data) // 2],
    "twice": lambda data: data + data,
    "Windows line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "a zero byte": _replace(b"op:", b"op\0:"),
    "a zip bomb's head": lambda data: b"PK\x03\x04" + data,
    "JSON": lambda data: b'{"op": "EXPORT"}',
    "an endless line": lambda data: b"a" * 65_000 + b"\n\n\xe2\x80\x94 a AAAAAAA=\n",
    "too many lines": lambda data: b"a\n" * 10_000 + b"\n\xe2\x80\x94 a AAAAAAA=\n",
    "64 KiB and one byte": lambda data: data + b"\n" * (65_537 - len(data)),
    "megabytes": lambda data: data * 8_000,
    "another purpose": _replace(b"purpose: quality", b"purpose: training"),
    "a wider window": _replace(b"from: 2026", b"from: 2025"),
    "another device": _replace(b"SIM-TEST01", b"SIM-TEST02"),
    "another id": _replace(b"\nid: ", b"\nid: f"),
    "an added line": _replace(b"\n\n", b"\nline: line2\n\n"),
    "an overlong case": _replace(b"\n\n", b"\ncase: " + b"x" * 5_000 + b"\n\n"),
    "a path as id": _replace(b"\nid: ", b"\nid: ../../../../etc/"),
    "another's signature": _replace(b"custodian-", b"supervisor-"),
    "right-to-left marks": _replace(b"op: ", "op: \u202e".encode()),
}


# ---------------------------------------------------------------------------------- sticks that fail at the k-th call


class FailingStick(SimStick):
    """Counts every touch of the stick; at number ``at`` it does ``deed`` and, where the deed lasts, from then on."""

    def __init__(self, root: str, at: int, deed: str) -> None:
        super().__init__(root)
        self._at = at
        self._deed = deed
        self._touches = 0
        self.root = Path(root)

    def _touch(self) -> bool:
        self._touches += 1
        now = self._touches == self._at
        past = self._touches >= self._at
        if self._deed == "pulled" and past:
            raise OSError(errno.EIO, "Input/output error")
        if self._deed == "one error" and now:
            raise OSError(errno.EIO, "Input/output error")
        if self._deed == "swapped" and now:
            (self.root / "TACET" / "ORDER.txt").write_bytes(b"something else")
        return now

    def read(self, path: str, limit: int) -> bytes | None:
        self._touch()
        return super().read(path, limit)

    def exists(self, path: str) -> bool:
        self._touch()
        return super().exists(path)

    def sync(self) -> None:
        self._touch()
        super().sync()

    def write(self, path: str, chunks: Iterator[bytes] | Sequence[bytes]) -> None:
        super().write(path, self._written(chunks))

    def _written(self, chunks: Iterator[bytes] | Sequence[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._touch()
            if self._deed == "full" and self._touches >= self._at:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield chunk

    def reread(self, path: str) -> Iterator[bytes]:
        for chunk in super().reread(path):
            now = self._touch()
            if now and self._deed == "lying":
                yield bytes([chunk[0] ^ 1]) + chunk[1:]
            elif now and self._deed == "cut short":
                return
            else:
                yield chunk


DEEDS = ("pulled", "full", "one error", "swapped", "lying", "cut short")
TOUCHES = 48


# -------------------------------------------------------------------------------------------------------- the list


@dataclass(frozen=True)
class Hostile:
    name: str
    spoil: Spoil | None = None
    deed: str | None = None
    at: int = 0


def _other_order(rig: Rig, order: Order, outside: Path) -> None:
    """A different order under an id that was obeyed before."""
    rig.plug()
    rig.write(rig.order(order_id=order.order_id, lines=("line1",)))


def _by_a_stranger(rig: Rig, order: Order, outside: Path) -> None:
    rig.write(sign(order, STRANGER))


def _lower_case(rig: Rig, order: Order, outside: Path) -> None:
    (rig.root / "TACET").rename(rig.root / "tacet")


def _deep(rig: Rig, order: Order, outside: Path) -> None:
    path = rig.root / "TACET" / DEVICE
    for _ in range(200):
        path = path / "d"
    path.mkdir(parents=True)


def _many(rig: Rig, order: Order, outside: Path) -> None:
    for number in range(3_000):
        (rig.root / "TACET" / f"F{number}").write_bytes(b"")


def _locked(rig: Rig, order: Order, outside: Path) -> None:
    (rig.root / "TACET" / "ORDER.txt").chmod(0)


def all_hostile() -> list[Hostile]:
    found = [Hostile(f"{kind} as {place}", _put(place, kind)) for place in _places(Order_FOR_NAMES) for kind in KINDS]
    found += [Hostile(f"order with {name}", _bytes(change)) for name, change in TEXTS.items()]
    found += [Hostile(f"order with bit {n} of 40 turned", _bytes(_flip(n / 40))) for n in range(40)]
    found += [
        Hostile("another order under the same id", _other_order),
        Hostile("a stranger's order", _by_a_stranger),
        Hostile("names in lower case", _lower_case),
        Hostile("a deep tree", _deep),
        Hostile("thousands of files", _many),
        Hostile("an order nobody may read", _locked),
        Hostile("nothing at all", lambda rig, order, outside: shutil.rmtree(rig.root / "TACET")),
    ]
    found += [Hostile(f"{deed} at touch {at}", deed=deed, at=at) for deed in DEEDS for at in range(1, TOUCHES + 1)]
    return found


Order_FOR_NAMES = Order(DEVICE, bytes(16), True, 0, 1000, Op.REPORT)


# ---------------------------------------------------------------------------------------------- what must hold


@dataclass
class Outside:
    """A directory beside the stick with something in it that must stay as it is."""

    path: Path
    before: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path.mkdir()
        (self.path / "precious").write_bytes(b"precious")
        self.before = self.state()

    def state(self) -> dict[str, tuple[int, bytes]]:
        return {
            path.relative_to(self.path).as_posix(): (path.lstat().st_mode, path.read_bytes())
            for path in sorted(self.path.rglob("*"))
        }


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every name on the stick with its kind and, for small plain files, its bytes. No link is followed."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory) / name
            status = path.lstat()
            plain = path.is_file() and not path.is_symlink() and status.st_size < 10_000_000
            readable = plain and status.st_mode & 0o400
            found[path.relative_to(root).as_posix()] = (status.st_mode, path.read_bytes() if readable else b"")
    return found


def endure(hostile: Hostile, root: Path) -> StickReport:
    """Set the stick up, let it visit while a call is being recorded, and check every promise."""
    rig = Rig(root / "stick")
    calls = [rig.world.call(seconds=3), rig.world.call(1, seconds=3)]
    outside = Outside(root / "outside")
    order = rig.order()
    rig.write(order, CUSTODIAN)
    if hostile.spoil is not None:
        hostile.spoil(rig, order, outside.path)
    outside.before = outside.state()
    before = tree(rig.root)
    answered_before = len(rig.events("ANSWERED"))
    stick = FailingStick(str(rig.root), hostile.at, hostile.deed or "")
    last = _visit_while_recording(rig, stick)
    assert outside.state() == outside.before, "something outside the stick changed"
    _only_new_files_in_their_place(before, tree(rig.root), hostile)
    _nothing_without_a_log_line(rig, calls)
    assert len(rig.events("ANSWERED")) - answered_before == (last.state == "done")
    return last


def _visit_while_recording(rig: Rig, stick: SimStick) -> StickReport:
    """Between any two steps of the visit audio goes into the vault; none of it is lost."""
    running = rig.world.open()
    opened = rig.vault.now_utc_ms()
    at = 0
    reports = []
    for report in rig.steps(stick):
        reports.append(report)
        rig.vault.append_audio(running, at, 800, np.full((1, 800), 7, np.int16))
        at += 800
    rig.vault.close_call(running, meta(opened_utc_ms=opened, samples=at), row(0, opened, rig.vault.now_utc_ms()))
    kept = sum(len(frame) for frame in rig.vault.sealed(running).frames())
    assert kept >= at * 2, "audio was lost while the stick was in"
    last = reports[-1]
    assert isinstance(last, StickReport)
    assert last.state in ("done", "refused", "failed")
    return last


def _only_new_files_in_their_place(
    before: dict[str, tuple[int, bytes]], after: dict[str, tuple[int, bytes]], hostile: Hostile
) -> None:
    for name, state in before.items():
        swapped = hostile.deed == "swapped" and name == "TACET/ORDER.txt"
        half = name.endswith(".part") and name not in after
        assert swapped or half or after.get(name) == state, f"{name} changed on the stick"
    for name in set(after) - set(before):
        assert name == "TACET" or name.startswith((f"TACET/{DEVICE}", "TACET/REPLY")), f"{name} is new on the stick"


def _nothing_without_a_log_line(rig: Rig, calls: list[bytes]) -> None:
    """I16: a byte of a call on the stick means that its DISCLOSE is durable, and in order."""
    disclosed = {line["call"] for line in rig.events("DISCLOSE")}
    for path in rig.root.rglob("*"):
        if (
            path.is_symlink()
            or not path.is_file()
            or path.stat().st_size > 10_000_000
            or not path.stat().st_mode & 0o400
        ):
            continue
        data = path.read_bytes()
        for call_id in calls:
            if path.suffix in (".tcf", ".part", ".key") and "index" not in path.parts and call_id in data:
                assert call_id.hex() in disclosed, f"{path.name} left without a log line"
