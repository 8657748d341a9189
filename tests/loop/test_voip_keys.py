"""Keys beside a trunk, through the production loop: packets are heard in bursts, keys at every step."""

from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import pytest

from firmware.loop import Loop, Settings
from firmware.policy.events import Packet, Port, Signal
from firmware.policy.keyed import LineSettings, NoticeSource
from firmware.ports import Burst
from firmware.store.commands import KeepCall
from firmware.units import STEP_MS, US_PER_S
from firmware.voip.trunk import Trunk
from firmware.voipfeed import VoipWiring
from hw.sim.clock import SimClock
from hw.sim.pins import SimPins
from tests.loop.bench import START_UTC_MS, Deaf, Kicks, Memory
from tests.loop.test_voipfeed import Silent
from tests.voip.wire import Dialogue, Voice, Wire, settings, talk


@dataclass
class OnTime(Silent):
    """A wire that gives each packet once it has come."""

    clock: SimClock
    packets: list[Packet]
    given: int = field(default=0, init=False)

    def drain(self, packets_max: int) -> Any:
        now_mono_us = self.clock.mono_us()
        come = list(takewhile(lambda packet: packet.at_mono_us <= now_mono_us, self.packets[self.given :]))
        self.given += len(come)
        return Burst.of(come)


def played(wire: Wire, pins: SimPins, clock: SimClock) -> Memory:
    """All that the wire carries, and 20 s more."""
    line = LineSettings(voip=True, notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True)
    writer, none, port = Memory(), Deaf(), OnTime(clock, wire.packets)
    wiring = VoipWiring(port, Trunk(settings()), (0,), Silent)  # type: ignore[arg-type]
    loop = Loop(Settings((line,)), clock, [], pins, writer, Kicks(), lambda: clock.true_utc_ms, none.reset, wiring)  # type: ignore[arg-type]
    while clock.mono_us() < wire.now_us + 20 * US_PER_S:
        clock.advance_ms(STEP_MS)
        loop.step()
    return writer


@pytest.mark.parametrize("after_ms", range(1, 450, 50))
def test_a_key_pressed_just_after_the_answer_means_that_caller_and_not_the_one_before(after_ms: int) -> None:
    clock, wire = SimClock(START_UTC_MS), Wire()
    pins = SimPins(clock, bounce_edges_max=0)
    first = Dialogue(wire, "first@example.invalid")
    first.establish()
    talk(wire, 3000, Voice(first, Port.TRUNK, 1, ssrc=1), Voice(first, Port.INSIDE, 2, ssrc=2))
    first.bye()
    wire.wait(1000)
    second = Dialogue(wire, "second@example.invalid", from_tag="f2", to_tag="t2")
    second.establish()
    pins.level(0, Signal.KEEP, True, wire.now_us + 1000 * after_ms)
    pins.level(0, Signal.KEEP, False, wire.now_us + 1000 * after_ms + 200_000)
    talk(wire, 3000, Voice(second, Port.TRUNK, 3, ssrc=3), Voice(second, Port.INSIDE, 4, ssrc=4))
    second.bye()
    kept = [command.call for command in played(wire, pins, clock).commands if isinstance(command, KeepCall)]
    assert kept == [2]
