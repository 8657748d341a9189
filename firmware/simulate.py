"""Plays a world (a tape) through the production appliance, on virtual time or at its own pace. Knows no device."""

import time
from collections.abc import Callable
from typing import Protocol

from firmware.appliance import Appliance
from firmware.ports import Stick
from firmware.store.errors import CardFailed
from firmware.units import BLOCK_MS, US_PER_S

STEP_US = BLOCK_MS * 1000
IDLE_STEP_US = 3600 * US_PER_S
"""Nothing rings, nothing waits and no stick is in: an idle recorder's hour is one step, so that months take seconds."""
IDLE_MARGIN_US = 60 * US_PER_S

RETRY_US = 10 * US_PER_S

STICK_WAIT_US = 3600 * US_PER_S
"""A stick's work ends the tape at the latest after an hour of the tape's time."""


class World(Protocol):
    """What is around the appliance and moves by itself."""

    tape_us: int
    powered: bool
    stick_news: bool
    """A stick was plugged in since this was last set to False."""

    @property
    def plugged(self) -> Stick | None: ...
    @property
    def quiet_until_us(self) -> int: ...
    @property
    def card_stalled(self) -> bool: ...
    def advance(self, us: int) -> None: ...
    def end_us(self, look_back_us: int) -> int: ...


class Watcher(Protocol):
    """Looks on after each step, and may press keys: the live panel, or nobody."""

    def look(self, appliance: Appliance | None, world: World) -> bool:
        """False ends the tape."""


class Nobody:
    def look(self, appliance: Appliance | None, world: World) -> bool:
        return True


def play(world: World, boot: Callable[[], Appliance], watcher: Watcher, *, realtime: bool = False) -> None:
    """Until the tape's end and the end of what the stick asked for. A handset off-hook then is a power cut."""
    first = boot()
    appliance: Appliance | None = first
    look_back_us = first.look_back_us
    began, retry_us = time.monotonic(), 0
    while not _over(world, appliance, look_back_us):
        world.advance(STEP_US if realtime else _step_us(world, appliance))
        if realtime:
            time.sleep(max(0.0, began + world.tape_us / US_PER_S - time.monotonic()))
        if not world.powered:
            appliance = None
        elif appliance is None:
            appliance, retry_us = _boot(boot, world, retry_us)
        else:
            _step(world, appliance)
            if appliance.to_be_opened_anew:
                appliance.close()
                appliance = None
        if not watcher.look(appliance, world):
            break
    if appliance is not None:
        appliance.close()


def _boot(boot: Callable[[], Appliance], world: World, retry_us: int) -> tuple[Appliance | None, int]:
    """After a power cut, and after a card that refused writes: as long as it does, again every ten seconds."""
    if world.tape_us < retry_us:
        return None, retry_us
    try:
        return boot(), 0
    except CardFailed:
        return None, world.tape_us + RETRY_US


def _step_us(world: World, appliance: Appliance | None) -> int:
    quiet_us = world.quiet_until_us - world.tape_us - IDLE_MARGIN_US
    idle = appliance is None or (appliance.loop.idle and not appliance.stick_at_work and not world.stick_news)
    return min(quiet_us, IDLE_STEP_US) if idle and quiet_us > IDLE_MARGIN_US else STEP_US


def _step(world: World, appliance: Appliance) -> None:
    if world.stick_news and world.plugged is not None:
        world.stick_news = False
        appliance.stick_in(world.plugged)
    appliance.step()
    if not world.card_stalled:
        appliance.writer.run_inline()


def _over(world: World, appliance: Appliance | None, look_back_us: int) -> bool:
    end = world.end_us(look_back_us)
    if world.tape_us < end:
        return False
    busy = appliance is not None and (appliance.stick_at_work or world.stick_news)
    return not busy or world.tape_us >= end + STICK_WAIT_US
