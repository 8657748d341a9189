"""The stick's own process: the same files through its socket, its faults as the recorder's errors, no hang."""

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from boot import stickd
from hw.remotestick import DATA, END, FAILED, RemoteStick, receive, send
from hw.usbstick import UsbStick


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "mount"
    folder.mkdir()
    return folder


@pytest.fixture
def stick(files: Path) -> Iterator[RemoteStick]:
    """A client whose other end is the server of this process's own thread."""
    ours, theirs = socket.socketpair()
    server = UsbStick(str(files))
    thread = threading.Thread(target=stickd.serve, args=(theirs, server))
    thread.start()
    client = RemoteStick.__new__(RemoteStick)
    ours.settimeout(10)
    client._socket = ours
    yield client
    client.close()
    thread.join()
    theirs.close()
    server.close()


def test_what_is_written_is_there_and_read_back(stick: RemoteStick, files: Path) -> None:
    data = os.urandom(700_000)
    stick.write("TACET/box/order/1.tcf", iter([data[:300_000], b"", data[300_000:]]))
    stick.sync()
    assert (files / "TACET/box/order/1.tcf").read_bytes() == data
    assert b"".join(stick.reread("TACET/box/order/1.tcf")) == data
    assert stick.read("TACET/box/order/1.tcf", len(data)) == data


def test_a_file_that_is_not_there_is_none(stick: RemoteStick) -> None:
    assert stick.read("TACET/ORDER.txt", 65536) is None
    assert not stick.exists("TACET/ORDER.txt")


def test_an_empty_file_is_not_a_missing_one(stick: RemoteStick) -> None:
    stick.write("TACET/empty", [])
    assert stick.exists("TACET/empty")
    assert stick.read("TACET/empty", 10) == b""


def test_nothing_is_replaced_and_the_next_request_is_answered(stick: RemoteStick) -> None:
    stick.write("TACET/REPLY.txt", [b"first"])
    with pytest.raises(FileExistsError):
        stick.write("TACET/REPLY.txt", [b"x" * 200_000, b"y" * 200_000])
    assert stick.read("TACET/REPLY.txt", 100) == b"first"


def test_a_file_longer_than_the_limit_is_refused(stick: RemoteStick, files: Path) -> None:
    (files / "ORDER.txt").write_bytes(b"x" * 101)
    with pytest.raises(OSError, match="longer"):
        stick.read("ORDER.txt", 100)


def test_a_link_on_the_stick_is_refused(stick: RemoteStick, files: Path) -> None:
    (files / "ORDER.txt").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="link"):
        stick.read("ORDER.txt", 65536)


@pytest.mark.parametrize("path", ["../etc/passwd", "/etc/passwd", "a//b", "", "TACET/\n"])
def test_a_path_that_leads_off_the_stick_is_refused(stick: RemoteStick, path: str) -> None:
    with pytest.raises(OSError, match="does not make"):
        stick.read(path, 100)


def test_a_stick_that_hangs_is_given_up(files: Path) -> None:
    ours, theirs = socket.socketpair()
    client = RemoteStick.__new__(RemoteStick)
    ours.settimeout(0.05)
    client._socket = ours
    with pytest.raises(TimeoutError):
        client.read("TACET/ORDER.txt", 100)
    client.close()
    theirs.close()


def test_a_stick_that_is_pulled_in_the_middle_is_an_error_not_an_end(files: Path) -> None:
    ours, theirs = socket.socketpair()
    client = RemoteStick.__new__(RemoteStick)
    client._socket = ours
    send(theirs, DATA, b"half of it")
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError, match="pulled"):
        list(client.reread("TACET/x"))
    theirs.close()
    client.close()


def test_a_process_that_was_taken_over_cannot_flood_the_recorder() -> None:
    ours, theirs = socket.socketpair()
    client = RemoteStick.__new__(RemoteStick)
    client._socket = ours
    for _ in range(3):
        send(theirs, DATA, b"x" * 60)
    send(theirs, END)
    with pytest.raises(OSError, match="more than was asked"):
        client.read("TACET/ORDER.txt", 100)
    theirs.sendall(b"\xff\xff\xff\xffD")
    with pytest.raises(OSError, match="longer than any"):
        receive(ours)
    client.close()
    theirs.close()


def test_an_unknown_request_is_refused(files: Path) -> None:
    ours, theirs = socket.socketpair()
    server = UsbStick(str(files))
    thread = threading.Thread(target=stickd.serve, args=(theirs, server))
    thread.start()
    send(ours, b"?", b"")
    kind, payload = receive(ours)
    assert kind == FAILED
    assert int.from_bytes(payload[:4], "big") == errno.EPROTO
    ours.close()
    thread.join()
    theirs.close()
    server.close()


def test_the_process_serves_one_visit_after_the_other(files: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [sys.executable, "-m", "boot.stickd", "--root", str(files), "--socket", address]
        process = subprocess.Popen(command, env=environment)
        try:
            assert manager.recv(100) == b"READY=1"
            for number in (1, 2):
                stick = RemoteStick(address)
                stick.write(f"TACET/{number}", [b"x"])
                stick.close()
            assert sorted(path.name for path in (files / "TACET").iterdir()) == ["1", "2"]
            assert Path(address).stat().st_mode & 0o777 == 0o660
        finally:
            process.kill()
            process.wait()


def test_without_a_stick_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RemoteStick(str(tmp_path / "socket"))
