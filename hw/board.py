"""What the process asks of the machine it runs on: systemd's watchdog, and (``hw/lockdown.py``) a closed memory.

The notify protocol is a datagram of ``KEY=value`` lines to a socket named by the environment (sd_notify(3)). It is
written out here: the packages for it are unmaintained (sdnotify, 2017) or bring libsystemd and a compiler for these
ten lines.
"""

import os
import socket

from firmware.ports import Clock
from hw.lockdown import harden as harden

KICKS_PER_PERIOD = 4
"""systemd advises half of WATCHDOG_USEC at the least; a step is 50 times a second, more datagrams than are of use."""


class SystemdWatchdog:
    """Implements ``firmware.ports.Watchdog``. Without a service manager (NOTIFY_SOCKET) every call does nothing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_us = int(os.environ.get("WATCHDOG_USEC", "0")) // KICKS_PER_PERIOD
        self._kicked_mono_us: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    def ready(self) -> None:
        self._send("READY=1")

    def kick(self) -> None:
        now_mono_us = self._clock.mono_us()
        if self._kicked_mono_us is None or now_mono_us - self._kicked_mono_us >= self._period_us:
            self._kicked_mono_us = now_mono_us
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``. No number, no digit keyed, nothing of a call."""
        assert "\n" not in text
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def close(self) -> None:
        self._socket.close()

    def _send(self, line: str) -> None:
        """Never waits. A manager that is busy misses this one; the next is due before the watchdog bites."""
        if not self._address:
            return
        try:
            self._socket.sendto(line.encode(), self._address)
        except BlockingIOError:
            self._kicked_mono_us = None
