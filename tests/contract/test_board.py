"""What the process asks of systemd and the kernel, seen from the other side: the socket, /proc, the limits."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.board import SystemdWatchdog
from hw.sim.clock import SimClock

ROOT = Path(__file__).parents[2]


class Manager:
    """The service manager's end of the notify socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        lines = []
        try:
            while True:
                lines.append(self._socket.recv(4096).decode())
        except BlockingIOError:
            return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    named = str(tmp_path / "notify") if request.param == "path" else f"tacet-{tmp_path.name}-{os.getpid()}"
    made = Manager(named if request.param == "path" else "\0" + named)
    monkeypatch.setenv("NOTIFY_SOCKET", named if request.param == "path" else "@" + named)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    yield made
    made.close()


def test_systemd_is_told_that_the_recorder_is_ready_and_alive(manager: Manager) -> None:
    watchdog = SystemdWatchdog(SimClock(0))
    watchdog.ready()
    watchdog.kick()
    watchdog.status("2 lines, recording")
    watchdog.stopping()
    watchdog.close()
    assert manager.heard() == ["READY=1", "WATCHDOG=1", "STATUS=2 lines, recording", "STOPPING=1"]


def test_a_step_fifty_times_a_second_is_a_kick_four_times_a_period(manager: Manager) -> None:
    clock = SimClock(0)
    watchdog = SystemdWatchdog(clock)
    heard = 0
    for _ in range(50 * 60):
        watchdog.kick()
        heard += len(manager.heard())
        clock.advance_ms(20)
    assert heard == 60 / 10 * 4


def test_a_manager_that_does_not_listen_stops_nobody_and_the_kick_is_made_up_for(manager: Manager) -> None:
    clock = SimClock(0)
    watchdog = SystemdWatchdog(clock)
    for _ in range(2000):
        clock.advance_ms(2500)
        watchdog.kick()
    assert 0 < len(manager.heard()) < 2000
    watchdog.kick()
    assert manager.heard() == ["WATCHDOG=1"]


def test_without_a_service_manager_every_call_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    watchdog = SystemdWatchdog(SimClock(0))
    watchdog.ready()
    watchdog.kick()
    watchdog.close()


HARDENED = """
import ctypes, mmap, os, re, resource, sys
sys.path.insert(0, {root!r})
from hw.board import harden
{before}
refused = harden()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[1], "|".join(refused))
"""

MEASURED = """
touched = mmap.mmap(-1, 1 << 20)
touched.write(b"x" * (1 << 20))
untouched = mmap.mmap(-1, 64 << 20)
status = open("/proc/self/status").read()
print(re.search(r"VmLck:\\s+(\\d+) kB", status)[1], re.search(r"VmRSS:\\s+(\\d+) kB", status)[1])
"""


def hardened(before: str = "", after: str = "") -> list[str]:
    """Lines printed by a process of its own: PR_GET_DUMPABLE, limit of core dumps, refusals; then ``after``'s."""
    code = HARDENED.format(root=str(ROOT), before=before) + after
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return result.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="locking memory needs root or LimitMEMLOCK=infinity, as the unit has")
def test_nothing_in_memory_reaches_swap_a_core_dump_or_another_process() -> None:
    told, sizes = hardened(after=MEASURED)
    assert told == "0 0 "
    locked_kb, resident_kb = map(int, sizes.split())
    assert locked_kb > 1024
    assert resident_kb < 60 * 1024, "what is mapped but never touched must not be made resident"


def test_memory_that_cannot_be_locked_is_said_in_one_sentence() -> None:
    """A recorder started by hand goes on; the service has the right."""
    (told,) = hardened("resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); os.geteuid() or os.setuid(65534)")
    assert told.startswith("0 0 Memory could not be locked")
    assert "LimitMEMLOCK" in told
