"""A ``NetPort`` that comes back: a network adapter that was pulled out and put back is listened to again by itself."""

import errno
from collections.abc import Callable

from firmware.ports import Burst, Clock, PacketSource

RETRY_US = 1_000_000


class LivePort:
    """Implements ``firmware.ports.PacketSource``. ``open_port`` raises OSError ENODEV where an interface is missing:
    then it is tried again each second. Any other error (no rights, a wrong setting) is raised at the start."""

    def __init__(self, clock: Clock, open_port: Callable[[], PacketSource]) -> None:
        self._clock = clock
        self._open_port = open_port
        self._port: PacketSource | None = None
        self._tried_mono_us = 0
        self._dropped_before = 0
        self._open()

    def drain(self, packets_max: int) -> Burst:
        if self._port is None and self._clock.mono_us() - self._tried_mono_us >= RETRY_US:
            self._open()
        if self._port is None:
            return Burst.of(())
        try:
            return self._port.drain(packets_max)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            self._dropped_before += self._port.dropped()
            self._port.close()
            self._port, self._tried_mono_us = None, self._clock.mono_us()
            return Burst.of(())

    def lost(self) -> bool:
        return self._port is None

    def dropped(self) -> int:
        return self._dropped_before + (0 if self._port is None else self._port.dropped())

    def finished(self) -> bool:
        return False

    def close(self) -> None:
        if self._port is not None:
            self._port.close()

    def _open(self) -> None:
        self._tried_mono_us = self._clock.mono_us()
        try:
            self._port = self._open_port()
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
