"""The scrub: every retained frame's CRC is read again, call by call, so that decay is found while a copy may exist."""

from collections.abc import Iterator

from firmware.store import holding
from firmware.store.core import Core
from firmware.store.frame import HEADER_BYTES, ciphertext_sound, parse_header

BYTES_PER_S = 512 * 1024
"""A 64 GB ring in a day and a half; 2 % of what a slow card reads."""
BURST_BYTES = 1024 * 1024


class Scrubber:
    """``damaged``: calls found with a damaged or missing frame."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.damaged: set[bytes] = set()
        self._steps: Iterator[int] | None = None
        self._budget = 0
        self._last_mono_us = core.parts.clock.mono_us()

    def tick(self) -> None:
        """Raises CardFailed."""
        now = self._core.parts.clock.mono_us()
        self._budget = min(BURST_BYTES, self._budget + (now - self._last_mono_us) * BYTES_PER_S // 1_000_000)
        self._last_mono_us = now
        while self._budget > 0:
            if self._steps is None:
                self._steps = self.steps()
            read = next(self._steps, None)
            if read is None:
                self._steps = None
                return
            self._budget -= read

    def steps(self) -> Iterator[int]:
        """One pass over all closed calls; yields the bytes read."""
        for call_id in list(self._core.calls):
            call = self._core.calls.get(call_id)
            if call is None or call.close is None:
                continue
            whole = 0
            for raw in holding.frames(self._core, call):
                whole += _sound(raw)
                yield len(raw)
            if call_id in self._core.calls and whole < call.close.frames:
                self.damaged.add(call_id)
        self.damaged &= set(self._core.calls)


def _sound(raw: bytes) -> bool:
    header = parse_header(raw)
    return ciphertext_sound(header, memoryview(raw)[HEADER_BYTES:])
