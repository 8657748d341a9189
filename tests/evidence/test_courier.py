"""The recorder never waits for the stick: a stick that hangs costs the writer milliseconds and, in the end, a failed
visit."""

import threading
from collections.abc import Iterator

import pytest

from firmware.evidence.courier import CHUNKS_WAITING_MAX, STALL_S_MAX, ThreadCourier
from firmware.store.commands import StickReport
from firmware.units import US_PER_S
from hw.sim.clock import SimClock
from hw.sim.stick import SimStick
from tests.evidence.rig import Rig


class StuckStick(SimStick):
    """Its write never comes back until it is let go."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.let_go = threading.Event()

    def write(self, path: str, chunks: object) -> None:
        self.let_go.wait(30)
        raise OSError("too late")


def test_a_visit_on_a_thread_gives_the_same_answer(rig: Rig) -> None:
    rig.world.call(seconds=8)
    order = rig.order()
    rig.write(order)
    assert rig.plug(courier=ThreadCourier(SimClock(0))) == StickReport("done")
    assert (rig.answer(order) / "data/1.tcf").stat().st_size > 4 * 4096


def test_a_stick_that_hangs_ends_the_visit_and_not_the_recorder(rig: Rig) -> None:
    rig.world.call()
    rig.write(rig.order())
    stick, clock = StuckStick(str(rig.root)), SimClock(0)
    last = None
    for report in rig.steps(stick, ThreadCourier(clock)):
        clock.advance_us(US_PER_S)
        last = report or last
    assert last == StickReport("failed")
    assert clock.mono_us() >= STALL_S_MAX * US_PER_S
    stick.let_go.set()
    assert rig.world.call()


def test_a_hanging_stick_is_left_alone_and_the_next_one_is_served(rig: Rig) -> None:
    """One courier serves every stick of a run: a stall must not be for ever."""
    rig.world.call()
    rig.write(rig.order())
    stick, clock = StuckStick(str(rig.root)), SimClock(0)
    courier = ThreadCourier(clock)
    for _ in rig.steps(stick, courier):
        clock.advance_us(20 * US_PER_S)
    with pytest.raises(TimeoutError):
        next(courier.call(lambda: None))
    stick.let_go.set()
    for thread in threading.enumerate():
        if thread.name == "stick":
            thread.join(10)
    rig.write(rig.order())
    assert rig.plug(courier=courier) == StickReport("done")


def test_memory_between_vault_and_stick_is_bounded() -> None:
    clock = SimClock(0)
    release = threading.Event()
    drawn = 0

    def chunks() -> Iterator[bytes]:
        nonlocal drawn
        for _ in range(1000):
            drawn += 1
            yield bytes(1000)

    def take(incoming: Iterator[bytes]) -> None:
        release.wait(30)
        for _ in incoming:
            pass

    sending = ThreadCourier(clock).send(take, chunks())
    for _ in range(40):
        next(sending)
    assert drawn <= CHUNKS_WAITING_MAX + 1
    release.set()
    for _ in sending:
        pass
    assert drawn == 1000


def test_a_visit_that_is_given_up_leaves_no_thread_waiting() -> None:
    """The file ends with an error, not as a shorter file that looks whole."""
    ended: list[str] = []
    done = threading.Event()

    def take(incoming: Iterator[bytes]) -> None:
        try:
            for _ in incoming:
                pass
            ended.append("whole")
        except OSError:
            ended.append("error")
        done.set()

    sending = ThreadCourier(SimClock(0)).send(take, iter([b"1", b"2", b"3"]))
    next(sending)
    sending.close()
    assert done.wait(10)
    assert ended == ["error"]
