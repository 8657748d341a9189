"""A capture file played on a virtual clock: a packet comes when its time has come."""

from collections import deque
from typing import Protocol

from firmware.policy.events import Packet
from firmware.ports import Burst, PacketSource

CHUNK = 1000


class MonoClock(Protocol):
    def mono_us(self) -> int: ...


class PacedPackets:
    """Implements ``firmware.ports.PacketSource`` over one whose packets are all there already."""

    def __init__(self, source: PacketSource, clock: MonoClock) -> None:
        self._source = source
        self._clock = clock
        self._ahead: deque[Packet] = deque()

    def drain(self, packets_max: int) -> Burst:
        now = self._clock.mono_us()
        due: list[Packet] = []
        while len(due) < packets_max:
            try:
                coming = self.next_mono_us()
            except OSError:
                if not due:
                    raise
                break  # told at the next call: what came before the damage is not lost with it
            if coming is None or coming > now:
                break
            due.append(self._ahead.popleft())
        return Burst.of(due)

    def next_mono_us(self) -> int | None:
        """When the next packet comes; None after the last. Raises OSError where the source is damaged."""
        if not self._ahead:
            self._ahead.extend(self._source.drain(CHUNK))
        return self._ahead[0].at_mono_us if self._ahead else None

    def lost(self) -> bool:
        return False

    def dropped(self) -> int:
        return self._source.dropped()

    def finished(self) -> bool:
        return not self._ahead and self._source.finished()

    def close(self) -> None:
        self._source.close()
