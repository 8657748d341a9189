"""Plays what was captured between trunk and telephones through the production appliance, on the capture's own time."""

from collections.abc import Callable

from firmware.appliance import Appliance
from firmware.units import BLOCK_MS, MS_PER_S, US_PER_S
from firmware.voipfeed import VoipFeed

STEP_MS = BLOCK_MS
IDLE_STEP_MS = 3600 * MS_PER_S
IDLE_MARGIN_US = 60 * US_PER_S
"""As on a tape (``simulate``): an idle hour is one step, and a minute before the next packet the steps are small."""
SETTLE_US = 5 * US_PER_S


def replay(appliance: Appliance, advance_ms: Callable[[int], None], next_packet_us: Callable[[], int | None]) -> None:
    """``next_packet_us``: when the next packet comes, on the appliance's clock; None after the last.

    To the capture's end, where every call that still runs ends too, and until all of it is judged and written.

    Raises OSError where the file is damaged, after what came before the damage is safely kept.
    """
    feed = appliance.loop.voip
    assert feed is not None
    try:
        while not feed.port.finished():
            _step(appliance, advance_ms, _step_ms(appliance, next_packet_us()))
    finally:
        _run_out(appliance, feed, advance_ms)


def _run_out(appliance: Appliance, feed: VoipFeed, advance_ms: Callable[[int], None]) -> None:
    feed.stop_listening()
    feed.close(appliance.loop.now_us)
    for _ in range((appliance.look_back_us + SETTLE_US) // (STEP_MS * 1000)):
        _step(appliance, advance_ms)
    appliance.close()


def _step_ms(appliance: Appliance, next_packet_us: int | None) -> int:
    """One step of 100 ms, or where nothing waits up to an hour of the time in which no packet comes."""
    quiet_us = 0 if next_packet_us is None else next_packet_us - appliance.loop.now_us - IDLE_MARGIN_US
    if quiet_us <= IDLE_MARGIN_US or not appliance.loop.idle or appliance.stick_at_work:
        return STEP_MS
    return min(quiet_us // 1000, IDLE_STEP_MS)


def _step(appliance: Appliance, advance_ms: Callable[[int], None], milliseconds: int = STEP_MS) -> None:
    advance_ms(milliseconds)
    appliance.step()
    appliance.writer.run_inline()
