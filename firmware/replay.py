"""Plays what was captured between trunk and telephones through the production appliance, on the capture's own time."""

from collections.abc import Callable

from firmware.appliance import Appliance
from firmware.units import BLOCK_MS, US_PER_S
from firmware.voipfeed import VoipFeed

STEP_MS = BLOCK_MS
SETTLE_US = 5 * US_PER_S


def replay(appliance: Appliance, advance_ms: Callable[[int], None]) -> None:
    """To the capture's end, where every call that still runs ends too, and until all of it is judged and written.

    Raises OSError where the file is damaged, after what came before the damage is safely kept.
    """
    feed = appliance.loop.voip
    assert feed is not None
    try:
        while not feed.port.finished():
            _step(appliance, advance_ms)
    finally:
        _run_out(appliance, feed, advance_ms)


def _run_out(appliance: Appliance, feed: VoipFeed, advance_ms: Callable[[int], None]) -> None:
    feed.stop_listening()
    feed.close(appliance.loop.now_us)
    for _ in range((appliance.look_back_us + SETTLE_US) // (STEP_MS * 1000)):
        _step(appliance, advance_ms)
    appliance.close()


def _step(appliance: Appliance, advance_ms: Callable[[int], None]) -> None:
    advance_ms(STEP_MS)
    appliance.step()
    appliance.writer.run_inline()
