"""The network port that comes back, over a pair of interfaces that can be pulled out (the real ones:
tests/voip/test_proof_netport.py)."""

import errno

import pytest

from firmware.policy.events import Packet, Port
from firmware.ports import Burst
from hw.liveport import RETRY_US, LivePort
from hw.sim.clock import SimClock


class Wires:
    """What the machine has: two interfaces, or not."""

    def __init__(self) -> None:
        self.there = True
        self.error = errno.ENODEV
        self.opened = 0
        self.closed = 0
        self.count = 0

    def open(self) -> "Wires":
        if not self.there:
            raise OSError(self.error, "gone")
        self.opened += 1
        self.count = 0
        return self

    def drain(self, packets_max: int) -> Burst:
        if not self.there:
            raise OSError(self.error, "gone")
        return Burst.of([Packet(Port.TRUNK, 0, b"")])

    def lost(self) -> bool:
        return False

    def dropped(self) -> int:
        return self.count

    def finished(self) -> bool:
        return False

    def close(self) -> None:
        self.closed += 1


def test_an_adapter_that_is_pulled_out_is_told_and_tried_again_each_second() -> None:
    clock, wires = SimClock(0), Wires()
    port = LivePort(clock, wires.open)
    assert len(port.drain(10))
    wires.there = False
    assert not len(port.drain(10))
    assert port.lost()
    wires.there = True
    assert not len(port.drain(10)), "not before a second has passed"
    clock.advance_ms(RETRY_US // 1000)
    assert len(port.drain(10))
    assert not port.lost()
    assert (wires.opened, wires.closed) == (2, 1)


def test_packets_lost_before_the_plug_was_pulled_are_not_forgotten() -> None:
    clock, wires = SimClock(0), Wires()
    port = LivePort(clock, wires.open)
    wires.count, wires.there = 7, False
    port.drain(10)
    wires.there = True
    clock.advance_ms(RETRY_US // 1000)
    port.drain(10)
    wires.count = 3
    assert port.dropped() == 10


def test_a_recorder_starts_without_its_network_adapter_and_says_so() -> None:
    clock, wires = SimClock(0), Wires()
    wires.there = False
    port = LivePort(clock, wires.open)
    assert port.lost()
    assert not len(port.drain(10))


def test_missing_rights_are_an_error_at_once_not_a_cable() -> None:
    wires = Wires()
    wires.there, wires.error = False, errno.EPERM
    with pytest.raises(PermissionError):
        LivePort(SimClock(0), wires.open)
