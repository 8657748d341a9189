"""Stick: one contract over the real adapter and the simulated stick, and a stick that was made to hurt."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.ports import Stick
from hw.sim.stick import SimStick
from hw.usbstick import StickRefused, UsbStick


@pytest.fixture(params=[UsbStick, SimStick])
def stick(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stick]:
    made = request.param(str(tmp_path))
    yield made
    made.close()


# ------------------------------------------------------------------------------------------------------ contract


def test_what_was_written_is_read_back_from_the_stick(stick: Stick, tmp_path: Path) -> None:
    stick.write("TACET/box-1/order/data/1.tcf", iter([b"a" * 70_000, b"", b"b"]))
    stick.sync()
    assert (tmp_path / "TACET/box-1/order/data/1.tcf").read_bytes() == b"a" * 70_000 + b"b"
    assert b"".join(stick.reread("TACET/box-1/order/data/1.tcf")) == b"a" * 70_000 + b"b"
    assert stick.read("TACET/box-1/order/data/1.tcf", 70_001) == b"a" * 70_000 + b"b"


def test_an_empty_file_is_a_file(stick: Stick) -> None:
    stick.write("TACET/empty", [])
    assert stick.exists("TACET/empty")
    assert stick.read("TACET/empty", 0) == b""
    assert list(stick.reread("TACET/empty")) == []


def test_a_file_that_is_not_there_is_none_wherever_its_path_ends(stick: Stick) -> None:
    assert stick.read("TACET/ORDER.txt", 10) is None
    assert not stick.exists("TACET/ORDER.txt")
    stick.write("TACET/x", [b"1"])
    assert stick.read("TACET/ORDER.txt", 10) is None
    assert stick.exists("TACET")


def test_an_answer_is_never_replaced(stick: Stick) -> None:
    stick.write("TACET/REPLY.txt", [b"first"])
    with pytest.raises(FileExistsError):
        stick.write("TACET/REPLY.txt", [b"second"])
    assert stick.read("TACET/REPLY.txt", 100) == b"first"


def test_a_file_longer_than_allowed_is_refused_to_the_byte(stick: Stick, tmp_path: Path) -> None:
    (tmp_path / "ORDER.txt").write_bytes(b"x" * 101)
    with pytest.raises(OSError, match="longer"):
        stick.read("ORDER.txt", 100)
    assert stick.read("ORDER.txt", 101) == b"x" * 101


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", ".hidden", "a b", "a\0b", "é"]
)
def test_a_path_that_the_device_would_not_make_is_our_own_mistake(stick: Stick, path: str) -> None:
    for act in (lambda: stick.read(path, 10), lambda: stick.write(path, [b""]), lambda: stick.exists(path)):
        with pytest.raises(AssertionError):
            act()


# ------------------------------------------------------------------------------------------- made to hurt


def test_a_link_is_never_followed(stick: Stick, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("disk") / "ORDER.txt"
    secret.write_bytes(b"off the stick")
    (tmp_path / "ORDER.txt").symlink_to(secret)
    (tmp_path / "TACET").symlink_to(secret.parent)
    for path in ("ORDER.txt", "TACET/ORDER.txt"):
        with pytest.raises(StickRefused):
            stick.read(path, 1000)
        with pytest.raises(StickRefused):
            list(stick.reread(path))
    with pytest.raises(StickRefused):
        stick.write("TACET/evil.txt", [b"x"])
    with pytest.raises(FileExistsError):
        stick.write("ORDER.txt", [b"x"])
    assert os.listdir(secret.parent) == ["ORDER.txt"]
    assert secret.read_bytes() == b"off the stick"


def test_a_second_name_of_a_file_is_refused(
    stick: Stick, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("disk") / "secret"
    secret.write_bytes(b"off the stick")
    os.link(secret, tmp_path / "ORDER.txt")
    with pytest.raises(StickRefused):
        stick.read("ORDER.txt", 1000)


def test_a_pipe_a_socket_and_a_directory_neither_hang_nor_answer(stick: Stick, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tmp_path)
        listener.bind("socket")
        os.chdir(here)
        for name in ("pipe", "socket", "directory", "file/below"):
            with pytest.raises(StickRefused):
                stick.read(name, 1000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device node")
def test_a_device_node_is_refused(stick: Stick, tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("device nodes cannot be made in this container")
    with pytest.raises(OSError, match=r"plain file|denied"):
        stick.read("zero", 1000)


def test_a_file_that_lies_about_its_size_cannot_fill_memory() -> None:
    """Files in /proc say they are 0 bytes long."""
    stick = UsbStick("/proc/self")
    with pytest.raises(StickRefused):
        stick.read("status", 20)
    stick.close()


def test_what_a_pulled_stick_left_behind_does_not_stand_in_the_way(stick: Stick, tmp_path: Path) -> None:
    (tmp_path / "TACET").mkdir()
    (tmp_path / "TACET/1.tcf.part").write_bytes(b"half")
    stick.write("TACET/1.tcf", [b"whole"])
    assert os.listdir(tmp_path / "TACET") == ["1.tcf"]


def test_a_link_in_the_place_of_the_part_file_is_not_written_through(
    stick: Stick, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("disk") / "target"
    target.write_bytes(b"untouched")
    (tmp_path / "x.part").symlink_to(target)
    stick.write("x", [b"new"])
    assert target.read_bytes() == b"untouched"
    assert (tmp_path / "x").read_bytes() == b"new"


NAMES = ("ORDER.txt", "TACET", "TACET/ORDER.txt", "TACET/a", "TACET/a/b")
KINDS = ("file", "long", "link", "directory", "pipe", "loop")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(KINDS)), max_size=5))
def test_whatever_is_on_the_stick_only_plain_files_are_read_and_no_descriptor_leaks(
    tmp_path_factory: pytest.TempPathFactory, things: list[tuple[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("stick")
    for name, kind in things:
        make(root / name, kind)
    stick = UsbStick(str(root))
    before = len(os.listdir("/proc/self/fd"))
    for name in NAMES:
        plain = (root / name).is_file() and (root / name).resolve() == root / name
        try:
            data = stick.read(name, 100)
        except OSError:
            data = None
        if data is not None:
            assert plain
            assert data == (root / name).read_bytes()
    assert len(os.listdir("/proc/self/fd")) == before
    stick.close()


def make(path: Path, kind: str) -> None:
    """Never through a thing that is there already: it may be a link off the stick, or a pipe that would wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.path.lexists(path):
        return
    match kind:
        case "file":
            path.write_bytes(b"plain")
        case "long":
            path.write_bytes(b"x" * 101)
        case "link":
            path.symlink_to("/nonexistent/off-the-stick")
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path.name)


# ------------------------------------------------------------------------------------------------ durability


def test_a_file_is_on_the_medium_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        done.append("fsync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real_fsync(descriptor)

    def rename(source: str, target: str, **where: int) -> None:
        done.append("rename")
        real_rename(source, target, **where)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    UsbStick(str(tmp_path)).write("TACET/1.tcf", [b"x"])
    assert done == [f"fsync {tmp_path.name}", "fsync 1.tcf.part", "rename", "fsync TACET"]


def test_reread_asks_the_medium_not_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advice: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _descriptor, _offset, _length, what: advice.append(what))
    stick = UsbStick(str(tmp_path))
    stick.write("x", [b"1"])
    assert list(stick.reread("x")) == [b"1"]
    assert advice == [os.POSIX_FADV_DONTNEED]


def test_a_stick_pulled_in_mid_write_holds_no_half_of_an_answer(tmp_path: Path) -> None:
    stick = SimStick(str(tmp_path), pull_after_bytes=150)
    stick.write("TACET/1.tcf", [b"x" * 100])
    with pytest.raises(OSError, match="space") as caught:
        stick.write("TACET/2.tcf", iter([b"y" * 40, b"z" * 40]))
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="Input/output"):
        stick.read("TACET/1.tcf", 1000)
    assert sorted(path.name for path in (tmp_path / "TACET").iterdir()) == ["1.tcf"]


def test_a_full_stick_still_answers_questions(tmp_path: Path) -> None:
    stick = SimStick(str(tmp_path), full_after_bytes=100)
    stick.write("a", [b"x" * 100])
    with pytest.raises(OSError, match="space"):
        stick.write("b", [b"y"])
    assert stick.read("a", 100) == b"x" * 100
    assert not stick.exists("b")


def test_a_failing_source_leaves_nothing(stick: Stick, tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x"
        raise OSError(errno.EIO, "the card failed")

    with pytest.raises(OSError, match="card"):
        stick.write("TACET/1.tcf", chunks())
    assert os.listdir(tmp_path / "TACET") == []
